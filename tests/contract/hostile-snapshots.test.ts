/** Saved states that somebody changed: a machine refuses them with a HostError, or runs whatever they say; nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concat, multibootHeader } from '@lodger/vmm/boot/testing/kernel-builder.js';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { Machine } from '@lodger/vmm/machine/machine.js';
import type { MachineState } from '@lodger/vmm/machine/machine.js';
import { decodeState, encodeState } from '@lodger/vmm/snapshot/state-json.js';
import { ManualClock } from '@lodger/vmm/time/manual-clock.js';
import { LocalQueueRunner } from '@lodger/vmm/devices/virtio/local-queue-runner.js';
import { BlockRequests } from '@lodger/vmm/devices/virtio/block/block-requests.js';
import { MemoryDisk } from '@lodger/vmm/testing/memory-disk.js';
import { Random } from '../differential/random.ts';

const MemorySize = 4 << 20;
const Rounds = 40;
const Turns = 20;

/** A Multiboot kernel that loops. */
function smallKernel(): Uint8Array {
  const [load, headerBytes] = [0x10_0000, 32];
  const end = load + headerBytes + 2;
  return concat([multibootHeader(1 << 16, [load, load, end, end, load + headerBytes]), Uint8Array.of(0xeb, 0xfe)]);
}

let compiled: WebAssembly.Module | undefined;

/** A machine that runs some turns and is then stopped. */
function createMachine(): Machine {
  const clock = new ManualClock(1_700_000_000_000_000_000n);
  const engine = new WasmEngine({ compileCore: (bytes) => (compiled ??= new WebAssembly.Module(bytes)) });
  const vm = engine.createVm({ memorySize: MemorySize, vcpus: 2, clock });
  const disk = new MemoryDisk(64 * 1024);
  let turns = 0;
  const service = (): void => {
    clock.advance(1e6);
    vm.fireTimers();
    if (++turns > Turns) machine.end({ kind: 'stopped' });
  };
  const machine: Machine = new Machine({
    vm,
    vcpus: 2,
    clock,
    entropy: (target) => void target.fill(1),
    disks: [{ geometry: disk, runner: new LocalQueueRunner(vm.memory, new BlockRequests(vm.memory, disk, 'serial')) }],
    console: { output() {}, input: { available: 0, read: () => 0 }, interactive: true, window: undefined },
    host: { service, serviceDeadline: () => Infinity, sleep: service },
  });
  return machine;
}

/** A place in the state whose value can be another one. */
interface Leaf {
  readonly owner: Record<string, unknown>;
  readonly name: string;
}

function leaves(owner: Record<string, unknown>): Leaf[] {
  return Object.entries(owner).flatMap(([name, value]) => {
    const isBranch = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
    return isBranch ? leaves(value as Record<string, unknown>) : [{ owner, name }];
  });
}

function otherValue(random: Random, value: unknown): unknown {
  if (random.chance(15)) return random.pick([null, 'text', [], {}, -1, 1n, true, new Uint8Array(3), NaN, Infinity]);
  switch (typeof value) {
    case 'number':
      return random.pick([0, -1, random.u32(), random.below(256), 2 ** 53, 0.5, value ^ (1 << random.below(31))]);
    case 'bigint':
      return random.pick([0n, -1n, random.u64(), value ^ (1n << BigInt(random.below(64))), 1n << 70n]);
    case 'boolean':
      return !value;
    default:
      return random.pick([undefined, '', 'other', 0]);
  }
}

test(`${Rounds} changed states`, () => {
  const first = createMachine();
  first.boot({ kernel: smallKernel(), linuxCommandLine: '', commandLine: '' });
  first.run();
  first.pause();
  const text = encodeState(first.save());
  const random = new Random(11);
  let refused = 0;
  for (let round = 0; round < Rounds; round++) {
    const state = decodeState(text) as MachineState;
    const places = leaves(state as unknown as Record<string, unknown>);
    const changed = Array.from({ length: random.between(1, 3) }, () => random.pick(places));
    for (const { owner, name } of changed) owner[name] = otherValue(random, owner[name]);
    const machine = createMachine();
    try {
      machine.restore(state);
      machine.run();
    } catch (error) {
      const names = changed.map(({ owner, name }) => `${name} = ${String(owner[name])}`);
      assert.ok(error instanceof HostError, `${names.join(', ')}: ${(error as Error).stack}`);
      refused++;
    }
  }
  assert.ok(refused > 0 && refused < Rounds, `${refused} of ${Rounds} were refused`);
});
