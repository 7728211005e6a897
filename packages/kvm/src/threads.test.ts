import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { protectedModeState } from '@lodger/vmm/boot/initial-state.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { KvmEngine } from './engine.ts';
import type { IrqchipKind } from './irqchip/vm-interrupts.ts';
import { kickKvm, releaseKvm } from './shared-vm.ts';
import { noKvm } from './testing/tiny-guest.ts';
import type { VcpuThreadData } from './testing/vcpu-thread.ts';

const Vcpus = 3;
const At = { Code: 0x1000, StartUp: 0x2000, Count: 0x3000, Stack: 0x9000 } as const;
const DonePort = 0xf4;
const clock = { now: () => performance.now() * 1e6, wallClock: () => BigInt(Date.now()) * 1_000_000n };
const Patience = 60e9;

/** 32-bit code: INIT and SIPI for all others; waits until `others` have counted; out 0xf4, al. */
// prettier-ignore
const bootstrap = (others: number): number[] => [
  0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x0c, 0x00, // mov dword [0xfee00300], 0xc4500
  0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, At.StartUp >> 12, 0x46, 0x0c, 0x00, // mov dword [0xfee00300], 0xc4602
  0x80, 0x3d, 0x00, At.Count >> 8, 0x00, 0x00, others, 0x75, 0xf7, // 1: cmp byte [0x3000], others; jne 1b
  0xe6, DonePort,
];
/** 16-bit code: lock inc byte [0x3000]; cli; 1: hlt; jmp 1b */
const startUp = [0xf0, 0xfe, 0x06, 0x00, At.Count >> 8, 0xfa, 0xf4, 0xeb, 0xfd];

const threadNames = (): string[] =>
  readdirSync('/proc/self/task').map((thread) => readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim());
const openFiles = (): number => readdirSync('/proc/self/fd').length;
const kvmMappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('kvm-vcpu').length - 1;

/**
 * One life of a VM whose vCPUs have a thread each: the names of its threads. `early`: the first one starts the others before
 * their threads are there, and keeps a processor busy meanwhile.
 */
async function live(irqchip: IrqchipKind, early = false): Promise<string[]> {
  const vm = new KvmEngine({ irqchip }).createVm({ memorySize: 1 << 20, vcpus: Vcpus, clock });
  const vcpus = Array.from({ length: Vcpus }, (_, id) => vm.createVcpu(id));
  const { shared } = vm;
  vm.memory.write(gpa(At.Code), Uint8Array.from(bootstrap(Vcpus - 1)));
  vm.memory.write(gpa(At.StartUp), Uint8Array.from(startUp));
  vcpus[0]!.setState(protectedModeState({ entry: gpa(At.Code), rsp: BigInt(At.Stack) }, { base: 0x500, limit: 0x27 }));
  const words = new Int32Array(new SharedArrayBuffer(8));
  const workers = vcpus.slice(1).map(({ id }) => {
    const workerData: VcpuThreadData = { shared, id, words };
    return new Worker(new URL('./testing/vcpu-thread.js', import.meta.url), { workerData });
  });
  const exits = workers.map((worker) => once(worker, 'exit'));
  await Promise.all(workers.map((worker) => once(worker, 'online')));
  while (!early && Atomics.load(words, 1) < workers.length) await setTimeout(1);
  const limit = clock.now() + Patience;
  let exit = vcpus[0]!.run(limit);
  while (exit.kind === 'interrupted' && clock.now() < limit) exit = vcpus[0]!.run(limit);
  assert.equal(exit.kind === 'pio-write' && exit.port, DonePort, exit.kind);
  assert.equal(vm.memory.readU8(gpa(At.Count)), Vcpus - 1);
  const names = threadNames();
  Atomics.store(words, 0, 1);
  vcpus.slice(1).forEach(({ id }) => kickKvm(shared, id));
  assert.deepEqual(
    (await Promise.all(exits)).map(([code]) => code as number),
    workers.map(() => 0),
  );
  // Halted for ever, with nobody in KVM_RUN: any thread can look
  assert.deepEqual(vcpus.slice(1).map((vcpu) => vcpu.state().mpState), workers.map(() => 'halted')); // prettier-ignore
  vcpus[0]!.leaveThread();
  vm.close();
  releaseKvm(shared);
  return names;
}

describe('vCPUs with threads of their own', { skip: noKvm() }, () => {
  for (const irqchip of ['kernel', 'split'] as const) {
    test(`start-up of all processors by INIT and SIPI, named threads, nothing left (${irqchip})`, async () => {
      await live(irqchip, true);
      const files = openFiles();
      for (let round = 0; round < 5; round++) {
        const names = await live(irqchip);
        assert.deepEqual(names.filter((name) => name.startsWith('vcpu')).sort(), ['vcpu1', 'vcpu2']);
        assert.deepEqual([openFiles(), kvmMappings()], [files, 0]);
      }
    });
  }
});
