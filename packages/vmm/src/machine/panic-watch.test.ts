import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PanicWatch } from './panic-watch.ts';

function watching(text: string): PanicWatch {
  const watch = new PanicWatch();
  for (const byte of new TextEncoder().encode(text)) watch.observe(byte);
  return watch;
}

test('the panic line is found behind a time stamp, ended or not', () => {
  const line = '[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs';
  assert.equal(watching(`fine\r\n${line}\r\nmore`).message, line.slice(15));
  assert.equal(watching(`fine\r\n${line}`).message, line.slice(15));
});

test('ordinary output is no panic', () => {
  assert.equal(watching('Kernel command line: panic=-1\r\nno Kernel pan\r\nic - here').message, undefined);
});

test('an endless line does not grow the watch', () => {
  assert.equal(watching('x'.repeat(100_000) + 'Kernel panic - late').message, undefined);
});
