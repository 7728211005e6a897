/**
 * What SSE and MMX semantics share: availability checks, operand access, and exceptions of floating-point instructions
 * (AMD APM Vol. 4 "Exceptions" of each instruction; AMD APM Vol. 1 §4.10 "SIMD Floating-Point Exceptions").
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import {
  type I32,
  type I32Like,
  type I64,
  type Local,
  type V128,
  type Value,
  i32,
  i64,
  v128,
} from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Operand, type Semantic, type Semantics, type StackAccess, Vector } from './context.ts';

/** What helper functions may use of the context: they are not tied to one instruction. */
export type Shared = Pick<Semantics, 'helper' | 'data'>;
type Type = Value['type'];

/** A wasm function of the engine's module, emitted once and shared by all forms. */
export function sharedFunction<R extends Value>(
  name: string,
  params: readonly Type[],
  result: R['type'],
  build: (f: FunctionBuilder, shared: Shared) => void,
): (shared: Shared, ...args: Value[]) => R {
  return (shared, ...args) =>
    shared.helper(`simd.${name}`, params, [result], (f) => build(f, shared), ...args) as unknown as R;
}

const Cr0Em = 1 << 2;
const Cr0Ts = 1 << 3;
const StatusErrorSummary = 1 << 7;

/** #UD and #NM of instructions on XMM registers. */
export function requireSse(s: Semantics): void {
  if (s.part) return;
  const vector = s.let(s.state32(Cpu.SimdDisabled));
  s.f.unlikely(vector, () => {
    s.raiseIf(vector.eq(Vector.InvalidOpcode), Vector.InvalidOpcode);
    s.raise(Vector.DeviceNotAvailable);
  });
}

/** #UD, #NM and the pending #MF of instructions on MMX registers. */
export function requireMmx(s: Semantics): void {
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0Em), Vector.InvalidOpcode);
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0Ts), Vector.DeviceNotAvailable);
  s.raiseIf(s.state32(Cpu.FpuStatus).and(StatusErrorSummary), Vector.MathFault);
}

/** What every MMX instruction does to the x87 state: TOP is 0, no register is empty. After all that may fault. */
export function enterMmx(s: Semantics): void {
  s.setState32(Cpu.FpuTop, 0);
  s.setState32(Cpu.FpuTags, 0xff);
}

/** Memory operands of 16 bytes are aligned, except those of the unaligned moves. */
export function requireAlignment(operand: Operand): void {
  if (operand.kind === 'memory' && operand.bits === 128) operand.requireAligned(16);
}

/** An xmm register or memory operand; memory is zero-extended. */
export function readXmm(operand: Operand): Local<V128> {
  requireAlignment(operand);
  return operand.readV128();
}

export function readMmx(operand: Operand): Local<I64> {
  return operand.readUnsigned(operand.kind === 'memory' && operand.bits === 32 ? 32 : 64);
}

/** Writes an MMX register: bits 64 to 79 of the x87 register become ones. Enters MMX state. */
export function writeMmx(s: Semantics, operand: Operand, value: I64): void {
  const named = s.let(value);
  enterMmx(s);
  const { pointer } = operand.writePointer(8);
  s.f.store64(pointer, 0, named);
  s.f.store16(pointer, 8, i32(0xffff));
}

/** A pointer for writing parts of `bytes` bytes: the others keep their contents. */
export function storePartly(
  s: Semantics,
  linear: I64,
  bytes: number,
  stack: StackAccess = false,
): { pointer: Local<I32>; commit(): void } {
  const target = s.storePointer(linear, bytes, stack);
  const from = s.loadPointer(linear, bytes, stack);
  s.f.unlikely(from.ne(target.pointer), () => s.f.memoryCopy(target.pointer, from, i32(bytes)));
  return target;
}

/** An 8-bit immediate, zero-extended. */
export function immediate(s: Semantics, operand: Operand): Local<I32> {
  return s.let(operand.readUnsigned(8).toI32());
}

export const zero128 = v128(0n, 0n);

/** The low 64 bits, the rest zero. */
export function fromLow(value: I64): V128 {
  return zero128.withLane64(0, value);
}

/** 0 or 1 to all zeros or ones, in an i64. */
export function maskOf(condition: I32): I64 {
  return i64(0).sub(condition.toI64u());
}

/** A v128 constant of equal 32-bit or 64-bit lanes. */
export function splatConstant(value: number | bigint, bits: 8 | 16 | 32 | 64): V128 {
  let lane = BigInt.asUintN(bits, BigInt(value));
  for (let size = bits; size < 64; size *= 2) lane |= lane << BigInt(size);
  return v128(lane, lane);
}

export type Binary = (a: Local<V128>, b: Local<V128>) => V128;

/** op0 = op(op0, op1) on XMM registers, or on MMX registers in the low half of zero-extended vectors. */
export function vectorBinary(op: Binary, mmxOp: Binary = op): Semantic {
  return (s) => {
    if (s.op0.kind === 'mmx') {
      requireMmx(s);
      const b = s.let(fromLow(readMmx(s.op1)));
      const a = s.let(fromLow(readMmx(s.op0)));
      writeMmx(s, s.op0, mmxOp(a, b).lane64(0));
      return;
    }
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    s.op0.writeV128(op(a, b));
  };
}

/** op0 = op(op1). */
export function vectorUnary(op: (a: Local<V128>, s: Semantics) => V128): Semantic {
  return (s) => {
    if (s.op0.kind === 'mmx') {
      requireMmx(s);
      writeMmx(s, s.op0, op(s.let(fromLow(readMmx(s.op1))), s).lane64(0));
      return;
    }
    requireSse(s);
    s.op0.writeV128(op(readXmm(s.op1), s));
  };
}

/** MXCSR: exception flags are bits 0 to 5, their masks bits 7 to 12. */
export const Mxcsr = {
  Invalid: 0x01,
  Denormal: 0x02,
  ZeroDivide: 0x04,
  Overflow: 0x08,
  Underflow: 0x10,
  Precision: 0x20,
  Flags: 0x3f,
  DenormalsAreZero: 0x40,
  MaskShift: 7,
  InvalidMask: 0x80,
  DenormalMask: 0x100,
  OverflowMask: 0x400,
  UnderflowMask: 0x800,
  PrecisionMask: 0x1000,
  RoundingShift: 13,
  Rounding: 0x6000,
  FlushToZero: 0x8000,
  /** Bits that can be set; FXSAVE's MXCSR_MASK. No MXCSR.MM: misaligned SSE is not advertised. */
  Writable: 0xffff,
} as const;

const Cr4OsXmmExcpt = 1 << 10;

/** Adds exception flags to those of the instruction so far. */
export function addFlags(f: FunctionBuilder, cpu: I32, flags: I32Like): void {
  f.store32(cpu, Cpu.SimdFlags, cpu.load32(Cpu.SimdFlags).or(flags));
}

/**
 * Ends the floating-point part of an instruction: MXCSR gets the flags of Cpu.SimdFlags. Answers the vector to raise
 * when one is unmasked, otherwise 0. Unmasked exceptions of the operands (IE, DE, ZE) keep results from being computed,
 * so that OE, UE and PE are not seen.
 */
export const commitFlags = sharedFunction<I32>('commit', ['i32'], 'i32', (f) => {
  const cpu = f.param('i32', 0);
  const flags = f.let(cpu.load32(Cpu.SimdFlags));
  const mxcsr = f.let(cpu.load32(Cpu.Mxcsr));
  const enabled = f.let(mxcsr.shrU(Mxcsr.MaskShift).xor(-1).and(Mxcsr.Flags));
  const beforeResult = Mxcsr.Invalid | Mxcsr.Denormal | Mxcsr.ZeroDivide;
  f.if(flags.and(enabled).and(beforeResult), () => f.set(flags, flags.and(beforeResult)));
  f.store32(cpu, Cpu.Mxcsr, mxcsr.or(flags));
  f.if(flags.and(enabled).eqz(), () => f.return(i32(0)));
  const supported = cpu.load32(Cpu.Cr4).and(Cr4OsXmmExcpt);
  f.return(supported.select(i32(Vector.SimdFault), i32(Vector.InvalidOpcode)));
});

/** Raises the exception of a helper that left its vector in Cpu.SimdVector. */
export function raiseSimd(s: Semantics): void {
  if (s.part?.collect) {
    s.part.collect();
    return;
  }
  const vector = s.let(s.state32(Cpu.SimdVector));
  s.f.unlikely(vector, () => {
    s.raiseIf(vector.eq(Vector.SimdFault), Vector.SimdFault);
    s.raise(Vector.InvalidOpcode);
  });
}
