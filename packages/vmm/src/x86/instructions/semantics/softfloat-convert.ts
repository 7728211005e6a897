/**
 * Conversions between integers, single and double precision, and rounding to integral values: one value at a time, exact
 * in every mode. Flags are added to Cpu.SimdFlags; values are bits as in softfloat.ts.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type F64, type I32, type I64, f64, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Mxcsr, type Shared, addFlags, sharedFunction } from './simd-support.ts';
import {
  Double,
  type Format,
  Single,
  flushInput,
  isSignalling,
  loadMode,
  magnitude,
  noteDenormals,
  normalise,
  returnNan,
  roundAndPack,
  unpack,
} from './softfloat.ts';

/** Rounding control as in MXCSR.RC and the immediate of ROUND. */
export const RoundToZero = 3;

/** `x` rounded to an integral value by `control` (0 nearest, 1 down, 2 up, 3 to zero). */
export function roundIntegral(x: F64, control: I32): F64 {
  const directed = control.eq(1).choose<F64>(x.floor(), control.eq(2).choose<F64>(x.ceil(), x.trunc()));
  return control.eqz().choose<F64>(x.nearest(), directed);
}

const toF64 = (x: I64, format: Format): F64 => (format === Double ? x.asF64() : x.toI32().asF32().toF64());
/** For values that the format holds exactly. */
const fromF64 = (x: F64, format: Format): I64 => (format === Double ? x.asI64() : x.toF32().asI32().toI64u());

function buildToInteger(f: FunctionBuilder, format: Format, width: 32 | 64): void {
  const [cpu, x, control] = [f.param('i32', 0), f.param('i64', 1), f.param('i32', 2)];
  flushInput(f, loadMode(f, cpu), x, format);
  const value = f.let(toF64(x, format));
  const rounded = f.let(roundIntegral(value, control));
  const limit = 2 ** (width - 1);
  f.if(rounded.ge(f64(-limit)).and(rounded.lt(f64(limit))), () => {
    f.if(rounded.ne(value), () => addFlags(f, cpu, Mxcsr.Precision));
    f.return(rounded.truncSatI64s());
  });
  addFlags(f, cpu, Mxcsr.Invalid);
  f.return(i64(-(2n ** BigInt(width - 1))));
}

type ToInteger = (shared: Shared, cpu: I32, x: I64, control: I32) => I64;
const toIntegerFunctions = new Map<string, ToInteger>();

/** (cpu, x, rounding control) -> integer, sign-extended; the indefinite integer when out of range. */
export function toInteger(format: Format, width: 32 | 64): ToInteger {
  const name = `toInteger.${format.bits}.${width}`;
  let known = toIntegerFunctions.get(name);
  if (!known) {
    known = sharedFunction<I64>(name, ['i32', 'i64', 'i32'], 'i64', (f) => buildToInteger(f, format, width));
    toIntegerFunctions.set(name, known);
  }
  return known;
}

function buildFromInteger(f: FunctionBuilder, shared: Shared, format: Format): void {
  const [cpu, value] = [f.param('i32', 0), f.param('i64', 1)];
  f.if(value.eqz(), () => f.return(i64(0)));
  const sign = f.let(value.shrU(63));
  const size = f.let(sign.eqz().select<I64>(value, i64(0).sub(value)));
  const zeros = f.let(size.clz());
  const z = zeros.eqz().choose<I64>(size.shrU(1).or(size.and(1)), size.shl(zeros.sub(1)));
  f.return(f.let(roundAndPack(format)(shared, cpu, sign, i64(format.bias + 63).sub(zeros), z)));
}

const fromIntegerSingle = sharedFunction<I64>('fromInteger.32', ['i32', 'i64'], 'i64', (f, shared) =>
  buildFromInteger(f, shared, Single),
);
const fromIntegerDouble = sharedFunction<I64>('fromInteger.64', ['i32', 'i64'], 'i64', (f, shared) =>
  buildFromInteger(f, shared, Double),
);
/** (cpu, signed integer) -> value */
export const fromInteger = (format: Format) => (format === Single ? fromIntegerSingle : fromIntegerDouble);

/** (cpu, double) -> single */
export const narrow = sharedFunction<I64>('narrow', ['i32', 'i64'], 'i64', (f, shared) => {
  const [cpu, x] = [f.param('i32', 0), f.param('i64', 1)];
  flushInput(f, loadMode(f, cpu), x, Double);
  const size = f.let(magnitude(x, Double));
  const sign = f.let(x.shrU(63));
  f.if(size.gtU(Double.infinity), () => {
    f.if(isSignalling(x, Double), () => addFlags(f, cpu, Mxcsr.Invalid));
    const fraction = x.shrU(29).and(Single.quietBit - 1n);
    f.return(
      sign
        .shl(31)
        .or(fraction)
        .or(Single.infinity | Single.quietBit),
    );
  });
  f.if(size.eqz(), () => f.return(sign.shl(31)));
  f.if(size.eq(Double.infinity), () => f.return(sign.shl(31).or(Single.infinity)));
  noteDenormals(f, cpu, [x], Double);
  const number = unpack(f, x, Double);
  normalise(f, number);
  const exponent = number.exponent.sub(Double.bias - Single.bias);
  f.return(f.let(roundAndPack(Single)(shared, cpu, sign, exponent, number.significand.shl(10))));
});

/** (cpu, single) -> double */
export const widen = sharedFunction<I64>('widen', ['i32', 'i64'], 'i64', (f) => {
  const [cpu, x] = [f.param('i32', 0), f.param('i64', 1)];
  flushInput(f, loadMode(f, cpu), x, Single);
  f.if(magnitude(x, Single).gtU(Single.infinity), () => {
    f.if(isSignalling(x, Single), () => addFlags(f, cpu, Mxcsr.Invalid));
    const fraction = x.and(Single.smallestNormal - 1n).shl(29);
    f.return(
      x
        .shrU(31)
        .shl(63)
        .or(fraction)
        .or(Double.infinity | Double.quietBit),
    );
  });
  noteDenormals(f, cpu, [x], Single);
  f.return(toF64(x, Single).asI64());
});

/** Immediate of ROUND: use MXCSR.RC; do not signal inexact results. */
const UseMxcsr = 4;
const NoPrecision = 8;

/** Rounding control that the immediate of ROUND asks for. */
export function roundingControl(mxcsr: I32, immediate: I32): I32 {
  const fromMxcsr = mxcsr.shrU(Mxcsr.RoundingShift);
  return immediate.and(UseMxcsr).select(fromMxcsr, immediate).and(3);
}

/** 1 when an inexact result of ROUND changes no flag. */
export function precisionSettled(mxcsr: I32, immediate: I32): I32 {
  const settled = Mxcsr.Precision | Mxcsr.PrecisionMask;
  return immediate.and(NoPrecision).ne(0).or(mxcsr.and(settled).eq(settled));
}

function buildToIntegral(f: FunctionBuilder, format: Format): void {
  const [cpu, x, control] = [f.param('i32', 0), f.param('i64', 1), f.param('i32', 2)];
  const mode = loadMode(f, cpu);
  flushInput(f, mode, x, format);
  returnNan(f, cpu, [x], format);
  const value = f.let(toF64(x, format));
  const rounded = f.let(roundIntegral(value, f.let(roundingControl(mode, control))));
  const signals = rounded.ne(value).and(control.and(NoPrecision).eqz());
  f.if(signals, () => addFlags(f, cpu, Mxcsr.Precision));
  f.return(fromF64(rounded, format));
}

const toIntegralSingle = sharedFunction<I64>('toIntegral.32', ['i32', 'i64', 'i32'], 'i64', (f) =>
  buildToIntegral(f, Single),
);
const toIntegralDouble = sharedFunction<I64>('toIntegral.64', ['i32', 'i64', 'i32'], 'i64', (f) =>
  buildToIntegral(f, Double),
);
/** (cpu, x, immediate of ROUND) -> integral value */
export const toIntegral = (format: Format) => (format === Single ? toIntegralSingle : toIntegralDouble);
