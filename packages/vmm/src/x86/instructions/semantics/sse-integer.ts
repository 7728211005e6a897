/** Integer arithmetic, logic, comparisons, packing and shifts on XMM and MMX registers. */
import { type I32, type I64, type Local, type V128, i64 } from '../../../engine/wasm/encoder/values.ts';
import type { Semantic, Semantics } from './context.ts';
import {
  fromLow,
  immediate,
  readMmx,
  readXmm,
  requireMmx,
  requireSse,
  splatConstant,
  vectorBinary,
  vectorUnary,
  writeMmx,
  zero128,
} from './simd-support.ts';
import { byteNumbers, elements, lanes } from './sse-shuffle.ts';

type Op = (a: V128, b: V128) => V128;

/** Both low halves in one vector: MMX operands of an instruction that narrows or pairs. */
const joinLow: Op = (a, b) => a.shuffle(b, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);

/** Packs signed elements with saturation. */
const pack = (narrow: Op): Semantic => vectorBinary(narrow, (a, b) => narrow(joinLow(a, b), joinLow(a, b)));

const evenWords = elements(2, [0, 2, 4, 6, 8, 10, 12, 14]);
const oddWords = elements(2, [1, 3, 5, 7, 9, 11, 13, 15]);
const evenDwords = elements(4, [0, 2, 4, 6]);
const oddDwords = elements(4, [1, 3, 5, 7]);

/** op of neighbours: first those of a, then those of b. */
function horizontal(even: readonly number[], odd: readonly number[], op: Op): Semantic {
  const combine: Op = (a, b) => op(a.shuffle(b, even), a.shuffle(b, odd));
  return vectorBinary(combine, (a, b) => combine(joinLow(a, b), zero128));
}

/** High halves of 16-bit products. */
const highProducts =
  (low: Op, high: Op): Op =>
  (a, b) =>
    low(a, b).shuffle(high(a, b), oddWords);
const mulHighS = highProducts((a, b) => a.extmulLowS16(b), (a, b) => a.extmulHighS16(b)); // prettier-ignore
const mulHighU = highProducts((a, b) => a.extmulLowU16(b), (a, b) => a.extmulHighU16(b)); // prettier-ignore

/** Products of the even 32-bit elements. */
const evenProducts =
  (multiply: Op): Op =>
  (a, b) =>
    multiply(a.shuffle(a, evenDwords), b.shuffle(b, evenDwords));

const absoluteDifference: Op = (a, b) => a.subSatU8(b).or(b.subSatU8(a));

/** Sum of eight bytes in each half. */
const sumOfDifferences: Op = (a, b) => {
  const difference = absoluteDifference(a, b);
  const ones = splatConstant(1, 16);
  const low = difference.extendLowU8().dotS16(ones);
  const high = difference.extendHighU8().dotS16(ones);
  const pairs = low.shuffle(high, evenDwords).add32(low.shuffle(high, oddDwords));
  const sums = pairs.add32(pairs.shuffle(pairs, elements(4, [1, 0, 3, 2])));
  return sums.shuffle(zero128, elements(4, [0, 4, 2, 4]));
};

/** Unsigned bytes of a times signed bytes of b, pairs added with saturation. */
const multiplyAddBytes: Op = (a, b) => {
  const even = a.and(splatConstant(0xff, 16)).mul16(b.shl16(8).shrS16(8));
  const odd = a.shrU16(8).mul16(b.shrS16(8));
  return even.addSatS16(odd);
};

/** q15mulr saturates the one product that overflows. */
const multiplyRoundScale: Op = (a, b) => {
  const least = splatConstant(0x8000, 16);
  return a.q15mulrSatS(b).xor(a.eq16(least).and(b.eq16(least)));
};

interface SignLanes {
  negative: (x: V128) => V128;
  isZero: (x: V128) => V128;
  sub: Op;
}

/** a with b's sign, zero where b is zero. */
const applySign =
  ({ negative, isZero, sub }: SignLanes): Op =>
  (a, b) =>
    sub(a.xor(negative(b)), negative(b)).andNot(isZero(b));

type ShiftOp = (x: V128, count: I32) => V128;

/** PSLLx, PSRLx, PSRAx by an immediate or the low 64 bits of a vector. */
function shift(width: 16 | 32 | 64, op: ShiftOp, arithmetic = false): Semantic {
  const apply = (s: Semantics, x: V128, count: Local<I64>): V128 => {
    const within = s.let(count.ltU(width));
    const clamped = s.let(within.select<I64>(count, i64(width - 1)).toI32());
    return arithmetic ? op(x, clamped) : within.select<V128>(op(x, clamped), zero128);
  };
  return (s) => {
    const { op0, op1 } = s;
    const byImmediate = op1.kind === 'gpr' || op1.kind === 'immediate';
    if (op0.kind === 'mmx') {
      requireMmx(s);
      const count = byImmediate ? op1.readUnsigned(8) : readMmx(op1);
      writeMmx(s, op0, apply(s, fromLow(readMmx(op0)), count).lane64(0));
      return;
    }
    requireSse(s);
    const count = byImmediate ? op1.readUnsigned(8) : s.let(readXmm(op1).lane64(0));
    op0.writeV128(apply(s, op0.readV128(), count));
  };
}

/** ZF: no common bit; CF: no bit of the second operand outside the first. */
const ptest: Semantic = (s) => {
  requireSse(s);
  const b = readXmm(s.op1);
  const a = s.op0.readV128();
  const zero = b.and(a).anyTrue().eqz();
  const carry = b.andNot(a).anyTrue().eqz();
  s.flags.load(zero.shl(6).or(carry));
};

/** Position and value of the least unsigned word. */
const minimumPosition = vectorUnary((a, s) => {
  const numbered = (x: V128, first: number): V128 => x.shl32(3).or(lanes(4, [first, first + 1, first + 2, first + 3]));
  const fold = (x: Local<V128>, order: readonly number[]) => s.let(x.minU32(x.shuffle(x, elements(4, order))));
  const four = s.let(numbered(a.extendLowU16(), 0).minU32(numbered(a.extendHighU16(), 4)));
  const best = s.let(fold(fold(four, [2, 3, 0, 1]), [1, 0, 3, 2]).lane32(0));
  return fromLow(best.shrU(3).or(best.and(7).shl(16)).toI64u());
});

/** Immediate: bits 0 and 1 the group of four bytes of b, bit 2 where the eleven bytes of a start, in groups of four. */
const multipleDifferences: Semantic = (s) => {
  requireSse(s);
  const source = readXmm(s.op1);
  const destination = s.op0.readV128();
  const control = immediate(s, s.op2);
  const from = (first: I32): V128 => byteNumbers.addSatU8(first.splat8());
  const a = s.let(destination.swizzle(from(control.and(4))));
  const b = s.let(source.swizzle(from(control.and(3).shl(2))));
  const sum = s.let<V128>(zero128);
  for (let i = 0; i < 4; i++) {
    const shifted = a.shuffle(
      zero128,
      Array.from({ length: 16 }, (_, k) => Math.min(k + i, 16)),
    );
    const difference = shifted.extendLowU8().sub16(b.lane8u(i).splat16()).abs16();
    s.f.set(sum, sum.add16(difference));
  }
  s.op0.writeV128(sum);
};

export const sseIntegerSemantics: Record<string, Semantic> = {
  PADDB: vectorBinary((a, b) => a.add8(b)),
  PADDW: vectorBinary((a, b) => a.add16(b)),
  PADDD: vectorBinary((a, b) => a.add32(b)),
  PADDQ: vectorBinary((a, b) => a.add64(b)),
  PADDSB: vectorBinary((a, b) => a.addSatS8(b)),
  PADDSW: vectorBinary((a, b) => a.addSatS16(b)),
  PADDUSB: vectorBinary((a, b) => a.addSatU8(b)),
  PADDUSW: vectorBinary((a, b) => a.addSatU16(b)),
  PSUBB: vectorBinary((a, b) => a.sub8(b)),
  PSUBW: vectorBinary((a, b) => a.sub16(b)),
  PSUBD: vectorBinary((a, b) => a.sub32(b)),
  PSUBQ: vectorBinary((a, b) => a.sub64(b)),
  PSUBSB: vectorBinary((a, b) => a.subSatS8(b)),
  PSUBSW: vectorBinary((a, b) => a.subSatS16(b)),
  PSUBUSB: vectorBinary((a, b) => a.subSatU8(b)),
  PSUBUSW: vectorBinary((a, b) => a.subSatU16(b)),
  PMULLW: vectorBinary((a, b) => a.mul16(b)),
  PMULLD: vectorBinary((a, b) => a.mul32(b)),
  PMULHW: vectorBinary(mulHighS),
  PMULHUW: vectorBinary(mulHighU),
  PMULHRSW: vectorBinary(multiplyRoundScale),
  PMULUDQ: vectorBinary(evenProducts((a, b) => a.extmulLowU32(b))),
  PMULDQ: vectorBinary(evenProducts((a, b) => a.extmulLowS32(b))),
  PMADDWD: vectorBinary((a, b) => a.dotS16(b)),
  PMADDUBSW: vectorBinary(multiplyAddBytes),
  PSADBW: vectorBinary(sumOfDifferences),
  MPSADBW: multipleDifferences,
  PAVGB: vectorBinary((a, b) => a.avgrU8(b)),
  PAVGW: vectorBinary((a, b) => a.avgrU16(b)),
  PMINUB: vectorBinary((a, b) => a.minU8(b)),
  PMINUW: vectorBinary((a, b) => a.minU16(b)),
  PMINUD: vectorBinary((a, b) => a.minU32(b)),
  PMINSB: vectorBinary((a, b) => a.minS8(b)),
  PMINSW: vectorBinary((a, b) => a.minS16(b)),
  PMINSD: vectorBinary((a, b) => a.minS32(b)),
  PMAXUB: vectorBinary((a, b) => a.maxU8(b)),
  PMAXUW: vectorBinary((a, b) => a.maxU16(b)),
  PMAXUD: vectorBinary((a, b) => a.maxU32(b)),
  PMAXSB: vectorBinary((a, b) => a.maxS8(b)),
  PMAXSW: vectorBinary((a, b) => a.maxS16(b)),
  PMAXSD: vectorBinary((a, b) => a.maxS32(b)),
  PHMINPOSUW: minimumPosition,
  PABSB: vectorUnary((a) => a.abs8()),
  PABSW: vectorUnary((a) => a.abs16()),
  PABSD: vectorUnary((a) => a.abs32()),
  PSIGNB: vectorBinary(
    applySign({ negative: (x) => x.shrS8(7), isZero: (x) => x.eq8(zero128), sub: (a, b) => a.sub8(b) }),
  ),
  PSIGNW: vectorBinary(
    applySign({ negative: (x) => x.shrS16(15), isZero: (x) => x.eq16(zero128), sub: (a, b) => a.sub16(b) }),
  ),
  PSIGND: vectorBinary(
    applySign({ negative: (x) => x.shrS32(31), isZero: (x) => x.eq32(zero128), sub: (a, b) => a.sub32(b) }),
  ),
  PHADDW: horizontal(evenWords, oddWords, (a, b) => a.add16(b)),
  PHADDD: horizontal(evenDwords, oddDwords, (a, b) => a.add32(b)),
  PHADDSW: horizontal(evenWords, oddWords, (a, b) => a.addSatS16(b)),
  PHSUBW: horizontal(evenWords, oddWords, (a, b) => a.sub16(b)),
  PHSUBD: horizontal(evenDwords, oddDwords, (a, b) => a.sub32(b)),
  PHSUBSW: horizontal(evenWords, oddWords, (a, b) => a.subSatS16(b)),
  PCMPEQB: vectorBinary((a, b) => a.eq8(b)),
  PCMPEQW: vectorBinary((a, b) => a.eq16(b)),
  PCMPEQD: vectorBinary((a, b) => a.eq32(b)),
  PCMPEQQ: vectorBinary((a, b) => a.eq64(b)),
  PCMPGTB: vectorBinary((a, b) => a.gtS8(b)),
  PCMPGTW: vectorBinary((a, b) => a.gtS16(b)),
  PCMPGTD: vectorBinary((a, b) => a.gtS32(b)),
  PCMPGTQ: vectorBinary((a, b) => a.gtS64(b)),
  PACKSSWB: pack((a, b) => a.narrowS16to8(b)),
  PACKUSWB: pack((a, b) => a.narrowU16to8(b)),
  PACKSSDW: pack((a, b) => a.narrowS32to16(b)),
  PACKUSDW: pack((a, b) => a.narrowU32to16(b)),
  PSLLW: shift(16, (x, count) => x.shl16(count)),
  PSLLD: shift(32, (x, count) => x.shl32(count)),
  PSLLQ: shift(64, (x, count) => x.shl64(count)),
  PSRLW: shift(16, (x, count) => x.shrU16(count)),
  PSRLD: shift(32, (x, count) => x.shrU32(count)),
  PSRLQ: shift(64, (x, count) => x.shrU64(count)),
  PSRAW: shift(16, (x, count) => x.shrS16(count), true),
  PSRAD: shift(32, (x, count) => x.shrS32(count), true),
  PTEST: ptest,
};

/** Bitwise logic: one operation for the integer, single and double forms. */
const logic: Readonly<Record<string, Op>> = {
  AND: (a, b) => a.and(b),
  ANDN: (a, b) => b.andNot(a),
  OR: (a, b) => a.or(b),
  XOR: (a, b) => a.xor(b),
};
for (const [name, op] of Object.entries(logic)) {
  for (const mnemonic of [`P${name}`, `${name}PS`, `${name}PD`]) sseIntegerSemantics[mnemonic] = vectorBinary(op);
}
