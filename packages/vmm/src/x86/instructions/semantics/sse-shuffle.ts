/**
 * Shuffles, unpacks, blends, insertions and extractions. Where an immediate selects, the byte selectors of a swizzle are
 * computed from it.
 */
import { type I32, type I64, type Local, type V128, i32, v128 } from '../../../engine/wasm/encoder/values.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import {
  type Binary,
  enterMmx,
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
} from './simd-support.ts';

/** A constant of lanes from a list. */
export function lanes(size: 1 | 2 | 4 | 8, values: readonly number[]): V128 {
  const view = new DataView(new ArrayBuffer(16));
  values.forEach((value, i) => {
    if (size === 8) view.setBigUint64(i * 8, BigInt(value), true);
    else if (size === 4) view.setUint32(i * 4, value, true);
    else if (size === 2) view.setUint16(i * 2, value, true);
    else view.setUint8(i, value);
  });
  return v128(view.getBigInt64(0, true), view.getBigInt64(8, true));
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
export const byteNumbers = lanes(1, upTo(16));

/** Byte indices of `size`-byte elements, for a shuffle. */
export const elements = (size: number, list: readonly number[]): number[] =>
  list.flatMap((element) => upTo(size).map((i) => element * size + i));

/** Interleaves elements of the low (or high) halves. `half` is the number of elements in one. */
function unpack(size: number, highHalf: boolean, total = 16): Binary {
  const half = total / size / 2;
  const order = upTo(half).flatMap((i) => {
    const element = highHalf ? half + i : i;
    return [element, element + 16 / size];
  });
  const list = elements(size, order);
  const padded = [...list, ...upTo(16 - list.length)];
  return (a, b) => a.shuffle(b, padded);
}

const unpackSemantic = (size: number, highHalf: boolean): Semantic =>
  vectorBinary(unpack(size, highHalf), unpack(size, highHalf, 8));

const shuffleUnary = (size: number, list: readonly number[]): Semantic => {
  const order = elements(size, list);
  return vectorUnary((a) => a.shuffle(a, order));
};

/** Selectors of four 32-bit elements by four times two bits of the immediate. */
export function selectors32(control: I32): V128 {
  const chosen = control
    .splat32()
    .mul32(lanes(4, [64, 16, 4, 1]))
    .shrU32(6)
    .and(splatConstant(3, 32));
  return chosen.mul32(splatConstant(0x04040404, 32)).add32(splatConstant(0x03020100, 32));
}

/** Selectors of four 16-bit elements in the half that `base` bytes start, the other half staying. */
function selectors16(control: I32, highHalf: boolean): V128 {
  const chosen = control
    .splat16()
    .mul16(lanes(2, [64, 16, 4, 1, 64, 16, 4, 1]))
    .shrU16(6)
    .and(splatConstant(3, 16));
  const moved = chosen.mul16(splatConstant(0x0202, 16)).add16(splatConstant(highHalf ? 0x0908 : 0x0100, 16));
  const half = highHalf ? v128(0n, -1n) : v128(-1n, 0n);
  return moved.bitselect(byteNumbers, half);
}

function shuffleByImmediate(selectors: (control: I32) => V128): Semantic {
  return (s) => {
    requireSse(s);
    const a = readXmm(s.op1);
    s.op0.writeV128(a.swizzle(selectors(immediate(s, s.op2))));
  };
}

const shuffleMmxWords: Semantic = (s) => {
  requireMmx(s);
  const a = fromLow(readMmx(s.op1));
  writeMmx(s, s.op0, a.swizzle(selectors16(immediate(s, s.op2), false)).lane64(0));
};

/** A three-operand instruction on XMM registers with an immediate. */
function withImmediate(op: (a: Local<V128>, b: Local<V128>, control: Local<I32>, s: Semantics) => V128): Semantic {
  return (s) => {
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    s.op0.writeV128(op(a, b, immediate(s, s.op2), s));
  };
}

const shufps = withImmediate((a, b, control, s) => {
  const chosen = s.let(selectors32(control));
  return a.swizzle(chosen).shuffle(b.swizzle(chosen), [...upTo(8), ...upTo(8).map((i) => 24 + i)]);
});

const shufpd = withImmediate((a, b, control) => {
  const half = (x: V128, bit: number): I64 => control.and(bit).select(x.lane64(1), x.lane64(0));
  return half(a, 1).splat64().withLane64(1, half(b, 2));
});

/** Byte selectors `shift` to `shift` + 15; those past the end give zero. */
const selectorsFrom = (shift: I32): V128 => byteNumbers.addSatU8(shift.splat8());

const palignr: Semantic = (s) => {
  if (s.op0.kind === 'mmx') {
    requireMmx(s);
    const b = readMmx(s.op1);
    const both = fromLow(b).withLane64(1, readMmx(s.op0));
    writeMmx(s, s.op0, both.swizzle(selectorsFrom(immediate(s, s.op2))).lane64(0));
    return;
  }
  requireSse(s);
  const b = readXmm(s.op1);
  const a = s.op0.readV128();
  const shift = immediate(s, s.op2);
  const upper = byteNumbers.add8(shift.sub(16).splat8());
  s.op0.writeV128(b.swizzle(selectorsFrom(shift)).or(a.swizzle(upper)));
};

/** PSLLDQ, PSRLDQ. */
const shiftBytes =
  (left: boolean): Semantic =>
  (s) => {
    requireSse(s);
    const count = immediate(s, s.op1);
    const a = s.op0.readV128();
    const selectors = left
      ? byteNumbers.sub8(count.ltU(16).select<I32>(count, i32(16)).splat8())
      : selectorsFrom(count);
    s.op0.writeV128(a.swizzle(selectors));
  };

const pshufb = vectorBinary(
  (a, b) => a.swizzle(b.and(splatConstant(0x8f, 8))),
  (a, b) => a.swizzle(b.and(splatConstant(0x87, 8))),
);

/** Lanes whose bit in the immediate is set, as ones. */
export const chosenLanes32 = (control: I32): V128 =>
  control
    .splat32()
    .and(lanes(4, [1, 2, 4, 8]))
    .eq32(lanes(4, [1, 2, 4, 8]));
const chosenLanes64 = (control: I32): V128 =>
  control
    .toI64u()
    .splat64()
    .and(lanes(8, [1, 2]))
    .eq64(lanes(8, [1, 2]));
const wordBits = lanes(2, upTo(8).map((i) => 1 << i)); // prettier-ignore
const chosenLanes16 = (control: I32): V128 => control.splat16().and(wordBits).eq16(wordBits);

export const blendByImmediate = (chosen: (control: I32) => V128): Semantic =>
  withImmediate((a, b, control) => b.bitselect(a, chosen(control)));

/** Blends by the signs of the third operand's lanes: XMM0's, or with VEX another register's. */
const blendBySigns =
  (signs: (mask: V128) => V128): Semantic =>
  (s) => {
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    s.op0.writeV128(b.bitselect(a, signs(s.op2.readV128())));
  };

type ElementSize = 8 | 16 | 32 | 64;

/** Element `index` of a vector, zero-extended; the index is taken modulo the number of elements. */
function element(x: V128, size: ElementSize, index: I32): I64 {
  const first = index.and(128 / size - 1).mul(size / 8);
  return x.swizzle(selectorsFrom(first)).lane64(0).zeroExtend(size);
}

/** The vector with element `index` replaced. */
function withElement(x: V128, size: ElementSize, index: I32, value: I64): V128 {
  const numbers = upTo(128 / size);
  switch (size) {
    case 8:
      return value
        .toI32()
        .splat8()
        .bitselect(x, index.and(15).splat8().eq8(lanes(1, numbers)));
    case 16:
      return value
        .toI32()
        .splat16()
        .bitselect(x, index.and(7).splat16().eq16(lanes(2, numbers)));
    case 32:
      return value
        .toI32()
        .splat32()
        .bitselect(x, index.and(3).splat32().eq32(lanes(4, numbers)));
    case 64:
      return value.splat64().bitselect(x, index.and(1).toI64u().splat64().eq64(lanes(8, numbers)));
    default:
      return size satisfies never;
  }
}

/** PINSRx: from a general register or memory. */
const insert =
  (sizeOf: (source: Operand) => ElementSize): Semantic =>
  (s) => {
    const { op0, op1, op2 } = s;
    const size = sizeOf(op1);
    if (op0.kind === 'mmx') {
      requireMmx(s);
      const value = op1.readUnsigned(size);
      const index = s.let(immediate(s, op2).and(3));
      writeMmx(s, op0, withElement(fromLow(readMmx(op0)), size, index, value).lane64(0));
      return;
    }
    requireSse(s);
    const value = op1.readUnsigned(size);
    op0.writeV128(withElement(op0.readV128(), size, immediate(s, op2), value));
  };

/** PEXTRx, EXTRACTPS: to a general register, which is zero-extended, or memory. */
const extract =
  (sizeOf: (destination: Operand) => ElementSize): Semantic =>
  (s) => {
    const { op0, op1, op2 } = s;
    const size = sizeOf(op0);
    const width = op0.kind === 'memory' ? size : 64;
    if (op1.kind === 'mmx') {
      requireMmx(s);
      const value = s.let(element(fromLow(readMmx(op1)), size, immediate(s, op2).and(3)));
      enterMmx(s);
      op0.write(value, width);
      return;
    }
    requireSse(s);
    op0.write(element(op1.readV128(), size, immediate(s, op2)), width);
  };

const dwordOrQword = (operand: Operand): 32 | 64 => (operand.bits === 64 ? 64 : 32);

/** Immediate: bits 6 and 7 the source element (of a register), 4 and 5 the destination, 0 to 3 elements to clear. */
const insertps: Semantic = (s) => {
  requireSse(s);
  const control = immediate(s, s.op2);
  const source = s.op1.readV128();
  const value = s.op1.kind === 'memory' ? source.lane64(0) : element(source, 32, control.shrU(6));
  const inserted = withElement(s.op0.readV128(), 32, control.shrU(4), value);
  s.op0.writeV128(inserted.andNot(chosenLanes32(control)));
};

/** PMOVSX, PMOVZX: `steps` are applied to the source in turn. */
const widen = (...steps: ((x: V128) => V128)[]): Semantic =>
  vectorUnary((a) => steps.reduce<V128>((x, step) => step(x), a));
const s8 = (x: V128): V128 => x.extendLowS8();
const s16 = (x: V128): V128 => x.extendLowS16();
const s32 = (x: V128): V128 => x.extendLowS32();
const u8 = (x: V128): V128 => x.extendLowU8();
const u16 = (x: V128): V128 => x.extendLowU16();
const u32 = (x: V128): V128 => x.extendLowU32();

export const sseShuffleSemantics: Record<string, Semantic> = {
  PUNPCKLBW: unpackSemantic(1, false),
  PUNPCKLWD: unpackSemantic(2, false),
  PUNPCKLDQ: unpackSemantic(4, false),
  PUNPCKLQDQ: unpackSemantic(8, false),
  PUNPCKHBW: unpackSemantic(1, true),
  PUNPCKHWD: unpackSemantic(2, true),
  PUNPCKHDQ: unpackSemantic(4, true),
  PUNPCKHQDQ: unpackSemantic(8, true),
  UNPCKLPS: unpackSemantic(4, false),
  UNPCKHPS: unpackSemantic(4, true),
  UNPCKLPD: unpackSemantic(8, false),
  UNPCKHPD: unpackSemantic(8, true),
  MOVSLDUP: shuffleUnary(4, [0, 0, 2, 2]),
  MOVSHDUP: shuffleUnary(4, [1, 1, 3, 3]),
  MOVDDUP: shuffleUnary(8, [0, 0]),
  PSHUFD: shuffleByImmediate(selectors32),
  PSHUFLW: shuffleByImmediate((control) => selectors16(control, false)),
  PSHUFHW: shuffleByImmediate((control) => selectors16(control, true)),
  PSHUFW: shuffleMmxWords,
  PSHUFB: pshufb,
  SHUFPS: shufps,
  SHUFPD: shufpd,
  PALIGNR: palignr,
  PSLLDQ: shiftBytes(true),
  PSRLDQ: shiftBytes(false),
  BLENDPS: blendByImmediate(chosenLanes32),
  BLENDPD: blendByImmediate(chosenLanes64),
  PBLENDW: blendByImmediate(chosenLanes16),
  BLENDVPS: blendBySigns((mask) => mask.shrS32(31)),
  BLENDVPD: blendBySigns((mask) => mask.shrS64(63)),
  PBLENDVB: blendBySigns((mask) => mask.shrS8(7)),
  PINSRB: insert(() => 8),
  PINSRW: insert(() => 16),
  PINSRD: insert(dwordOrQword),
  PEXTRB: extract(() => 8),
  PEXTRW: extract(() => 16),
  PEXTRD: extract(dwordOrQword),
  EXTRACTPS: extract(() => 32),
  INSERTPS: insertps,
  PMOVSXBW: widen(s8),
  PMOVSXBD: widen(s8, s16),
  PMOVSXBQ: widen(s8, s16, s32),
  PMOVSXWD: widen(s16),
  PMOVSXWQ: widen(s16, s32),
  PMOVSXDQ: widen(s32),
  PMOVZXBW: widen(u8),
  PMOVZXBD: widen(u8, u16),
  PMOVZXBQ: widen(u8, u16, u32),
  PMOVZXWD: widen(u16),
  PMOVZXWQ: widen(u16, u32),
  PMOVZXDQ: widen(u32),
};
