/** `lodger run` over Debian's kernel: as a filter, on a terminal, and when the disk's host is full. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lodgerLine, noLinux, noProgram, onTerminal, printed, startLodger } from './support.ts';

test('as a filter: commands in, their output out', { skip: noLinux }, async () => {
  const lodger = startLodger();
  lodger.child.stdin.end('uname -a\necho $((6 * 7))\ncat <<END\na line for cat\nEND\npoweroff\n');
  assert.equal(await lodger.ended, 0, lodger.stderr());
  assert.match(lodger.stdout(), /^Linux .*x86_64 GNU\/Linux\n42\na line for cat\n/m);
  assert.doesNotMatch(lodger.stdout(), /echo \$/, 'no echo of the input');
});

test('as a filter, the end of the input does not end the guest', { skip: noLinux }, async () => {
  const lodger = startLodger();
  lodger.child.stdin.end('sleep 1; echo later; poweroff\n');
  assert.equal(await lodger.ended, 0, lodger.stderr());
  assert.match(lodger.stdout(), /^later$/m);
});

const noTerminal = noLinux || noProgram('script', 'stty');

test('on a terminal: the window, and Ctrl-C goes to the guest', { skip: noTerminal }, async () => {
  const { child, ended, printed } = onTerminal(`${lodgerLine()}; echo "[code $?]"`);
  await printed(/# /);
  child.stdin.write('stty size\r');
  await printed(/31 93/);
  child.stdin.write(`sh -c 'echo ready $((1 + 1)); exec sleep 1000'\r`);
  await printed(/ready 2/);
  child.stdin.write('\x03');
  child.stdin.write('echo still $((40 + 2))\r');
  await printed(/still 42/);
  child.stdin.write('poweroff\r');
  await printed(/\[code 0\]/);
  await ended;
});

test('a signal during the boot leaves nothing running', { skip: noLinux }, async () => {
  const lodger = startLodger('--append', 'ignore_loglevel');
  lodger.child.stdin.end();
  await printed(lodger, /lodger: init|Linux version|./);
  lodger.child.kill('SIGTERM');
  assert.equal(await lodger.ended, 143);
});
