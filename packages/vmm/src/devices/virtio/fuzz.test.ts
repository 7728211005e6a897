/**
 * A hostile guest never makes the VMM throw, hang or touch anything but guest memory.
 *
 * The seeds are fixed (fuzz-corpus.ts). More of them: FUZZ_SEEDS=<count> [FUZZ_FIRST=<seed>] node --test <this file>.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostileGuest } from '../../testing/hostile-guest.ts';
import { FuzzCorpus } from './fuzz-corpus.ts';

const Actions = 3000;
/** What one guest action may cost: four passes over the longest queue, each chain as long as it can be. */
const MaxAccesses = 4 * 256 * (1024 + 256) * 2;
const MaxBytesMoved = 4 * 256 * 4 * 1024 * 1024;

function seeds(): number[] {
  const count = Number(process.env['FUZZ_SEEDS'] ?? 0);
  const first = Number(process.env['FUZZ_FIRST'] ?? 1000);
  return count > 0 ? Array.from({ length: count }, (_, index) => first + index) : [...FuzzCorpus];
}

test('every offset of every BAR and configuration space at every width', () => {
  const guest = new HostileGuest(0);
  guest.sweep([0, 0xffff_ffff, 0x0101_0101]);
  assert.ok(guest.memory.intact);
  assert.deepEqual(guest.checkHealth(), [1, 1, 1, 1, 1]);
});

for (const seed of seeds()) {
  test(`seed 0x${seed.toString(16)}`, () => {
    const guest = new HostileGuest(seed);
    for (let action = 0; action < Actions; action++) {
      guest.act();
      assert.ok(guest.memory.accesses <= MaxAccesses, `action ${action} made ${guest.memory.accesses} accesses`);
      assert.ok(guest.memory.bytesMoved <= MaxBytesMoved, `action ${action} moved ${guest.memory.bytesMoved} bytes`);
    }
    assert.ok(guest.memory.intact, 'nothing outside of guest memory was written');
    assert.deepEqual(guest.checkHealth(), [1, 1, 1, 1, 1], 'every device serves a driver that behaves');
    assert.ok(guest.memory.intact);
  });
}
