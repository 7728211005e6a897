/** The one place that chooses an engine's implementation. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { EngineVm, EngineVmConfig } from '@lodger/vmm/engine/engine.js';
import type { GuestMemory } from '@lodger/vmm/memory/guest-memory.js';
import type { EngineName } from './engine-name.ts';

/** A VM as other threads hold it: plain data that can be sent to them. */
export interface SharedVm {
  readonly engine: EngineName;
  /** Word 0 is a futex: a thread that stores 1 there and notifies makes the machine's thread look around. */
  readonly attention: Int32Array;
}

/** What the machine's thread needs of a VM beyond the engine contract. */
export interface ThreadVm extends EngineVm {
  readonly shared: SharedVm;
  /** Sleeps until a thread wants attention, at most `milliseconds` (may be Infinity), and takes the request back. */
  sleep(milliseconds: number): void;
}

/** A VM of that engine, for the machine's thread. */
export function createThreadVm(name: EngineName, _config: EngineVmConfig): ThreadVm {
  throw new HostError('EngineUnavailable', `the ${name} engine is being built`);
}

/** Guest memory, for another thread than the machine's. */
export function attachMemory(_shared: SharedVm): GuestMemory {
  throw new HostError('EngineUnavailable', 'the engine is being built');
}
