/** AVX and AVX2: moves, sign masks, tests, broadcasts, and what clears registers. */
import { type I32, type V128 } from '../../../engine/wasm/encoder/values.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import { zero128 } from './simd-support.ts';
import { readHalves, requireAvx, writeCleared, writeHalves } from './vex.ts';

function move(s: Semantics): void {
  const { low, high } = readHalves(s, s.op1);
  writeHalves(s, s.op0, low, high);
}

const unaligned: Semantic = (s) => {
  requireAvx(s);
  move(s);
};

/** Memory is aligned to its size. */
const aligned: Semantic = (s) => {
  requireAvx(s);
  for (const operand of [s.op0, s.op1]) if (operand.kind === 'memory') operand.requireAligned(operand.bits / 8);
  move(s);
};

/** Sign bits of `count` lanes in each half into a general register. */
const signMask =
  (bitmask: (x: V128) => I32, count: number): Semantic =>
  (s) => {
    requireAvx(s);
    const { low, high } = readHalves(s, s.op1);
    const lower = bitmask(low);
    s.op0.write((s.op1.bits === 256 ? lower.or(bitmask(high).shl(count)) : lower).toI64u(), 32);
  };

/** ZF: no chosen bit in both; CF: no chosen bit of the second operand that is not in the first. */
const test =
  (any: (x: V128) => I32): Semantic =>
  (s) => {
    requireAvx(s);
    const b = readHalves(s, s.op1);
    const a = readHalves(s, s.op0);
    const both = any(b.low.and(a.low).or(b.high.and(a.high)));
    const only = any(b.low.andNot(a.low).or(b.high.andNot(a.high)));
    s.flags.load(both.eqz().shl(6).or(only.eqz()));
  };

/** The lowest element of a register, or memory of its size, in all elements. */
const broadcast =
  (size: 8 | 16 | 32 | 64): Semantic =>
  (s) => {
    requireAvx(s);
    const value = s.op1.kind === 'memory' ? s.op1.readUnsigned(size) : s.op1.readUnsigned(64);
    const low = value.toI32();
    const all = s.let(
      size === 64 ? value.splat64() : size === 32 ? low.splat32() : size === 16 ? low.splat16() : low.splat8(),
    );
    writeHalves(s, s.op0, all, all);
  };

const broadcastHalf: Semantic = (s) => {
  requireAvx(s);
  const value = s.op1.readV128();
  s.op0.writeV256(value, value);
};

/** Outside of 64-bit code there are eight registers. */
const registerCount = (s: Semantics): number => (s.form.codeSize === 64 ? 16 : 8);

const zeroUpper: Semantic = (s) => {
  requireAvx(s);
  for (let i = 0; i < registerCount(s); i++) s.setYmmHigh(i, zero128);
};

const zeroAll: Semantic = (s) => {
  requireAvx(s);
  for (let i = 0; i < registerCount(s); i++) {
    s.setXmm(i, zero128);
    s.setYmmHigh(i, zero128);
  }
};

/** The half that bit 0 of the immediate names. */
const extractHalf: Semantic = (s) => {
  requireAvx(s);
  const { low, high } = s.op1.readV256();
  const upper = s.op2.readUnsigned(8).toI32().and(1);
  writeCleared(s.op0, s.let(upper.select<V128>(high, low)));
};

const insertHalf: Semantic = (s) => {
  requireAvx(s);
  const value = s.op2.readV128();
  const { low, high } = s.op1.readV256();
  const upper = s.let((s.operands[3] as Operand).readUnsigned(8).toI32().and(1));
  s.op0.writeV256(upper.select<V128>(low, value), upper.select<V128>(value, high));
};

export const avxMoveSemantics: Record<string, Semantic> = {
  VMOVAPS: aligned,
  VMOVAPD: aligned,
  VMOVDQA: aligned,
  VMOVNTPS: aligned,
  VMOVNTPD: aligned,
  VMOVNTDQ: aligned,
  VMOVNTDQA: aligned,
  VMOVUPS: unaligned,
  VMOVUPD: unaligned,
  VMOVDQU: unaligned,
  VLDDQU: unaligned,
  VMOVMSKPS: signMask((x) => x.bitmask32(), 4),
  VMOVMSKPD: signMask((x) => x.bitmask64(), 2),
  VPMOVMSKB: signMask((x) => x.bitmask8(), 16),
  VPTEST: test((x) => x.anyTrue()),
  VTESTPS: test((x) => x.bitmask32().ne(0)),
  VTESTPD: test((x) => x.bitmask64().ne(0)),
  VBROADCASTSS: broadcast(32),
  VBROADCASTSD: broadcast(64),
  VBROADCASTF128: broadcastHalf,
  VBROADCASTI128: broadcastHalf,
  VPBROADCASTB: broadcast(8),
  VPBROADCASTW: broadcast(16),
  VPBROADCASTD: broadcast(32),
  VPBROADCASTQ: broadcast(64),
  VEXTRACTF128: extractHalf,
  VEXTRACTI128: extractHalf,
  VINSERTF128: insertHalf,
  VINSERTI128: insertHalf,
  VZEROUPPER: zeroUpper,
  VZEROALL: zeroAll,
};
