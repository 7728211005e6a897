import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { byteSource } from '../boot/byte-source.ts';
import { parseElf } from '../boot/elf/elf-file.ts';
import { type ElfOptions, buildElf, pattern } from '../boot/testing/kernel-builder.ts';
import { readSymbols } from './elf-symbols.ts';
import { type SymbolTable, symbolText } from './symbol-table.ts';

const Virtual = 0xffff_ffff_8100_0000n;
const Physical = 0x100_0000;

const symbolsOf = (options: Partial<ElfOptions>, start?: bigint): SymbolTable => {
  const segments = [{ physical: Physical, virtual: Virtual, bytes: pattern(0x1000) }];
  const file = buildElf({ entry: BigInt(Physical), segments, ...options });
  return readSymbols(parseElf('kernel', byteSource(file)), start);
};

const textAt = (table: SymbolTable, address: bigint): string | undefined => {
  const found = table.find(address);
  return found && symbolText(found);
};

describe('the symbol table of an ELF file', () => {
  const symbols = [
    { name: 'second', address: Virtual + 0x100n, size: 0x10 },
    { name: 'first', address: Virtual, size: 0 },
    { name: '__pi_second', address: Virtual + 0x100n, size: 0x10 },
    { name: 'last', address: Virtual + 0x800n, size: 0, local: true },
  ];

  test('an address belongs to the symbol before it, up to its size', () => {
    const table = symbolsOf({ symbols });
    assert.equal(textAt(table, Virtual), 'first');
    assert.equal(textAt(table, Virtual + 0xffn), 'first+0xff');
    assert.equal(textAt(table, Virtual + 0x10fn), 'second+0xf');
    assert.equal(textAt(table, Virtual + 0x110n), undefined);
    assert.equal(textAt(table, Virtual + 0xfffn), 'last+0x7ff');
    assert.equal(textAt(table, Virtual + 0x1000n), undefined);
    assert.equal(textAt(table, Virtual - 1n), undefined);
  });

  test('every name has its address', () => {
    const table = symbolsOf({ symbols });
    assert.equal(table.addressOf('__pi_second'), Virtual + 0x100n);
    assert.equal(table.addressOf('missing'), undefined);
  });

  test('a kernel runs at its physical addresses first', () => {
    assert.equal(textAt(symbolsOf({ symbols }), BigInt(Physical) + 4n), 'first+0x4');
  });

  test('a file whose first page is elsewhere', () => {
    const table = symbolsOf({ symbols }, 0x7f00_0000_0000n);
    assert.equal(textAt(table, 0x7f00_0000_0104n), 'second+0x4');
    assert.equal(textAt(table, Virtual), undefined);
  });

  test('of 32-bit files', () => {
    const segments = [{ physical: 0x10_0000, bytes: pattern(64) }];
    const table = symbolsOf({ bits: 32, segments, symbols: [{ name: 'start', address: 0x10_0000n, size: 8 }] });
    assert.equal(textAt(table, 0x10_0007n), 'start+0x7');
  });

  test('none', () => assert.equal(symbolsOf({}).size, 0));
});

describe("Linux's own symbols in a stripped kernel", () => {
  /** Text, data and per-CPU symbols, as nm has their types; enough for three markers. */
  const symbols = Array.from({ length: 600 }, (_, i) => {
    const type = i % 3 === 0 ? 'T' : i % 3 === 1 ? 't' : 'd';
    // Longer than 127 tokens: two bytes of length
    const name = i === 300 ? `long_${'x'.repeat(200)}` : `function_${i}`;
    return { text: type + name, address: Virtual + BigInt(i * 16) };
  });

  const align = (bytes: number[]): number[] => [...bytes, ...new Array<number>((8 - (bytes.length % 8)) % 8).fill(0)];
  const u32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
  const u64 = (value: bigint): number[] => [...u32(Number(value & 0xffff_ffffn)), ...u32(Number(value >> 32n))];
  const ascii = (text: string): number[] => [...text].map((letter) => letter.charCodeAt(0));

  /** scripts/kallsyms.c: tokens 0 to 31 stand for several letters. */
  function tables(layout: 'before' | 'behind', offset: (address: bigint) => number): Uint8Array {
    const tokens = Array.from({ length: 256 }, (_, i) =>
      i === 1 ? 'function_' : i < 0x20 || i > 0x7e ? `t${i}` : String.fromCharCode(i),
    );
    const names: number[] = [];
    const markers: number[] = [];
    symbols.forEach(({ text }, i) => {
      if (i % 256 === 0) markers.push(...u32(names.length));
      const coded = ascii(text.replace('function_', '\x01'));
      const length = coded.length < 0x80 ? [coded.length] : [(coded.length & 0x7f) | 0x80, coded.length >> 7];
      names.push(...length, ...coded);
    });
    const tokenBytes: number[] = [];
    const tokenIndex: number[] = [];
    for (const token of tokens) {
      tokenIndex.push(tokenBytes.length & 0xff, tokenBytes.length >> 8);
      tokenBytes.push(...ascii(token), 0);
    }
    const offsets = [...align(symbols.flatMap(({ address }) => u32(offset(address)))), ...u64(Virtual)];
    const middle = [
      ...align(u32(symbols.length)),
      ...align(names),
      ...align(markers),
      ...align(tokenBytes),
      ...align(tokenIndex),
    ];
    const all = layout === 'before' ? [...offsets, ...middle] : [...middle, ...offsets];
    // Digits in other data come first
    return Uint8Array.from([...align(ascii('0\x001\x002 is no table of tokens')), ...all]);
  }

  for (const layout of ['before', 'behind'] as const) {
    test(`offsets lie ${layout} the names`, () => {
      const bytes = tables(layout, (address) => Number(address - Virtual));
      const table = symbolsOf({ segments: [{ physical: Physical, virtual: Virtual, bytes, memorySize: 0x1_0000 }] });
      assert.equal(table.size, 400);
      assert.equal(textAt(table, Virtual + 3n), 'function_0+0x3');
      // Data is not code
      assert.equal(textAt(table, Virtual + 2n * 16n), 'function_1+0x10');
      assert.equal(textAt(table, Virtual + 300n * 16n), `long_${'x'.repeat(200)}`);
      assert.equal(table.addressOf('function_597'), Virtual + 597n * 16n);
    });
  }

  test('offsets count backwards beside absolute addresses of per-CPU variables', () => {
    const bytes = tables('before', (address) => Number(-1n - (address - Virtual)));
    const table = symbolsOf({ segments: [{ physical: Physical, virtual: Virtual, bytes, memorySize: 0x1_0000 }] });
    assert.equal(textAt(table, Virtual + 597n * 16n + 1n), 'function_597+0x1');
  });

  test('tables that are cut off or damaged are none', () => {
    const bytes = tables('before', (address) => Number(address - Virtual));
    const count = u32(symbols.length);
    const at = bytes.findIndex((_, i) => count.every((byte, j) => bytes[i + j] === byte));
    // The length of the first name: markers are elsewhere then
    const damaged = bytes.map((byte, i) => (i === at + 8 ? byte + 1 : byte));
    for (const broken of [bytes.subarray(0, bytes.length / 2), damaged]) {
      const segments = [{ physical: Physical, virtual: Virtual, bytes: broken, memorySize: 0x1_0000 }];
      assert.equal(symbolsOf({ segments }).size, 0);
    }
  });
});
