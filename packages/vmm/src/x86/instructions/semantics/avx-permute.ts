/** AVX and AVX2: permutations, blends of doublewords, shifts by a count for each element. */
import { type I32, type I64, type Local, type V128, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import { immediate, splatConstant, zero128 } from './simd-support.ts';
import { blendByImmediate, chosenLanes32, selectors32 } from './sse-shuffle.ts';
import { requireAvx, vex } from './vex.ts';

/** Byte selectors of doublewords by the low bits of each of `indices`, `count` of them being there. */
const dwordSelectors = (indices: V128, count: 4 | 8): V128 =>
  indices
    .and(splatConstant(count - 1, 32))
    .mul32(splatConstant(0x04040404, 32))
    .add32(splatConstant(0x03020100, 32));

/** Bit 1 of each quadword names one of two. */
const qwordSelectors = (control: V128): V128 =>
  control
    .shrU64(1)
    .and(splatConstant(1, 64))
    .mul64(splatConstant(0x0808080808080808n, 64))
    .add64(splatConstant(0x0706050403020100n, 64));

/** An operation of a first source and a second, within 128 bits. */
const within = (op: (a: Local<V128>, b: Local<V128>, s: Semantics) => V128): Semantic =>
  vex((s) => s.op0.writeV128(op(s.op0.readV128(), s.op1.readV128(), s)), { fold: true });

/** The same with an immediate in place of the second source. */
const withinByImmediate = (op: (a: Local<V128>, control: Local<I32>) => V128, immediateShift: number): Semantic =>
  vex((s) => s.op0.writeV128(op(s.op1.readV128(), immediate(s, s.op2))), { immediateShift });

const byEither =
  (byVector: Semantic, byImmediate: Semantic): Semantic =>
  (s) =>
    (s.op2.kind === 'immediate' ? byImmediate : byVector)(s);

const permuteSingles = byEither(
  within((a, b) => a.swizzle(dwordSelectors(b, 4))),
  withinByImmediate((a, control) => a.swizzle(selectors32(control)), 0),
);

const permuteDoubles = byEither(
  within((a, b) => a.swizzle(qwordSelectors(b))),
  withinByImmediate((a, control) => {
    const lane = (bit: number): I64 => control.and(bit).select<I64>(a.lane64(1), a.lane64(0));
    return lane(1).splat64().withLane64(1, lane(2));
  }, 2),
);

/** Of a 256-bit source, by indices in a register. */
const permuteAcross: Semantic = (s) => {
  requireAvx(s);
  const table = s.op2.readV256();
  const indices = s.op1.readV256();
  const pick = (half: V128): Local<V128> => {
    const selectors = s.let(dwordSelectors(half, 8));
    return s.let(table.low.swizzle(selectors).or(table.high.swizzle(selectors.sub8(splatConstant(16, 8)))));
  };
  s.op0.writeV256(pick(indices.low), pick(indices.high));
};

/** Quadwords by two bits each of the immediate. */
const permuteQwords: Semantic = (s) => {
  requireAvx(s);
  const { low, high } = s.op1.readV256();
  const control = immediate(s, s.op2);
  const pick = (index: number): I64 => {
    const half = s.let(control.and(2 << (2 * index)).select<V128>(high, low));
    return control.and(1 << (2 * index)).select<I64>(half.lane64(1), half.lane64(0));
  };
  const pair = (first: number): Local<V128> =>
    s.let(
      pick(first)
        .splat64()
        .withLane64(1, pick(first + 1)),
    );
  s.op0.writeV256(pair(0), pair(2));
};

/** Immediate: for each half of the result two bits that choose one of four, and bit 3 that clears it. */
const permuteHalves: Semantic = (s) => {
  requireAvx(s);
  const b = s.op2.readV256();
  const a = s.op1.readV256();
  const control = immediate(s, s.operands[3] as Operand);
  const pick = (shift: number): Local<V128> => {
    const bit = (mask: number): I32 => control.and(mask << shift);
    const first = bit(1).select<V128>(a.high, a.low);
    const second = bit(1).select<V128>(b.high, b.low);
    return s.let(bit(8).select<V128>(zero128, bit(2).select<V128>(second, first)));
  };
  s.op0.writeV256(pick(0), pick(4));
};

type Shift = 'shl' | 'shrU' | 'shrS';

/** Counts that are too large give zeros or copies of the sign. */
const shiftDwords = (direction: Shift): Semantic =>
  within((a, b, s) => {
    let result: V128 = a;
    for (let i = 0; i < 4; i++) {
      const count = s.let(b.lane32(i));
      const shifted = a.lane32(i)[direction](direction === 'shrS' ? count.ltU(31).select<I32>(count, i32(31)) : count);
      result = result.withLane32(i, direction === 'shrS' ? shifted : count.ltU(32).select<I32>(shifted, i32(0)));
    }
    return result;
  });

const shiftQwords = (direction: 'shl' | 'shrU'): Semantic =>
  within((a, b, s) => {
    let result: V128 = a;
    for (let i = 0; i < 2; i++) {
      const count = s.let(b.lane64(i));
      const shifted = a.lane64(i)[direction](count);
      result = result.withLane64(i, count.ltU(64).select<I64>(shifted, i64(0)));
    }
    return result;
  });

export const avxPermuteSemantics: Record<string, Semantic> = {
  VPERMILPS: permuteSingles,
  VPERMILPD: permuteDoubles,
  VPERMD: permuteAcross,
  VPERMPS: permuteAcross,
  VPERMQ: permuteQwords,
  VPERMPD: permuteQwords,
  VPERM2F128: permuteHalves,
  VPERM2I128: permuteHalves,
  VPBLENDD: vex(blendByImmediate(chosenLanes32), { fold: true, immediateShift: 4 }),
  VPSLLVD: shiftDwords('shl'),
  VPSRLVD: shiftDwords('shrU'),
  VPSRAVD: shiftDwords('shrS'),
  VPSLLVQ: shiftQwords('shl'),
  VPSRLVQ: shiftQwords('shrU'),
};
