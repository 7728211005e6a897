/**
 * CRC32, AES and PCLMULQDQ (AMD APM Vol. 4 "Instruction Reference"; FIPS 197 "Advanced Encryption Standard").
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128 } from '../../../engine/wasm/encoder/values.ts';
import type { Semantic } from './context.ts';
import { type Shared, fromLow, immediate, readXmm, requireSse, sharedFunction, zero128 } from './simd-support.ts';

/** CRC-32C, bits reflected. */
const Polynomial = 0x82f63b78;

/** Eight tables of 256: what a byte contributes when 0 to 7 bytes follow it. */
function crcTables(): Uint8Array {
  const tables = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? Polynomial : 0);
    tables[byte] = crc;
  }
  for (let i = 256; i < tables.length; i++) {
    const before = tables[i - 256]!;
    tables[i] = (before >>> 8) ^ tables[before & 255]!;
  }
  return new Uint8Array(tables.buffer);
}

const crc32: Semantic = (s) => {
  const width = s.op1.bits as 8 | 16 | 32 | 64;
  const value = s.op1.readUnsigned(width);
  const crc = s.op0.readUnsigned(32);
  const tables = s.data('crc32c', crcTables);
  const mixed = s.let(value.xor(crc));
  const terms: I32[] = [];
  for (let byte = 0; byte < width / 8; byte++) {
    const following = width / 8 - 1 - byte;
    const index = mixed
      .shrU(byte * 8)
      .toI32()
      .and(255);
    terms.push(tables.add(index.shl(2)).load32(following * 1024));
  }
  const sum = terms.reduce((a, b) => a.xor(b));
  // A CRC longer than the value keeps its upper bytes, moved down.
  const rest = width < 32 ? crc.shrU(width).toI32() : undefined;
  s.op0.write((rest ? sum.xor(rest) : sum).toI64u(), 32);
};

/** Multiplication by x in AES's field. */
const double = (x: number): number => ((x << 1) ^ (x & 0x80 ? 0x11b : 0)) & 0xff;

function multiply(a: number, b: number): number {
  let product = 0;
  for (let factor = a, rest = b; rest; rest >>= 1, factor = double(factor)) if (rest & 1) product ^= factor;
  return product;
}

function substitutionBox(): Uint8Array {
  const box = new Uint8Array(256);
  for (let x = 0; x < 256; x++) {
    let inverse = x;
    // x to the power of 254
    for (let i = 0; i < 6; i++) inverse = multiply(multiply(inverse, inverse), x);
    inverse = multiply(inverse, inverse);
    let sum = inverse;
    for (let turn = 1; turn <= 4; turn++) sum ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xff;
    box[x] = sum ^ 0x63;
  }
  return box;
}

function inverseBox(): Uint8Array {
  const inverse = new Uint8Array(256);
  substitutionBox().forEach((value, index) => (inverse[value] = index));
  return inverse;
}

/** What each byte in row 0 contributes to its column after substitution and mixing with these factors. */
function mixTable(box: Uint8Array, factors: readonly [number, number, number, number]): Uint8Array {
  const table = new Uint8Array(1024);
  box.forEach((value, index) => factors.forEach((factor, row) => (table[index * 4 + row] = multiply(value, factor))));
  return table;
}

const identity = (): Uint8Array => Uint8Array.from({ length: 256 }, (_, i) => i);
const encryptTable = (s: Shared): I32 => s.data('aes.encrypt', () => mixTable(substitutionBox(), [2, 1, 1, 3]));
const decryptTable = (s: Shared): I32 => s.data('aes.decrypt', () => mixTable(inverseBox(), [14, 9, 13, 11]));
const inverseMixTable = (s: Shared): I32 => s.data('aes.inverseMix', () => mixTable(identity(), [14, 9, 13, 11]));
const boxData = (s: Shared): I32 => s.data('aes.box', substitutionBox);
const inverseBoxData = (s: Shared): I32 => s.data('aes.inverseBox', inverseBox);

/** Columns from bytes: row r of column c comes from byte 4 * c + step * r (ShiftRows, its inverse, or none). */
function mixColumns(f: FunctionBuilder, state: V128, table: I32, step: number): V128 {
  let result: V128 = zero128;
  for (let column = 0; column < 4; column++) {
    const terms = [0, 1, 2, 3].map((row) => {
      const byte = state.lane8u((4 * column + step * row) & 15);
      return table
        .add(byte.shl(2))
        .load32()
        .rotl(8 * row);
    });
    result = result.withLane32(column, f.let(terms.reduce((a, b) => a.xor(b))));
  }
  return result;
}

function substitute(f: FunctionBuilder, state: V128, box: I32, step: number): V128 {
  const result = f.let<V128>(zero128);
  for (let index = 0; index < 16; index++) {
    const source = (index & 12) + step * (index & 3);
    f.set(result, result.withLane8(index, box.add(state.lane8u(source & 15)).load8u()));
  }
  return result;
}

const ShiftRows = 5;
const InverseShiftRows = 13;
const KeepRows = 1;

type Round = (f: FunctionBuilder, shared: Shared, state: V128) => V128;

/** A round ends with the round key's addition. */
function aesRound(name: string, round: Round): Semantic {
  const run = sharedFunction<V128>(`aes.${name}`, ['v128', 'v128'], 'v128', (f, shared) => {
    f.return(round(f, shared, f.param('v128', 0)).xor(f.param('v128', 1)));
  });
  return (s) => {
    requireSse(s);
    const key = readXmm(s.op1);
    s.op0.writeV128(run(s, s.op0.readV128(), key));
  };
}

const inverseMix = sharedFunction<V128>('aes.imc', ['v128'], 'v128', (f, shared) => {
  f.return(mixColumns(f, f.param('v128', 0), inverseMixTable(shared), KeepRows));
});

const aesimc: Semantic = (s) => {
  requireSse(s);
  s.op0.writeV128(inverseMix(s, readXmm(s.op1)));
};

const substituteWords = sharedFunction<V128>('aes.sub', ['v128'], 'v128', (f, shared) => {
  f.return(substitute(f, f.param('v128', 0), boxData(shared), KeepRows));
});

const keygenassist: Semantic = (s) => {
  requireSse(s);
  const words = s.let(substituteWords(s, readXmm(s.op1)));
  const constant = immediate(s, s.op2);
  const rotated = (lane: number): I32 => words.lane32(lane).rotr(8).xor(constant);
  const result = words.shuffle(words, [4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15]);
  s.op0.writeV128(result.withLane32(1, rotated(1)).withLane32(3, rotated(3)));
};

/** Low 64 bits of a carry-less product: integer products of numbers with a bit in four cannot carry into each other. */
const carrylessLow = sharedFunction<I64>('clmul', ['i64', 'i64'], 'i64', (f) => {
  const masks = [0, 1, 2, 3].map((shift) => BigInt.asUintN(64, 0x1111111111111111n << BigInt(shift)));
  const split = (x: I64): Local<I64>[] => masks.map((mask) => f.let(x.and(mask)));
  const a = split(f.param('i64', 0));
  const b = split(f.param('i64', 1));
  const classes = masks.map((mask, sum) => {
    const products: I64[] = a.map((x, i) => x.mul(b[(sum - i) & 3]!));
    return products.reduce((x, y) => x.xor(y)).and(mask);
  });
  f.return(classes.reduce((x, y) => x.or(y)));
});

const reverseBits = sharedFunction<I64>('reverse', ['i64'], 'i64', (f) => {
  const x = f.param('i64', 0);
  const swap = (shift: number, mask: bigint) => f.set(x, x.shrU(shift).and(mask).or(x.and(mask).shl(shift)));
  swap(1, 0x5555555555555555n);
  swap(2, 0x3333333333333333n);
  swap(4, 0x0f0f0f0f0f0f0f0fn);
  swap(8, 0x00ff00ff00ff00ffn);
  swap(16, 0x0000ffff0000ffffn);
  f.return(x.rotl(32));
});

/** Immediate: bit 0 the half of the first operand, bit 4 that of the second. */
const pclmulqdq: Semantic = (s) => {
  requireSse(s);
  const second = readXmm(s.op1);
  const first = s.op0.readV128();
  const control = immediate(s, s.op2);
  const half = (x: V128, bit: number) => s.let(control.and(bit).select<I64>(x.lane64(1), x.lane64(0)));
  const a = half(first, 0x01);
  const b = half(second, 0x10);
  const low = s.let(carrylessLow(s, a, b));
  const mirrored = s.let(carrylessLow(s, s.let(reverseBits(s, a)), s.let(reverseBits(s, b))));
  const high = s.let(reverseBits(s, mirrored)).shrU(1);
  s.op0.writeV128(fromLow(low).withLane64(1, high));
};

export const sseCryptoSemantics: Record<string, Semantic> = {
  CRC32: crc32,
  AESENC: aesRound('enc', (f, shared, state) => mixColumns(f, state, encryptTable(shared), ShiftRows)),
  AESENCLAST: aesRound('enclast', (f, shared, state) => substitute(f, state, boxData(shared), ShiftRows)),
  AESDEC: aesRound('dec', (f, shared, state) => mixColumns(f, state, decryptTable(shared), InverseShiftRows)),
  AESDECLAST: aesRound('declast', (f, shared, state) => substitute(f, state, inverseBoxData(shared), InverseShiftRows)),
  AESIMC: aesimc,
  AESKEYGENASSIST: keygenassist,
  PCLMULQDQ: pclmulqdq,
};
