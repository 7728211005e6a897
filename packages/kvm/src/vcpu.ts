/**
 * A vCPU: a thread in KVM_RUN.
 *
 * Several threads can hold the same vCPU, each by an object of its own: one runs it ({@link KvmVcpu.enterThread}), the
 * others kick it, and read and set its state while the first is outside `run()`.
 */
import type { Vcpu, VcpuDebug } from '@lodger/vmm/engine/engine.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import type { GuestMemory } from '@lodger/vmm/memory/guest-memory.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import { KvmExit } from './api/exits.ts';
import { KvmRequest, kvmIoctl } from './api/requests.ts';
import { RunOffset } from './api/run-layout.ts';
import { MpState, MpStateValue } from './api/state-layouts.ts';
import { viewOfBytes } from './api/struct.ts';
import type { DirtyRings } from './dirty-ring.ts';
import { KvmExits } from './exits.ts';
import { guestDebug } from './guest-debug.ts';
import { reportError, reportExit } from './failure-report.ts';
import type { FailedVcpu } from './failure-report.ts';
import { KickSignal } from './kick.ts';
import type { VcpuWords } from './kick.ts';
import { Errno, tryIoctl } from './linux/libc.ts';
import { nameThread, PendingSignal, ThreadTimer } from './linux/thread.ts';
import type { StateContext } from './state/context.ts';
import { readVcpuState, writeVcpuState } from './state/vcpu-state.ts';

const halt = { kind: 'halt' } as const;
const shutdown = { kind: 'shutdown' } as const;
const interrupted = { kind: 'interrupted' } as const;

/** What the VM's user-space controllers do for a vCPU between two rounds of KVM_RUN (irqchip/split.ts). */
export interface VcpuHelper {
  /** Before KVM_RUN. */
  beforeRun(vcpu: KvmVcpu): void;
  /** Answers an exit that belongs to the controllers; false when it is somebody else's. */
  answer(exit: VcpuExit): boolean;
  /** KVM_EXIT_IOAPIC_EOI. */
  endOfInterrupt(vector: number): void;
}

export interface KvmVcpuConfig {
  readonly id: number;
  readonly fd: number;
  /** The mapping of the vCPU's file. */
  readonly run: ArrayBuffer;
  readonly words: VcpuWords;
  readonly memory: GuestMemory;
  /** Deadlines of {@link KvmVcpu.run} are in its time; it must be a real one. */
  readonly clock: Clock;
  readonly state: StateContext;
  readonly helper?: VcpuHelper | undefined;
  /** The vCPU's own ring of written pages, where the VM has them. */
  readonly dirtyRing?: DirtyRings | undefined;
}

export class KvmVcpu implements Vcpu {
  readonly id: number;
  readonly fd: number;
  /** struct kvm_run. */
  readonly runPage: DataView;
  readonly #words: VcpuWords;
  readonly #memory: GuestMemory;
  readonly #clock: Clock;
  readonly #state: StateContext;
  readonly #helper: VcpuHelper | undefined;
  readonly #dirtyRing: DirtyRings | undefined;
  readonly #exits: KvmExits;
  readonly #mpState = MpState.create();
  readonly #signal = new PendingSignal(KickSignal);
  /** True on the object whose thread runs the vCPU. */
  #entered = false;
  #timer: ThreadTimer | undefined;
  /** What the timer is set to; Infinity when it has fired or was never set. */
  #armed = Infinity;
  /** An exit of KVM_RUN that came while an instruction was completed for somebody who wanted the state. */
  #early: VcpuExit | undefined;

  constructor(config: KvmVcpuConfig) {
    this.id = config.id;
    this.fd = config.fd;
    this.runPage = new DataView(config.run);
    this.#words = config.words;
    this.#memory = config.memory;
    this.#clock = config.clock;
    this.#state = config.state;
    this.#helper = config.helper;
    this.#dirtyRing = config.dirtyRing;
    this.#exits = new KvmExits(config.run);
  }

  /**
   * False when the vCPU was halted or waiting for its start-up when it was last in KVM_RUN: an interrupt that has come
   * since makes it go on there.
   */
  get runnable(): boolean {
    kvmIoctl(this.fd, KvmRequest.GetMpState, this.#mpState);
    return viewOfBytes(this.#mpState).getUint32(MpState.offset.mp_state, true) === MpStateValue.Runnable;
  }

  /**
   * Makes this thread the one that runs the vCPU, and gives it a name. {@link run} does it by itself where nobody has,
   * without the name. A thread that runs several vCPUs gives each `run()` a deadline of its own.
   */
  enterThread(name?: string): void {
    if (name !== undefined) nameThread(name);
    if (this.#entered) return;
    this.#words.enter(this.fd);
    this.#entered = true;
  }

  /** Nobody runs the vCPU any more: to be called by its thread before it ends. */
  leaveThread(): void {
    if (!this.#entered) return;
    this.#words.leave();
    this.#timer?.delete();
    this.#words.timer = undefined;
    this.#timer = undefined;
    this.#armed = Infinity;
    this.#entered = false;
  }

  run(deadline = Infinity): VcpuExit {
    if (!this.#entered) this.enterThread();
    const exits = this.#exits;
    if (this.#early) return this.#takeEarly();
    exits.takeAnswer();
    for (;;) {
      const exit = exits.hasMore ? this.#offer(exits.next()) : this.#enter(deadline);
      if (exit !== undefined) return exit;
    }
  }

  /** One round of KVM_RUN; undefined when another one is to follow. */
  #enter(deadline: number): VcpuExit | undefined {
    const words = this.#words;
    const isDue = deadline !== this.#armed && deadline !== Infinity && !this.#arm(deadline);
    if (isDue || words.kicked) return this.#stop();
    this.#helper?.beforeRun(this);
    const result = tryIoctl(this.fd, KvmRequest.Run);
    words.incomplete = false;
    if (result === 0) return this.#translate();
    if (result === -Errno.EINTR) return this.#signalled(deadline);
    // A start-up IPI has come for a processor that waited for it.
    if (result === -Errno.EAGAIN) return undefined;
    return { kind: 'failure', reason: reportError(this.#failed, -result) };
  }

  /** Comes back as `interrupted`, but lets an instruction that devices have answered in part go on to its next exit. */
  #stop(): VcpuExit | undefined {
    const exit = this.#complete();
    if (exit !== undefined) return exit;
    this.#words.takeKick();
    return interrupted;
  }

  /**
   * Lets KVM end the instruction of the last exit, without beginning another one (KVM API documentation, section 5,
   * `immediate_exit`). Answers the exit that the instruction has besides.
   */
  #complete(): VcpuExit | undefined {
    const words = this.#words;
    while (words.incomplete) {
      this.runPage.setUint8(RunOffset.ImmediateExit, 1);
      const result = tryIoctl(this.fd, KvmRequest.Run);
      this.runPage.setUint8(RunOffset.ImmediateExit, 0);
      words.incomplete = false;
      if (result === -Errno.EINTR || result === -Errno.EAGAIN) return undefined;
      if (result < 0) return { kind: 'failure', reason: reportError(this.#failed, -result) };
      const exit = this.#translate();
      if (exit !== undefined) return exit;
    }
    return undefined;
  }

  /** A signal ended KVM_RUN: a kick, the timer, or one of the process's that is none of our business. */
  #signalled(deadline: number): VcpuExit | undefined {
    this.#signal.take();
    // The timer's signal may have been among them
    this.#armed = Infinity;
    if (this.#words.takeKick()) return interrupted;
    if (deadline === Infinity || this.#arm(deadline)) return undefined;
    return interrupted;
  }

  #createTimer(): ThreadTimer {
    const timer = new ThreadTimer(KickSignal);
    this.#words.timer = timer.id;
    return timer;
  }

  /** Sets the timer; false when the deadline has passed. */
  #arm(deadline: number): boolean {
    const left = deadline - this.#clock.now();
    if (left <= 0) return false;
    this.#timer ??= this.#createTimer();
    this.#timer.set(left);
    this.#armed = deadline;
    return true;
  }

  /** The exit that KVM_RUN came back with; undefined when it has been dealt with. */
  #translate(): VcpuExit | undefined {
    const reason = this.runPage.getUint32(RunOffset.ExitReason, true) as KvmExit;
    switch (reason) {
      case KvmExit.Io:
        this.#words.incomplete = true;
        return this.#offer(this.#exits.port());
      case KvmExit.Mmio:
        this.#words.incomplete = true;
        return this.#offer(this.#exits.memory());
      case KvmExit.Hypercall:
        this.#words.incomplete = true;
        return this.#exits.hypercall();
      case KvmExit.IoapicEoi:
        this.#helper?.endOfInterrupt(this.runPage.getUint8(RunOffset.EoiVector));
        return undefined;
      case KvmExit.DirtyRingFull:
        this.#dirtyRing?.harvest();
        return undefined;
      case KvmExit.IrqWindowOpen:
      case KvmExit.SetTpr:
        return undefined;
      case KvmExit.Hlt:
        return halt;
      case KvmExit.Shutdown:
        return shutdown;
      case KvmExit.Debug:
        return this.#exits.debug();
      case KvmExit.Intr:
        return interrupted;
      default:
        return { kind: 'failure', reason: reportExit(this.#failed) };
    }
  }

  /** An exit, unless the VM's own controllers answer it and what belongs to it. */
  #offer(first: VcpuExit): VcpuExit | undefined {
    const helper = this.#helper;
    if (helper === undefined) return first;
    const exits = this.#exits;
    let exit = first;
    while (helper.answer(exit)) {
      exits.takeAnswer();
      if (!exits.hasMore) return undefined;
      exit = exits.next();
    }
    return exit;
  }

  #takeEarly(): VcpuExit {
    const exit = this.#early!;
    this.#early = undefined;
    return exit;
  }

  kick(): void {
    if (this.#entered) this.#words.kickOwn();
    else this.#words.kick();
  }

  /**
   * The vCPU must be outside `run()`. The instruction of the last exit is completed with the answer that the exit has;
   * one that has another exit is caught in the middle: for a state to keep, kick and run until `interrupted`.
   */
  state(): VcpuState {
    this.#settle();
    return readVcpuState(this.fd, this.#state);
  }

  /** What was left of the instruction of the last exit is dropped. */
  setState(state: VcpuState): void {
    this.#early = undefined;
    do {
      this.#exits.takeAnswer();
      this.#exits.drop();
    } while (this.#complete() !== undefined);
    writeVcpuState(this.fd, this.#state, state);
  }

  #settle(): void {
    if (this.#early || this.#exits.hasMore) return;
    this.#exits.takeAnswer();
    this.#early = this.#complete();
  }

  setDebug(debug: VcpuDebug): void {
    kvmIoctl(this.fd, KvmRequest.SetGuestDebug, guestDebug(debug));
  }

  get #failed(): FailedVcpu {
    return { id: this.id, fd: this.fd, run: this.runPage, memory: this.#memory };
  }
}
