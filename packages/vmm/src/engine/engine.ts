/**
 * The engine contract. Everything above it (machine, devices, boot, snapshots) is written once.
 *
 * An engine brings guest memory, the interrupt controllers that KVM has in the kernel (local APICs, IOAPIC, PICs, PIT)
 * and vCPUs.
 */
import type { EventWiring } from '../interrupts/event-wiring.ts';
import type { InterruptLine, MsiSink } from '../interrupts/interrupt-line.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';
import type { Clock } from '../time/clock.ts';
import type { CpuChoice } from '../x86/cpu-models.ts';
import type { VcpuExit } from './exit.ts';
import type { PostedWrites } from './posted-writes.ts';
import type { VcpuState, VmState } from './state.ts';

export interface Engine {
  readonly name: 'wasm' | 'kvm';
  createVm(config: EngineVmConfig): EngineVm;
}

export interface EngineVmConfig {
  /** RAM in bytes, a multiple of 4096. Laid out below the PC hole and from 4 GiB on by the engine (machine/memory-map.ts). */
  readonly memorySize: number;
  readonly vcpus: number;
  readonly clock: Clock;
  /** The processor that the guest sees (x86/cpu-models.ts). Default: `host` on kvm, `x86-64-v2` on wasm. */
  readonly cpu?: CpuChoice | undefined;
  /** Frequency of the TSC. Default: the engine's own (the host's TSC; 1 GHz for wasm). */
  readonly tscKhz?: number | undefined;
}

export interface EngineVm {
  readonly memory: GuestMemory;
  /**
   * The processor that the guest sees: what to ask another engine or host for, so that the guest can go on there. Features
   * that this host could not give are among those left out.
   */
  readonly cpu: CpuChoice;
  /** MSIs; legal from any thread that holds the VM. */
  readonly msi: MsiSink;
  /** Guest writes and interrupts bound to events of the host; undefined for an engine that has none. */
  readonly events?: EventWiring;
  /** Port writes that need not stop the guest; undefined where each of them is an exit. */
  readonly postedWrites?: PostedWrites | undefined;
  /** True when a halted vCPU waits inside `run()` for its interrupt: `run()` is to be called whether it is runnable or not. */
  readonly haltsInRun?: boolean;
  /** Global system interrupt `gsi` (0 to 23: IOAPIC pin, and PIC pin for 0 to 15). */
  interruptLine(gsi: number): InterruptLine;
  createVcpu(id: number): Vcpu;
  /** Adds, replaces (same id) or, with size 0, removes a memory slot. */
  setMemorySlot(slot: MemorySlot): void;
  /**
   * Answers an exit of a vCPU that another thread runs, if it is an access to controllers of the engine that belong to the
   * machine's thread. For vCPUs of the machine's thread `run()` does so.
   */
  answer?(exit: VcpuExit): boolean;
  /** Nanoseconds (the clock's) of the next timer of the engine's own controllers, or Infinity. */
  nextDeadline(): number;
  /** Fires the timers of the engine's controllers that are due. */
  fireTimers(): void;
  /** The interrupt controllers beside the local APICs, and the clock. vCPUs must stand still. */
  state(): VmState;
  /** After guest memory and the devices, which drive their interrupt lines; before the vCPUs. */
  setState(state: VmState): void;
  close(): void;
}

export interface MemorySlot {
  readonly id: number;
  readonly start: GuestPhysicalAddress;
  readonly size: number;
  readonly readOnly: boolean;
}

export interface Vcpu {
  readonly id: number;
  /**
   * Runs guest code until an exit, or until the clock shows `deadline` (nanoseconds; default: Infinity). Synchronous.
   * An engine whose time slices are short may leave the deadline to them.
   */
  run(deadline?: number): VcpuExit;
  /** Makes a concurrent or the next `run()` return `interrupted` soon. Legal from any thread that holds the VM. */
  kick(): void;
  /** What the thread that ran the vCPU holds for it is given back: it does not run it again. */
  leaveThread?(): void;
  /** True when `run()` would make progress: not halted without a pending interrupt, not waiting for SIPI. */
  readonly runnable: boolean;
  /**
   * What the vCPU goes on from, on any engine. An exit that was returned must have been answered and completed: `kick()`
   * and `run()` until it returns `interrupted` or `halt`.
   */
  state(): VcpuState;
  setState(state: VcpuState): void;
  /** Which guest code comes back from `run()` as `debug`. Absent: the engine can't. */
  setDebug?(debug: VcpuDebug): void;
}

/** For debuggers: the guest does not notice. Anything left out is off. */
export interface VcpuDebug {
  /** After each instruction. */
  readonly singleStep?: boolean;
  /**
   * Before the instructions at these linear addresses, at most {@link MaxBreakpoints}. To go on from one, take it away and
   * step.
   */
  readonly breakpoints?: readonly bigint[];
  /** Before INT3, instead of its exception. */
  readonly int3?: boolean;
}

/** What the processor has: SDM Vol. 3B "Debug Registers". */
export const MaxBreakpoints = 4;
