/** Operand values: the edges of each type, and random ones. */
import type { Random } from './random.ts';

/** What the contents of a vector register or memory operand are meant to be. */
export type ValueType = 'i8' | 'i16' | 'i32' | 'i64' | 'f32' | 'f64' | 'f80' | 'any';

/** An integer of `bits` bits (unsigned). */
export function integer(random: Random, bits: number): bigint {
  const width = BigInt(bits);
  const top = 1n << (width - 1n);
  const mask = (1n << width) - 1n;
  switch (random.below(12)) {
    case 0:
      return 0n;
    case 1:
      return 1n;
    case 2:
      return mask;
    case 3:
      return top;
    case 4:
      return top - 1n;
    case 5:
      return (1n << BigInt(random.below(bits))) & mask;
    case 6:
      return ((1n << BigInt(random.below(bits))) - 1n) & mask;
    case 7:
      return BigInt(random.below(20));
    case 8:
      return (mask - BigInt(random.below(20))) & mask;
    default:
      return random.u64() & mask;
  }
}

/** The edges of a binary floating-point format, given by its field widths. */
function floatBits(random: Random, exponentBits: number, fractionBits: number): bigint {
  const fraction = BigInt(fractionBits);
  const maxExponent = (1n << BigInt(exponentBits)) - 1n;
  const bias = maxExponent >> 1n;
  const fractionMask = (1n << fraction) - 1n;
  const randomFraction = random.u64() & fractionMask;
  const quiet = 1n << (fraction - 1n);
  const sign = BigInt(random.below(2)) << (fraction + BigInt(exponentBits));
  const make = (exponent: bigint, bits: bigint) => sign | (exponent << fraction) | (bits & fractionMask);
  /** A number of the magnitude 2^power. */
  const power = (value: number, bits = 0n) => make(bias + BigInt(value), bits);
  switch (random.below(24)) {
    case 0:
    case 1:
      return make(0n, 0n);
    case 2:
      return make(0n, 1n);
    case 3:
      return make(0n, fractionMask);
    case 4:
      return make(0n, randomFraction);
    case 5:
      return make(1n, random.chance(50) ? 0n : randomFraction);
    case 6:
      return make(maxExponent - 1n, fractionMask);
    case 7:
      return make(maxExponent, 0n);
    case 8:
      return make(maxExponent, quiet | (random.chance(50) ? 0n : randomFraction));
    case 9:
      return make(maxExponent, (randomFraction & (quiet - 1n)) | 1n);
    case 10:
    case 11:
      return power(0, random.chance(50) ? 0n : 1n);
    case 12:
      return power(random.pick([-1, 0, 1]), random.pick([0n, quiet, quiet | (quiet >> 1n), quiet | 1n]));
    case 13:
      return power(random.pick([7, 15, 31, 63, 8, 16, 32, 64, 30, 62]), random.pick([0n, 0n, 1n, randomFraction]));
    case 14:
      return power(
        random.pick([6, 14, 30, 62, 31, 15]),
        fractionMask - (random.chance(50) ? 0n : randomFraction >> 20n),
      );
    case 15:
      return power(random.between(0, 12), (randomFraction >> (fraction - 8n)) << (fraction - 8n));
    case 16:
    case 17:
    case 18:
      return power(random.between(-4, 12), randomFraction);
    case 19:
      return power(random.between(-fractionBits - 3, fractionBits + 3), randomFraction);
    case 20:
      return make(BigInt(random.below(40)), randomFraction);
    case 21:
      return make(maxExponent - 1n - BigInt(random.below(20)), randomFraction);
    case 22:
      return make(bias / 2n + BigInt(random.below(8)), randomFraction);
    default:
      return sign | (random.u64() & ((1n << (fraction + BigInt(exponentBits))) - 1n));
  }
}

export const float32 = (random: Random): bigint => floatBits(random, 8, 23);
export const float64 = (random: Random): bigint => floatBits(random, 11, 52);

/** An 80-bit value: significand and sign with exponent. */
export function float80(random: Random): { significand: bigint; signExponent: number } {
  const integerBit = 1n << 63n;
  if (random.chance(4)) {
    // Unsupported encodings and pseudo-denormals (SDM Vol. 1 Table 8-3 "Unsupported Double Extended-Precision …").
    const signExponent = random.pick([0, 0x8000, 0x7fff, 0xffff, 0x3fff, random.below(0x10000)]);
    const significand = random.pick([0n, 1n, integerBit, integerBit - 1n, random.u64() >> 1n, random.u64()]);
    return { significand, signExponent };
  }
  if (random.chance(10)) {
    // An integer.
    const value = integer(random, random.pick([16, 32, 63]));
    if (value === 0n) return { significand: 0n, signExponent: random.chance(50) ? 0 : 0x8000 };
    const length = value.toString(2).length;
    const sign = random.chance(50) ? 0x8000 : 0;
    return { significand: value << BigInt(64 - length), signExponent: (0x3fff + length - 1) | sign };
  }
  const bits = random.chance(30) ? widen64(float64(random)) : floatBits(random, 15, 63);
  const exponent = Number((bits >> 63n) & 0x7fffn);
  const fraction = bits & (integerBit - 1n);
  return {
    significand: exponent === 0 ? fraction : fraction | integerBit,
    signExponent: Number(bits >> 63n),
  };
}

/** The bits of a double in a format of 15 exponent and 63 fraction bits (denormals become zero). */
function widen64(bits: bigint): bigint {
  const sign = bits >> 63n;
  const exponent = (bits >> 52n) & 0x7ffn;
  const wide = exponent === 0n ? 0n : exponent === 0x7ffn ? 0x7fffn : exponent + 0x3fffn - 0x3ffn;
  const fraction = exponent === 0n ? 0n : (bits & 0xf_ffff_ffff_ffffn) << 11n;
  return (sign << 78n) | (wide << 63n) | fraction;
}

/** Fills `size` bytes at `offset` with values of one type. */
export function fill(random: Random, view: DataView, offset: number, size: number, type: ValueType): void {
  switch (type) {
    case 'f80':
      if (size < 10) return fill(random, view, offset, size, 'any');
      return writeFloat80(random, view, offset);
    case 'f32':
      for (let i = 0; i + 4 <= size; i += 4) view.setUint32(offset + i, Number(float32(random)), true);
      return;
    case 'f64':
      for (let i = 0; i + 8 <= size; i += 8) view.setBigUint64(offset + i, float64(random), true);
      return;
    case 'any':
      for (let i = 0; i < size; i++) view.setUint8(offset + i, random.u32());
      return;
    default:
      fillIntegers(random, view, offset, size, { i8: 1, i16: 2, i32: 4, i64: 8 }[type]);
  }
}

function fillIntegers(random: Random, view: DataView, offset: number, size: number, type: number): void {
  const lane = Math.min(type, size & -size);
  for (let i = 0; i + lane <= size; i += lane) {
    const value = integer(random, lane * 8);
    for (let byte = 0; byte < lane; byte++)
      view.setUint8(offset + i + byte, Number((value >> BigInt(byte * 8)) & 0xffn));
  }
}

export function writeFloat80(random: Random, view: DataView, offset: number): void {
  const { significand, signExponent } = float80(random);
  view.setBigUint64(offset, significand, true);
  view.setUint16(offset + 8, signExponent, true);
}
