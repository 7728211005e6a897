/** The wasm engine for the threads of a machine: all vCPUs run in the machine's thread. */
import type { SharedWasmVm } from '@lodger/vmm/engine/wasm/engine.js';
import { SharedGuestMemory } from '@lodger/vmm/engine/wasm/shared-memory.js';
import type { EngineThreads, SharedVm } from './engine-threads.ts';
import { TranslatorThread } from './translation.ts';

const GiB = 1024 * 1024 * 1024;
/** One WebAssembly memory has 4 GiB at most; the engine's own tables and caches are in it too. */
const Limits = { memory: 3.5 * GiB, cpus: 8 };

export const wasmThreads: EngineThreads = {
  vcpuThreads: false,
  limits: () => Limits,
  startTranslator: () => new TranslatorThread(),
  loadVms: async () => (await import('./wasm-vm.ts')).createVm,
  loadVcpus: () => {
    throw new Error('the wasm engine runs its vCPUs in the machine thread');
  },
  attachMemory: (shared) => new SharedGuestMemory(wasm(shared)),
  wake(shared) {
    const { attention } = wasm(shared);
    Atomics.store(attention, 0, 1);
    Atomics.notify(attention, 0);
  },
  kick: (shared) => wasmThreads.wake(shared),
  release() {},
};

function wasm(shared: SharedVm): SharedWasmVm {
  if (shared.engine !== 'wasm') throw new Error(`a VM of ${shared.engine}, not wasm`);
  return shared;
}
