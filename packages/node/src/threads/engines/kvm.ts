/**
 * The kvm engine for the threads of a machine: each vCPU has a thread, the first one's is the machine's.
 *
 * Only loaded where the engine is asked for: @lodger/kvm is an optional dependency.
 */
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import { MaxRamSize } from '@lodger/vmm/machine/memory-map.js';
import { KvmRequest } from '@lodger/kvm/api/requests.js';
import { KvmEngine } from '@lodger/kvm/engine.js';
import { EventBell } from '@lodger/kvm/events/event-bell.js';
import { CallMemoryBytes, noteCallMemory, releaseCallMemory } from '@lodger/kvm/linux/call-memory.js';
import { drainEventFd, signalEventFd } from '@lodger/kvm/linux/eventfd.js';
import { tryIoctl } from '@lodger/kvm/linux/libc.js';
import { attachKvmMemory, attachKvmVcpu, kickKvm, releaseKvm } from '@lodger/kvm/shared-vm.js';
import type { SharedKvmVm } from '@lodger/kvm/shared-vm.js';
import { KvmSystem } from '@lodger/kvm/system.js';
import type { EngineLimits, EngineThreads, ExitCounts, SharedVm, ThreadVm, ThreadVmConfig } from './engine-threads.ts';

export const kvmThreads: EngineThreads = {
  vcpuThreads: true,
  events: {
    raise: signalEventFd,
    clear: (event) => void drainEventFd(event),
    bell: (doorbell, targets) => new EventBell(doorbell, targets),
  },
  leftovers: { bytes: CallMemoryBytes, note: noteCallMemory, release: releaseCallMemory },
  limits,
  createVm,
  attachMemory: (shared) => attachKvmMemory(kvm(shared)),
  attachVcpu(shared, id, clock) {
    const vcpu = attachKvmVcpu(kvm(shared), id, clock);
    vcpu.enterThread();
    return vcpu;
  },
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

function createVm({ backing, irqchip, tuning, ...config }: ThreadVmConfig): ThreadVm {
  const { prefault = false, hugePages = 'none' } = backing ?? {};
  const engine = new KvmEngine({ memory: { prefault, hugePages }, ...(irqchip && { irqchip }), ...tuning });
  const vm = engine.createVm(config);
  const { attention } = vm.shared;
  return {
    vm,
    get shared() {
      return vm.shared;
    },
    attend: () => void Atomics.store(attention, 0, 0),
    sleep(milliseconds) {
      Atomics.wait(attention, 0, 0, milliseconds);
      Atomics.store(attention, 0, 0);
    },
    deferAttention: () => void Atomics.store(attention, 0, 1),
    // KVM API documentation 4.72 "KVM_KVMCLOCK_CTRL"; it fails where the guest has no kvm-clock, which is no matter.
    stoodStill: () => vm.shared.vcpus.forEach(({ fd }) => tryIoctl(fd, KvmRequest.KvmclockCtrl)),
    statistics: (exits) => ({ engine: 'kvm', exits: sum(exits), vcpus: exits.map((each) => ({ exits: each })) }),
  };
}

function sum(counts: readonly ExitCounts[]): ExitCounts {
  const total: ExitCounts = {};
  for (const [kind, count] of counts.flatMap((each) => Object.entries(each) as [VcpuExit['kind'], number][])) {
    total[kind] = (total[kind] ?? 0) + count;
  }
  return total;
}

function kvm(shared: SharedVm): SharedKvmVm {
  if (shared.engine !== 'kvm') throw new Error(`a VM of ${shared.engine}, not kvm`);
  return shared;
}
