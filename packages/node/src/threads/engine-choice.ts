/** The one place that chooses an engine's implementation. */
import { setFlagsFromString } from 'node:v8';
import type { EngineVm, EngineVmConfig } from '@lodger/vmm/engine/engine.js';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import type { EngineStatistics, SharedWasmVm } from '@lodger/vmm/engine/wasm/engine.js';
import { SharedGuestMemory } from '@lodger/vmm/engine/wasm/shared-memory.js';
import type { GuestMemory } from '@lodger/vmm/memory/guest-memory.js';
import type { EngineName } from './engine-name.ts';

/**
 * A VM as other threads hold it: plain data that can be sent to them. Word 0 of `attention` is a futex: a thread that
 * stores 1 there and notifies makes the machine's thread look around.
 */
export type SharedVm = SharedWasmVm;

export type { EngineStatistics };

/** What the machine's thread needs of a VM beyond the engine contract. */
export interface ThreadVm extends EngineVm {
  readonly shared: SharedVm;
  /** Sleeps until a thread wants attention, at most `milliseconds` (may be Infinity), and takes the request back. */
  sleep(milliseconds: number): void;
  /** Takes a request for attention back without sleeping. */
  attend(): void;
  statistics(): EngineStatistics;
}

/** A VM of that engine, for the machine's thread. */
export function createThreadVm(name: EngineName, config: EngineVmConfig): ThreadVm {
  switch (name) {
    case 'wasm':
      return new WasmEngine({ compileCore: compileOptimized }).createVm(config);
    default:
      return name satisfies never;
  }
}

/** Guest memory, for another thread than the machine's. */
export function attachMemory(shared: SharedVm): GuestMemory {
  return new SharedGuestMemory(shared);
}

/** Compiles at once with V8's optimizing tier: the interpreter never runs at Liftoff's speed. */
export function compileOptimized(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  setFlagsFromString('--no-liftoff');
  setFlagsFromString('--no-wasm-lazy-compilation');
  try {
    return new WebAssembly.Module(bytes);
  } finally {
    setFlagsFromString('--liftoff');
    setFlagsFromString('--wasm-lazy-compilation');
  }
}
