/** Ends and interruptions of machines, with kernels of a few bytes, on every engine that the host has. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualMachine } from 'lodger';
import { engines } from './engines.ts';
import { debugExit, hang, powerOff, print, spin, tripleFault, writeSmallKernel } from './small-kernel.ts';
import { compareTerminal, lodgerLine, noProgram, onTerminal, printed, scratchFolder, startLodger } from './support.ts';

const folder = scratchFolder();

function kernel(name: string, code: readonly number[]): string {
  const path = join(folder, name);
  writeSmallKernel(path, code);
  return path;
}

for (const { name: engine, skip } of engines) {
  test(`${engine}: a kernel prints and ends the machine through the debug-exit port`, { skip }, async () => {
    await using vm = await VirtualMachine.create({
      engine,
      kernel: kernel('exit', [...print('hello\n'), ...debugExit(5)]),
    });
    await vm.start();
    const end = await vm.exited;
    assert.deepEqual(end.reason, { kind: 'debug-exit', exitCode: 11 });
    assert.equal(end.exitCode, 11);
    assert.equal((await vm.console.toArray()).join(''), 'hello\n');
  });

  test(`${engine}: power-off`, { skip }, async () => {
    await using vm = await VirtualMachine.create({ engine, kernel: kernel('off', [...print('bye'), ...powerOff]) });
    await vm.start();
    assert.deepEqual((await vm.exited).reason, { kind: 'power-off' });
    assert.equal((await vm.console.toArray()).join(''), 'bye');
  });

  test(`${engine}: a triple fault`, { skip }, async () => {
    await using vm = await VirtualMachine.create({ engine, kernel: kernel('fault', tripleFault) });
    await vm.start();
    assert.deepEqual((await vm.exited).reason, { kind: 'triple-fault' });
  });

  for (const [name, code] of [
    ['hangs', hang],
    ['spins', spin],
  ] as const) {
    test(`${engine}: a kernel that ${name} is ended by its time limit, and by stop()`, { skip }, async () => {
      const path = kernel(name, code);
      await using limited = await VirtualMachine.create({ engine, kernel: path, timeout: 0.2 });
      await limited.start();
      assert.deepEqual((await limited.exited).reason, { kind: 'timeout', seconds: 0.2 });

      await using stopped = await VirtualMachine.create({ engine, kernel: path });
      await stopped.start();
      await stopped.stop();
      assert.equal((await stopped.exited).reason.kind, 'stopped');
    });
  }

  test(`${engine}: a paused machine prints nothing until it is resumed`, { skip }, async () => {
    // loop: mov al, '.'; out dx, al; jmp loop
    const code = [...print('up'), 0xb0, 0x2e, 0xee, 0xeb, 0xfb];
    await using vm = await VirtualMachine.create({ engine, kernel: kernel('dots', code) });
    let count = 0;
    vm.console.on('data', (chunk: Buffer) => (count += chunk.length));
    await vm.start();
    await vm.console.waitFor(/up\./);
    await vm.pause();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const paused = count;
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(count, paused);
    vm.resume();
    while (count === paused) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  test(`${engine}: a machine starts once`, { skip }, async () => {
    await using vm = await VirtualMachine.create({ engine, kernel: kernel('once', debugExit(0)) });
    await vm.start();
    await assert.rejects(vm.start(), { code: 'InvalidArgument' });
  });

  test(
    `${engine}: a kernel that cannot be booted makes start() fail, and the machine has ended`,
    { skip },
    async () => {
      const path = join(folder, 'zeroes');
      writeFileSync(path, new Uint8Array(100_000));
      await using vm = await VirtualMachine.create({ engine, kernel: path });
      await assert.rejects(vm.start(), { code: 'KernelUnsupported', exitCode: 64 });
      assert.equal((await vm.exited).exitCode, 64);
    },
  );

  test(`${engine}: a machine can be stopped before it starts`, { skip }, async () => {
    await using vm = await VirtualMachine.create({ engine, kernel: kernel('unused', debugExit(0)) });
    await vm.stop();
    assert.equal((await vm.exited).reason.kind, 'stopped');
    await assert.rejects(vm.start(), { code: 'InvalidArgument' });
  });

  test(`${engine}: exit codes of the command: debug exit, triple fault, time limit`, { skip }, async () => {
    const exit = startLodger('--engine', engine, '--kernel', kernel('exit', [...print('hello\n'), ...debugExit(1)]));
    assert.equal(await exit.ended, 3);
    assert.equal(exit.stdout(), 'hello\n');
    const fault = startLodger('--engine', engine, '--kernel', kernel('fault', tripleFault));
    assert.equal(await fault.ended, 74);
    assert.match(fault.stderr(), /triple-faulted/);
    const limited = startLodger('--engine', engine, '--kernel', kernel('hang', hang), '--timeout', '0.2');
    assert.equal(await limited.ended, 124);
    assert.match(limited.stderr(), /--timeout/);
  });

  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    test(`${engine}: ${signal} ends the command with ${code}`, { skip }, async () => {
      const lodger = startLodger('--engine', engine, '--kernel', kernel('hang', [...print('up\n'), ...hang]));
      await printed(lodger, /up/);
      lodger.child.kill(signal);
      assert.equal(await lodger.ended, code);
    });
  }

  test(`${engine}: a closed pipe ends the command with 141`, { skip }, async () => {
    const lodger = startLodger(
      '--engine',
      engine,
      '--kernel',
      kernel('dots', [...print('up'), 0xb0, 0x2e, 0xee, 0xeb, 0xfb]),
    );
    await printed(lodger, /up/);
    lodger.child.stdout.destroy();
    assert.equal(await lodger.ended, 141);
  });

  test(`${engine}: the end of its input does not end the guest`, { skip }, async () => {
    const lodger = startLodger(
      '--engine',
      engine,
      '--kernel',
      kernel('hang', [...print('up\n'), ...hang]),
      '--timeout',
      '0.5',
    );
    lodger.child.stdin.end();
    assert.equal(await lodger.ended, 124);
  });
}

const noTerminal = noProgram('script', 'stty');

test('on a terminal, Ctrl-] ends the machine and the terminal is as before', { skip: noTerminal }, async () => {
  const terminal = onTerminal(
    `${lodgerLine('--kernel', kernel('hang', [...print('up\n'), ...hang]))}; echo "[$?]"; ${compareTerminal}`,
  );
  await terminal.printed(/Ctrl-\] ends the machine/);
  await terminal.printed(/up/);
  terminal.child.stdin.write('\x03');
  terminal.child.stdin.write('\x1d');
  await terminal.printed(/\[0\]/);
  await terminal.ended;
  assert.match(terminal.output(), /restored/);
});

for (const [signal, code] of [
  ['TERM', 143],
  ['INT', 130],
  ['HUP', 129],
] as const) {
  test(`SIG${signal} gives the terminal back`, { skip: noTerminal }, async () => {
    const line = lodgerLine('--kernel', kernel('hang', [...print('up\n'), ...hang]));
    const terminal = onTerminal(`${line} </dev/tty & echo "pid=$!."; wait $!; echo "[$?]"; ${compareTerminal}`);
    await terminal.printed(/up/);
    process.kill(Number(/pid=(\d+)\./.exec(terminal.output())![1]), `SIG${signal}`);
    await terminal.printed(/\[\d+\]/);
    await terminal.ended;
    assert.match(terminal.output(), new RegExp(`\\[${code}\\]`));
    assert.match(terminal.output(), /restored/);
  });
}
