/** The wasm engine's speed on this host: the same loops as kvm's, for comparison. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { loadEngine } from '../threads/engine-choice.ts';
import { hostClock } from '../threads/host-clock.ts';
import { checkAddressSpace } from './address-space.ts';
import { measureEngine, SpeedGuestMemory } from './engine-speed.ts';
import type { EngineSpeed } from './engine-speed.ts';

export type WasmMeasurement =
  | { readonly kind: 'measured'; readonly speed: EngineSpeed }
  /** The engine cannot run here: an address space limit, for example. */
  | { readonly kind: 'failed'; readonly reason: string };

/** Never rejects. */
export async function measureWasm(): Promise<WasmMeasurement> {
  try {
    checkAddressSpace({ engine: 'wasm', memorySize: SpeedGuestMemory, guestThreads: 1 });
    const clock = hostClock();
    const createVm = await (await loadEngine('wasm')).loadVms();
    const { vm } = createVm({ memorySize: SpeedGuestMemory, vcpus: 1, clock });
    try {
      return { kind: 'measured', speed: measureEngine(vm, vm.createVcpu(0), clock, { thorough: true }) };
    } finally {
      vm.close();
    }
  } catch (error) {
    return { kind: 'failed', reason: error instanceof HostError ? error.message : String(error) };
  }
}
