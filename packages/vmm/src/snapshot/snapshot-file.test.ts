import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../errors/host-error.ts';
import { PageSize, gpa } from '../memory/address.ts';
import { ArrayMemory } from '../memory/array-memory.ts';
import { Random } from '../testing/random.ts';
import { crc32 } from './crc32.ts';
import { checkShape } from './shape.ts';
import { readMemory, readSavedMachine, writeSnapshot } from './snapshot-file.ts';
import type { SnapshotSource } from './snapshot-file.ts';

const Ranges = [
  { start: 0, length: 160 * PageSize },
  { start: 0x10_0000, length: 700 * PageSize },
];
const Saved = { machine: { memorySize: 5n, name: 'ä' }, state: { version: 1, list: [1, 2n] } };

function file(memory: ArrayMemory, saved = Saved): Uint8Array {
  const parts: number[] = [];
  writeSnapshot({ write: (bytes) => void bytes.forEach((byte) => parts.push(byte)) }, saved, memory);
  return Uint8Array.from(parts);
}

function source(bytes: Uint8Array): SnapshotSource {
  return {
    read(position, target) {
      const part = bytes.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
}

/** Some pages with content: at edges, alone, and more in a row than one run has. */
function filled(): ArrayMemory {
  const memory = new ArrayMemory(Ranges);
  const page = (address: number, value: number): void => {
    memory.write(gpa(address), new Uint8Array(PageSize).fill(value));
  };
  page(0, 1);
  page(159 * PageSize, 2);
  for (let i = 0; i < 300; i++) page(0x10_0000 + (100 + i) * PageSize, i);
  memory.writeU8(gpa(0x10_0000 + 700 * PageSize - 1), 9);
  return memory;
}

/** A file of a few kilobytes. */
function smallFile(): Uint8Array {
  const memory = new ArrayMemory(Ranges);
  for (const address of [0, 3 * PageSize, 0x10_0000]) memory.writeU8(gpa(address + 5), 7);
  return file(memory);
}

test('CRC-32 is the one that everybody has', () => {
  const text = new TextEncoder().encode('123456789');
  assert.equal(crc32(text), 0xcbf4_3926);
  assert.equal(crc32(text.subarray(4), crc32(text.subarray(0, 4))), 0xcbf4_3926);
});

test('state and memory come back; pages of zeros take no room', () => {
  const memory = filled();
  const bytes = file(memory);
  // 299: of the 300 pages the one filled with 0 and the one with 256, which is 0 too, are left out
  const pages = 2 + 298 + 1;
  assert.ok(bytes.length > pages * PageSize && bytes.length < pages * PageSize + 1024, `${bytes.length} bytes`);
  assert.deepEqual(readSavedMachine(source(bytes)), Saved);
  const restored = new ArrayMemory(Ranges);
  readMemory(source(bytes), restored);
  for (const { start, length } of Ranges) {
    const [before, after] = [new Uint8Array(length), new Uint8Array(length)];
    memory.read(gpa(start), before);
    restored.read(gpa(start), after);
    assert.ok(before.every((byte, i) => byte === after[i]));
  }
});

function restore(bytes: Uint8Array): void {
  readSavedMachine(source(bytes));
  readMemory(source(bytes), new ArrayMemory(Ranges));
}

test('a file that ends early, anywhere, is a HostError', () => {
  const bytes = smallFile();
  const random = new Random(1);
  const lengths = [0, 7, 8, 23, 24, 30, bytes.length - 1, bytes.length - 16, bytes.length - 17];
  for (let i = 0; i < 50; i++) lengths.push(random.below(bytes.length));
  for (const length of lengths) {
    assert.throws(() => restore(bytes.slice(0, length)), { code: 'InvalidArgument' }, `${length} bytes`);
  }
});

test('a byte that changed, anywhere, is a HostError', () => {
  const bytes = smallFile();
  const random = new Random(2);
  const used = new Set([20, 21, 22, 23, bytes.length - 4, bytes.length - 3, bytes.length - 2, bytes.length - 1]);
  for (let i = 0; i < 200; i++) {
    const at = i < 60 ? i : random.below(bytes.length);
    if (used.has(at)) continue; // zeros without a meaning
    const damaged = bytes.slice();
    damaged[at]! ^= 1 << random.below(8);
    assert.throws(() => restore(damaged), HostError, `byte ${at}`);
  }
});

test('a machine with less memory does not take the pages', () => {
  const bytes = file(filled());
  assert.throws(() => readMemory(source(bytes), new ArrayMemory(64 * PageSize)), {
    message: /outside of guest memory/,
  });
});

test('other files, and other versions, are told apart', () => {
  const zip = new TextEncoder().encode('PK\u0003\u0004'.padEnd(100));
  assert.throws(() => readSavedMachine(source(zip)), { message: /is no saved machine/ });
  const bytes = file(new ArrayMemory(Ranges));
  bytes[8] = 2;
  assert.throws(() => readSavedMachine(source(bytes)), { message: /version 2 of the format/ });
});

test('a state of another form is refused with the place', () => {
  const template = { version: 1, regs: { rax: 1n }, list: [{ a: 1 }], pair: [1, 2n], optional: undefined };
  checkShape(
    { version: 1, regs: { rax: 5n }, list: [{ a: 2 }, { a: 3 }], pair: [2, 3n], optional: 4, more: 1 },
    template,
  );
  const wrong: [unknown, RegExp][] = [
    [{ regs: { rax: 1 } }, /state\.regs\.rax is a number, not a bigint/],
    [{ list: [{ a: 1 }, { a: '' }] }, /state\.list\[1\]\.a is a string/],
    [{ pair: [1n, 2n] }, /state\.pair\[0\] is a bigint/],
    [{ list: {} }, /state\.list is a object, not a list/],
    [{ regs: null }, /state\.regs is a null/],
    [[], /state is a list/],
  ];
  for (const [value, message] of wrong) assert.throws(() => checkShape(value, template), { message });
});
