/** The worker of a vCPU of smp-guest.ts. */
import { workerData } from 'node:worker_threads';
import { attachWasmVcpu } from '@lodger/vmm/engine/wasm/attached-vcpu.js';
import { Port } from './engine-guest.ts';
import { Ended, type SmpVcpuData, sharedClock, translation } from './smp-guest.ts';

const { shared, id, start, translate, words } = workerData as SmpVcpuData;
const clock = sharedClock(start);
const vcpu = attachWasmVcpu(shared, id, { clock, ...(translate && { translator: translation }) });
let result: number = Ended.Running;
while (Atomics.load(words, 0) === 0 && result === Ended.Running) {
  const exit = vcpu.run(clock.now() + 1e9);
  if (exit.kind === 'pio-write' && exit.port === Port.Done) result = Ended.Done;
  else if (exit.kind !== 'interrupted' && exit.kind !== 'halt') result = Ended.Otherwise;
}
Atomics.store(words, 1 + id, result);
