/** A VM of KVM: guest memory, interrupt controllers and vCPUs. */
import { requireVersion } from '@lodger/vmm/bus/saved-state.js';
import type { EngineVm, EngineVmConfig, MemorySlot } from '@lodger/vmm/engine/engine.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { VmState } from '@lodger/vmm/engine/state.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import type { CpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { KvmRequest, kvmIoctl } from './api/requests.ts';
import type { KvmCpus } from './cpu/configure.ts';
import { configureCpus } from './cpu/configure.ts';
import { DirtyLog } from './dirty-log.ts';
import { DirtyRings, DirtyRingTracker, enableDirtyRings, largestDirtyRing, mapDirtyRing } from './dirty-ring.ts';
import type { DirtyTracker } from './dirty-tracker.ts';
import type { KvmEngineOptions } from './engine.ts';
import { CoalescedWrites } from './events/coalesced-writes.ts';
import { KvmEventWiring } from './events/event-wiring.ts';
import { KvmGuestMemory } from './guest-memory.ts';
import { allocateRam, releaseRam } from './host-memory.ts';
import type { SharedKvmMemory } from './host-memory.ts';
import { EndedInterrupts } from './irqchip/ended-interrupts.ts';
import { GsiRoutes } from './irqchip/gsi-routes.ts';
import { KernelIrqchip } from './irqchip/kernel.ts';
import { KvmMessageSink } from './irqchip/message-sink.ts';
import { SplitIrqchip } from './irqchip/split.ts';
import { createVcpuWords, VcpuWords } from './kick.ts';
import { close, LinuxError, MapFlag, mmap, Prot, viewOf } from './linux/libc.ts';
import { MemorySlots } from './memory-slots.ts';
import { releaseKvm } from './shared-vm.ts';
import type { SharedKvmVcpu, SharedKvmVm } from './shared-vm.ts';
import { readClock, writeClock } from './state/clock.ts';
import { stateContext } from './state/context.ts';
import { KvmSystem } from './system.ts';
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
  readonly postedWrites: CoalescedWrites | undefined;
  readonly haltsInRun = true;
  readonly routes: GsiRoutes;
  readonly fd: number;
  readonly interrupts: KernelIrqchip | SplitIrqchip;
  readonly #system: KvmSystem;
  readonly #config: EngineVmConfig;
  readonly #clock: Clock;
  readonly #cpus: KvmCpus;
  readonly #vcpus: SharedKvmVcpu[] = [];
  /** This thread's objects for them. */
  readonly #own: KvmVcpu[] = [];
  readonly #shared: Omit<SharedKvmVm, 'vcpus' | 'events'>;
  readonly #events: number[] = [];

  constructor(config: EngineVmConfig, options: KvmEngineOptions) {
    this.#config = config;
    this.#clock = config.clock;
    this.#system = KvmSystem.open(options.device);
    let fd: number | undefined;
    let ram: SharedKvmMemory | undefined;
    try {
      checkVcpus(this.#system, config.vcpus);
      ram = allocateRam(config.memorySize, options.memory);
      fd = this.#system.createVm();
      this.fd = fd;
      this.#shared = shareable(config, this.#system, fd, ram, options);
      this.memory = new KvmGuestMemory(ram);
      this.slots = new MemorySlots(fd, this.memory);
      setRealModePages(fd);
      this.routes = new GsiRoutes(fd);
      this.msi = new KvmMessageSink(fd);
      this.interrupts = this.#createIrqchip(options);
      this.events = new KvmEventWiring(fd, this.routes, this.#system, this.#events);
      if (this.#system.has('CoalescedPio')) this.postedWrites = new CoalescedWrites(fd);
      this.#cpus = configureCpus(this.#system, fd, config.vcpus, cpuOptions(config, options));
    } catch (error) {
      if (fd !== undefined) close(fd);
      if (ram !== undefined) releaseRam(ram);
      this.#system.close();
      throw asHostError(error);
    }
  }

  /** The processor that the guest sees, as another host or engine would have to be asked for the same. */
  get cpu(): CpuChoice {
    return this.#cpus.choice;
  }

  /** For other threads. Of the vCPUs and events it has those that have been created. */
  get shared(): SharedKvmVm {
    return { ...this.#shared, vcpus: [...this.#vcpus], events: [...this.#events] };
  }

  createVcpu(id: number): KvmVcpu {
    const { fd, run, dirtyRing } = this.#makeVcpu(id);
    if (this.#vcpus.length === this.#config.vcpus) this.#system.close();
    const { runSize, words, dirtyRings } = this.#shared;
    const mapping = viewOf(run, runSize);
    this.postedWrites?.attach(mapping);
    const vcpu = new KvmVcpu({
      id,
      fd,
      run: mapping,
      words: new VcpuWords(words, id),
      memory: this.memory,
      clock: this.#clock,
      state: this.#shared.state,
      helper: this.interrupts.helper(id),
      dirtyRing: dirtyRings && dirtyRing && new DirtyRings(dirtyRings, [dirtyRing]),
    });
    this.#own.push(vcpu);
    return vcpu;
  }

  /** The parts of a vCPU that the process has of it. */
  #makeVcpu(id: number): SharedKvmVcpu {
    let fd: number | undefined;
    try {
      fd = kvmIoctl(this.fd, KvmRequest.CreateVcpu, id);
      this.#cpus.configureVcpu(fd, id);
      const { runSize, dirtyRings } = this.#shared;
      const run = mmap(runSize, Prot.ReadWrite, MapFlag.Shared, fd);
      const vcpu = { id, fd, run, dirtyRing: dirtyRings && mapDirtyRing(dirtyRings, id, fd) };
      this.#vcpus.push(vcpu);
      return vcpu;
    } catch (error) {
      if (fd !== undefined) close(fd);
      throw asHostError(error);
    }
  }

  /** Tells which pages of RAM were written; for the thread that holds the VM, when all vCPUs have been created. */
  dirtyTracker(): DirtyTracker {
    const { dirtyRings } = this.#shared;
    if (!dirtyRings) return new DirtyLog(this.fd, this.slots, this.memory);
    const rings = this.#vcpus.flatMap(({ dirtyRing }) => dirtyRing ?? []);
    return new DirtyRingTracker(dirtyRings, rings, this.slots);
  }

  interruptLine(gsi: number): InterruptLine {
    return this.interrupts.interruptLine(gsi);
  }

  /** Answers an exit of a vCPU that has a thread of its own, if it is an access to the engine's own controllers. */
  answer(exit: VcpuExit): boolean {
    return this.interrupts.answer(exit);
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
    const clock = readClock(this.fd, this.#clock.wallClock());
    return { version: 1, ...this.interrupts.save(), clock };
  }

  setState(state: VmState): void {
    requireVersion({ version: state.version }, 1, 'interrupt controllers');
    writeClock(this.fd, state.clock.kvmClock);
    this.interrupts.restore(state);
  }

  /** Every thread must be done with the VM. */
  close(): void {
    for (const vcpu of this.#own) vcpu.leaveThread();
    this.#system.close();
    releaseKvm(this.shared);
    this.slots.release();
  }

  #createIrqchip({ irqchip = 'kernel' }: KvmEngineOptions): KernelIrqchip | SplitIrqchip {
    const { fd: vmFd, routes, msi: messages } = this;
    if (irqchip === 'kernel') return new KernelIrqchip(vmFd, routes);
    if (!this.#system.has('SplitIrqchip')) {
      throw new HostError(
        'InvalidArgument',
        'this host’s KVM has no split interrupt controllers: use those in the kernel',
      );
    }
    const ended = new EndedInterrupts(this.#shared.endedInterrupts);
    return new SplitIrqchip({ vmFd, routes, messages, clock: this.#clock, ended });
  }
}

function shareable(
  { vcpus }: EngineVmConfig,
  system: KvmSystem,
  vmFd: number,
  memory: SharedKvmMemory,
  { dirtyRingSize }: KvmEngineOptions,
) {
  const hasRings = dirtyRingSize !== undefined && largestDirtyRing(vmFd) > 0;
  return {
    engine: 'kvm',
    vmFd,
    memory,
    attention: new Int32Array(new SharedArrayBuffer(4)),
    words: createVcpuWords(vcpus),
    dirtyRings: hasRings ? enableDirtyRings(vmFd, memory, vcpus, dirtyRingSize) : undefined,
    state: stateContext(system.fd, vmFd),
    endedInterrupts: new EndedInterrupts().words,
    runSize: system.vcpuMapSize,
    released: new Int32Array(new SharedArrayBuffer(4)),
  } as const;
}

function setRealModePages(vmFd: number): void {
  const { IdentityMap, Tss } = RealModePages;
  kvmIoctl(vmFd, KvmRequest.SetIdentityMapAddr, new Uint8Array(BigUint64Array.of(BigInt(IdentityMap)).buffer));
  kvmIoctl(vmFd, KvmRequest.SetTssAddr, Tss);
}

function cpuOptions(config: EngineVmConfig, options: KvmEngineOptions): KvmEngineOptions {
  return { ...options, cpu: config.cpu ?? options.cpu, tscKhz: config.tscKhz ?? options.tscKhz };
}

/** What the kernel refused, with what to do. */
function asHostError(error: unknown): unknown {
  if (!(error instanceof LinuxError)) return error;
  const remedy = 'stop other VMs or raise the limits of the process (ulimit -n, ulimit -v), or use --engine wasm';
  return new HostError('EngineUnavailable', `KVM cannot make this machine (${error.message}): ${remedy}`, {
    cause: error,
  });
}

function checkVcpus(system: KvmSystem, vcpus: number): void {
  const maximum = system.capability('MaxVcpus');
  if (vcpus <= maximum) return;
  throw new HostError(
    'InvalidArgument',
    `this host's KVM gives a machine ${maximum} processors at most, not ${vcpus}: use a smaller --cpus`,
  );
}
