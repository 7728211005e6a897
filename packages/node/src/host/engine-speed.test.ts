/** The measuring guest, on the engine that is always there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureWasm } from './wasm-speed.ts';

test('the wasm engine runs both loops, and faster than an emulator in a kernel', async () => {
  const measurement = await measureWasm();
  assert.equal(measurement.kind, 'measured');
  if (measurement.kind !== 'measured') return;
  const { ring0Rate, exitMicroseconds } = measurement.speed;
  assert.ok(ring0Rate > 1e6, `${ring0Rate}`);
  assert.ok(exitMicroseconds > 0 && exitMicroseconds < 1e4, `${exitMicroseconds}`);
});
