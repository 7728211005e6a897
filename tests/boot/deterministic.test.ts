/** Deterministic machines: what a guest prints, times and random numbers included, follows from the seed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { BootPatience, lodgerCommand, noLinux } from './support.ts';

/** The clock, the kernel's random numbers, and a sleep that the host need not wait for. */
const Script = 'cat /proc/uptime /proc/sys/kernel/random/uuid; date; sleep 3600; cat /proc/uptime; poweroff\n';

async function run(seed: number): Promise<string> {
  const child = spawn(process.execPath, [lodgerCommand, 'run', '--deterministic', String(seed)]);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  // All of it is there before the guest looks
  child.stdin.end(Script);
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0);
  return output;
}

test('the same seed, the same output; another seed, another', { skip: noLinux, timeout: BootPatience }, async () => {
  const first = await run(5);
  assert.match(first, /^\d+\.\d+ \d+\.\d+\s+[\da-f]{8}-[\da-f-]{27}\s+Mon Jan {2}1 00:00:\d\d UTC 2024\s+36\d\d\.\d/m);
  assert.equal(await run(5), first);
  assert.notEqual(await run(6), first);
});
