/**
 * IEEE 754 arithmetic of single and double precision as SSE does it, in integer operations: all rounding modes, DAZ and
 * FTZ, exact exception flags (AMD APM Vol. 1 §4.7 "Rounding", §4.10 "SIMD Floating-Point Exceptions").
 *
 * Values travel as their bits in an i64. Internally a number is a sign (0 or 1), a biased exponent and a significand; the
 * exponent keeps its format's bias, the significand of both formats has its integer bit at bit 52. An unrounded result
 * has it at bit 62, and its lowest bit stands for everything below.
 *
 * The functions are wasm helpers: (cpu, a, b) -> result; exception flags are added to Cpu.SimdFlags.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Mxcsr, type Shared, addFlags, maskOf, sharedFunction } from './simd-support.ts';

export interface Format {
  readonly bits: 16 | 32 | 64;
  readonly fractionBits: number;
  readonly bias: number;
  /** Exponent field of infinities and NaNs. */
  readonly maxExponent: number;
  readonly signBit: bigint;
  readonly quietBit: bigint;
  readonly infinity: bigint;
  readonly smallestNormal: bigint;
  /** What an invalid operation gives. */
  readonly defaultNan: bigint;
}

function format(bits: 16 | 32 | 64, fractionBits: number): Format {
  const exponentBits = bits - 1 - fractionBits;
  const infinity = ((1n << BigInt(exponentBits)) - 1n) << BigInt(fractionBits);
  const signBit = 1n << BigInt(bits - 1);
  const quietBit = 1n << BigInt(fractionBits - 1);
  return {
    bits, fractionBits, infinity, signBit, quietBit,
    bias: 2 ** (exponentBits - 1) - 1,
    maxExponent: 2 ** exponentBits - 1,
    smallestNormal: 1n << BigInt(fractionBits),
    defaultNan: signBit | infinity | quietBit,
  }; // prettier-ignore
}

/** F16C's; values are rounded to it and widened from it, there is no arithmetic. */
export const Half = format(16, 10);
export const Single = format(32, 23);
export const Double = format(64, 52);

export const magnitude = (x: I64, { signBit }: Format): I64 => x.and(signBit - 1n);
export const isNan = (x: I64, format: Format): I32 => magnitude(x, format).gtU(format.infinity);
export const isSignalling = (x: I64, format: Format): I32 => isNan(x, format).and(x.and(format.quietBit).eqz());
export const isDenormal = (x: I64, format: Format): I32 =>
  magnitude(x, format)
    .sub(1)
    .ltU(format.smallestNormal - 1n);

/** The mode bits of MXCSR in a local. */
export function loadMode(f: FunctionBuilder, cpu: I32): Local<I32> {
  return f.let(cpu.load32(Cpu.Mxcsr));
}

/** Applies DAZ. */
export function flushInput(f: FunctionBuilder, mxcsr: I32, x: Local<I64>, format: Format): void {
  f.if(mxcsr.and(Mxcsr.DenormalsAreZero), () => {
    f.if(isDenormal(x, format), () => f.set(x, x.and(format.signBit)));
  });
}

/** Returns the propagated NaN when an operand is one: the first, quiet (AMD APM Vol. 1 §4.2.2.2 "Operands, NaN Results"). */
export function returnNan(f: FunctionBuilder, cpu: I32, operands: readonly I64[], format: Format): void {
  const any = operands.map((x) => isNan(x, format)).reduce((x, y) => x.or(y));
  f.if(any, () => {
    f.if(
      operands.map((x) => isSignalling(x, format)).reduce((x, y) => x.or(y)),
      () => addFlags(f, cpu, Mxcsr.Invalid),
    );
    for (const x of operands) f.if(isNan(x, format), () => f.return(x.or(format.quietBit)));
  });
}

export function returnInvalid(f: FunctionBuilder, cpu: I32, format: Format): void {
  addFlags(f, cpu, Mxcsr.Invalid);
  f.return(i64(format.defaultNan));
}

export function noteDenormals(f: FunctionBuilder, cpu: I32, operands: readonly I64[], format: Format): void {
  f.if(
    operands.map((x) => isDenormal(x, format)).reduce((x, y) => x.or(y)),
    () => addFlags(f, cpu, Mxcsr.Denormal),
  );
}

export interface Unpacked {
  readonly sign: Local<I64>;
  readonly exponent: Local<I64>;
  readonly significand: Local<I64>;
}

/** Denormals and zero have exponent 1 and no integer bit. */
export function unpack(
  f: FunctionBuilder,
  x: I64,
  { bits, fractionBits, maxExponent, smallestNormal }: Format,
): Unpacked {
  const exponent = f.let(x.shrU(fractionBits).and(maxExponent));
  const fraction = x.and(smallestNormal - 1n).shl(52 - fractionBits);
  const significand = f.let(fraction.or(exponent.ne(0).toI64u().shl(52)));
  f.set(exponent, exponent.or(exponent.eqz().toI64u()));
  return { sign: f.let(x.shrU(bits - 1).and(1)), exponent, significand };
}

/** Moves the integer bit of a significand other than zero to bit 52. */
export function normalise(f: FunctionBuilder, x: Unpacked): void {
  const shift = f.let(x.significand.clz().sub(11));
  f.set(x.significand, x.significand.shl(shift));
  f.set(x.exponent, x.exponent.sub(shift));
}

/** `x` >> `count`, with what falls off or-ed into bit 0. */
export function shiftRightSticky(x: Local<I64>, count: Local<I64>): I64 {
  const within = x.shrU(count).or(x.shl(i64(0).sub(count)).ne(0).toI64u());
  return count.eqz().choose<I64>(x, count.ltU(64).choose<I64>(within, x.ne(0).toI64u()));
}

/** What is added below the last kept bit to round: half, all ones or nothing. */
function roundingIncrement(f: FunctionBuilder, mode: I32, sign: I64, half: bigint, mask: bigint): Local<I64> {
  const increment = f.let(i64(half));
  const rounding = f.let(mode.shrU(Mxcsr.RoundingShift).and(3));
  f.if(rounding, () => {
    // Down moves negative numbers away from zero, up positive ones.
    const away = rounding.eq(1).and(sign.toI32()).or(rounding.eq(2).and(sign.eqz()));
    f.set(increment, away.select(i64(mask), i64(0)));
  });
  return increment;
}

/** `mode`: MXCSR, or what stands in for it. */
export function buildRound(f: FunctionBuilder, format: Format, mode: Local<I32>): void {
  const { bits, fractionBits, maxExponent, infinity } = format;
  const cpu = f.param('i32', 0);
  const sign = f.param('i64', 1);
  const exponent = f.param('i64', 2);
  const z = f.param('i64', 3);
  const rest = 62 - fractionBits;
  const half = 1n << BigInt(rest - 1);
  const mask = (1n << BigInt(rest)) - 1n;
  const signed = f.let(sign.shl(bits - 1));
  const increment = roundingIncrement(f, mode, sign, half, mask);
  const carries = f.let(z.add(increment).ltS(0));
  const inexactFlag = () => z.and(mask).ne(0).select(i32(Mxcsr.Precision), i32(0));

  f.if(exponent.add(carries.toI64u()).geS(maxExponent), () => {
    const masked = mode.and(Mxcsr.OverflowMask).ne(0);
    addFlags(f, cpu, masked.select(i32(Mxcsr.Precision), inexactFlag()).or(Mxcsr.Overflow));
    f.return(
      increment
        .eqz()
        .select(i64(infinity - 1n), i64(infinity))
        .or(signed),
    );
  });
  // Tiny is judged after rounding with an unbounded exponent.
  const tiny = f.let(exponent.add(carries.toI64u()).leS(0));
  f.if(exponent.leS(0), () => {
    f.if(tiny, () => {
      f.if(mode.and(Mxcsr.UnderflowMask).eqz(), () => {
        addFlags(f, cpu, inexactFlag().or(Mxcsr.Underflow));
        f.return(signed);
      });
      f.if(mode.and(Mxcsr.FlushToZero), () => {
        addFlags(f, cpu, Mxcsr.Underflow | Mxcsr.Precision);
        f.return(signed);
      });
    });
    const count = f.let(i64(1).sub(exponent));
    f.set(z, shiftRightSticky(z, count));
    // The integer bit, when rounding brings it back, makes this exponent 1.
    f.set(exponent, i64(1));
  });
  const inexact = f.let(z.and(mask));
  f.if(inexact.ne(0), () => {
    addFlags(f, cpu, tiny.select(i32(Mxcsr.Underflow | Mxcsr.Precision), i32(Mxcsr.Precision)));
  });
  f.set(z, z.add(increment).shrU(rest));
  const tie = inexact.eq(half).and(mode.and(Mxcsr.Rounding).eqz());
  f.set(z, z.and(maskOf(tie).and(1).xor(-1)));
  f.return(exponent.sub(1).shl(fractionBits).add(z).or(signed));
}

/** (cpu, sign, exponent, significand with the integer bit at 62): rounds and packs a result other than zero. */
const roundSingle = sharedFunction<I64>('round.s', ['i32', 'i64', 'i64', 'i64'], 'i64', (f) =>
  buildRound(f, Single, loadMode(f, f.param('i32', 0))),
);
const roundDouble = sharedFunction<I64>('round.d', ['i32', 'i64', 'i64', 'i64'], 'i64', (f) =>
  buildRound(f, Double, loadMode(f, f.param('i32', 0))),
);
export const roundAndPack = (format: Format) => (format === Single ? roundSingle : roundDouble);

/** Sign of an exact zero that is a sum of opposite numbers. */
export function zeroSum(mode: I32, { signBit }: Format): I64 {
  return mode
    .and(Mxcsr.Rounding)
    .eq(1 << Mxcsr.RoundingShift)
    .select(i64(signBit), i64(0));
}

/** a + b, b's sign having been flipped for a difference. Neither is a NaN. */
export function buildSum(f: FunctionBuilder, shared: Shared, a: Local<I64>, b: Local<I64>, format: Format): void {
  const cpu = f.param('i32', 0);
  const mode = loadMode(f, cpu);
  const infinite = (x: I64) => magnitude(x, format).eq(format.infinity);
  f.if(infinite(a), () => {
    f.if(infinite(b).and(a.ne(b)), () => returnInvalid(f, cpu, format));
  });
  noteDenormals(f, cpu, [a, b], format);
  f.if(infinite(a), () => f.return(a));
  f.if(infinite(b), () => f.return(b));
  // The larger magnitude first.
  f.if(magnitude(a, format).ltU(magnitude(b, format)), () => {
    const swap = f.let(a);
    f.set(a, b);
    f.set(b, swap);
  });
  const x = unpack(f, a, format);
  const y = unpack(f, b, format);
  const distance = f.let(x.exponent.sub(y.exponent));
  const z = f.let(x.significand.shl(9));
  f.set(y.significand, y.significand.shl(9));
  f.set(y.significand, shiftRightSticky(y.significand, distance));
  f.set(z, x.sign.eq(y.sign).select(z.add(y.significand), z.sub(y.significand)));
  f.if(z.eqz(), () => {
    f.if(x.sign.eq(y.sign), () => f.return(a));
    f.return(zeroSum(mode, format));
  });
  const shift = f.let(z.clz().sub(1));
  const exponent = x.exponent.add(1).sub(shift);
  f.return(f.let(roundAndPack(format)(shared, cpu, x.sign, exponent, z.shl(shift))));
}

/** High 64 bits of a * b. */
export function multiplyHigh(f: FunctionBuilder, a: Local<I64>, b: Local<I64>): Local<I64> {
  const low32 = 0xffffffffn;
  const a0 = f.let(a.and(low32));
  const a1 = f.let(a.shrU(32));
  const b0 = f.let(b.and(low32));
  const b1 = f.let(b.shrU(32));
  const middle = f.let(a1.mul(b0).add(a0.mul(b0).shrU(32)));
  const middle2 = f.let(a0.mul(b1).add(middle.and(low32)));
  return f.let(a1.mul(b1).add(middle.shrU(32)).add(middle2.shrU(32)));
}

/** a * b; neither is a NaN. */
export function buildProduct(f: FunctionBuilder, shared: Shared, a: Local<I64>, b: Local<I64>, format: Format): void {
  const cpu = f.param('i32', 0);
  const sign = f.let(a.xor(b).and(format.signBit));
  const ma = f.let(magnitude(a, format));
  const mb = f.let(magnitude(b, format));
  const infinite = ma.eq(format.infinity).or(mb.eq(format.infinity));
  const zero = ma.eqz().or(mb.eqz());
  f.if(infinite.and(zero), () => returnInvalid(f, cpu, format));
  noteDenormals(f, cpu, [a, b], format);
  f.if(infinite, () => f.return(sign.or(format.infinity)));
  f.if(zero, () => f.return(sign));
  const x = unpack(f, ma, format);
  const y = unpack(f, mb, format);
  normalise(f, x);
  normalise(f, y);
  const p = f.let(x.significand.shl(10));
  const q = f.let(y.significand.shl(11));
  const z = f.let(multiplyHigh(f, p, q).or(p.mul(q).ne(0).toI64u()));
  const exponent = f.let(x.exponent.add(y.exponent).sub(format.bias));
  f.if(
    z.ltU(1n << 62n),
    () => f.set(z, z.shl(1)),
    () => f.set(exponent, exponent.add(1)),
  );
  f.return(f.let(roundAndPack(format)(shared, cpu, sign.shrU(format.bits - 1), exponent, z)));
}

/** a / b; neither is a NaN. */
export function buildQuotient(f: FunctionBuilder, shared: Shared, a: Local<I64>, b: Local<I64>, format: Format): void {
  const cpu = f.param('i32', 0);
  const sign = f.let(a.xor(b).and(format.signBit));
  const ma = f.let(magnitude(a, format));
  const mb = f.let(magnitude(b, format));
  const bothInfinite = ma.eq(format.infinity).and(mb.eq(format.infinity));
  f.if(bothInfinite.or(ma.eqz().and(mb.eqz())), () => returnInvalid(f, cpu, format));
  f.if(mb.eqz(), () => {
    f.if(ma.ne(format.infinity), () => addFlags(f, cpu, Mxcsr.ZeroDivide));
    f.return(sign.or(format.infinity));
  });
  noteDenormals(f, cpu, [a, b], format);
  f.if(ma.eq(format.infinity), () => f.return(sign.or(format.infinity)));
  f.if(mb.eq(format.infinity).or(ma.eqz()), () => f.return(sign));
  const x = unpack(f, ma, format);
  const y = unpack(f, mb, format);
  normalise(f, x);
  normalise(f, y);
  const divisor = y.significand;
  const quotient = f.let(x.significand.divU(divisor));
  const rest = f.let(x.significand.remU(divisor));
  const steps = f.let(i32(5));
  f.loop((again) => {
    f.set(rest, rest.shl(11));
    f.set(quotient, quotient.shl(11).or(rest.divU(divisor)));
    f.set(rest, rest.remU(divisor));
    f.set(steps, steps.sub(1));
    f.brIf(again, steps);
  });
  const shift = f.let(quotient.clz().sub(1));
  const exponent = x.exponent
    .sub(y.exponent)
    .add(format.bias + 7)
    .sub(shift);
  const z = quotient.shl(shift).or(rest.ne(0).toI64u());
  f.return(f.let(roundAndPack(format)(shared, cpu, sign.shrU(format.bits - 1), exponent, z)));
}

/** Square root of `a`, which is not a NaN. */
export function buildSquareRoot(f: FunctionBuilder, shared: Shared, a: Local<I64>, format: Format): void {
  const cpu = f.param('i32', 0);
  f.if(magnitude(a, format).eqz(), () => f.return(a));
  f.if(a.and(format.signBit).ne(0), () => returnInvalid(f, cpu, format));
  noteDenormals(f, cpu, [a], format);
  f.if(a.eq(format.infinity), () => f.return(a));
  const x = unpack(f, a, format);
  normalise(f, x);
  const power = f.let(x.exponent.sub(format.bias));
  // Two bits of the radicand give one of the root; the first two are bits 53 and 52, or bit 52 alone below an even power.
  const radicand = f.let(x.significand.shl(i64(10).add(power.and(1))));
  const root = f.let(i64(0));
  const rest = f.let(i64(0));
  const steps = f.let(i32(56));
  f.loop((again) => {
    f.set(rest, rest.shl(2).or(radicand.shrU(62)));
    f.set(radicand, radicand.shl(2));
    const trial = f.let(root.shl(2).or(1));
    const fits = f.let(rest.geU(trial));
    f.set(rest, rest.sub(trial.and(maskOf(fits))));
    f.set(root, root.shl(1).or(fits.toI64u()));
    f.set(steps, steps.sub(1));
    f.brIf(again, steps);
  });
  const exponent = power.shrS(1).add(format.bias);
  const z = root.shl(7).or(rest.ne(0).toI64u());
  f.return(f.let(roundAndPack(format)(shared, cpu, i64(0), exponent, z)));
}
