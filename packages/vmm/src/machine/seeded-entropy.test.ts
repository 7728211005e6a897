import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededEntropy } from './seeded-entropy.ts';

const Bytes = 4096;

function bytes(seed: number, pieces = 1): Uint8Array {
  const entropy = seededEntropy(seed);
  const target = new Uint8Array(Bytes);
  for (let i = 0; i < pieces; i++) entropy(target.subarray((i * Bytes) / pieces, ((i + 1) * Bytes) / pieces));
  return target;
}

test('the same seed gives the same bytes, in however many pieces they are taken', () => {
  assert.deepEqual(bytes(1), bytes(1));
  assert.deepEqual(bytes(1, 64), bytes(1));
});

test('seeds differ, next to each other and at both ends', () => {
  const seeds = [0, 1, 2, 3, 2 ** 31, 2 ** 32 - 1];
  assert.equal(new Set(seeds.map((seed) => Buffer.from(bytes(seed)).toString('hex'))).size, seeds.length);
});

test('every bit is set about half of the time', () => {
  for (const seed of [0, 1, 2 ** 32 - 1]) {
    const taken = bytes(seed);
    for (let bit = 0; bit < 8; bit++) {
      const share = taken.reduce((sum, byte) => sum + ((byte >> bit) & 1), 0) / Bytes;
      assert.ok(Math.abs(share - 0.5) < 0.05, `bit ${bit} of seed ${seed}: ${share}`);
    }
  }
});
