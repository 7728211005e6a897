/**
 * A VM as the other threads of the process hold it: plain data that can be sent to them, and what all of them do
 * with it (attached-vcpu.ts: those that run a vCPU).
 *
 * File descriptors and mappings belong to the process, not to a thread: they stay until {@link releaseKvm}.
 */
import { unmapDirtyRing } from './dirty-ring.ts';
import type { MappedDirtyRing, SharedDirtyRings } from './dirty-ring.ts';
import { KvmGuestMemory } from './guest-memory.ts';
import { releaseRam } from './host-memory.ts';
import type { SharedKvmMemory } from './host-memory.ts';
import { VcpuWords } from './kick.ts';
import { close, munmap } from './linux/libc.ts';
import { deleteTimer } from './linux/thread.ts';
import type { StateContext } from './state/context.ts';

export interface SharedKvmVm {
  readonly engine: 'kvm';
  readonly vmFd: number;
  readonly memory: SharedKvmMemory;
  /** Word 0: store 1 for the machine's thread to look around, then kick its vCPU. */
  readonly attention: Int32Array;
  /** Of the vCPUs: kick.ts. */
  readonly words: Int32Array;
  readonly vcpus: readonly SharedKvmVcpu[];
  /** Where written pages are tracked with rings. */
  readonly dirtyRings?: SharedDirtyRings | undefined;
  /** Event file descriptors: events/event-wiring.ts. */
  readonly events: readonly number[];
  /** What this host's KVM keeps of a vCPU. */
  readonly state: StateContext;
  /** irqchip/ended-interrupts.ts. */
  readonly endedInterrupts: Int32Array;
  /** Bytes of a vCPU's mapping. */
  readonly runSize: number;
  /** Word 0 is 1 when {@link releaseKvm} has run. */
  readonly released: Int32Array;
}

export interface SharedKvmVcpu {
  readonly id: number;
  readonly fd: number;
  /** Where its file is mapped. */
  readonly run: bigint;
  readonly dirtyRing?: MappedDirtyRing | undefined;
}

export function attachKvmMemory(shared: SharedKvmVm): KvmGuestMemory {
  return new KvmGuestMemory(shared.memory);
}

/** Gets a vCPU out of guest code, or out of its next `run()`: from any thread. */
export function kickKvm(shared: SharedKvmVm, id: number): void {
  new VcpuWords(shared.words, id).kick();
}

/** Gives back everything that the process has of a VM. Every thread must be done with it. Only the first call counts. */
export function releaseKvm(shared: SharedKvmVm): void {
  if (Atomics.exchange(shared.released, 0, 1) !== 0) return;
  for (const { id, fd, run, dirtyRing } of shared.vcpus) {
    const { timer } = new VcpuWords(shared.words, id);
    if (timer !== undefined) deleteTimer(timer);
    munmap(run, shared.runSize);
    if (shared.dirtyRings && dirtyRing) unmapDirtyRing(shared.dirtyRings, dirtyRing);
    close(fd);
  }
  for (const event of shared.events) close(event);
  close(shared.vmFd);
  releaseRam(shared.memory);
}
