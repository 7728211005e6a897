/** A VM of the kvm engine in the machine's thread. */
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import { KvmRequest } from '@lodger/kvm/api/requests.js';
import { KvmEngine } from '@lodger/kvm/engine.js';
import { tryIoctl } from '@lodger/kvm/linux/libc.js';
import type { ExitCounts, ThreadVm, ThreadVmConfig } from './engine-threads.ts';

export function createVm({ backing, irqchip, tuning, ...config }: ThreadVmConfig): ThreadVm {
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
