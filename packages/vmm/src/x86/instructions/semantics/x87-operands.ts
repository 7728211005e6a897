/**
 * Operands that are not ordinary numbers: NaNs, unsupported encodings and denormals (SDM Vol. 1 §4.8.3.5 "Operating on
 * SNaNs and QNaNs" with its table "Rules for Handling NaNs", §8.2.2 "Unsupported Double Extended-Precision
 * Floating-Point Encodings and Pseudo-Denormals", §4.9.2 "Floating-Point Exception Priority").
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Ext, type HelperCall, Status, type Unpacked, shared, storeExt, storeIndefinite, unpack } from './x87-state.ts';

/** In the answer of the screening functions: the result is stored, the low bits are its exceptions. */
export const Finished = 0x10000;

/** Ordinary: neither zero nor denormal, nor infinity, NaN or unsupported. */
export function isNormal(value: Unpacked): I32 {
  return value.exponent
    .sub(1)
    .ltU(Ext.MaxExponent - 1)
    .and(value.significand.ltS(0));
}

/** A non-zero exponent without the integer bit: invalid since the 80387. */
export function isUnsupported(value: Unpacked): I32 {
  return value.exponent.ne(0).and(value.significand.geS(0));
}

export function isNan(value: Unpacked): I32 {
  return value.exponent.eq(Ext.MaxExponent).and(value.significand.shl(1).ne(0));
}

export function isInfinity(value: Unpacked): I32 {
  return value.exponent.eq(Ext.MaxExponent).and(value.significand.shl(1).eqz());
}

export function isZero(value: Unpacked): I32 {
  return value.exponent.or(value.significand.ne(0)).eqz();
}

/** Denormals and pseudo-denormals. */
export function isDenormal(value: Unpacked): I32 {
  return value.exponent.eqz().and(value.significand.ne(0));
}

function isSignaling(value: Unpacked): I32 {
  return isNan(value).and(value.significand.and(Ext.QuietBit).eqz());
}

/** Stores the indefinite and answers #IA. */
export function invalid(f: FunctionBuilder, dst: I32): void {
  storeIndefinite(f, dst);
  f.return(i32(Status.Invalid));
}

/** In the functions below: leaves with #IA as screening answers it. */
function screenInvalid(f: FunctionBuilder, dst: I32): void {
  storeIndefinite(f, dst);
  f.return(i32(Finished | Status.Invalid));
}

function screenNan(f: FunctionBuilder, dst: I32, value: Unpacked, signaling: I32): void {
  storeExt(f, dst, value.significand.or(Ext.QuietBit), value.sign.shl(15).or(Ext.MaxExponent));
  f.return(signaling.select(i32(Finished | Status.Invalid), i32(Finished)));
}

/** (to, a): NaNs and unsupported values give their result; otherwise answers DE or 0. */
export const screenUnary = shared('screen1', ['i32', 'i32'], (f) => {
  const dst = f.param('i32', 0);
  const a = unpack(f, f.param('i32', 1));
  f.if(isUnsupported(a), () => screenInvalid(f, dst));
  f.if(isNan(a), () => screenNan(f, dst, a, isSignaling(a)));
  f.return(isDenormal(a).shl(1));
});

/**
 * (to, a, b): NaNs and unsupported values give their result; otherwise answers DE or 0. Of two NaNs a quiet one goes
 * before a signaling one, then the larger significand wins, then the positive one.
 */
export const screenBinary = shared('screen2', ['i32', 'i32', 'i32'], (f) => {
  const dst = f.param('i32', 0);
  const a = unpack(f, f.param('i32', 1));
  const b = unpack(f, f.param('i32', 2));
  f.if(isUnsupported(a).or(isUnsupported(b)), () => screenInvalid(f, dst));
  const aNan = f.let(isNan(a));
  const bNan = f.let(isNan(b));
  f.if(aNan.or(bNan), () => {
    const aSignaling = f.let(isSignaling(a));
    const bSignaling = f.let(isSignaling(b));
    const takesA = f.local('i32');
    f.set(takesA, aNan);
    f.if(aNan.and(bNan), () => {
      const larger = a.significand.gtU(b.significand);
      const same = a.significand.eq(b.significand);
      f.set(takesA, larger.or(same.and(a.sign.leU(b.sign))));
      f.if(aSignaling.ne(bSignaling), () => f.set(takesA, bSignaling));
    });
    const signaling = aSignaling.or(bSignaling);
    f.if(
      takesA,
      () => screenNan(f, dst, a, signaling),
      () => screenNan(f, dst, b, signaling),
    );
  });
  f.return(isDenormal(a).or(isDenormal(b)).shl(1));
});

/**
 * Screens one or two operands at the head of an operation. `denormal` is DE when an operand was denormal in its memory
 * format. Leaves the function when the result is known or an unmasked DE stops it; answers a local with DE or 0.
 */
export function screen(
  f: FunctionBuilder,
  helper: HelperCall,
  dst: I32,
  operands: readonly { readonly pointer: I32; readonly value: Unpacked }[],
  denormal: Local<I32>,
): void {
  const [a, b] = operands;
  const ordinary = b ? isNormal(a!.value).and(isNormal(b.value)) : isNormal(a!.value);
  f.if(ordinary.eqz(), () => {
    const answer = b ? screenBinary(helper, dst, a!.pointer, b.pointer) : screenUnary(helper, dst, a!.pointer);
    const found = f.let(answer);
    f.if(found.and(Finished), () => f.return(found.and(0xffff)));
    f.set(denormal, denormal.or(found));
  });
}

/** Leaves with DE alone when there is one and it is unmasked. */
export function stopAtDenormal(f: FunctionBuilder, denormal: I32, control: I32): void {
  f.if(denormal, () => f.if(control.and(Status.Denormal).eqz(), () => f.return(i32(Status.Denormal))));
}

/** Gives denormals the exponent 1 that they share with the smallest normal numbers. */
export function rankDenormal(f: FunctionBuilder, value: Unpacked): void {
  f.set(value.exponent, value.exponent.or(value.exponent.eqz()));
}

/** Moves the leading one of a non-zero significand to bit 63. */
export function normaliseOperand(f: FunctionBuilder, value: Unpacked): void {
  f.if(value.significand.geS(0), () => {
    const count = f.let(value.significand.clz());
    f.set(value.significand, value.significand.shl(count));
    f.set(value.exponent, value.exponent.sub(count.toI32()));
  });
}

export function storeInfinity(f: FunctionBuilder, dst: I32, sign: I32): void {
  storeExt(f, dst, Ext.IntegerBit, sign.shl(15).or(Ext.MaxExponent));
}

export function storeZero(f: FunctionBuilder, dst: I32, sign: I32): void {
  storeExt(f, dst, i64(0), sign.shl(15));
}
