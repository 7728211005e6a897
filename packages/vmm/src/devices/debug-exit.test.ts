import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PioBus } from '../bus/pio-bus.ts';
import { DebugExit } from './debug-exit.ts';

test('a write of any width ends with (v << 1) | 1', () => {
  const codes: number[] = [];
  const bus = new PioBus();
  bus.attach({ start: 0xf4, size: 4 }, new DebugExit((code) => codes.push(code)));
  bus.write(0xf4, 1, 0);
  bus.write(0xf4, 1, 0x10);
  bus.write(0xf4, 4, 0x21);
  bus.write(0xf4, 4, 0xffff_ffff);
  assert.deepEqual(codes, [1, 0x21, 0x43, 0xff]);
  assert.equal(bus.read(0xf4, 4), 0);
});
