/** `lodger run` over Debian's kernel: as a filter, on a terminal, and when the disk's host is full. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { lodgerCommand, noLinux, noProgram, printed, startLodger } from './support.ts';

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

/** The command on a pseudo terminal of its own, by util-linux's script(1). */
function onTerminal(...args: string[]) {
  const line = [
    'stty cols 93 rows 31;',
    process.execPath,
    lodgerCommand,
    'run',
    ...args,
    '; echo "[code $?]"; stty -a',
  ];
  const child = spawn('script', ['--quiet', '--echo', 'never', '--command', line.join(' '), '/dev/null']);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const waitFor = async (pattern: RegExp) => {
    while (!pattern.test(output)) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  return { child, output: () => output, ended, waitFor };
}

const noTerminal = noLinux || noProgram('script', 'stty');

test('on a terminal: the window, Ctrl-C to the guest, Ctrl-] to end, all restored', { skip: noTerminal }, async () => {
  const { child, output, ended, waitFor } = onTerminal();
  await waitFor(/Ctrl-\] ends/);
  await waitFor(/# /);
  child.stdin.write('stty size\r');
  await waitFor(/31 93/);
  child.stdin.write('sleep 1000\r');
  await waitFor(/sleep 1000\r\n/);
  await new Promise((resolve) => setTimeout(resolve, 500));
  child.stdin.write('\x03');
  child.stdin.write('echo still $((40 + 2))\r');
  await waitFor(/still 42/);
  child.stdin.write('\x1d');
  await ended;
  assert.match(output(), /\[code 0\]/);
  assert.match(output(), / icanon\b/);
  assert.match(output(), / echo\b/);
});

test('SIGTERM gives the terminal back', { skip: noTerminal }, async () => {
  const { output, ended, waitFor } = onTerminal(
    '--append',
    'lodger.term=dumb',
    '& pid=$!; sleep 2; kill $pid; wait $pid',
  );
  await waitFor(/\[code 143\]/);
  await ended;
  assert.match(output(), / icanon\b/);
});

test('a signal during the boot leaves nothing running', { skip: noLinux }, async () => {
  const lodger = startLodger('--append', 'ignore_loglevel');
  lodger.child.stdin.end();
  await printed(lodger, /lodger: init|Linux version|./);
  lodger.child.kill('SIGTERM');
  assert.equal(await lodger.ended, 143);
});
