/**
 * VCVTPH2PS and VCVTPS2PH (SDM Vol. 2C; SDM Vol. 1 §14.4 "Half-Precision Floating-Point Conversion"): half precision takes
 * no part in DAZ and FTZ; its denormals raise nothing.
 */
import { type I32, type I64, type Local, type V128, i32 } from '../../../engine/wasm/encoder/values.ts';
import type { Semantic } from './context.ts';
import { Mxcsr, addFlags, immediate, raiseSimd, sharedFunction, splatConstant, zero128 } from './simd-support.ts';
import { lane, withFlags } from './softfloat-arithmetic.ts';
import { roundingControl } from './softfloat-convert.ts';
import {
  Half,
  Single,
  buildRound,
  flushInput,
  isSignalling,
  loadMode,
  magnitude,
  normalise,
  noteDenormals,
  unpack,
} from './softfloat.ts';
import { requireAvx, vex, writeCleared } from './vex.ts';

const splat = (value: number | bigint): V128 => splatConstant(value, 32);

/** Leaves the exceptions of an instruction that may only be invalid. */
const invalidOnly = sharedFunction<I32>('f16c.invalid', ['i32'], 'i32', (f, shared) => {
  withFlags(f, shared, () => addFlags(f, f.param('i32', 0), Mxcsr.Invalid));
  f.return(i32(0));
});

/** Four halves: the exponent is adjusted by a multiplication, which also normalises denormals. */
const widenHalves: Semantic = (s) => {
  const x = s.let(s.op1.readV128().extendLowU16());
  const sign = x.and(splat(0x8000)).shl32(16);
  const size = s.let(x.and(splat(0x7fff)).shl32(13));
  const special = s.let(size.geS32(splat(Number(Half.infinity) << 13)));
  const finite = size.mulF32(splat((127 + 112) << 23));
  const nan = s.let(size.gtS32(splat(Number(Half.infinity) << 13)));
  const quiet = splat(Number(Single.quietBit));
  const wide = size.or(splat(Single.infinity)).or(nan.and(quiet));
  const signalling = nan.andNot(size.and(quiet).ne32(zero128));
  s.f.unlikely(signalling.anyTrue(), () => {
    s.f.drop(invalidOnly(s, s.cpu));
    raiseSimd(s);
  });
  s.op0.writeV128(wide.bitselect(finite, special).or(sign));
};

/** (cpu, sign, exponent, significand, MXCSR to round by): as roundAndPack. */
const roundHalf = sharedFunction<I64>('round.h', ['i32', 'i64', 'i64', 'i64', 'i32'], 'i64', (f) =>
  buildRound(f, Half, f.param('i32', 4)),
);

/** (cpu, single, immediate) -> half */
const narrowToHalf = sharedFunction<I64>('narrow.h', ['i32', 'i64', 'i32'], 'i64', (f, shared) => {
  const [cpu, x, control] = [f.param('i32', 0), f.param('i64', 1), f.param('i32', 2)];
  const mxcsr = loadMode(f, cpu);
  flushInput(f, mxcsr, x, Single);
  const sign = f.let(x.shrU(31));
  const size = f.let(magnitude(x, Single));
  f.if(size.gtU(Single.infinity), () => {
    f.if(isSignalling(x, Single), () => addFlags(f, cpu, Mxcsr.Invalid));
    const fraction = x.shrU(13).and(Half.quietBit - 1n);
    f.return(
      sign
        .shl(15)
        .or(fraction)
        .or(Half.infinity | Half.quietBit),
    );
  });
  f.if(size.eqz(), () => f.return(sign.shl(15)));
  f.if(size.eq(Single.infinity), () => f.return(sign.shl(15).or(Half.infinity)));
  noteDenormals(f, cpu, [x], Single);
  const number = unpack(f, x, Single);
  normalise(f, number);
  const exponent = number.exponent.sub(Single.bias - Half.bias);
  const rounding = roundingControl(mxcsr, control).shl(Mxcsr.RoundingShift);
  const mode = f.let(mxcsr.and(~(Mxcsr.Rounding | Mxcsr.FlushToZero)).or(rounding));
  f.return(f.let(roundHalf(shared, cpu, sign, exponent, number.significand.shl(10), mode)));
});

/** (cpu, four singles, four more, how many there are, immediate) -> halves */
function narrowVectors(count: 4 | 8) {
  return sharedFunction<V128>(`f16c.narrow.${count}`, ['i32', 'v128', 'v128', 'i32'], 'v128', (f, shared) => {
    const [cpu, low, high] = [f.param('i32', 0), f.param('v128', 1), f.param('v128', 2)];
    const control = f.param('i32', 3);
    const result = f.let<V128>(zero128);
    withFlags(f, shared, () => {
      for (let i = 0; i < count; i++) {
        const x = lane(i < 4 ? low : high, i % 4, Single);
        f.set(result, result.withLane16(i, f.let(narrowToHalf(shared, cpu, x, control)).toI32()));
      }
    });
    f.return(result);
  });
}
const narrowFour = narrowVectors(4);
const narrowEight = narrowVectors(8);

const narrowSingles: Semantic = (s) => {
  requireAvx(s);
  const control = immediate(s, s.op2);
  const wide = s.op1.bits === 256;
  const { low, high } = wide ? s.op1.readV256() : { low: s.op1.readV128(), high: s.let<V128>(zero128) };
  const result: Local<V128> = s.let((wide ? narrowEight : narrowFour)(s, s.cpu, low, high, control));
  // What is unmasked is raised before memory is written
  raiseSimd(s);
  writeCleared(s.op0, result);
};

export const f16cSemantics: Record<string, Semantic> = {
  VCVTPH2PS: vex(widenHalves, { widen: 2, float: true }),
  VCVTPS2PH: narrowSingles,
};
