/** The one place that chooses an engine's implementation. Each is loaded only where it is used. */
import type { EngineName } from './engine-name.ts';
import type { EngineThreads } from './engines/engine-threads.ts';

export type {
  CreateVm,
  EngineLimits,
  EngineStatistics,
  EngineThreads,
  ExitCounts,
  Irqchip,
  MemoryBacking,
  SharedVm,
  ThreadVm,
  ThreadVmConfig,
} from './engines/engine-threads.ts';

/** To be awaited by a thread before it starts its work: most of them never return to their event loop. */
export async function loadEngine(name: EngineName): Promise<EngineThreads> {
  switch (name) {
    case 'wasm':
      return (await import('./engines/wasm.ts')).wasmThreads;
    case 'kvm':
      return (await import('./engines/kvm.ts')).kvmThreads;
    default:
      return name satisfies never;
  }
}
