/**
 * FSCALE, FPREM, FPREM1 and FXTRACT on 80-bit values (SDM Vol. 2A, the instructions' pages).
 *
 * The first three are functions (to, a, b, control, denormal) -> exceptions and condition bits, like those of
 * x87-arithmetic.ts; FXTRACT needs the stack.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { fromInteger } from './x87-convert.ts';
import {
  Finished,
  invalid,
  isInfinity,
  isZero,
  normaliseOperand,
  rankDenormal,
  screen,
  screenUnary,
  stopAtDenormal,
  storeInfinity,
  storeZero,
} from './x87-operands.ts';
import { roundExt } from './x87-round.ts';
import {
  BeforeResult,
  Control,
  Ext,
  type HelperCall,
  Slot,
  StackOverflow,
  StackUnderflow,
  Status,
  type Unpacked,
  copyExt,
  isValid,
  markValid,
  raiseFlags,
  shared,
  stackPointer,
  storeExt,
  storeIndefinite,
  unmasked,
  unpack,
} from './x87-state.ts';

const Params = ['i32', 'i32', 'i32', 'i32', 'i32'] as const;

interface Head {
  readonly dst: Local<I32>;
  readonly left: Local<I32>;
  readonly control: Local<I32>;
  readonly denormal: Local<I32>;
  readonly a: Unpacked;
  readonly b: Unpacked;
}

function head(f: FunctionBuilder, helper: HelperCall): Head {
  const [dst, left, right] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const [control, denormal] = [f.param('i32', 3), f.param('i32', 4)];
  const [a, b] = [unpack(f, left), unpack(f, right)];
  const operands = [
    { pointer: left, value: a },
    { pointer: right, value: b },
  ];
  screen(f, helper, dst, operands, denormal);
  return { dst, left, control, denormal, a, b };
}

/** Exponents beyond this move every value out of range. */
const ExponentLimit = 0x10000;

/** The integer part of `b`, limited to plus or minus ExponentLimit. */
function scaleFactor(f: FunctionBuilder, b: Unpacked): Local<I32> {
  const power = f.let(b.exponent.sub(Ext.Bias));
  const factor = f.let(i32(0));
  f.if(power.geS(0), () => {
    f.set(factor, i32(ExponentLimit));
    f.if(power.ltS(16), () => f.set(factor, b.significand.shrU(i32(63).sub(power).toI64u()).toI32()));
    f.if(b.sign, () => f.set(factor, i32(0).sub(factor)));
  });
  return factor;
}

/** a * 2^trunc(b), without the precision control. */
export const scaleValue = shared('scale', Params, (f, helper) => {
  const { dst, left, control, denormal, a, b } = head(f, helper);
  const bInfinite = f.let(isInfinity(b));
  const aInfinite = f.let(isInfinity(a));
  const aZero = f.let(isZero(a));
  f.if(bInfinite, () => {
    f.if(b.sign.select(aInfinite, aZero), () => invalid(f, dst));
    stopAtDenormal(f, denormal, control);
    f.if(
      b.sign,
      () => storeZero(f, dst, a.sign),
      () => storeInfinity(f, dst, a.sign),
    );
    f.return(denormal);
  });
  stopAtDenormal(f, denormal, control);
  f.if(aInfinite.or(aZero), () => {
    copyExt(f, dst, left);
    f.return(denormal);
  });
  rankDenormal(f, a);
  const exponent = a.exponent.add(scaleFactor(f, b));
  const mode = control.or(Control.Extended);
  f.return(roundExt(helper, dst, a.sign, exponent, a.significand, i64(0), mode).or(denormal));
});

interface Division {
  readonly remainder: Local<I64>;
  /** Low bits of the quotient. */
  readonly quotient: Local<I32>;
}

/** `steps` + 1 steps of a restoring division of significands, the first below twice the second. */
function divideSteps(f: FunctionBuilder, dividend: I64, divisor: Local<I64>, steps: I32): Division {
  const remainder = f.let(dividend);
  const quotient = f.let(i32(0));
  const left = f.let(steps);
  const carry = f.let(i32(0));
  f.loop((again) => {
    f.if(carry.or(remainder.geU(divisor)), () => {
      f.set(remainder, remainder.sub(divisor));
      f.set(quotient, quotient.or(1));
    });
    f.if(left, () => {
      f.set(left, left.sub(1));
      f.set(carry, remainder.ltS(0));
      f.set(remainder, remainder.shl(1));
      f.set(quotient, quotient.shl(1));
      f.br(again);
    });
  });
  return { remainder, quotient };
}

/** In the answer of a remainder: C0 and C3 are part of the result. */
export const QuotientBits = 0x10000;

/** C0, C3, C1 from the quotient's bits 2, 1 and 0. */
function quotientBits(quotient: I32): I32 {
  const c0 = quotient.shrU(2).and(1).shl(8);
  const c3 = quotient.shrU(1).and(1).shl(14);
  return quotient.and(1).shl(9).or(c0).or(c3).or(QuotientBits);
}

/** Moves the remainder to the nearest of zero and the divisor, as FPREM1 does. */
function toNearest(f: FunctionBuilder, a: Unpacked, b: Unpacked, d: Division): void {
  const above = f.let(b.significand.sub(d.remainder));
  const tie = d.remainder.eq(above).and(d.quotient.and(1));
  f.if(d.remainder.gtU(above).or(tie), () => {
    f.set(d.remainder, above);
    f.set(d.quotient, d.quotient.add(1));
    f.set(a.sign, a.sign.xor(1));
  });
}

/** a - b * quotient, the quotient truncated (FPREM) or to nearest (FPREM1); exact, so without precision control. */
function emitRemainder(f: FunctionBuilder, helper: HelperCall, nearest: boolean): void {
  const { dst, control, denormal, a, b } = head(f, helper);
  f.if(isInfinity(a).or(isZero(b)), () => invalid(f, dst));
  stopAtDenormal(f, denormal, control);
  const mode = f.let(control.or(Control.Extended));
  const finish = (exponent: I32, significand: I64, conditions: I32): void => {
    const flags = roundExt(helper, dst, a.sign, exponent, significand, i64(0), mode);
    f.return(flags.or(denormal).or(conditions));
  };
  f.if(isZero(a), () => {
    storeZero(f, dst, a.sign);
    f.return(denormal.or(QuotientBits));
  });
  rankDenormal(f, a);
  f.if(isInfinity(b), () => finish(a.exponent, a.significand, i32(QuotientBits)));
  rankDenormal(f, b);
  normaliseOperand(f, a);
  normaliseOperand(f, b);
  const distance = f.let(a.exponent.sub(b.exponent));
  f.if(distance.ltS(0), () => {
    if (nearest) {
      f.if(distance.eq(-1).and(a.significand.gtU(b.significand)), () => {
        f.set(a.sign, a.sign.xor(1));
        finish(a.exponent, b.significand.shl(1).sub(a.significand), quotientBits(i32(1)));
      });
    }
    finish(a.exponent, a.significand, i32(QuotientBits));
  });
  f.if(distance.geS(64), () => {
    const steps = f.let(distance.and(31).or(32));
    const { remainder } = divideSteps(f, a.significand, b.significand, steps);
    f.if(remainder.eqz(), () => {
      storeZero(f, dst, a.sign);
      f.return(denormal.or(QuotientBits | Status.C2));
    });
    finish(a.exponent.sub(steps), remainder, i32(QuotientBits | Status.C2));
  });
  const division = divideSteps(f, a.significand, b.significand, distance);
  const sign = f.let(a.sign);
  if (nearest) toNearest(f, a, b, division);
  const conditions = f.let(quotientBits(division.quotient));
  f.if(division.remainder.eqz(), () => {
    storeZero(f, dst, sign);
    f.return(denormal.or(conditions));
  });
  finish(b.exponent, division.remainder, conditions);
}

export const remainder = shared('prem', Params, (f, helper) => emitRemainder(f, helper, false));
export const remainderNearest = shared('prem1', Params, (f, helper) => emitRemainder(f, helper, true));

/** (to, a, control) -> exceptions: exponent of `a` at `to`, significand (with the sign) at `to` + 16. */
const extractValue = shared('xtract', ['i32', 'i32', 'i32'], (f, helper) => {
  const [dst, pointer, control] = [f.param('i32', 0), f.param('i32', 1), f.param('i32', 2)];
  const second = f.let(dst.add(16));
  const a = unpack(f, pointer);
  const denormal = f.let(screenUnary(helper, dst, pointer));
  f.if(denormal.and(Finished), () => {
    copyExt(f, second, dst);
    f.return(denormal.and(0xffff));
  });
  stopAtDenormal(f, denormal, control);
  f.if(isZero(a), () => {
    storeInfinity(f, dst, i32(1));
    copyExt(f, second, pointer);
    f.return(i32(Status.ZeroDivide));
  });
  f.if(isInfinity(a), () => {
    storeInfinity(f, dst, i32(0));
    copyExt(f, second, pointer);
    f.return(i32(0));
  });
  rankDenormal(f, a);
  normaliseOperand(f, a);
  f.drop(fromInteger(helper, dst, a.exponent.sub(Ext.Bias).toI64s()));
  storeExt(f, second, a.significand, a.sign.shl(15).or(Ext.Bias));
  f.return(denormal);
});

/** (cpu) -> 0: FXTRACT. */
export const extract = shared('stack.xtract', ['i32'], (f, helper) => {
  const cpu = f.param('i32', 0);
  const top = f.let(cpu.load32(Cpu.FpuTop));
  const tags = f.let(cpu.load32(Cpu.FpuTags));
  const control = f.let(cpu.load32(Cpu.FpuControl));
  const pointer = f.let(stackPointer(cpu, top, 0));
  const pushed = f.let(stackPointer(cpu, top, 7));
  const fault = (flags: number): void => {
    f.if(raiseFlags(helper, cpu, flags), () => f.return(i32(0)));
    storeIndefinite(f, pointer);
    storeIndefinite(f, pushed);
  };
  const flags = f.let(i32(0));
  f.if(
    isValid(tags, top, 0).eqz(),
    () => fault(StackUnderflow),
    () =>
      f.if(
        isValid(tags, top, 7),
        () => fault(StackOverflow),
        () => {
          const result = cpu.add(Slot.Spare);
          f.set(flags, extractValue(helper, result, pointer, control));
          f.drop(raiseFlags(helper, cpu, flags));
          f.if(unmasked(flags, control, BeforeResult), () => f.return(i32(0)));
          copyExt(f, pointer, result);
          copyExt(f, pushed, cpu.add(Slot.Spare2));
        },
      ),
  );
  markValid(f, cpu, 0);
  markValid(f, cpu, 7);
  f.store32(cpu, Cpu.FpuTop, top.sub(1).and(7));
  f.return(i32(0));
});
