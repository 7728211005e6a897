/** A VM of KVM: guest memory, interrupt controllers and vCPUs. */
import type { EngineVm, EngineVmConfig, MemorySlot } from '@lodger/vmm/engine/engine.js';
import type { VmState } from '@lodger/vmm/engine/state.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import { KvmRequest, kvmIoctl } from './api/requests.ts';
import type { KvmEngineOptions } from './engine.ts';
import { KvmEventWiring } from './events/event-wiring.ts';
import { KvmGuestMemory } from './guest-memory.ts';
import { allocateRam } from './host-memory.ts';
import { GsiRoutes } from './irqchip/gsi-routes.ts';
import { KernelIrqchip } from './irqchip/kernel.ts';
import { KvmMessageSink } from './irqchip/message-sink.ts';
import type { VmInterrupts } from './irqchip/vm-interrupts.ts';
import { createVcpuWords, VcpuWords } from './kick.ts';
import { MapFlag, mmap, Prot, viewOf } from './linux/libc.ts';
import { MemorySlots } from './memory-slots.ts';
import { releaseKvm } from './shared-vm.ts';
import type { SharedKvmVcpu, SharedKvmVm } from './shared-vm.ts';
import { KvmSystem } from './system.ts';
import { setSupportedCpuid } from './vcpu-cpuid.ts';
import { KvmVcpu } from './vcpu.ts';

/**
 * Pages below 4 GiB that Intel processors without unrestricted guests need for real mode (KVM API documentation 4.36
 * "KVM_SET_TSS_ADDR", 4.43 "KVM_SET_IDENTITY_MAP_ADDR"): no device and no RAM may be there.
 */
const RealModePages = { IdentityMap: 0xfeff_c000, Tss: 0xfeff_d000 } as const;

export class KvmVm implements EngineVm {
  readonly memory: KvmGuestMemory;
  readonly slots: MemorySlots;
  readonly msi: KvmMessageSink;
  readonly events: KvmEventWiring;
  readonly haltsInRun = true;
  /** Interrupt numbers beyond the IOAPIC's pins are for whoever needs some. */
  readonly routes: GsiRoutes;
  readonly fd: number;
  readonly interrupts: VmInterrupts;
  readonly #system: KvmSystem;
  readonly #clock: Clock;
  readonly #vcpus: SharedKvmVcpu[] = [];
  readonly #shared: Omit<SharedKvmVm, 'vcpus' | 'events'>;
  readonly #events: number[] = [];

  constructor(config: EngineVmConfig, options: KvmEngineOptions) {
    this.#clock = config.clock;
    this.#system = KvmSystem.open(options.device);
    try {
      checkVcpus(this.#system, config.vcpus);
      this.fd = this.#system.createVm();
    } catch (error) {
      this.#system.close();
      throw error;
    }
    this.#shared = {
      engine: 'kvm',
      vmFd: this.fd,
      memory: allocateRam(config.memorySize, options.memory),
      attention: new Int32Array(new SharedArrayBuffer(4)),
      words: createVcpuWords(config.vcpus),
      runSize: this.#system.vcpuMapSize,
      released: new Int32Array(new SharedArrayBuffer(4)),
    };
    this.memory = new KvmGuestMemory(this.#shared.memory);
    this.slots = new MemorySlots(this.fd, this.memory);
    this.routes = new GsiRoutes(this.fd);
    this.msi = new KvmMessageSink(this.fd);
    this.events = new KvmEventWiring(this.fd, this.routes, this.#system, this.#events);
    kvmIoctl(
      this.fd,
      KvmRequest.SetIdentityMapAddr,
      new Uint8Array(BigUint64Array.of(BigInt(RealModePages.IdentityMap)).buffer),
    );
    kvmIoctl(this.fd, KvmRequest.SetTssAddr, RealModePages.Tss);
    this.interrupts = new KernelIrqchip(this.fd, this.routes);
  }

  /** For other threads. Of the vCPUs and events it has those that have been created. */
  get shared(): SharedKvmVm {
    return { ...this.#shared, vcpus: [...this.#vcpus], events: [...this.#events] };
  }

  createVcpu(id: number): KvmVcpu {
    const fd = kvmIoctl(this.fd, KvmRequest.CreateVcpu, id);
    setSupportedCpuid(this.#system.fd, fd, id);
    const { runSize, words } = this.#shared;
    const run = mmap(runSize, Prot.ReadWrite, MapFlag.Shared, fd);
    this.#vcpus.push({ id, fd, run });
    return new KvmVcpu({
      id,
      fd,
      run: viewOf(run, runSize),
      words: new VcpuWords(words, id),
      memory: this.memory,
      clock: this.#clock,
      helper: this.interrupts.helper?.(id),
    });
  }

  interruptLine(gsi: number): InterruptLine {
    return this.interrupts.interruptLine(gsi);
  }

  setMemorySlot(slot: MemorySlot): void {
    this.slots.set(slot);
  }

  nextDeadline(): number {
    return this.interrupts.nextDeadline();
  }

  fireTimers(): void {
    this.interrupts.fireTimers();
  }

  state(): VmState {
    throw new Error('not yet');
  }

  setState(_state: VmState): void {
    throw new Error('not yet');
  }

  /** Every thread must be done with the VM. */
  close(): void {
    this.#system.close();
    releaseKvm(this.shared);
    this.slots.release();
  }
}

function checkVcpus(system: KvmSystem, vcpus: number): void {
  const maximum = system.capability('MaxVcpus');
  if (vcpus <= maximum) return;
  throw new HostError(
    'InvalidArgument',
    `this host's KVM gives a machine ${maximum} processors at most, not ${vcpus}: use a smaller --cpus`,
  );
}
