/**
 * The kvm engine for the threads of a machine: each vCPU has a thread, the first one's is the machine's.
 *
 * Only loaded where the engine is asked for: @lodger/kvm is an optional dependency.
 */
import { MaxRamSize } from '@lodger/vmm/machine/memory-map.js';
import { EventBell } from '@lodger/kvm/events/event-bell.js';
import { CallMemoryBytes, noteCallMemory, releaseCallMemory } from '@lodger/kvm/linux/call-memory.js';
import { drainEventFd, signalEventFd } from '@lodger/kvm/linux/eventfd.js';
import { attachKvmMemory, kickKvm, releaseKvm } from '@lodger/kvm/shared-vm.js';
import type { SharedKvmVm } from '@lodger/kvm/shared-vm.js';
import { KvmSystem } from '@lodger/kvm/system.js';
import type { EngineLimits, EngineThreads, SharedVm } from './engine-threads.ts';

export const kvmThreads: EngineThreads = {
  vcpuThreads: true,
  events: {
    raise: signalEventFd,
    clear: (event) => void drainEventFd(event),
    bell: (doorbell, targets) => new EventBell(doorbell, targets),
  },
  leftovers: { bytes: CallMemoryBytes, note: noteCallMemory, release: releaseCallMemory },
  limits,
  loadVms: async () => (await import('./kvm-vm.ts')).createVm,
  async loadVcpus() {
    const { attachKvmVcpu } = await import('@lodger/kvm/attached-vcpu.js');
    return (shared, id, clock) => {
      const vcpu = attachKvmVcpu(kvm(shared), id, clock);
      vcpu.enterThread();
      return vcpu;
    };
  },
  attachMemory: (shared) => attachKvmMemory(kvm(shared)),
  wake(shared) {
    const { attention } = kvm(shared);
    // Who finds a request there leaves it to whoever made it to kick.
    if (Atomics.exchange(attention, 0, 1) !== 0) return;
    Atomics.notify(attention, 0);
    kickKvm(kvm(shared), 0);
  },
  kick: (shared, id) => kickKvm(kvm(shared), id),
  release: (shared) => releaseKvm(kvm(shared)),
};

function limits(): EngineLimits {
  const system = KvmSystem.open();
  try {
    return { memory: MaxRamSize, cpus: system.capability('MaxVcpus') };
  } finally {
    system.close();
  }
}

function kvm(shared: SharedVm): SharedKvmVm {
  if (shared.engine !== 'kvm') throw new Error(`a VM of ${shared.engine}, not kvm`);
  return shared;
}
