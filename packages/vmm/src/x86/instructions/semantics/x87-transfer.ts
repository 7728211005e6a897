/**
 * Data transfer: FLD, FST, FSTP, FILD, FIST, FISTP, FISTTP, FBLD, FBSTP, FXCH and the constants (SDM Vol. 1 §8.3.3 "Data
 * Transfer Instructions", §8.3.4 "Load Constant Instructions").
 */
import { type I32, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import { fromBcd, toBcd } from './x87-bcd.ts';
import { quieten, toDouble, toInteger, toSingle } from './x87-convert.ts';
import { begin, readInteger, readReal, recordPointers } from './x87-execute.ts';
import {
  BeforeResult,
  Control,
  Ext,
  type HelperCall,
  type SharedFunction,
  Slot,
  StackUnderflow,
  Status,
  clearC1,
  copyExt,
  isValid,
  markValid,
  pop,
  push,
  raiseFlags,
  shared,
  stackPointer,
  storeExt,
  storeIndefinite,
  unmasked,
} from './x87-state.ts';

/**
 * (cpu, exceptions) -> 0: pushes the value of {@link Slot.Memory} with the exceptions that its conversion found. A full
 * stack goes before them; an unmasked #D does not keep the value from being pushed.
 */
const pushMemory = shared('push.memory', ['i32', 'i32'], (f, helper) => {
  const [cpu, flags] = [f.param('i32', 0), f.param('i32', 1)];
  const control = cpu.load32(Cpu.FpuControl);
  const full = isValid(cpu.load32(Cpu.FpuTags), cpu.load32(Cpu.FpuTop), 7);
  f.if(full.eqz().and(unmasked(flags, control, Status.Invalid).ne(0)), () => {
    f.drop(raiseFlags(helper, cpu, flags));
    f.return(i32(0));
  });
  const to = f.let(push(helper, cpu));
  f.if(to, () => {
    copyExt(f, to, cpu.add(Slot.Memory));
    f.drop(raiseFlags(helper, cpu, flags));
  });
  f.return(i32(0));
});

/** (cpu, source) -> 0: FLD ST(i). An empty source is an underflow, even of a full stack, and pushes the indefinite. */
const pushRegister = shared('push.register', ['i32', 'i32'], (f, helper) => {
  const [cpu, source] = [f.param('i32', 0), f.param('i32', 1)];
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const from = f.let(stackPointer(cpu, top, source));
  const empty = f.let(isValid(tags, top, source).eqz());
  f.if(empty, () => {
    f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
    storeIndefinite(f, stackPointer(cpu, top, 7));
    markValid(f, cpu, 7);
    f.store32(cpu, Cpu.FpuTop, top.sub(1).and(7));
    f.return(i32(0));
  });
  const to = f.let(push(helper, cpu));
  f.if(to, () => copyExt(f, to, from));
  f.return(i32(0));
});

function loadExt(s: Semantics, operand: Operand): void {
  const from = operand.readPointer(10);
  recordPointers(s);
  copyExt(s.f, s.cpu.add(Slot.Memory), from);
}

const load: Semantic = (s) => {
  begin(s);
  const helper = s.helper.bind(s);
  if (s.op0.kind === 'st') {
    recordPointers(s);
    s.f.drop(pushRegister(helper, s.cpu, s.op0.index));
  } else if (s.op0.bits === 80) {
    loadExt(s, s.op0);
    s.f.drop(pushMemory(helper, s.cpu, 0));
  } else {
    const flags = s.let(readReal(s, s.op0).or(quieten(helper, s.cpu.add(Slot.Memory))));
    s.f.drop(pushMemory(helper, s.cpu, flags));
  }
  s.done();
};

const loadInteger: Semantic = (s) => {
  begin(s);
  readInteger(s, s.op0);
  s.f.drop(pushMemory(s.helper.bind(s), s.cpu, 0));
  s.done();
};

const loadBcd: Semantic = (s) => {
  begin(s);
  const from = s.op0.readPointer(10);
  recordPointers(s);
  s.f.drop(fromBcd(s.helper.bind(s), s.cpu.add(Slot.Memory), from));
  s.f.drop(pushMemory(s.helper.bind(s), s.cpu, 0));
  s.done();
};

/** Answer of a store's conversion: the exceptions are raised already, nothing is to be stored or popped. */
const NotStored = -1;

/**
 * (cpu, bits, control bits) -> 0 or NotStored: converts ST(0) into {@link Slot.Result} and raises its exceptions. Stores
 * to memory are also stopped by an unmasked #O or #U.
 */
function storeConversion(
  name: string,
  convert: (helper: HelperCall, to: I32, from: I32, control: I32, bits: Local<I32>) => I32,
  indefinite: (to: I32, bits: Local<I32>) => { low: ReturnType<typeof i64>; high: I32 },
): SharedFunction {
  return shared(`store.${name}`, ['i32', 'i32', 'i32'], (f, helper) => {
    const [cpu, bits, mode] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
    const top = f.let(cpu.load32(Cpu.FpuTop));
    const control = f.let(cpu.load32(Cpu.FpuControl));
    const result = f.let(cpu.add(Slot.Result));
    const flags = f.let(i32(StackUnderflow));
    f.if(
      isValid(cpu.load32(Cpu.FpuTags), top, 0),
      () => f.set(flags, convert(helper, result, stackPointer(cpu, top, 0), control.or(mode), bits)),
      () => {
        const { low, high } = indefinite(result, bits);
        f.store64(result, 0, low);
        f.store16(result, 8, high);
      },
    );
    const stopping = f.let(unmasked(flags, control, BeforeResult | Status.Overflow | Status.Underflow));
    // #P and C1 are not reported beside the #O or #U that stops the store.
    f.if(stopping, () => f.set(flags, flags.and(~(Status.Precision | Status.C1))));
    f.drop(raiseFlags(helper, cpu, flags));
    f.return(stopping.select(i32(NotStored), i32(0)));
  });
}

const realIndefinite = (_to: I32, bits: Local<I32>) => ({
  low: bits.eq(32).select(i64(0xffc00000), i64(0xfff8n << 48n)),
  high: i32(0),
});
const storeSingle = storeConversion('single', (h, to, from, control) => toSingle(h, to, from, control), realIndefinite);
const storeDouble = storeConversion('double', (h, to, from, control) => toDouble(h, to, from, control), realIndefinite);
const storeInteger = storeConversion(
  'integer',
  (h, to, from, control, bits) => toInteger(h, to, from, control, bits),
  (_to, bits) => ({ low: i64(-1).shl(bits.sub(1).toI64u()), high: i32(0) }),
);
const storeBcd = storeConversion(
  'bcd',
  (h, to, from, control) => toBcd(h, to, from, control),
  () => ({ low: i64(0xc000n << 48n), high: i32(0xffff) }),
);

/** Stores {@link Slot.Result} to memory that was probed before, and pops. */
function storeToMemory(s: Semantics, conversion: SharedFunction, pops: boolean, mode = 0): void {
  const operand = s.op0;
  const bytes = operand.bits / 8;
  begin(s);
  const { pointer, commit } = operand.writePointer(bytes);
  recordPointers(s);
  const helper = s.helper.bind(s);
  const stored = s.let(conversion(helper, s.cpu, operand.bits, mode));
  s.f.if(stored.eq(NotStored), () => s.done());
  const result = s.cpu.add(Slot.Result);
  if (bytes === 2) s.f.store16(pointer, 0, result.load16u());
  else if (bytes === 4) s.f.store32(pointer, 0, result.load32());
  else s.f.store64(pointer, 0, result.load64());
  if (bytes === 10) s.f.store16(pointer, 8, result.load16u(8));
  commit();
  if (pops) s.f.drop(pop(helper, s.cpu, 1));
  s.done();
}

/** (cpu, destination, pops) -> 0: FST ST(i) and FSTP ST(i). */
const storeRegister = shared('store.register', ['i32', 'i32', 'i32'], (f, helper) => {
  const [cpu, destination, pops] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const to = f.let(stackPointer(cpu, top, destination));
  f.if(
    isValid(cpu.load32(Cpu.FpuTags), top, 0),
    () => {
      copyExt(f, to, stackPointer(cpu, top, 0));
      clearC1(f, cpu);
    },
    () => {
      f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
      storeIndefinite(f, to);
    },
  );
  markValid(f, cpu, destination);
  f.return(pop(helper, cpu, pops));
});

/** (cpu) -> 0 or NotStored: leaves ST(0) or the masked response in {@link Slot.Result}. */
const storeExtended = shared('store.ext', ['i32', 'i32', 'i32'], (f, helper) => {
  const cpu = f.param('i32', 0);
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const result = cpu.add(Slot.Result);
  f.if(isValid(cpu.load32(Cpu.FpuTags), top, 0), () => {
    copyExt(f, result, stackPointer(cpu, top, 0));
    clearC1(f, cpu);
    f.return(i32(0));
  });
  f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(NotStored)));
  storeIndefinite(f, result);
  f.return(i32(0));
});

function store(pops: boolean): Semantic {
  return (s) => {
    if (s.op0.kind === 'st') {
      begin(s);
      recordPointers(s);
      s.f.drop(storeRegister(s.helper.bind(s), s.cpu, s.op0.index, Number(pops)));
      s.done();
      return;
    }
    storeToMemory(s, s.op0.bits === 32 ? storeSingle : s.op0.bits === 64 ? storeDouble : storeExtended, pops);
  };
}

/** FSTPNCE: FSTP that raises nothing for an empty ST(0) and then only pops. */
const storeNoException: Semantic = (s) => {
  begin(s);
  recordPointers(s);
  const top = s.let(s.state32(Cpu.FpuTop));
  s.f.if(isValid(s.state32(Cpu.FpuTags), top, 0), () => {
    copyExt(s.f, stackPointer(s.cpu, top, s.op0.index), stackPointer(s.cpu, top, 0));
    markValid(s.f, s.cpu, s.op0.index);
  });
  clearC1(s.f, s.cpu);
  s.f.drop(pop(s.helper.bind(s), s.cpu, 1));
  s.done();
};

/** (cpu, other) -> 0: FXCH. Empty registers become the indefinite first. */
const exchangeRegisters = shared('exchange', ['i32', 'i32'], (f, helper) => {
  const [cpu, other] = [f.param('i32', 0), f.param('i32', 1)];
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const a = f.let(stackPointer(cpu, top, 0));
  const b = f.let(stackPointer(cpu, top, other));
  const [aValid, bValid] = [f.let(isValid(tags, top, 0)), f.let(isValid(tags, top, other))];
  f.if(
    aValid.and(bValid),
    () => clearC1(f, cpu),
    () => {
      f.if(raiseFlags(helper, cpu, StackUnderflow), () => f.return(i32(0)));
      f.if(aValid.eqz(), () => storeIndefinite(f, a));
      f.if(bValid.eqz(), () => storeIndefinite(f, b));
      markValid(f, cpu, 0);
      markValid(f, cpu, other);
    },
  );
  const significand = f.let(a.load64(Ext.Significand));
  const signExponent = f.let(a.load16u(Ext.SignExponent));
  copyExt(f, a, b);
  storeExt(f, b, significand, signExponent);
  f.return(i32(0));
});

const exchange: Semantic = (s) => {
  begin(s);
  recordPointers(s);
  s.f.drop(exchangeRegisters(s.helper.bind(s), s.cpu, s.op1.index));
  s.done();
};

interface Constant {
  readonly signExponent: number;
  /** Rounded to nearest. */
  readonly significand: bigint;
  /** What rounding down or to zero, and rounding up, add. */
  readonly down: bigint;
  readonly up: bigint;
}

/** FLDL2T and its like follow the rounding control, but neither raise #P nor set C1. */
function loadConstant({ signExponent, significand, down, up }: Constant): Semantic {
  return (s) => {
    begin(s);
    recordPointers(s);
    const to = s.let(push(s.helper.bind(s), s.cpu));
    s.f.if(to, () => {
      const mode = s.let(s.state32(Cpu.FpuControl).and(Control.Rounding));
      const directed = mode.eq(Control.RoundUp).select(i64(significand + up), i64(significand + down));
      storeExt(s.f, to, mode.eqz().select(i64(significand), directed), signExponent);
    });
    s.done();
  };
}

const exact = (signExponent: number, significand: bigint): Constant => ({
  signExponent,
  significand,
  down: 0n,
  up: 0n,
});
const below = (signExponent: number, significand: bigint): Constant => ({
  signExponent,
  significand,
  down: 0n,
  up: 1n,
});
const above = (signExponent: number, significand: bigint): Constant => ({
  signExponent,
  significand,
  down: -1n,
  up: 0n,
});

export const x87TransferSemantics: Readonly<Record<string, Semantic>> = {
  FLD: load,
  FILD: loadInteger,
  FBLD: loadBcd,
  FST: store(false),
  FSTP: store(true),
  FSTPNCE: storeNoException,
  FIST: (s) => storeToMemory(s, storeInteger, false),
  FISTP: (s) => storeToMemory(s, storeInteger, true),
  FISTTP: (s) => storeToMemory(s, storeInteger, true, Control.RoundToZero),
  FBSTP: (s) => storeToMemory(s, storeBcd, true),
  FXCH: exchange,
  FLD1: loadConstant(exact(0x3fff, 0x8000000000000000n)),
  FLDZ: loadConstant(exact(0, 0n)),
  FLDL2T: loadConstant(below(0x4000, 0xd49a784bcd1b8afen)),
  FLDL2E: loadConstant(above(0x3fff, 0xb8aa3b295c17f0bcn)),
  FLDPI: loadConstant(above(0x4000, 0xc90fdaa22168c235n)),
  FLDLG2: loadConstant(above(0x3ffd, 0x9a209a84fbcff799n)),
  FLDLN2: loadConstant(above(0x3ffe, 0xb17217f7d1cf79acn)),
};
