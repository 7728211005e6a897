/**
 * String instructions (SDM Vol. 2 "REP/REPE/REPZ/REPNE/REPNZ—Repeat String Operation Prefix").
 *
 * A handler does a bounded piece of a repetition, leaves the registers as after that many iterations and asks to be run
 * again: interrupts are taken in between and a fault finds precise registers. In 64-bit code, forward MOVS and STOS move
 * up to a page at a time.
 */
import { type I32, type I64, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Rflag } from '../../../engine/wasm/emit/lazy-flags.ts';
import { type Semantic, type Semantics, type Width } from './context.ts';

const Rax = 0;
const Rcx = 1;
const Rdx = 2;
const Rsi = 6;
const Rdi = 7;
/** Iterations of a handler before interrupts are looked at. */
const MaxIterations = 256;

const again = (s: Semantics): void => s.leave(i32(HandlerResult.Again));

/** A register of address size, zero-extended. */
const addressRegister = (s: Semantics, register: number): I64 => s.gprUnsigned(register, s.form.addressWidth);

function source(s: Semantics): Local<I64> {
  return s.segmented(s.form.segment, s.let(addressRegister(s, Rsi)), s.form.width / 8, false);
}

function destination(s: Semantics, write: boolean): Local<I64> {
  return s.segmented(SegmentIndex.Es, s.let(addressRegister(s, Rdi)), s.form.width / 8, write);
}

/** +bytes or -bytes by DF. */
function step(s: Semantics): Local<I64> {
  const bytes = s.form.width / 8;
  return s.let(s.state32(Cpu.Rflags).and(Rflag.Direction).select(i64(-bytes), i64(bytes)));
}

function advance(s: Semantics, register: number, by: I64): void {
  s.setGpr(register, s.form.addressWidth, addressRegister(s, register).add(by));
}

/** Repeats `iteration` (which answers whether to stop after it, or nothing) as the prefix says. */
function repeat(s: Semantics, iteration: () => I32 | undefined): void {
  const { f, form } = s;
  if (form.rep === 0) {
    iteration();
    return;
  }
  const width = form.addressWidth;
  const budget = s.let(i32(MaxIterations));
  f.block((finished) => {
    f.loop((next) => {
      f.brIf(finished, addressRegister(s, Rcx).eqz());
      // A replayed device access belongs to one iteration only
      const stop = f.scope(() => iteration());
      s.setGpr(Rcx, width, addressRegister(s, Rcx).sub(1));
      if (stop) f.brIf(finished, stop);
      f.brIf(finished, addressRegister(s, Rcx).eqz());
      f.set(budget, budget.sub(1));
      // Single-step traps after every iteration
      const trap = s.state32(Cpu.Rflags).and(Rflag.Trap);
      f.if(budget.eqz().or(s.state32(Cpu.ReplayCount)).or(trap), () => again(s));
      f.br(next);
    });
  });
}

/** Bytes from a linear address to its page's end. */
const toPageEnd = (linear: I64): I64 => i64(4096).sub(linear.and(0xfff));

const minimum = (s: Semantics, a: I64, b: I64): Local<I64> => {
  const [x, y] = [s.let(a), s.let(b)];
  return s.let(x.ltU(y).select(x as I64, y as I64));
};

/** Whether the bulk path applies: static conditions. */
const bulkForm = (s: Semantics): boolean => s.form.rep !== 0 && s.form.codeSize === 64 && s.form.addressWidth === 64;

/** Registers after `count` elements in one go. */
function finishBulk(s: Semantics, count: Local<I64>, pointers: readonly number[]): void {
  const bytes = s.let(count.mul(s.form.width / 8));
  for (const register of pointers) s.setGpr(register, 64, s.gpr(register, 64).add(bytes));
  const left = s.let(s.gpr(Rcx, 64).sub(count));
  s.setGpr(Rcx, 64, left);
  s.f.if(left.eqz().eqz(), () => again(s));
  s.done();
}

const movs: Semantic = (s) => {
  if (bulkForm(s)) bulkMove(s);
  const by = step(s);
  repeat(s, () => {
    const value = s.load(source(s), s.form.width);
    s.store(destination(s, true), s.form.width, value);
    advance(s, Rsi, by);
    advance(s, Rdi, by);
    return undefined;
  });
};

function bulkMove(s: Semantics): void {
  const { f } = s;
  const bytes = s.form.width / 8;
  f.block((elementwise) => {
    f.brIf(elementwise, s.state32(Cpu.Rflags).and(Rflag.Direction | Rflag.Trap));
    const wanted = s.let(s.gpr(Rcx, 64));
    f.brIf(elementwise, wanted.ltU(2));
    const from = source(s);
    const to = destination(s, true);
    const room = minimum(s, toPageEnd(from), toPageEnd(to));
    const count = minimum(s, wanted, room.shrU(Math.log2(bytes)));
    f.brIf(elementwise, count.eqz());
    const fromHost = s.bulkPointer(from, false);
    const toHost = s.bulkPointer(to, true);
    f.brIf(elementwise, fromHost.eqz().or(toHost.eqz()));
    const length = s.let(count.toI32().mul(bytes));
    // A destination inside the source repeats what was just written: not what a block move does
    f.brIf(elementwise, toHost.sub(fromHost).sub(1).ltU(length.sub(1)));
    f.memoryCopy(toHost, fromHost, length);
    finishBulk(s, count, [Rsi, Rdi]);
  });
}

const stos: Semantic = (s) => {
  if (bulkForm(s)) bulkStore(s);
  const by = step(s);
  repeat(s, () => {
    s.store(destination(s, true), s.form.width, s.gpr(Rax, s.form.width));
    advance(s, Rdi, by);
    return undefined;
  });
};

/** All bytes of the low `width` bits of RAX are the same. */
function uniform(s: Semantics): I32 {
  const { width } = s.form;
  const ones = 0x0101_0101_0101_0101n & ((1n << BigInt(width)) - 1n);
  return s.gprUnsigned(Rax, 8).mul(ones).eq(s.gprUnsigned(Rax, width));
}

function bulkStore(s: Semantics): void {
  const { f } = s;
  const bytes = s.form.width / 8;
  f.block((elementwise) => {
    f.brIf(elementwise, s.state32(Cpu.Rflags).and(Rflag.Direction | Rflag.Trap));
    const wanted = s.let(s.gpr(Rcx, 64));
    f.brIf(elementwise, wanted.ltU(2));
    if (bytes > 1) f.brIf(elementwise, uniform(s).eqz());
    const to = destination(s, true);
    const count = minimum(s, wanted, toPageEnd(to).shrU(Math.log2(bytes)));
    f.brIf(elementwise, count.eqz());
    const host = s.bulkPointer(to, true);
    f.brIf(elementwise, host.eqz());
    f.memoryFill(host, s.gprUnsigned(Rax, 8).toI32(), count.toI32().mul(bytes));
    finishBulk(s, count, [Rdi]);
  });
}

const lods: Semantic = (s) => {
  const by = step(s);
  repeat(s, () => {
    s.setGpr(Rax, s.form.width, s.load(source(s), s.form.width));
    advance(s, Rsi, by);
    return undefined;
  });
};

/** The stop condition of REPE and REPNE after flags were set. */
function mismatch(s: Semantics, equal: I32): I32 {
  return s.form.rep === 0xf3 ? equal.eqz() : equal;
}

function compare(s: Semantics, a: I64, b: I64): I32 {
  const result = s.let(a.sub(b).signExtend(s.form.width));
  s.flags.sub(a, b, result);
  return s.let(mismatch(s, result.eqz()));
}

const cmps: Semantic = (s) => {
  const by = step(s);
  repeat(s, () => {
    const { width, rep } = s.form;
    // Where both operands fault, the processor reports the second one, but for REPE CMPSB
    const early = width === 8 && rep === 0xf3 ? s.load(source(s), width) : undefined;
    const b = s.load(destination(s, false), width);
    const a = early ?? s.load(source(s), width);
    advance(s, Rsi, by);
    advance(s, Rdi, by);
    return compare(s, a, b);
  });
};

const scas: Semantic = (s) => {
  const by = step(s);
  repeat(s, () => {
    const value = s.load(destination(s, false), s.form.width);
    advance(s, Rdi, by);
    return compare(s, s.let(s.gpr(Rax, s.form.width)), value);
  });
};

/** INS and OUTS use at most 32 bits. */
const portBytes = (width: Width): 1 | 2 | 4 => (width === 8 ? 1 : width === 16 ? 2 : 4);

const ins: Semantic = (s) => {
  const bytes = portBytes(s.form.width);
  const width = (bytes * 8) as Width;
  const by = portStep(s, bytes);
  checkPort(s, s.gprUnsigned(Rdx, 16), bytes);
  repeat(s, () => {
    const to = s.segmented(SegmentIndex.Es, s.let(addressRegister(s, Rdi)), bytes, true);
    const memory = s.modify(to, width);
    const value = s.port(false, s.gprUnsigned(Rdx, 16), bytes, i64(0));
    memory.write(value);
    advance(s, Rdi, by);
    return undefined;
  });
};

const outs: Semantic = (s) => {
  const bytes = portBytes(s.form.width);
  const by = portStep(s, bytes);
  checkPort(s, s.gprUnsigned(Rdx, 16), bytes);
  repeat(s, () => {
    const from = s.segmented(s.form.segment, s.let(addressRegister(s, Rsi)), bytes, false);
    const value = s.load(from, (bytes * 8) as Width);
    s.port(true, s.gprUnsigned(Rdx, 16), bytes, value.zeroExtend((bytes * 8) as Width));
    advance(s, Rsi, by);
    return undefined;
  });
};

const portStep = (s: Semantics, bytes: number): Local<I64> =>
  s.let(s.state32(Cpu.Rflags).and(Rflag.Direction).select(i64(-bytes), i64(bytes)));

/** I/O permission: CPL above IOPL, or virtual-8086 mode, asks the TSS's bit map (SDM Vol. 1 "I/O Permission Bit Map"). */
export function checkPort(s: Semantics, port: I64, bytes: number): void {
  const rflags = s.let(s.state32(Cpu.Rflags));
  const restricted = s.state32(Cpu.Cpl).gtU(rflags.shrU(12).and(3)).or(rflags.and(Rflag.Virtual8086));
  s.f.unlikely(restricted, () => {
    s.setState64(Cpu.RareArgument, port);
    s.setState64(Cpu.RareArgument2, bytes);
    s.rare('checkPort');
  });
}

export const stringSemantics: Readonly<Record<string, Semantic>> = {
  MOVS: movs,
  CMPS: cmps,
  STOS: stos,
  LODS: lods,
  SCAS: scas,
  INS: ins,
  OUTS: outs,
};
