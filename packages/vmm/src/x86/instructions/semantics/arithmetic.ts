/** Integer arithmetic and logic (SDM Vol. 2, the instructions' Operation sections, in the table's order). */
import { type I64, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Semantic, type Semantics, Vector } from './context.ts';

const Rax = 0;
const Rbx = 3;
const Rcx = 1;
const Rdx = 2;

/** dst = dst op src with flags. */
const binary =
  (operation: (a: I64, b: I64) => I64, flags: 'add' | 'sub' | 'logic', writes: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const b = s.op1.kind === 'memory' ? s.op1.read(width) : undefined;
    const a = writes ? s.op0.readModify() : s.op0.read();
    const source = b ?? s.op1.read(width);
    const result = s.let(operation(a, source).signExtend(width));
    if (writes) s.op0.write(result);
    if (flags === 'logic') s.flags.logic(result);
    else s.flags[flags](a, source, result);
  };

/** ADC and SBB: the carry out is computed here, since there are three terms. */
const withCarry =
  (subtract: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const b = s.op1.kind === 'memory' ? s.op1.read(width) : undefined;
    const a = s.op0.readModify();
    const source = b ?? s.op1.read(width);
    const carry = s.let(s.flags.carry().toI64u());
    const sum = subtract ? a.sub(source).sub(carry) : a.add(source).add(carry);
    const result = s.let(sum.signExtend(width));
    s.op0.write(result);
    const carryOut = subtract
      ? a.ltU(source).or(a.eq(source).and(carry.toI32()))
      : result.ltU(a).or(result.eq(a).and(carry.toI32()));
    const overflow = subtract ? a.xor(source).and(a.xor(result)) : a.xor(result).and(source.xor(result));
    s.flags.assign({
      result,
      carry: s.let(carryOut),
      overflow: overflow.ltS(0),
      adjust: a.xor(source).xor(result).shrU(4).toI32().and(1),
    });
  };

const incDec =
  (by: 1 | -1): Semantic =>
  (s) => {
    const { width } = s.form;
    const a = s.op0.readModify();
    const result = s.let(a.add(by).signExtend(width));
    s.op0.write(result);
    if (by === 1) s.flags.increment(a, result);
    else s.flags.decrement(a, result);
  };

const not: Semantic = (s) => s.op0.write(s.op0.readModify().xor(-1));

const neg: Semantic = (s) => {
  const a = s.op0.readModify();
  const result = s.let(i64(0).sub(a).signExtend(s.form.width));
  s.op0.write(result);
  s.flags.sub(i64(0), a, result);
};

/** High 64 bits of the unsigned product, by 32-bit halves. */
export function multiplyHigh(s: Semantics, a: I64, b: I64): I64 {
  const low = (x: I64): I64 => x.and(0xffff_ffffn);
  const [x, y] = [s.let(a), s.let(b)];
  const ll = s.let(low(x).mul(low(y)));
  const hl = s.let(x.shrU(32).mul(low(y)).add(ll.shrU(32)));
  const lh = s.let(low(x).mul(y.shrU(32)).add(low(hl)));
  return s.let(x.shrU(32).mul(y.shrU(32)).add(hl.shrU(32)).add(lh.shrU(32)));
}

/** Signed high half from the unsigned one. */
function multiplyHighSigned(s: Semantics, a: I64, b: I64): I64 {
  return s.let(multiplyHigh(s, a, b).sub(a.shrS(63).and(b)).sub(b.shrS(63).and(a)));
}

function multiplyFlags(s: Semantics, result: I64, overflowed: ReturnType<I64['eqz']>): void {
  const over = s.let(overflowed);
  s.flags.assign({ result, carry: over, overflow: over });
}

/** MUL and one-operand IMUL. */
const multiply =
  (signed: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const source = signed ? s.op0.read() : s.op0.readUnsigned();
    const a = s.let(signed ? s.gpr(Rax, width) : s.gprUnsigned(Rax, width));
    const low = s.let(a.mul(source));
    if (width === 64) {
      const high = signed ? multiplyHighSigned(s, a, source) : multiplyHigh(s, a, source);
      s.setGpr(Rax, 64, low);
      s.setGpr(Rdx, 64, high);
      multiplyFlags(s, low, signed ? high.ne(low.shrS(63)) : high.ne(0));
      return;
    }
    const truncated = s.let(low.signExtend(width));
    if (width === 8) s.setGpr(Rax, 16, low);
    else {
      s.setGpr(Rax, width, low);
      s.setGpr(Rdx, width, low.shrU(width));
    }
    multiplyFlags(s, truncated, signed ? low.ne(truncated) : low.shrU(width).ne(0));
  };

const imul: Semantic = (s) => {
  if (s.operands.length === 1) {
    multiply(true)(s);
    return;
  }
  const { width } = s.form;
  const [a, b] = s.operands.length === 3 ? [s.op1.read(), s.op2.read(width)] : [s.op1.read(), s.op0.read()];
  const product = s.let(a.mul(b));
  const result = s.let(product.signExtend(width));
  s.op0.write(result);
  multiplyFlags(s, result, width === 64 ? multiplyHighSigned(s, a, b).ne(result.shrS(63)) : product.ne(result));
};

/** DIV and IDIV; a 128-bit dividend that does not fit 64 bits goes to JavaScript. */
const divide =
  (signed: boolean): Semantic =>
  (s) => {
    const { width } = s.form;
    const divisor = signed ? s.op0.read() : s.op0.readUnsigned();
    s.raiseIf(divisor.eqz(), Vector.DivideError);
    if (width === 64) {
      divide64(s, divisor, signed);
      return;
    }
    const dividend = s.let(
      width === 8
        ? signed
          ? s.gpr(Rax, 16)
          : s.gprUnsigned(Rax, 16)
        : signed
          ? s.gpr(Rdx, width).shl(width).or(s.gprUnsigned(Rax, width))
          : s.gprUnsigned(Rdx, width).shl(width).or(s.gprUnsigned(Rax, width)),
    );
    // The one quotient that 64 bits cannot hold: wasm would trap
    if (signed && width === 32) s.raiseIf(divisor.eq(-1).and(dividend.eq(-(1n << 63n))), Vector.DivideError);
    const quotient = s.let(signed ? dividend.divS(divisor) : dividend.divU(divisor));
    const fits = signed ? quotient.signExtend(width).eq(quotient) : quotient.shrU(width).eqz();
    s.raiseIf(fits.eqz(), Vector.DivideError);
    const remainder = s.let(signed ? dividend.remS(divisor) : dividend.remU(divisor));
    if (width === 8) {
      s.setGpr(Rax, 16, quotient.and(0xff).or(remainder.and(0xff).shl(8)));
    } else {
      s.setGpr(Rax, width, quotient);
      s.setGpr(Rdx, width, remainder);
    }
  };

function divide64(s: Semantics, divisor: I64, signed: boolean): void {
  const low = s.let(s.gpr(Rax, 64));
  const high = s.let(s.gpr(Rdx, 64));
  const simple = signed ? high.eq(low.shrS(63)).and(divisor.ne(-1)) : high.eqz();
  s.f.if(
    simple,
    () => {
      s.setGpr(Rax, 64, signed ? low.divS(divisor) : low.divU(divisor));
      s.setGpr(Rdx, 64, signed ? low.remS(divisor) : low.remU(divisor));
    },
    () => {
      s.setState64(Cpu.RareArgument, divisor);
      s.rare(signed ? 'idiv128' : 'div128');
    },
  );
}

const cbw: Semantic = (s) => {
  const { width } = s.form;
  const half = width === 64 ? 32 : width === 32 ? 16 : 8;
  s.setGpr(Rax, width, s.gpr(Rax, half));
};

const cwd: Semantic = (s) => s.setGpr(Rdx, s.form.width, s.gpr(Rax, s.form.width).shrS(63));

const xadd: Semantic = (s) => {
  const a = s.op0.readModify();
  const b = s.op1.read();
  const result = s.let(a.add(b).signExtend(s.form.width));
  // The register first: with the same register twice, the sum stays
  if (s.op0.kind === 'memory') s.op0.write(result);
  s.op1.write(a);
  if (s.op0.kind !== 'memory') s.op0.write(result);
  s.flags.add(a, b, result);
};

const cmpxchg: Semantic = (s) => {
  const { width } = s.form;
  const destination = s.op0.readModify();
  const source = s.op1.read();
  const accumulator = s.let(s.gpr(Rax, width));
  const equal = s.let(accumulator.eq(destination));
  if (s.op0.kind === 'memory') {
    s.op0.write(equal.select(source as I64, destination as I64));
    s.f.if(equal.eqz(), () => s.setGpr(Rax, width, destination));
  } else {
    // The register that is not written keeps its upper half
    s.f.if(
      equal,
      () => s.op0.write(source),
      () => s.setGpr(Rax, width, destination),
    );
  }
  s.flags.sub(accumulator, destination, s.let(accumulator.sub(destination).signExtend(width)));
};

/** CMPXCHG8B (16B): compares rDX:rAX, stores rCX:rBX; only ZF changes. */
const cmpxchgPair =
  (width: 32 | 64): Semantic =>
  (s) => {
    const bytes = width / 8;
    if (width === 64) s.op0.requireAligned(16);
    const { pointer, commit } = s.op0.writePointer(2 * bytes);
    const half = (offset: number): I64 => (width === 64 ? pointer.load64(offset) : pointer.load64_32u(offset));
    const low = s.let(half(0));
    const high = s.let(half(bytes));
    const equal = s.let(low.eq(s.gprUnsigned(Rax, width)).and(high.eq(s.gprUnsigned(Rdx, width))));
    const store = (offset: number, value: I64): void =>
      width === 64 ? s.f.store64(pointer, offset, value) : s.f.store32(pointer, offset, value);
    store(0, equal.select(s.gpr(Rbx, width), low as I64));
    store(bytes, equal.select(s.gpr(Rcx, width), high as I64));
    commit();
    s.f.if(equal.eqz(), () => {
      s.setGpr(Rax, width, low);
      s.setGpr(Rdx, width, high);
    });
    s.flags.load(s.flags.image().and(~0x40).or(equal.shl(6)));
  };

const adcx: Semantic = (s) => addWithOneFlag(s, 'carry');
const adox: Semantic = (s) => addWithOneFlag(s, 'overflow');

function addWithOneFlag(s: Semantics, flag: 'carry' | 'overflow'): void {
  const { width } = s.form;
  const source = s.op1.read();
  const a = s.op0.read();
  const flagIn = s.let(s.flags[flag]());
  const result = s.let(a.add(source).add(flagIn.toI64u()).signExtend(width));
  s.op0.write(result);
  s.flags.assign({ [flag]: s.let(result.ltU(a).or(result.eq(a).and(flagIn))) });
}

const mulx: Semantic = (s) => {
  const { width } = s.form;
  const a = s.op2.readUnsigned();
  const b = s.let(s.gprUnsigned(Rdx, width));
  const low = s.let(a.mul(b));
  const high = width === 64 ? multiplyHigh(s, a, b) : s.let(low.shrU(32));
  s.op1.write(low);
  s.op0.write(high);
};

/** AH as an unsigned byte. */
const readAh = (s: Semantics): I64 => s.gprUnsigned(Rax, 16).shrU(8);

const daaDas =
  (subtract: boolean): Semantic =>
  (s) => {
    const al = s.let(s.gprUnsigned(Rax, 8));
    const carry = s.let(s.flags.carry());
    const adjustIn = s.let(s.flags.image().shrU(4).and(1));
    const lowFix = s.let(al.and(15).gtU(9).or(adjustIn));
    const highFix = s.let(al.gtU(0x99).or(carry));
    const fix = lowFix.select(i64(6), i64(0)).add(highFix.select(i64(0x60), i64(0)));
    // DAS borrows out of the low fix as well
    const borrow = subtract ? lowFix.and(al.ltU(6)) : i32(0);
    const result = s.let((subtract ? al.sub(fix) : al.add(fix)).extend8s());
    s.setGpr(Rax, 8, result);
    s.flags.assign({ result, carry: s.let(highFix.or(borrow)), adjust: lowFix });
  };

const aaaAas =
  (subtract: boolean): Semantic =>
  (s) => {
    const ax = s.let(s.gprUnsigned(Rax, 16));
    const adjust = s.let(ax.and(15).gtU(9).or(s.flags.image().shrU(4).and(1)));
    const fixed = subtract ? ax.sub(0x106) : ax.add(0x106);
    s.setGpr(Rax, 16, adjust.select(fixed, ax as I64).and(0xff0f));
    s.flags.assign({ carry: adjust, adjust });
  };

const aam: Semantic = (s) => {
  const base = s.let(s.op0.read(8).and(0xff));
  s.raiseIf(base.eqz(), Vector.DivideError);
  const al = s.let(s.gprUnsigned(Rax, 8));
  const result = s.let(al.remU(base));
  s.setGpr(Rax, 16, al.divU(base).shl(8).or(result));
  s.flags.logic(s.let(result.extend8s()));
};

const aad: Semantic = (s) => {
  const base = s.let(s.op0.read(8).and(0xff));
  const result = s.let(s.gprUnsigned(Rax, 8).add(readAh(s).mul(base)).and(0xff));
  s.setGpr(Rax, 16, result);
  s.flags.logic(s.let(result.extend8s()));
};

export const arithmeticSemantics: Readonly<Record<string, Semantic>> = {
  ADD: binary((a, b) => a.add(b), 'add', true),
  OR: binary((a, b) => a.or(b), 'logic', true),
  ADC: withCarry(false),
  SBB: withCarry(true),
  AND: binary((a, b) => a.and(b), 'logic', true),
  SUB: binary((a, b) => a.sub(b), 'sub', true),
  XOR: binary((a, b) => a.xor(b), 'logic', true),
  CMP: binary((a, b) => a.sub(b), 'sub', false),
  TEST: binary((a, b) => a.and(b), 'logic', false),
  NOT: not,
  NEG: neg,
  MUL: multiply(false),
  IMUL: imul,
  DIV: divide(false),
  IDIV: divide(true),
  INC: incDec(1),
  DEC: incDec(-1),
  DAA: daaDas(false),
  DAS: daaDas(true),
  AAA: aaaAas(false),
  AAS: aaaAas(true),
  AAM: aam,
  AAD: aad,
  CBW: cbw,
  CWD: cwd,
  XADD: xadd,
  CMPXCHG: cmpxchg,
  CMPXCHG8B: cmpxchgPair(32),
  CMPXCHG16B: cmpxchgPair(64),
  ADCX: adcx,
  ADOX: adox,
  MULX: mulx,
};
