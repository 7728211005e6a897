/**
 * FMA and F16C against exact arithmetic with integers of any size: results and flags, in every rounding mode, with and
 * without DAZ and FTZ.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Cpu, xmmOffset, ymmHighOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { simdSemantics } from './simd.ts';
import { Mxcsr } from './simd-support.ts';
import { CpuAddress, SimdHarness } from './simd.test.harness.ts';
import {
  Double,
  type Format,
  Half,
  type Reference,
  Single,
  fusedReference,
  halfOf,
  widened,
} from './fma.test.reference.ts';

/** xorshift64: the same cases on every run. */
class Random {
  #state: bigint;
  constructor(seed: bigint) {
    this.#state = seed;
  }
  next(): bigint {
    let x = this.#state;
    x ^= BigInt.asUintN(64, x << 13n);
    x ^= x >> 7n;
    x ^= BigInt.asUintN(64, x << 17n);
    return (this.#state = x);
  }
  below(limit: number): number {
    return Number(this.next() % BigInt(limit));
  }
  bits(count: number): bigint {
    return this.next() & ((1n << BigInt(count)) - 1n);
  }
}

/** A number of a format whose exponent field is `exponent`. */
function number(random: Random, { fractionBits, exponentBits }: Format, exponent: number): bigint {
  const kinds = [0n, 1n, (1n << BigInt(fractionBits)) - 1n, random.bits(fractionBits), random.bits(fractionBits)];
  const fraction = kinds[random.below(kinds.length)]!;
  const sign = random.bits(1) << BigInt(fractionBits + exponentBits);
  return sign | (BigInt(exponent) << BigInt(fractionBits)) | fraction;
}

/** A product halfway between two numbers of the format, mostly, and an addend far below it: two roundings would show. */
function halfway(random: Random, { bits, fractionBits, bias }: Format): [bigint, bigint, bigint] {
  const factor = (digits: number): bigint => {
    const fraction = (random.bits(digits - 1) | 1n) << BigInt(fractionBits - digits + 1);
    return (BigInt(bias + random.below(4)) << BigInt(fractionBits)) | fraction;
  };
  const digits = (fractionBits + 2) >> 1;
  const exponent = bias - fractionBits - 2 - random.below(2 * fractionBits);
  const addend = (random.bits(1) << BigInt(bits - 1)) | (BigInt(exponent) << BigInt(fractionBits));
  return [factor(digits), factor(fractionBits + 3 - digits), addend | random.bits(fractionBits)];
}

/** Factors and an addend that is far from, near to, or nearly opposite to their product. */
function operands(random: Random, format: Format): [bigint, bigint, bigint] {
  const { bias, maxExponent, fractionBits } = format;
  const clamp = (exponent: number): number => Math.min(Math.max(exponent, 0), maxExponent);
  const pick = (): number => {
    if (random.below(8) === 0) return random.below(3);
    if (random.below(8) === 0) return maxExponent - random.below(3);
    return clamp(bias + random.below(random.below(2) === 0 ? 12 : bias) - 6);
  };
  const [a, b] = [number(random, format, pick()), number(random, format, pick())];
  const exponentOf = (x: bigint): number => Number((x >> BigInt(fractionBits)) & BigInt(maxExponent));
  if (random.below(6) === 0) return halfway(random, format);
  const near = exponentOf(a) + exponentOf(b) - bias;
  const kind = random.below(6);
  if (kind < 2) return [a, b, number(random, format, pick())];
  if (kind < 4) {
    const distance = random.below(4 * fractionBits + 8) - 2 * fractionBits - 4;
    return [a, b, number(random, format, clamp(near + distance))];
  }
  // The rounded product with the other sign, and its neighbours
  const product = fusedReference(format, [a, b, 0n], { rounding: 0, daz: false, ftz: false }).bits;
  const opposite = product ^ (1n << BigInt(format.bits - 1));
  return [a, b, BigInt.asUintN(format.bits, opposite + BigInt(random.below(5) - 2))];
}

const code = (text: string): Uint8Array => Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));

/** VFMADD213PS/PD xmm0, xmm1, xmm2; VFMADD213SS/SD; VCVTPS2PH xmm0, xmm1, 4; VCVTPH2PS xmm0, xmm1; the same of 256 bits. */
const harness = new SimdHarness(
  [
    'c4e271a8c2',
    'c4e2f1a8c2',
    'c4e271a9c2',
    'c4e2f1a9c2',
    'c4e3791dc804',
    'c4e27913c1',
    'c4e275a8c2',
    'c4e2f5a8c2',
  ].map(code),
  simdSemantics,
);
const Handler = {
  PackedSingle: 0,
  PackedDouble: 1,
  Single: 2,
  Double: 3,
  ToHalf: 4,
  FromHalf: 5,
  WideSingle: 6,
  WideDouble: 7,
};

function place(register: number, lane: number, { bits }: Format): number {
  const offset = (lane * bits) / 8;
  const half = offset < 16 ? xmmOffset(register) : ymmHighOffset(register) - 16;
  return CpuAddress + half + offset;
}

function setLane(register: number, lane: number, format: Format, value: bigint): void {
  const at = place(register, lane, format);
  if (format.bits === 64) harness.view.setBigUint64(at, value, true);
  else if (format.bits === 32) harness.view.setUint32(at, Number(value), true);
  else harness.view.setUint16(at, Number(value), true);
}

function getLane(register: number, lane: number, format: Format): bigint {
  const at = place(register, lane, format);
  if (format.bits === 64) return harness.view.getBigUint64(at, true);
  return BigInt(format.bits === 32 ? harness.view.getUint32(at, true) : harness.view.getUint16(at, true));
}

function run(handler: number, mxcsr: number): number {
  harness.view.setUint32(CpuAddress + Cpu.Mxcsr, mxcsr, true);
  assert.equal(harness.run(handler), -1);
  return harness.view.getUint32(CpuAddress + Cpu.Mxcsr, true) & Mxcsr.Flags;
}

/** What the tests of all lanes expect of MXCSR. */
const flagsOf = (references: readonly Reference[]): number => references.reduce((flags, one) => flags | one.flags, 0);

const hex = (values: readonly bigint[]): string => values.map((value) => value.toString(16)).join(' ');

function checkFused(format: Format, handler: number, lanes: number, rounds: number): void {
  const random = new Random(0x5eed_0001n + BigInt(handler));
  for (let round = 0; round < rounds; round++) {
    // PE set already: the fast way where it is right
    const sticky = random.below(2) === 0 ? 0 : Mxcsr.Precision;
    const mode = {
      rounding: random.below(3) === 0 ? random.below(4) : 0,
      daz: random.below(6) === 0,
      ftz: random.below(6) === 0,
    };
    const mxcsr =
      0x1f80 |
      sticky |
      (mode.rounding << 13) |
      (mode.daz ? Mxcsr.DenormalsAreZero : 0) |
      (mode.ftz ? Mxcsr.FlushToZero : 0);
    const all = Array.from({ length: lanes }, () => operands(random, format));
    all.forEach(([a, b, c], lane) => {
      // 213: the second times the first plus the third
      setLane(1, lane, format, a);
      setLane(0, lane, format, b);
      setLane(2, lane, format, c);
    });
    const flags = run(handler, mxcsr);
    const expected = all.map((values) => fusedReference(format, values, mode));
    all.forEach((values, lane) => {
      const got = getLane(0, lane, format);
      assert.equal(
        got.toString(16),
        expected[lane]!.bits.toString(16),
        `${hex(values)} in MXCSR ${mxcsr.toString(16)}`,
      );
    });
    assert.equal(
      flags,
      flagsOf(expected) | sticky,
      `flags of ${all.map(hex).join('; ')} in MXCSR ${mxcsr.toString(16)}`,
    );
  }
}

it('VFMADD of singles rounds once', () => {
  checkFused(Single, Handler.PackedSingle, 4, 20_000);
  checkFused(Single, Handler.Single, 1, 10_000);
  checkFused(Single, Handler.WideSingle, 8, 5_000);
});

it('VFMADD of doubles rounds once', () => {
  checkFused(Double, Handler.PackedDouble, 2, 30_000);
  checkFused(Double, Handler.Double, 1, 20_000);
  checkFused(Double, Handler.WideDouble, 4, 5_000);
});

it('VCVTPH2PS widens every half', () => {
  for (let first = 0; first < 0x1_0000; first += 4) {
    for (let lane = 0; lane < 4; lane++) setLane(1, lane, Half, BigInt(first + lane));
    const flags = run(Handler.FromHalf, 0x1f80 | Mxcsr.DenormalsAreZero);
    const expected = [0, 1, 2, 3].map((lane) => widened(BigInt(first + lane)));
    expected.forEach(({ bits }, lane) => assert.equal(getLane(0, lane, Single), bits, (first + lane).toString(16)));
    assert.equal(flags, flagsOf(expected), first.toString(16));
  }
});

it('VCVTPS2PH rounds as MXCSR says, without FTZ', () => {
  const random = new Random(0xf16cn);
  for (let round = 0; round < 40_000; round++) {
    const mode = { rounding: random.below(4), daz: random.below(4) === 0, ftz: random.below(2) === 0 };
    const mxcsr =
      0x1f80 | (mode.rounding << 13) | (mode.daz ? Mxcsr.DenormalsAreZero : 0) | (mode.ftz ? Mxcsr.FlushToZero : 0);
    const values = Array.from({ length: 4 }, () => {
      const exponent = random.below(4) === 0 ? random.below(255) : Single.bias + random.below(48) - 32;
      return number(random, Single, exponent);
    });
    values.forEach((value, lane) => setLane(1, lane, Single, value));
    const flags = run(Handler.ToHalf, mxcsr);
    const expected = values.map((value) => halfOf(value, mode));
    expected.forEach(({ bits }, lane) => assert.equal(getLane(0, lane, Half), bits, values[lane]!.toString(16)));
    assert.equal(flags, flagsOf(expected), `${hex(values)} in MXCSR ${mxcsr.toString(16)}`);
  }
});
