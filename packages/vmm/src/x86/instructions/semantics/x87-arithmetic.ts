/**
 * Addition, multiplication, division and square root of 80-bit values (SDM Vol. 1 §8.3.5 "Basic Arithmetic
 * Instructions").
 *
 * Each is a function (to, a, b, control, denormal) -> exceptions and C1: it stores the result that a masked response, or
 * an unmasked #O, #U or #P, gives. `control` is the control word; `denormal` is DE when an operand was denormal in its
 * memory format.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type I64Like, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import {
  invalid,
  isDenormal,
  isInfinity,
  isZero,
  normaliseOperand,
  rankDenormal,
  screen,
  stopAtDenormal,
  storeInfinity,
  storeZero,
} from './x87-operands.ts';
import { roundExt } from './x87-round.ts';
import {
  Control,
  Ext,
  type HelperCall,
  Status,
  type Unpacked,
  copyExt,
  shared,
  storeIndefinite,
  unpack,
} from './x87-state.ts';

export interface Wide {
  readonly high: Local<I64>;
  readonly low: Local<I64>;
}

interface Operation {
  readonly f: FunctionBuilder;
  readonly helper: HelperCall;
  readonly dst: Local<I32>;
  readonly control: Local<I32>;
  readonly denormal: Local<I32>;
}

const BinaryParams = ['i32', 'i32', 'i32', 'i32', 'i32'] as const;

/** The head of a binary operation: operands screened and unpacked, denormals with exponent 1. */
function binary(
  f: FunctionBuilder,
  helper: HelperCall,
  special: (o: Operation, a: Unpacked, b: Unpacked) => void,
): { o: Operation; a: Unpacked; b: Unpacked } {
  const dst = f.param('i32', 0);
  const left = f.param('i32', 1);
  const right = f.param('i32', 2);
  const o = { f, helper, dst, control: f.param('i32', 3), denormal: f.param('i32', 4) };
  const a = unpack(f, left);
  const b = unpack(f, right);
  const operands = [
    { pointer: left, value: a },
    { pointer: right, value: b },
  ];
  screen(f, helper, dst, operands, o.denormal);
  special(o, a, b);
  stopAtDenormal(f, o.denormal, o.control);
  return { o, a, b };
}

/** Leaves with DE or what an exception of the operands' values allows. */
function returnWith(o: Operation, flags: I32): void {
  o.f.return(flags.or(o.denormal));
}

function roundAndReturn(o: Operation, sign: I32, exponent: I32, wide: Wide): void {
  returnWith(o, roundExt(o.helper, o.dst, sign, exponent, wide.high, wide.low, o.control));
}

/** a:0 >> count with a sticky bit. */
function alignRight(f: FunctionBuilder, significand: I64, count: Local<I32>): Wide {
  const high = f.let(significand);
  const low = f.let(i64(0));
  const n = f.let(count.toI64u());
  f.if(
    count.ltU(64),
    () => {
      f.if(count, () => {
        f.set(low, high.shl(i64(64).sub(n)));
        f.set(high, high.shrU(n));
      });
    },
    () => {
      f.if(
        count.ltU(128),
        () => {
          const lost = f.let(count.ne(64).and(high.shl(i64(128).sub(n)).ne(0)));
          f.set(low, high.shrU(n.sub(64)).or(lost.toI64u()));
        },
        () => f.set(low, high.ne(0).toI64u()),
      );
      f.set(high, i64(0));
    },
  );
  return { high, low };
}

function addMagnitudes(o: Operation, sign: I32, large: Unpacked, small: Wide): void {
  const { f } = o;
  const high = f.let(large.significand.add(small.high));
  f.if(high.ltU(large.significand), () => {
    f.set(small.low, small.low.shrU(1).or(high.shl(63)).or(small.low.and(1)));
    f.set(high, high.shrU(1).or(Ext.IntegerBit));
    f.set(large.exponent, large.exponent.add(1));
  });
  f.if(high.or(small.low).eqz(), () => {
    storeZero(f, o.dst, sign);
    returnWith(o, i32(0));
  });
  roundAndReturn(o, sign, large.exponent, { high, low: small.low });
}

function subtractMagnitudes(o: Operation, sign: Local<I32>, large: Unpacked, small: Wide): void {
  const { f } = o;
  // With equal exponents the second can be the larger one.
  const swapped = f.let(large.significand.ltU(small.high));
  const borrow = small.low.ne(0).toI64u();
  const high = f.let(large.significand.sub(small.high).sub(borrow));
  const low = f.let(i64(0).sub(small.low));
  f.if(swapped, () => {
    f.set(high, small.high.sub(large.significand));
    f.set(sign, sign.xor(1));
  });
  f.if(high.or(low).eqz(), () => {
    storeZero(f, o.dst, o.control.and(Control.Rounding).eq(Control.RoundDown));
    returnWith(o, i32(0));
  });
  roundAndReturn(o, sign, large.exponent, { high, low });
}

/** a + b, the sign of `b` flipped by `flip`. */
function emitAdd(f: FunctionBuilder, helper: HelperCall, flip: boolean): void {
  const { o, a, b } = binary(f, helper, (o, a, b) => {
    if (flip) f.set(b.sign, b.sign.xor(1));
    const aInfinite = f.let(isInfinity(a));
    const bInfinite = f.let(isInfinity(b));
    f.if(aInfinite.or(bInfinite), () => {
      f.if(aInfinite.and(bInfinite).and(a.sign.ne(b.sign)), () => invalid(f, o.dst));
      stopAtDenormal(f, o.denormal, o.control);
      storeInfinity(f, o.dst, aInfinite.select(a.sign, b.sign));
      returnWith(o, i32(0));
    });
  });
  rankDenormal(f, a);
  rankDenormal(f, b);
  const sign = f.let(a.sign);
  const differ = f.let(a.sign.xor(b.sign));
  f.if(a.exponent.ltS(b.exponent), () => {
    const [exponent, significand] = [f.let(a.exponent), f.let(a.significand)];
    f.set(a.exponent, b.exponent);
    f.set(a.significand, b.significand);
    f.set(b.exponent, exponent);
    f.set(b.significand, significand);
    f.set(sign, b.sign);
  });
  const small = alignRight(f, b.significand, f.let(a.exponent.sub(b.exponent)));
  f.if(
    differ,
    () => subtractMagnitudes(o, sign, a, small),
    () => addMagnitudes(o, sign, a, small),
  );
  f.unreachable();
}

export const add = shared('add', BinaryParams, (f, helper) => emitAdd(f, helper, false));
export const subtract = shared('subtract', BinaryParams, (f, helper) => emitAdd(f, helper, true));

/** The 128-bit product of two 64-bit numbers. */
export function multiplyWide(f: FunctionBuilder, a: I64, b: I64): Wide {
  const half = 0xffffffffn;
  const [al, ah] = [f.let(a.and(half)), f.let(a.shrU(32))];
  const [bl, bh] = [f.let(b.and(half)), f.let(b.shrU(32))];
  const ll = f.let(al.mul(bl));
  const lh = f.let(al.mul(bh));
  const middle = f.let(ah.mul(bl).add(ll.shrU(32)));
  const carry = f.let(lh.add(middle.and(half)));
  const high = f.let(ah.mul(bh).add(middle.shrU(32)).add(carry.shrU(32)));
  const low = f.let(carry.shl(32).or(ll.and(half)));
  return { high, low };
}

export const multiply = shared('multiply', BinaryParams, (f, helper) => {
  const { o, a, b } = binary(f, helper, (o, a, b) => {
    f.if(isInfinity(a).or(isInfinity(b)), () => {
      f.if(isZero(a).or(isZero(b)), () => invalid(f, o.dst));
      stopAtDenormal(f, o.denormal, o.control);
      storeInfinity(f, o.dst, a.sign.xor(b.sign));
      returnWith(o, i32(0));
    });
  });
  const sign = a.sign.xor(b.sign);
  f.if(isZero(a).or(isZero(b)), () => {
    storeZero(f, o.dst, sign);
    returnWith(o, i32(0));
  });
  rankDenormal(f, a);
  rankDenormal(f, b);
  const product = multiplyWide(f, a.significand, b.significand);
  roundAndReturn(o, sign, a.exponent.add(b.exponent).sub(Ext.Bias - 1), product);
});

/**
 * `high:low` divided by `divisor`, which has bit 63 set and is above `high`: quotient in the answer's `high`, remainder
 * in `low`. Two digits of 32 bits, each estimated from the divisor's upper half.
 */
export function divideWide(f: FunctionBuilder, high: I64, low: I64, divisor: Local<I64>): Wide {
  const half = 0xffffffffn;
  const [dh, dl] = [f.let(divisor.shrU(32)), f.let(divisor.and(half))];
  const remainder = f.let(high);
  const digit = (next: I64): Local<I64> => {
    const quotient = f.let(remainder.divU(dh));
    const rest = f.let(remainder.sub(quotient.mul(dh)));
    f.loop((again) => {
      const tooLarge = quotient
        .shrU(32)
        .ne(0)
        .orElse(quotient.mul(dl).gtU(rest.shl(32).or(next)));
      f.if(tooLarge, () => {
        f.set(quotient, quotient.sub(1));
        f.set(rest, rest.add(dh));
        f.brIf(again, rest.shrU(32).eqz());
      });
    });
    f.set(remainder, remainder.shl(32).or(next).sub(quotient.mul(divisor)));
    return quotient;
  };
  const lowPart = f.let(low);
  const upper = digit(lowPart.shrU(32));
  const lower = digit(lowPart.and(half));
  return { high: f.let(upper.shl(32).add(lower)), low: remainder };
}

/** What follows the quotient: below, at or above one half of its last place. */
function tail(remainder: I64, divisor: I64): I64 {
  const twice: I64Like = divisor.sub(remainder);
  const half = i64(Ext.IntegerBit);
  const inexact = remainder.gtU(twice).select(half.or(1), remainder.eq(twice).select(half, i64(1)));
  return remainder.eqz().select(i64(0), inexact);
}

function divideSpecial(o: Operation, a: Unpacked, b: Unpacked): void {
  const { f } = o;
  const sign = f.let(a.sign.xor(b.sign));
  const [aInfinite, bInfinite] = [f.let(isInfinity(a)), f.let(isInfinity(b))];
  const [aZero, bZero] = [f.let(isZero(a)), f.let(isZero(b))];
  f.if(aInfinite.and(bInfinite).or(aZero.and(bZero)), () => invalid(f, o.dst));
  f.if(bZero.and(aInfinite.eqz()), () => {
    storeInfinity(f, o.dst, sign);
    f.return(i32(Status.ZeroDivide));
  });
  f.if(aInfinite, () => {
    stopAtDenormal(f, o.denormal, o.control);
    storeInfinity(f, o.dst, sign);
    returnWith(o, i32(0));
  });
  f.if(aZero.or(bInfinite), () => {
    stopAtDenormal(f, o.denormal, o.control);
    storeZero(f, o.dst, sign);
    returnWith(o, i32(0));
  });
}

/** a / b. */
export const divide = shared('divide', BinaryParams, (f, helper) => {
  const { o, a, b } = binary(f, helper, divideSpecial);
  rankDenormal(f, a);
  rankDenormal(f, b);
  normaliseOperand(f, a);
  normaliseOperand(f, b);
  const exponent = f.let(a.exponent.sub(b.exponent).add(Ext.Bias - 1));
  const high = f.let(a.significand);
  const low = f.let(i64(0));
  f.if(high.geU(b.significand), () => {
    f.set(low, high.shl(63));
    f.set(high, high.shrU(1));
    f.set(exponent, exponent.add(1));
  });
  const { high: quotient, low: remainder } = divideWide(f, high, low, b.significand);
  const wide = { high: quotient, low: f.let(tail(remainder, b.significand)) };
  roundAndReturn(o, a.sign.xor(b.sign), exponent, wide);
});

/**
 * Square root of the 128-bit `high:low`, `high` at least 2^62 (P. Zimmermann, "Karatsuba Square Root"): root in `high`,
 * what follows it in `low`.
 */
function squareRootWide(f: FunctionBuilder, high: Local<I64>, low: Local<I64>): Wide {
  const upper = f.let(high.toF64u().sqrt().truncSatI64u());
  // The estimate from 53 bits can be one too large.
  f.if(upper.shrU(32).ne(0).orElse(upper.mul(upper).gtU(high)), () => f.set(upper, upper.sub(1)));
  const rest = f.let(high.sub(upper.mul(upper)));
  const numerator = f.let(rest.shl(31).or(low.shrU(33)));
  const lower = f.let(numerator.divU(upper));
  const u = f.let(numerator.sub(lower.mul(upper)).shl(1).or(low.shrU(32).and(1)));
  const root = f.let(upper.shl(32).add(lower));
  // Remainder u * 2^32 + low half - lower^2, in 65 bits and a sign.
  const restLow = f.let(u.shl(32).or(low.and(0xffffffffn)));
  const square = f.let(lower.mul(lower));
  const borrow = restLow.ltU(square).toI64u();
  const squareHigh = lower.shrU(32);
  const restHigh = f.let(u.shrU(32).sub(squareHigh).sub(borrow));
  f.set(restLow, restLow.sub(square));
  f.if(restHigh.ltS(0), () => {
    f.set(root, root.sub(1));
    const grown = f.let(restLow.add(root.shl(1).or(1)));
    const carry = grown.ltU(restLow).toI64u().add(root.shrU(63));
    f.set(restHigh, restHigh.add(carry));
    f.set(restLow, grown);
  });
  const above = restHigh.ne(0).or(restLow.gtU(root));
  const inexact = above.select(i64(Ext.IntegerBit | 1n), i64(1));
  return { high: root, low: f.let(restHigh.or(restLow).eqz().select(i64(0), inexact)) };
}

/** (to, a, control) -> exceptions: the square root of `a`. */
export const squareRoot = shared('sqrt', ['i32', 'i32', 'i32'], (f, helper) => {
  const dst = f.param('i32', 0);
  const pointer = f.param('i32', 1);
  const o = { f, helper, dst, control: f.param('i32', 2), denormal: f.let(i32(0)) };
  const a = unpack(f, pointer);
  screen(f, helper, dst, [{ pointer, value: a }], o.denormal);
  f.if(isZero(a), () => {
    copyExt(f, dst, pointer);
    f.return(i32(0));
  });
  f.if(a.sign, () => {
    storeIndefinite(f, dst);
    f.return(i32(Status.Invalid));
  });
  f.if(isInfinity(a), () => {
    copyExt(f, dst, pointer);
    f.return(i32(0));
  });
  f.set(o.denormal, isDenormal(a).shl(1));
  stopAtDenormal(f, o.denormal, o.control);
  rankDenormal(f, a);
  normaliseOperand(f, a);
  // An even distance from the bias halves exactly; the significand has 127 or 128 bits.
  const odd = f.let(a.exponent.sub(Ext.Bias).and(1));
  const high = f.let(odd.select(a.significand, a.significand.shrU(1)));
  const low = f.let(odd.select(i64(0), a.significand.shl(63)));
  const exponent = a.exponent.sub(Ext.Bias).shrS(1).add(Ext.Bias);
  roundAndReturn(o, i32(0), exponent, squareRootWide(f, high, low));
});
