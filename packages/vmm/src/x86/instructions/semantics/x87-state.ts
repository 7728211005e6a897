/**
 * x87 state as the semantics see it: control and status bits, registers, and the shared functions that raise exceptions
 * and move the stack (SDM Vol. 1 ch. 8 "Programming with the x87 FPU"; AMD APM Vol. 1 ch. 6 "x87 Floating-Point
 * Programming").
 *
 * A register is 16 bytes in the state block: the significand (u64) and, at offset 8, sign and exponent (u16). The
 * functions below are wasm functions of the engine's module, defined at first use.
 */
import { type FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import {
  type I32,
  type I32Like,
  type I64,
  type I64Like,
  type Local,
  type Value,
  i32,
  i64,
} from '../../../engine/wasm/encoder/values.ts';
import { Cpu, x87Offset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantics } from './context.ts';

/** Status word bits; TOP is kept in Cpu.FpuTop and its bits here are zero. */
export const Status = {
  Invalid: 0x01,
  Denormal: 0x02,
  ZeroDivide: 0x04,
  Overflow: 0x08,
  Underflow: 0x10,
  Precision: 0x20,
  StackFault: 0x40,
  ErrorSummary: 0x80,
  C0: 0x100,
  C1: 0x200,
  C2: 0x400,
  C3: 0x4000,
  Busy: 0x8000,
  /** The six exception flags, in the places of their masks in the control word. */
  Exceptions: 0x3f,
  Conditions: 0x4700,
  /** What FNCLEX clears. */
  Clearable: 0x80ff,
} as const;

/** Exceptions found before a result is computed: unmasked, they leave the destination as it was. */
export const BeforeResult = Status.Invalid | Status.Denormal | Status.ZeroDivide;
export const StackUnderflow = Status.Invalid | Status.StackFault;
export const StackOverflow = Status.Invalid | Status.StackFault | Status.C1;

export const Control = {
  PrecisionShift: 8,
  Precision: 0x300,
  Single: 0x000,
  Double: 0x200,
  Extended: 0x300,
  RoundingShift: 10,
  Rounding: 0xc00,
  RoundDown: 0x400,
  RoundUp: 0x800,
  RoundToZero: 0xc00,
  /** Bits that LDCW can set; bit 6 reads as one. */
  Writable: 0x1f3f,
  AlwaysSet: 0x40,
  /** After FNINIT. */
  Initial: 0x37f,
} as const;

/** Parts of an 80-bit value. */
export const Ext = {
  Significand: 0,
  SignExponent: 8,
  Bias: 16383,
  MaxExponent: 0x7fff,
  IntegerBit: 1n << 63n,
  QuietBit: 1n << 62n,
  /** The real indefinite: what a masked invalid operation gives. */
  IndefiniteSignificand: 3n << 62n,
  IndefiniteSignExponent: 0xffff,
} as const;

/**
 * Slots of 16 bytes: the memory operand as an 80-bit value, a result, and spare ones. Not in the scratch page, where memory
 * operands are that straddle pages.
 */
export const Slot = {
  Memory: Cpu.Scratch0,
  Result: Cpu.Scratch0 + 0x10,
  Spare: Cpu.Scratch0 + 0x20,
  Spare2: Cpu.Scratch0 + 0x30,
} as const;
/** Stands for {@link Slot.Memory} where the number of a stack register is expected. */
export const MemoryOperand = 8;

export type HelperCall = Semantics['helper'];
type ParamType = 'i32' | 'i64';
export type SharedFunction = (helper: HelperCall, ...args: readonly (Value | number | bigint)[]) => I32;

/** A wasm function of one i32 result, shared by all forms: emitted once, called through the answer. */
export function shared(
  name: string,
  params: readonly ParamType[],
  build: (f: FunctionBuilder, helper: HelperCall) => void,
): SharedFunction {
  return (helper, ...args) => {
    const values = args.map((arg, i) => toValue(arg, params[i]!));
    return helper(`x87.${name}`, params, ['i32'], (f) => build(f, helper), ...values) as I32;
  };
}

function toValue(arg: Value | number | bigint, type: ParamType): Value {
  if (typeof arg !== 'number' && typeof arg !== 'bigint') return arg;
  return type === 'i32' ? i32(Number(arg)) : i64(arg);
}

/** Pointer to ST(`index`). */
export function stackPointer(cpu: I32, top: I32, index: I32Like): I32 {
  return cpu.add(top.add(index).and(7).shl(4)).add(x87Offset(0));
}

/** 1 when ST(`index`) is not empty. */
export function isValid(tags: I32, top: I32, index: I32Like): I32 {
  return tags.shrU(top.add(index).and(7)).and(1);
}

export function storeExt(f: FunctionBuilder, to: I32, significand: I64Like, signExponent: I32Like): void {
  f.store64(to, Ext.Significand, significand);
  f.store16(to, Ext.SignExponent, i32(signExponent));
}

export function storeIndefinite(f: FunctionBuilder, to: I32): void {
  storeExt(f, to, Ext.IndefiniteSignificand, Ext.IndefiniteSignExponent);
}

export function copyExt(f: FunctionBuilder, to: I32, from: I32): void {
  storeExt(f, to, from.load64(Ext.Significand), from.load16u(Ext.SignExponent));
}

/** An 80-bit value in locals. */
export interface Unpacked {
  readonly sign: Local<I32>;
  readonly exponent: Local<I32>;
  readonly significand: Local<I64>;
}

export function unpack(f: FunctionBuilder, from: I32): Unpacked {
  const signExponent = f.let(from.load16u(Ext.SignExponent));
  return {
    sign: f.let(signExponent.shrU(15)),
    exponent: f.let(signExponent.and(Ext.MaxExponent)),
    significand: f.let(from.load64(Ext.Significand)),
  };
}

/** 1 when any exception of `flags` is unmasked in `control`. */
export function unmasked(flags: I32, control: I32, exceptions: number = Status.Exceptions): I32 {
  return flags.and(control.xor(-1)).and(exceptions);
}

/**
 * Adds exceptions (and C1, which is otherwise cleared) to the status word, with ES and B when one is unmasked. Answers
 * the unmasked exceptions of `flags`.
 */
export const raiseFlags = shared('raise', ['i32', 'i32'], (f) => {
  const cpu = f.param('i32', 0);
  const flags = f.param('i32', 1);
  const control = f.let(cpu.load32(Cpu.FpuControl));
  const status = f.let(cpu.load32(Cpu.FpuStatus).and(~Status.C1).or(flags));
  const pending = unmasked(status, control).ne(0);
  f.set(status, status.or(pending.select(i32(Status.ErrorSummary | Status.Busy), i32(0))));
  f.store32(cpu, Cpu.FpuStatus, status);
  f.return(unmasked(flags, control));
});

/** Clears C1: what every instruction without an exception or a rounding up does. */
export function clearC1(f: FunctionBuilder, cpu: I32): void {
  f.store32(cpu, Cpu.FpuStatus, cpu.load32(Cpu.FpuStatus).and(~Status.C1));
}

/** Sets ES and B from the exception flags and masks, after either was loaded. */
export function updateSummary(f: FunctionBuilder, cpu: I32): void {
  const status = f.let(cpu.load32(Cpu.FpuStatus).and(~(Status.ErrorSummary | Status.Busy)));
  const pending = unmasked(status, cpu.load32(Cpu.FpuControl)).ne(0);
  f.store32(cpu, Cpu.FpuStatus, status.or(pending.select(i32(Status.ErrorSummary | Status.Busy), i32(0))));
}

/** Empties ST(0) and increments TOP, `count` times (static or 0 to 2). */
export const pop = shared('pop', ['i32', 'i32'], (f) => {
  const cpu = f.param('i32', 0);
  const count = f.param('i32', 1);
  const top = f.let(cpu.load32(Cpu.FpuTop));
  f.loop((again) => {
    f.if(count, () => {
      f.store32(cpu, Cpu.FpuTags, cpu.load32(Cpu.FpuTags).and(i32(1).shl(top).xor(-1)));
      f.set(top, top.add(1).and(7));
      f.set(count, count.sub(1));
      f.br(again);
    });
  });
  f.store32(cpu, Cpu.FpuTop, top);
  f.return(i32(0));
});

/**
 * Makes room for a new ST(0): decrements TOP and marks it valid; answers a pointer to it. On a stack overflow the new
 * ST(0) is the indefinite (masked) or nothing happens (unmasked) and the answer is 0.
 */
export const push = shared('push', ['i32'], (f, helper) => {
  const cpu = f.param('i32', 0);
  const top = f.let(cpu.load32(Cpu.FpuTop).sub(1).and(7));
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const pointer = f.let(stackPointer(cpu, top, 0));
  f.if(isValid(tags, top, 0), () => {
    f.if(raiseFlags(helper, cpu, StackOverflow), () => f.return(i32(0)));
    storeIndefinite(f, pointer);
    f.store32(cpu, Cpu.FpuTop, top);
    f.return(i32(0));
  });
  f.store32(cpu, Cpu.FpuTop, top);
  f.store32(cpu, Cpu.FpuTags, tags.or(i32(1).shl(top)));
  clearC1(f, cpu);
  f.return(pointer);
});

/** Marks ST(`index`) valid. */
export function markValid(f: FunctionBuilder, cpu: I32, index: I32Like): void {
  const bit = i32(1).shl(cpu.load32(Cpu.FpuTop).add(index).and(7));
  f.store32(cpu, Cpu.FpuTags, cpu.load32(Cpu.FpuTags).or(bit));
}
