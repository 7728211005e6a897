/** The wasm engine for the threads of a machine: all vCPUs run in the machine's thread. */
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import type { SharedWasmVm } from '@lodger/vmm/engine/wasm/engine.js';
import { SharedGuestMemory } from '@lodger/vmm/engine/wasm/shared-memory.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { compileOptimized } from './compile-optimized.ts';
import type { EngineThreads, SharedVm, ThreadVm, ThreadVmConfig } from './engine-threads.ts';

const GiB = 1024 * 1024 * 1024;
/** One WebAssembly memory has 4 GiB at most; the engine's own tables and caches are in it too. */
const Limits = { memory: 3.5 * GiB, cpus: 8 };

export const wasmThreads: EngineThreads = {
  vcpuThreads: false,
  limits: () => Limits,
  createVm,
  attachMemory: (shared) => new SharedGuestMemory(wasm(shared)),
  attachVcpu: () => {
    throw new Error('the wasm engine runs its vCPUs in the machine thread');
  },
  wake(shared) {
    const { attention } = wasm(shared);
    Atomics.store(attention, 0, 1);
    Atomics.notify(attention, 0);
  },
  kick: (shared) => wasmThreads.wake(shared),
  release() {},
};

function createVm({ backing, irqchip, tuning = {}, ...config }: ThreadVmConfig): ThreadVm {
  const option = backing?.prefault ? 'prefault' : backing?.hugePages ? 'hugePages' : irqchip && 'irqchip';
  const tuned = Object.entries(tuning).find(([, value]) => value !== undefined)?.[0];
  if (option ?? tuned) {
    throw new HostError(
      'InvalidArgument',
      `${option ?? tuned} is for the kvm engine: leave it out, or pass --engine kvm`,
    );
  }
  const vm = new WasmEngine({ compileCore: compileOptimized }).createVm(config);
  return {
    vm,
    shared: vm.shared,
    attend: () => vm.attend(),
    sleep: (milliseconds) => vm.sleep(milliseconds),
    statistics: () => ({ engine: 'wasm', ...vm.statistics() }),
  };
}

function wasm(shared: SharedVm): SharedWasmVm {
  if (shared.engine !== 'wasm') throw new Error(`a VM of ${shared.engine}, not wasm`);
  return shared;
}
