/**
 * The wasm engine for the threads of a machine: each vCPU has a thread, the first one's is the machine's. Guests rely on
 * the memory order of x86, which plain accesses of wasm have on such hosts only: elsewhere all vCPUs take turns in the
 * machine's thread.
 */
import type { SharedWasmVm } from '@lodger/vmm/engine/wasm/engine.js';
import { SharedGuestMemory } from '@lodger/vmm/engine/wasm/shared-memory.js';
import { wakeVcpuThread } from '@lodger/vmm/engine/wasm/vcpu-link.js';
import type { EngineThreads, SharedVm } from './engine-threads.ts';
import { TranslatorThread, compileThere } from './translation.ts';

const GiB = 1024 * 1024 * 1024;
/** One WebAssembly memory has 4 GiB at most; the engine's own tables and caches are in it too. */
const Limits = { memory: 3.5 * GiB, cpus: 8 };

export const wasmThreads: EngineThreads = {
  vcpuThreads: process.arch === 'x64',
  limits: () => Limits,
  startTranslator: (users) => new TranslatorThread(users),
  loadVms: async () => (await import('./wasm-vm.ts')).createVm,
  async loadVcpus() {
    const { attachWasmVcpu } = await import('@lodger/vmm/engine/wasm/attached-vcpu.js');
    return (shared, id, clock, translator) =>
      attachWasmVcpu(wasm(shared), id, {
        clock,
        translator: translator && { createCompiler: compileThere(translator) },
      });
  },
  attachMemory: (shared) => new SharedGuestMemory(wasm(shared)),
  wake: (shared) => wakeVcpuThread(wasm(shared), 0),
  kick: (shared, id) => wakeVcpuThread(wasm(shared), id),
  release() {},
};

function wasm(shared: SharedVm): SharedWasmVm {
  if (shared.engine !== 'wasm') throw new Error(`a VM of ${shared.engine}, not wasm`);
  return shared;
}
