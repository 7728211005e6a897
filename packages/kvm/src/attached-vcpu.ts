/** A vCPU of a VM that another thread made, for the thread that is to run it. */
import type { Clock } from '@lodger/vmm/time/clock.js';
import { DirtyRings } from './dirty-ring.ts';
import { EndedInterrupts } from './irqchip/ended-interrupts.ts';
import { VcpuWords } from './kick.ts';
import { viewOf } from './linux/libc.ts';
import { attachKvmMemory } from './shared-vm.ts';
import type { SharedKvmVcpu, SharedKvmVm } from './shared-vm.ts';
import { KvmVcpu } from './vcpu.ts';
import type { VcpuHelper } from './vcpu.ts';

/**
 * A vCPU, for the thread that is to run it. `clock` must show the time that the machine's clock shows.
 *
 *     const vcpu = attachKvmVcpu(shared, id, clock);
 *     vcpu.enterThread(`vcpu${id}`);
 *     … vcpu.run() …
 *     vcpu.leaveThread();
 */
export function attachKvmVcpu(shared: SharedKvmVm, id: number, clock: Clock): KvmVcpu {
  const { fd, run, dirtyRing } = sharedVcpu(shared, id);
  return new KvmVcpu({
    id,
    fd,
    run: viewOf(run, shared.runSize),
    words: new VcpuWords(shared.words, id),
    memory: attachKvmMemory(shared),
    clock,
    state: shared.state,
    helper: remoteHelper(shared),
    dirtyRing: shared.dirtyRings && dirtyRing && new DirtyRings(shared.dirtyRings, [dirtyRing]),
  });
}

/** The machine's thread has the controllers; it hears of ended interrupts when it leaves KVM_RUN. */
function remoteHelper(shared: SharedKvmVm): VcpuHelper {
  const ended = new EndedInterrupts(shared.endedInterrupts);
  const machine = new VcpuWords(shared.words, 0);
  return {
    beforeRun() {},
    answer: () => false,
    endOfInterrupt(vector) {
      ended.add(vector);
      machine.kick();
    },
  };
}

function sharedVcpu(shared: SharedKvmVm, id: number): SharedKvmVcpu {
  const vcpu = shared.vcpus.find((candidate) => candidate.id === id);
  if (!vcpu) throw new RangeError(`vCPU ${id} has not been created`);
  return vcpu;
}
