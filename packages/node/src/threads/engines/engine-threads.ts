/** What the threads of a machine do with an engine beyond the engine contract. */
import type { WorkerBell } from '@lodger/vmm/devices/virtio/doorbell.js';
import type { EventNumber } from '@lodger/vmm/interrupts/event-wiring.js';
import type { EngineVm, EngineVmConfig, Vcpu } from '@lodger/vmm/engine/engine.js';
import type { SharedWasmVm, EngineStatistics as WasmEngineStatistics } from '@lodger/vmm/engine/wasm/engine.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { GuestMemory } from '@lodger/vmm/memory/guest-memory.js';
import type { TranslatorLink, TranslatorThread } from './translation.ts';
import type { Clock } from '@lodger/vmm/time/clock.js';
import type { KvmCpuOptions } from '@lodger/kvm/cpu/options.js';
import type { SharedKvmVm } from '@lodger/kvm/shared-vm.js';

/** A VM as other threads hold it: plain data that can be sent to them. */
export type SharedVm = SharedWasmVm | SharedKvmVm;

/** How often vCPUs came back from guest code, by reason; reasons that did not occur are left out. */
export type ExitCounts = Partial<Record<VcpuExit['kind'], number>>;

/** What the engine did in one boot. */
export type EngineStatistics =
  | ({ readonly engine: 'wasm' } & WasmEngineStatistics)
  /** Only what left the kernel counts. */
  | { readonly engine: 'kvm'; readonly exits: ExitCounts; readonly vcpus: readonly { readonly exits: ExitCounts }[] };

/** The most that an engine gives one guest on this host. */
export interface EngineLimits {
  readonly memory: number;
  readonly cpus: number;
}

export type Irqchip = 'kernel' | 'split';

/** How an engine takes guest memory from the host. */
export interface MemoryBacking {
  /** All of it at once, when the machine is made. */
  readonly prefault?: boolean | undefined;
  /** `transparent`: asked of the kernel; `hugetlb`: from the host's reserved pool. */
  readonly hugePages?: 'transparent' | 'hugetlb' | undefined;
}

/** What KVM can be asked of the processors. */
export type ProcessorTuning = Pick<KvmCpuOptions, 'haltPolling' | 'disableExits' | 'realtimeHint' | 'nested'>;

export interface ThreadVmConfig extends EngineVmConfig {
  readonly backing?: MemoryBacking | undefined;
  readonly irqchip?: Irqchip | undefined;
  readonly tuning?: ProcessorTuning | undefined;
  /** Of engines that translate on a thread of their own. */
  readonly translator?: TranslatorLink | undefined;
}

/** A VM in the machine's thread. */
export interface ThreadVm {
  readonly vm: EngineVm;
  /** For other threads; it has the vCPUs that have been created. */
  readonly shared: SharedVm;
  /** Takes a request for attention back. */
  attend(): void;
  /** Sleeps until a thread wants attention, at most `milliseconds` (may be Infinity), and takes the request back. */
  sleep(milliseconds: number): void;
  /** Until {@link attend}, requests for attention do not get a vCPU out of guest code. */
  deferAttention?(): void;
  /** All vCPUs stood still for a while: their guests are told that it was not their fault. */
  stoodStill?(): void;
  /** `exits`: of each vCPU. */
  statistics(exits: readonly ExitCounts[]): EngineStatistics;
}

export type CreateVm = (config: ThreadVmConfig) => ThreadVm;

/** A vCPU for the thread that is to run it. */
export type AttachVcpu = (shared: SharedVm, id: number, clock: Clock) => Vcpu;

/** What threads do with events of the engine (EventWiring is the machine thread's part). */
export interface EngineEvents {
  raise(event: EventNumber): void;
  /** Forgets that the event was raised. */
  clear(event: EventNumber): void;
  /** What a thread sleeps on: rung by `doorbell`, and by each target's event. */
  bell(doorbell: EventNumber, targets: readonly EventTarget[]): WorkerBell;
}

/** An event and what it is raised for. */
export interface EventTarget {
  readonly event: EventNumber;
  raised(): void;
}

export interface EngineLeftovers {
  /** Of the memory that a thread and its starter share for this. */
  readonly bytes: number;
  /** The thread itself, before it uses the engine. */
  note(memory: SharedArrayBuffer): void;
  /** Its starter, after its end. */
  release(memory: SharedArrayBuffer): void;
}

/** One engine for every thread of a machine. `shared` is always of the same engine. */
export interface EngineThreads {
  /** Each vCPU but the first has a thread of its own; otherwise all run in the machine's thread. */
  readonly vcpuThreads: boolean;
  /** Where the engine has events: every virtio queue is then served by an I/O worker. */
  readonly events?: EngineEvents;
  /** What a thread that uses the engine leaves behind in the process. */
  readonly leftovers?: EngineLeftovers;
  limits(): EngineLimits;
  /** Starts the thread that compiles translated code, where the engine has one. */
  startTranslator?(): TranslatorThread | undefined;
  /** What the machine's thread makes its VM with. Other threads do without, and start sooner. */
  loadVms(): Promise<CreateVm>;
  /** What the threads of vCPUs need. */
  loadVcpus(): Promise<AttachVcpu>;
  attachMemory(shared: SharedVm): GuestMemory;
  /** Makes the machine's thread look around soon. From any thread. */
  wake(shared: SharedVm): void;
  /** Gets a vCPU with a thread of its own, or the machine's thread, out of guest code. From any thread. */
  kick(shared: SharedVm, id: number): void;
  /** Gives back what the process has of the VM, after all its threads have ended. */
  release(shared: SharedVm): void;
}
