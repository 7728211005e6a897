/** Which engines there are and what they can give; choosing one from what the user asked for. */
import { HostError } from '@lodger/vmm/errors/host-error.js';

export type EngineName = 'wasm';

const GiB = 1024 * 1024 * 1024;

/** The most that an engine gives one guest. */
export const EngineLimits = {
  /** One WebAssembly memory has 4 GiB at most; the engine's own tables and caches are in it too. */
  wasm: { memory: 3.5 * GiB, cpus: 8 },
} as const satisfies Record<EngineName, { memory: number; cpus: number }>;

/** @throws HostError EngineUnavailable */
export function chooseEngine(choice: 'auto' | 'wasm' | 'kvm'): EngineName {
  switch (choice) {
    case 'auto':
    case 'wasm':
      return 'wasm';
    case 'kvm':
      throw new HostError('EngineUnavailable', 'the kvm engine is not part of this release: pass --engine wasm');
    default:
      throw new HostError('InvalidArgument', `there is no engine "${String(choice satisfies never)}"`);
  }
}
