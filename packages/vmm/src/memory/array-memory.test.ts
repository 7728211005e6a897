import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpa } from './address.ts';
import { ArrayMemory } from './array-memory.ts';

const twoRanges = () =>
  new ArrayMemory([
    { start: 0x1000, length: 0x1000 },
    { start: 0x2000, length: 0x1000 },
    { start: 2 ** 32, length: 0x1000 },
  ]);

test('reads back little-endian values at the edges of a range', () => {
  const memory = twoRanges();
  assert.equal(memory.size, 0x3000);
  assert.equal(memory.writeU64(gpa(2 ** 32 + 0xff8), 0x1122_3344_5566_7788n), true);
  assert.equal(memory.readU8(gpa(2 ** 32 + 0xff8)), 0x88);
  assert.equal(memory.readU16(gpa(2 ** 32 + 0xff8)), 0x7788);
  assert.equal(memory.readU32(gpa(2 ** 32 + 0xffc)), 0x1122_3344);
  assert.equal(memory.readU64(gpa(2 ** 32 + 0xff8)), 0x1122_3344_5566_7788n);
});

test('an access that is not wholly inside RAM has no effect and no value', () => {
  const memory = twoRanges();
  assert.equal(memory.readU32(gpa(2 ** 32 + 0xffd)), undefined);
  assert.equal(memory.writeU32(gpa(2 ** 32 + 0xffd), 1), false);
  assert.equal(memory.readU8(gpa(0xfff)), undefined);
  assert.equal(memory.view(gpa(0x2ff0), 0x11), undefined);
  assert.equal(memory.write(gpa(0x2ffe), new Uint8Array([1, 2, 3])), false);
  assert.equal(memory.readU16(gpa(0x2ffe)), 0);
});

test('a copy may cross from one range into an adjacent one, a view may not', () => {
  const memory = twoRanges();
  assert.equal(memory.write(gpa(0x1ffe), new Uint8Array([1, 2, 3, 4])), true);
  const target = new Uint8Array(4);
  assert.equal(memory.read(gpa(0x1ffe), target), true);
  assert.deepEqual([...target], [1, 2, 3, 4]);
  assert.equal(memory.view(gpa(0x1ffe), 4), undefined);
  assert.deepEqual([...memory.view(gpa(0x2000), 2)!], [3, 4]);
});
