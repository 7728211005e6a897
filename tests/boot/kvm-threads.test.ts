/** A VM on kvm is threads of a process: what Linux's own tools see of them, and that nothing is left when it ends. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualMachine } from 'lodger';
import type { VirtualMachineOptions } from 'lodger';
import { engines, kvm } from './engines.ts';
import {
  debugExit,
  hang,
  ifEqual,
  onBoth,
  print,
  repeat,
  reset,
  spin,
  store,
  waitFor,
  writeSmallKernel,
} from './small-kernel.ts';
import { noProgram, scratchFolder } from './support.ts';

const folder = scratchFolder();
/** Guest memory that no boot structure uses, and the first word of PCI configuration space: Lodger's host bridge. */
const Address = { Flag: 0x9000, HostBridge: 0xc000_0000 } as const;
const HostBridgeId = 0x0008_1b36;

function kernel(name: string, code: readonly number[]): string {
  const path = join(folder, name);
  writeSmallKernel(path, code);
  return path;
}

async function started(options: VirtualMachineOptions): Promise<VirtualMachine> {
  const vm = await VirtualMachine.create({ engine: 'kvm', memory: '16M', timeout: 60, ...options });
  await vm.start();
  return vm;
}

/** Thread ids of this process by their names. */
function threads(): Map<string, number> {
  const ids = readdirSync('/proc/self/task').map(Number);
  return new Map(ids.map((id) => [readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim(), id]));
}

/** Waits for `condition`, and fails when it does not come true in half a minute. */
async function until(condition: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  while (!condition()) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const { name: engine, skip } of engines) {
  test(`${engine}: two processors print, read and write devices, and nothing is lost`, { skip }, async () => {
    const readDevice = ifEqual(Address.HostBridge, HostBridgeId, print('M'));
    const each = (digit: string): number[] => [...repeat(300, print(digit)), ...readDevice];
    const second = [...each('2'), ...store(Address.Flag, 1), ...hang];
    const path = kernel('both', onBoth([...each('1'), ...waitFor(Address.Flag, 1), ...debugExit(5)], second));
    await using vm = await started({ engine, kernel: path, cpus: 2 });
    assert.deepEqual((await vm.exited).reason, { kind: 'debug-exit', exitCode: 11 });
    const printed = (await vm.console.toArray()).join('');
    assert.deepEqual([...printed].sort().join(''), `${'1'.repeat(300)}${'2'.repeat(300)}MM`);
  });

  test(`${engine}: a processor that writes to ports without pause does not stop the other`, { skip }, async () => {
    const storm = [0xe6, 0x80, 0xeb, 0xfc]; // again: out 0x80, al; jmp again
    const path = kernel('storm', onBoth([...repeat(300, print('.')), ...debugExit(0)], storm));
    await using vm = await started({ engine, kernel: path, cpus: 2 });
    assert.equal((await vm.exited).reason.kind, 'debug-exit');
  });

  test(`${engine}: a guest that resets boots again, and again`, { skip }, async () => {
    const path = kernel('reset', onBoth([...print('boot\n'), ...reset], hang));
    await using vm = await started({ engine, kernel: path, cpus: 2 });
    for (let boots = 0; boots < 4; boots++) await vm.console.waitFor(/boot\n/);
  });

  test(`${engine}: paused, no processor runs; resumed, all do`, { skip }, async () => {
    const forever = (digit: string): number[] => [...print(digit), 0xee, 0xeb, 0xfd]; // again: out dx, al; jmp again
    const path = kernel('digits', onBoth(forever('1'), forever('2')));
    await using vm = await started({ engine, kernel: path, cpus: 2 });
    const counts = { 1: 0, 2: 0 };
    vm.console.on('data', (chunk: Buffer) => chunk.forEach((byte) => counts[byte === 0x31 ? 1 : 2]++));
    await until(() => counts[1] > 100 && counts[2] > 100);
    for (let round = 0; round < 5; round++) {
      await vm.pause();
      await new Promise((resolve) => setTimeout(resolve, 20));
      const paused = { ...counts };
      await new Promise((resolve) => setTimeout(resolve, 30));
      assert.deepEqual(counts, paused);
      vm.resume();
      await until(() => counts[1] > paused[1] && counts[2] > paused[2]);
    }
  });
}

test(
  "threads have names, and Linux's tools act on them",
  { skip: kvm.skip || noProgram('taskset', 'renice', 'chrt') },
  async () => {
    const path = kernel('spinning', onBoth([...print('up'), ...spin], spin));
    const disk = join(folder, 'spinning.img');
    writeFileSync(disk, new Uint8Array(4096));
    await using vm = await started({ kernel: path, cpus: 2, disks: [{ path: disk }] });
    await vm.console.waitFor(/up/);
    const names = ['vcpu0', 'vcpu1', 'io-virtio'];
    await until(() => names.every((name) => threads().has(name)));
    const ids = threads();
    const [first, second] = [ids.get('vcpu0')!, ids.get('vcpu1')!];
    const run = (...command: string[]) => {
      const { status, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    };
    run('taskset', '-c', '-p', '0', String(first));
    run('renice', '-n', '7', '-p', String(second));
    run('chrt', '--batch', '-p', '0', String(second));
    assert.match(readFileSync(`/proc/self/task/${first}/status`, 'utf8'), /^Cpus_allowed_list:\t0$/m);
    const [, rest] = readFileSync(`/proc/self/task/${second}/stat`, 'utf8').split(') ');
    const fields = rest!.split(' ');
    // Fields 19 (nice) and 41 (policy) of proc(5), counted from field 3 on.
    assert.deepEqual([fields[16], fields[38]], ['7', '3']);
    const time = (id: number) => Number(readFileSync(`/proc/self/task/${id}/schedstat`, 'utf8').split(' ')[0]);
    const before = [time(first), time(second)];
    await until(() => time(first) > before[0]! && time(second) > before[1]!);
  },
);

test('a machine without disks has no I/O thread before a driver asks for one', { skip: kvm.skip }, async () => {
  await using vm = await started({ kernel: kernel('alone', onBoth([...print('up'), ...spin], spin)) });
  await vm.console.waitFor(/up/);
  assert.ok(![...threads().keys()].some((name) => name.startsWith('io-')));
});

test('an idle guest costs no processor time', { skip: kvm.skip }, async () => {
  const path = kernel('idle', onBoth([...print('up'), ...hang], hang));
  await using vm = await started({ kernel: path, cpus: 2 });
  await vm.console.waitFor(/up/);
  const exits = async () => {
    const statistics = await vm.statistics();
    return statistics?.engine === 'kvm' ? (statistics.exits.interrupted ?? 0) : 0;
  };
  const first = await exits();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  // Each look of this test is one, and each thread looks around once a second.
  assert.ok((await exits()) - first < 10);
});

test('memory and interrupt controllers by option', { skip: kvm.skip }, async () => {
  const path = kernel('options', onBoth([...print('up'), ...waitFor(Address.Flag, 1), ...debugExit(3)], [...print('2'), ...store(Address.Flag, 1), ...hang])); // prettier-ignore
  for (const options of [{ prefault: true }, { hugePages: 'transparent' }, { irqchip: 'split' }] as const) {
    await using vm = await started({ kernel: path, cpus: 2, ...options });
    assert.deepEqual((await vm.exited).reason, { kind: 'debug-exit', exitCode: 7 }, JSON.stringify(options));
    const other = VirtualMachine.create({ engine: 'wasm', kernel: path, ...options });
    await assert.rejects(other, { code: 'InvalidArgument', message: /kvm/ });
  }
});

/** What this process has of the host. */
function resources() {
  const targets = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, '')];
    } catch {
      return [];
    }
  });
  return {
    descriptors: targets.sort(),
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
    threads: readdirSync('/proc/self/task').length,
    timers: readFileSync('/proc/self/timers', 'utf8').match(/^ID/gm)?.length ?? 0,
  };
}

test('a hundred boots and stops leave no descriptor, mapping, thread or timer', { skip: kvm.skip }, async () => {
  const disk = join(folder, 'disk');
  writeFileSync(disk, new Uint8Array(1024 * 1024));
  const ends = kernel('ends', onBoth([...print('up'), ...debugExit(0)], hang));
  const spins = kernel('spins', onBoth([...print('up'), ...spin], spin));
  const sleeps = kernel('sleeps', onBoth([...print('up'), ...hang], hang));
  const cycle = async (number: number) => {
    await using vm = await started({ kernel: [ends, spins, sleeps][number % 3]!, cpus: 2, disks: [{ path: disk }] });
    await vm.console.waitFor(/up/);
    if (number % 3 !== 0) await vm.stop();
    await vm.exited;
  };
  // The runtime's own: its heap, code and thread pool.
  for (let number = 0; number < 12; number++) await cycle(number);
  const before = resources();
  for (let number = 0; number < 100; number++) await cycle(number);
  const after = resources();
  assert.deepEqual(after.descriptors, before.descriptors);
  assert.equal(after.threads, before.threads);
  assert.equal(after.timers, before.timers);
  // V8's heap comes and goes by a few dozen mappings; one mapping of each machine would be a hundred.
  assert.ok(after.mappings - before.mappings < 90, `${before.mappings} mappings before, ${after.mappings} after`);
  assert.deepEqual(readFileSync('/proc/self/maps', 'latin1').match(/^.*kvm.*$/gm), null);
});
