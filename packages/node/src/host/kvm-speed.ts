/** kvm's speed on this host. */
import { hostClock } from '../threads/host-clock.ts';
import { measureEngine, SpeedGuestMemory } from './engine-speed.ts';
import type { EngineSpeed, SpeedOptions } from './engine-speed.ts';
import { whyUnusable } from './kvm-inspection.ts';

export type KvmMeasurement =
  { readonly kind: 'measured'; readonly speed: EngineSpeed } | { readonly kind: 'failed'; readonly reason: string };

/** Never rejects. Blocks this thread for some milliseconds: a KVM_RUN is a system call that does not come back before. */
export async function measureKvm(options: SpeedOptions = {}): Promise<KvmMeasurement> {
  try {
    const { KvmEngine } = await import('@lodger/kvm/engine.js');
    const clock = hostClock();
    const vm = new KvmEngine().createVm({ memorySize: SpeedGuestMemory, vcpus: 1, clock });
    try {
      const vcpu = vm.createVcpu(0);
      try {
        return { kind: 'measured', speed: measureEngine(vm, vcpu, clock, options) };
      } finally {
        vcpu.leaveThread();
      }
    } finally {
      vm.close();
    }
  } catch (error) {
    return { kind: 'failed', reason: whyUnusable(error) };
  }
}
