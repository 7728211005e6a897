/** A thread that runs a vCPU until it is told to stop: for threads.test.ts. */
import { workerData } from 'node:worker_threads';
import { attachKvmVcpu } from '../attached-vcpu.ts';
import type { SharedKvmVm } from '../shared-vm.ts';

export interface VcpuThreadData {
  readonly shared: SharedKvmVm;
  readonly id: number;
  /** Word 0: 1 to stop. Word 1: how many threads are there. */
  readonly words: Int32Array;
}

if (workerData !== null) runVcpu(workerData as VcpuThreadData);

function runVcpu({ shared, id, words }: VcpuThreadData): void {
  const vcpu = attachKvmVcpu(shared, id, { now: () => performance.now() * 1e6, wallClock: () => 0n });
  vcpu.enterThread(`vcpu${id}`);
  Atomics.add(words, 1, 1);
  Atomics.notify(words, 1);
  while (Atomics.load(words, 0) === 0) {
    const exit = vcpu.run();
    if (exit.kind !== 'interrupted') throw new Error(`vCPU ${id} left with ${exit.kind}`);
  }
  vcpu.leaveThread();
}
