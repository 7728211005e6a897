import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InstructionClock } from './instruction-clock.ts';

test('time is the instructions of the vCPU and what was skipped, in whole nanoseconds', () => {
  const clock = new InstructionClock(1_000n);
  assert.equal(clock.now(), 0);
  let count = 0;
  clock.follow(() => count);
  count = 12;
  assert.deepEqual([clock.now(), clock.instructions, clock.wallClock()], [12, 12, 1_012n]);
  clock.skip(2.25);
  count++;
  assert.deepEqual([clock.now(), clock.instructions, clock.wallClock()], [16, 13, 1_016n]);
});
