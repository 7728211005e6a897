/**
 * Rounding and packing of x87 results (SDM Vol. 1 §4.8.4 "Rounding", §4.9.1 "Floating-Point Exception Conditions", §8.5
 * "x87 FPU Floating-Point Exception Conditions").
 *
 * An unrounded result is a sign, a biased exponent and a 128-bit significand `high:low` whose bit 127 has the weight of
 * the exponent; bits below the 128 are or-ed into the lowest one.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Control, Ext, type HelperCall, Status, shared, storeExt } from './x87-state.ts';

/** What the exponent of a result moves by on an unmasked overflow or underflow. */
const ExponentAdjust = 24576;

/** Answers of `increment`. */
const Inexact = 1;
const RoundsUp = 2;

/** (sign, high, low, control, shift): whether a significand of 64 - `shift` bits is inexact, and rounds away from zero. */
const increment = shared('increment', ['i32', 'i64', 'i64', 'i32', 'i32'], (f) => {
  const sign = f.param('i32', 0);
  const high = f.param('i64', 1);
  const low = f.param('i64', 2);
  const control = f.param('i32', 3);
  const shift = f.param('i32', 4);
  const rest = f.local('i64');
  f.set(rest, low);
  f.if(shift, () => f.set(rest, high.shl(i32(64).sub(shift).toI64u()).or(low.ne(0).toI64u())));
  f.if(rest.eqz(), () => f.return(i32(0)));
  const mode = f.let(control.and(Control.Rounding));
  const up = f.local('i32');
  f.if(
    mode.eqz(),
    () => {
      const odd = high.shrU(shift.toI64u()).toI32().and(1);
      f.set(up, rest.gtU(Ext.IntegerBit).or(rest.eq(Ext.IntegerBit).and(odd)));
    },
    () => {
      const directed = mode.eq(Control.RoundDown).and(sign).or(mode.eq(Control.RoundUp).and(sign.eqz()));
      f.set(up, directed);
    },
  );
  f.return(up.shl(1).or(Inexact));
});

interface Rounding {
  readonly sign: Local<I32>;
  readonly exponent: Local<I32>;
  readonly high: Local<I64>;
  readonly low: Local<I64>;
  readonly control: Local<I32>;
  readonly shift: Local<I32>;
  readonly flags: Local<I32>;
}

/** Bits below the precision: 0, 11 or 40. */
function precisionShift(control: I32): I32 {
  const precision = control.and(Control.Precision);
  return precision.eqz().select(i32(40), precision.eq(Control.Double).select(i32(11), i32(0)));
}

function normalise(f: FunctionBuilder, r: Rounding): void {
  f.if(r.high.eqz(), () => {
    f.set(r.high, r.low);
    f.set(r.low, i64(0));
    f.set(r.exponent, r.exponent.sub(64));
  });
  const count = f.let(r.high.clz());
  f.if(count.eqz().eqz(), () => {
    f.set(r.high, r.high.shl(count).or(r.low.shrU(i64(64).sub(count))));
    f.set(r.low, r.low.shl(count));
    f.set(r.exponent, r.exponent.sub(count.toI32()));
  });
}

function callIncrement(helper: HelperCall, r: Rounding): I32 {
  return increment(helper, r.sign, r.high, r.low, r.control, r.shift);
}

/** Replaces `high` by the rounded significand, with the flags PE and C1; a carry out doubles the result. */
function roundSignificand(f: FunctionBuilder, helper: HelperCall, r: Rounding): void {
  const how = f.let(callIncrement(helper, r));
  const unit = f.let(i64(1).shl(r.shift.toI64u()));
  f.set(r.high, r.high.and(i64(0).sub(unit)));
  f.if(how.and(RoundsUp), () => {
    f.set(r.high, r.high.add(unit));
    f.if(r.high.eqz(), () => {
      f.set(r.high, i64(Ext.IntegerBit));
      f.set(r.exponent, r.exponent.add(1));
    });
  });
  const upFlag = how.and(RoundsUp).shl(8);
  f.set(r.flags, r.flags.or(how.and(Inexact).shl(5)).or(upFlag));
}

/** Shifts the significand right by `count` (at least 1), keeping a sticky bit. */
function shiftRight(f: FunctionBuilder, r: Rounding, count: Local<I32>): void {
  f.if(
    count.ltU(64),
    () => {
      const n = f.let(count.toI64u());
      const lost = r.low.shl(i64(64).sub(n)).ne(0).toI64u();
      f.set(r.low, r.high.shl(i64(64).sub(n)).or(r.low.shrU(n)).or(lost));
      f.set(r.high, r.high.shrU(n));
    },
    () => {
      const n = f.let(count.sub(64).toI64u());
      const inside = count.ltU(128);
      const lost = count.ne(64).or(r.low.ne(0)).toI64u();
      f.set(r.low, inside.select(r.high.shrU(n), i64(0)).or(lost));
      f.set(r.high, i64(0));
    },
  );
}

/** The result is below the normal range, or at its edge: exponent is 0 or negative. */
function underflow(f: FunctionBuilder, helper: HelperCall, r: Rounding, dst: I32): void {
  // Tiny is judged after rounding with an unbounded exponent: only a carry out of exponent 0 saves a result.
  const tiny = f.let(r.exponent.ltS(0));
  f.if(tiny.eqz(), () => {
    const kept = r.high.or(i64(1).shl(r.shift.toI64u()).sub(1)).eq(-1);
    f.set(tiny, callIncrement(helper, r).and(RoundsUp).ne(0).and(kept).eqz());
  });
  f.if(r.control.and(Status.Underflow).eqz(), () => {
    f.if(tiny, () => {
      f.set(r.exponent, r.exponent.add(ExponentAdjust));
      f.set(r.flags, i32(Status.Underflow));
    });
    roundSignificand(f, helper, r);
    // FSCALE can be so far below that even the adjusted exponent does not fit: then the result is zero.
    f.if(r.exponent.leS(0), () => {
      f.set(r.high, i64(0));
      f.set(r.exponent, i32(0));
      f.set(r.flags, i32(Status.Underflow | Status.Precision));
    });
    storeExt(f, dst, r.high, r.sign.shl(15).or(r.exponent));
    f.return(r.flags);
  });
  const count = f.let(i32(1).sub(r.exponent));
  shiftRight(f, r, count);
  f.set(r.exponent, i32(0));
  roundSignificand(f, helper, r);
  f.set(r.exponent, r.high.ltS(0));
  f.if(tiny.and(r.flags.and(Status.Precision).ne(0)), () => f.set(r.flags, r.flags.or(Status.Underflow)));
  storeExt(f, dst, r.high, r.sign.shl(15).or(r.exponent));
  f.return(r.flags);
}

function overflow(f: FunctionBuilder, r: Rounding, maximum: Local<I32>): void {
  f.set(r.flags, r.flags.or(Status.Overflow));
  f.if(
    r.control.and(Status.Overflow),
    () => {
      const mode = f.let(r.control.and(Control.Rounding));
      const towards = r.sign.select(i32(Control.RoundUp), i32(Control.RoundDown));
      const finite = mode.eq(Control.RoundToZero).or(mode.eq(towards));
      f.if(
        finite,
        () => {
          f.set(r.high, i64(-1).shl(r.shift.toI64u()));
          f.set(r.exponent, maximum.sub(1));
          f.set(r.flags, r.flags.or(Status.Precision).and(~Status.C1));
        },
        () => {
          f.set(r.high, i64(Ext.IntegerBit));
          f.set(r.exponent, maximum);
          f.set(r.flags, r.flags.or(Status.Precision | Status.C1));
        },
      );
    },
    () => {
      f.set(r.exponent, r.exponent.sub(ExponentAdjust));
      f.if(r.exponent.geS(maximum), () => {
        f.set(r.high, i64(Ext.IntegerBit));
        f.set(r.exponent, maximum);
        f.set(r.flags, i32(Status.Overflow | Status.Precision | Status.C1));
      });
    },
  );
}

/**
 * (to, sign, exponent, high, low, control, maximum exponent): rounds a value that is not zero to the precision of
 * `control` and the exponent range below `maximum`, and stores it as significand, sign and exponent. Answers OE, UE, PE
 * and C1.
 */
export const round = shared('round', ['i32', 'i32', 'i32', 'i64', 'i64', 'i32', 'i32'], (f, helper) => {
  const dst = f.param('i32', 0);
  const maximum = f.param('i32', 6);
  const r: Rounding = {
    sign: f.param('i32', 1),
    exponent: f.param('i32', 2),
    high: f.param('i64', 3),
    low: f.param('i64', 4),
    control: f.param('i32', 5),
    shift: f.let(precisionShift(f.param('i32', 5))),
    flags: f.local('i32'),
  };
  f.set(r.flags, i32(0));
  normalise(f, r);
  f.if(r.exponent.leS(0), () => underflow(f, helper, r, dst));
  roundSignificand(f, helper, r);
  f.if(r.exponent.geS(maximum), () => overflow(f, r, maximum));
  storeExt(f, dst, r.high, r.sign.shl(15).or(r.exponent));
  f.return(r.flags);
});

/** Rounds to an 80-bit value by the control word's precision. */
export function roundExt(
  helper: HelperCall,
  dst: I32,
  sign: I32,
  exponent: I32,
  high: I64,
  low: I64,
  control: I32,
): I32 {
  return round(helper, dst, sign, exponent, high, low, control, Ext.MaxExponent);
}
