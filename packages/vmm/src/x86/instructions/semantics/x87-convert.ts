/**
 * Conversions between 80-bit values and the memory formats (SDM Vol. 1 §4.2.2 "Floating-Point Data Types", §4.8.2
 * "Floating-Point Encodings"; §8.3.3 "Data Transfer Instructions").
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Finished, isInfinity, isNan, isUnsupported, isZero, rankDenormal, screenUnary } from './x87-operands.ts';
import { round } from './x87-round.ts';
import { Control, Ext, Status, type Unpacked, copyExt, shared, storeExt, unpack } from './x87-state.ts';

/** One of the two IEEE memory formats: significand bits after the leading one, and exponent. */
interface Ieee {
  readonly bits: 32 | 64;
  readonly fraction: number;
  readonly exponentMask: number;
  readonly bias: number;
  readonly precision: number;
}
const Single: Ieee = { bits: 32, fraction: 23, exponentMask: 0xff, bias: 127, precision: Control.Single };
const Double: Ieee = { bits: 64, fraction: 52, exponentMask: 0x7ff, bias: 1023, precision: Control.Double };

/** (to, bits) -> DE for a denormal. Exact; a signaling NaN stays one. */
function fromIeee(format: Ieee) {
  return shared(`from${format.bits}`, ['i32', 'i64'], (f) => {
    const dst = f.param('i32', 0);
    const bits = f.param('i64', 1);
    const sign = f.let(bits.shrU(format.bits - 1).toI32().and(1).shl(15)); // prettier-ignore
    const exponent = f.let(bits.shrU(format.fraction).toI32().and(format.exponentMask));
    const fraction = f.let(bits.shl(64 - format.fraction).shrU(1));
    f.if(exponent.eq(format.exponentMask), () => {
      storeExt(f, dst, fraction.or(Ext.IntegerBit), sign.or(Ext.MaxExponent));
      f.return(i32(0));
    });
    f.if(exponent, () => {
      storeExt(f, dst, fraction.or(Ext.IntegerBit), sign.or(exponent.add(Ext.Bias - format.bias)));
      f.return(i32(0));
    });
    f.if(fraction.eqz(), () => {
      storeExt(f, dst, i64(0), sign);
      f.return(i32(0));
    });
    const count = f.let(fraction.clz());
    storeExt(f, dst, fraction.shl(count), sign.or(i32(Ext.Bias - format.bias + 1).sub(count.toI32())));
    f.return(i32(Status.Denormal));
  });
}

export const fromSingle = fromIeee(Single);
export const fromDouble = fromIeee(Double);

/** (to, a) -> IE for a signaling NaN, which becomes quiet: what loads of the IEEE formats do. */
export const quieten = shared('quieten', ['i32'], (f, helper) => {
  const pointer = f.param('i32', 0);
  const found = f.let(screenUnary(helper, pointer, pointer));
  f.return(found.and(Finished).select(found.and(Status.Invalid), i32(0)));
});

/** (to, signed integer) -> 0. */
export const fromInteger = shared('fromInteger', ['i32', 'i64'], (f) => {
  const dst = f.param('i32', 0);
  const value = f.param('i64', 1);
  f.if(value.eqz(), () => {
    storeExt(f, dst, i64(0), 0);
    f.return(i32(0));
  });
  const negative = f.let(value.ltS(0));
  f.if(negative, () => f.set(value, i64(0).sub(value)));
  const count = f.let(value.clz());
  storeExt(f, dst, value.shl(count), negative.shl(15).or(i32(Ext.Bias + 63).sub(count.toI32())));
  f.return(i32(0));
});

/** Packs sign, exponent and a significand at bit 63 into the format's bits and stores them. */
function pack(f: FunctionBuilder, format: Ieee, dst: I32, signExponent: Local<I32>, significand: I64): void {
  const fraction = significand.shl(1).shrU(64 - format.fraction);
  const exponent = signExponent.and(format.exponentMask).toI64u().shl(format.fraction);
  const sign = signExponent
    .shrU(15)
    .toI64u()
    .shl(format.bits - 1);
  f.store64(dst, 0, fraction.or(exponent).or(sign));
}

/** (to, a, control) -> exceptions: stores the bits of `a` in the format (zero-extended to 8 bytes). */
function toIeee(format: Ieee) {
  return shared(`to${format.bits}`, ['i32', 'i32', 'i32'], (f, helper) => {
    const dst = f.param('i32', 0);
    const pointer = f.param('i32', 1);
    const control = f.param('i32', 2);
    const a = unpack(f, pointer);
    const cpuSlot = dst;
    f.if(isUnsupported(a).or(isNan(a)), () => {
      const found = f.let(screenUnary(helper, cpuSlot, pointer));
      const top = f.let(dst.load64(Ext.Significand));
      const sign = f.let(dst.load16u(Ext.SignExponent).and(0x8000).or(format.exponentMask));
      pack(f, format, dst, sign, top);
      f.return(found.and(Status.Invalid));
    });
    f.if(isZero(a).or(isInfinity(a)), () => {
      const signExponent = f.let(a.sign.shl(15).or(a.exponent.and(format.exponentMask)));
      pack(f, format, dst, signExponent, a.significand);
      f.return(i32(0));
    });
    rankDenormal(f, a);
    const exponent = a.exponent.sub(Ext.Bias - format.bias);
    const mode = control.and(~Control.Precision).or(format.precision);
    const flags = f.let(round(helper, dst, a.sign, exponent, a.significand, 0, mode, format.exponentMask));
    pack(f, format, dst, f.let(dst.load16u(Ext.SignExponent)), dst.load64(Ext.Significand));
    f.return(flags);
  });
}

export const toSingle = toIeee(Single);
export const toDouble = toIeee(Double);

interface Integral {
  /** Magnitude. */
  readonly value: Local<I64>;
  /** PE and C1. */
  readonly flags: Local<I32>;
}

/** The magnitude of a finite value below 2^64 rounded to an integer; `tooLarge` runs for larger ones. */
function integral(f: FunctionBuilder, a: Unpacked, control: I32, tooLarge: () => void): Integral {
  const value = f.let(i64(0));
  const flags = f.let(i32(0));
  const rest = f.let(a.significand);
  const count = f.let(i32(Ext.Bias + 63).sub(a.exponent));
  f.if(count.ltS(0), tooLarge);
  // value:rest is the significand with the binary point between its words
  f.if(
    count.eqz(),
    () => {
      f.set(value, a.significand);
      f.set(rest, i64(0));
    },
    () => {
      f.if(
        count.ltU(64),
        () => {
          f.set(value, a.significand.shrU(count.toI64u()));
          f.set(rest, a.significand.shl(i32(64).sub(count).toI64u()));
        },
        () => f.if(count.ne(64), () => f.set(rest, a.significand.ne(0).toI64u())),
      );
    },
  );
  const mode = f.let(control.and(Control.Rounding));
  const half = rest.gtU(Ext.IntegerBit).or(rest.eq(Ext.IntegerBit).and(value.toI32().and(1)));
  const directed = mode.eq(Control.RoundDown).and(a.sign).or(mode.eq(Control.RoundUp).and(a.sign.eqz()));
  f.if(rest.ne(0), () => {
    f.set(flags, i32(Status.Precision));
    f.if(mode.eqz().select(half, directed), () => {
      f.set(value, value.add(1));
      f.set(flags, i32(Status.Precision | Status.C1));
    });
  });
  return { value, flags };
}

/**
 * (to, a, control, bits) -> exceptions: stores `a` rounded to a signed integer of 16, 32 or 64 bits (sign-extended to 8
 * bytes); the integer indefinite, with #IA, when it does not fit.
 */
export const toInteger = shared('toInteger', ['i32', 'i32', 'i32', 'i32'], (f) => {
  const dst = f.param('i32', 0);
  const a = unpack(f, f.param('i32', 1));
  const bits = f.param('i32', 3);
  const minimum = i64(-1).shl(bits.sub(1).toI64u());
  const indefinite = (): void => {
    f.store64(dst, 0, minimum);
    f.return(i32(Status.Invalid));
  };
  f.if(isUnsupported(a).or(a.exponent.eq(Ext.MaxExponent)), indefinite);
  const { value, flags } = integral(f, a, f.param('i32', 2), indefinite);
  // The magnitude of the minimum is the limit: reached by negative values, not by positive ones.
  f.if(value.gtU(i64(0).sub(minimum).sub(a.sign.eqz().toI64u())), indefinite);
  f.store64(dst, 0, a.sign.select(i64(0).sub(value), value));
  f.return(flags);
});

/** (to, a, control) -> exceptions: `a` rounded to an integer, as an 80-bit value. */
export const roundToInteger = shared('rint', ['i32', 'i32', 'i32'], (f, helper) => {
  const dst = f.param('i32', 0);
  const pointer = f.param('i32', 1);
  const control = f.param('i32', 2);
  const a = unpack(f, pointer);
  const found = f.let(screenUnary(helper, dst, pointer));
  f.if(found.and(Finished), () => f.return(found.and(0xffff)));
  f.if(found, () => f.if(control.and(Status.Denormal).eqz(), () => f.return(found)));
  const same = (): void => {
    copyExt(f, dst, pointer);
    f.return(i32(0));
  };
  f.if(isZero(a), same);
  const { value, flags } = integral(f, a, control, same);
  f.if(
    value.eqz(),
    () => storeExt(f, dst, i64(0), a.sign.shl(15)),
    () => {
      const count = f.let(value.clz());
      const exponent = i32(Ext.Bias + 63).sub(count.toI32());
      storeExt(f, dst, value.shl(count), a.sign.shl(15).or(exponent));
    },
  );
  f.return(flags.or(found));
});
