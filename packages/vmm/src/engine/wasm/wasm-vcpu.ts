/** A vCPU of the wasm engine: runs the interpreter, takes events, turns loop exits into VcpuExits. */
import type { AccessSize } from '../../bus/bus-device.ts';
import type { VcpuEvent } from '../../interrupts/interrupt-message.ts';
import type { IrqChip } from '../../interrupts/irqchip.ts';
import { HostError } from '../../errors/host-error.ts';
import { gpa } from '../../memory/address.ts';
import type { TscRate } from '../../time/tsc-rate.ts';
import { MaxBreakpoints, type Vcpu, type VcpuDebug } from '../engine.ts';
import type { VcpuExit } from '../exit.ts';
import type { PendingException, VcpuState } from '../state.ts';
import type { CoreExports } from './interpreter/core-module.ts';
import { FixedHandler } from './interpreter/core-module.ts';
import { Cpu, InterruptShadow, LoopExit, ReplayLog } from './interpreter/cpu-layout.ts';
import { EventKind } from './interpreter/events.ts';
import { Rflag } from './emit/lazy-flags.ts';
import { Record } from './interpreter/record.ts';
import type { Paravirtual } from './pv/paravirtual.ts';
import type { RareCpu } from './rare/rare-cpu.ts';
import { ModeKey } from './softmmu/block-header.ts';
import { initState, loadState, saveShadow, saveState } from './vcpu-state.ts';
import type { ForeignState, VcpuParts } from './vcpu-state.ts';

/**
 * Instructions of one `run()` before it comes back: about 0.1 ms. Translated code does some ten times as many in that time,
 * so slices that end in it grow.
 */
const SliceInstructions = 10_000;
const LongestSlice = 160_000;
/** What an exit that is answered here, or a single step, counts as: a guest that polls must not keep the thread. */
const RoundTripInstructions = 100;
const NmiVector = 2;
const DebugVector = 1;
const PageFaultVector = 14;
/** DR6.BS (SDM Vol. 3B "Debug Status Register (DR6)"). */
const Dr6SingleStep = 1n << 14n;

/** What the vCPU needs of its VM. */
export interface VcpuHost {
  readonly irqchip: IrqChip;
  readonly core: CoreExports;
  readonly tsc: TscRate;
  readonly paravirtual: Paravirtual;
  /** State components that XCR0 may turn on. */
  readonly xstateSupported: bigint;
  /** The clock's nanoseconds. */
  now(): bigint;
  /** What the first vCPU's RDTSC adds. */
  firstTscOffset(): bigint;
  /** A state is about to be loaded. */
  beforeLoad(id: number, state: VcpuState): void;
  /** A TSC was loaded. */
  tscChanged(): void;
  /** True when a thread wants the vCPU thread's attention. */
  attentionWanted(): boolean;
  /** Drops code that other threads wrote to. */
  dropStale(): void;
  flushTranslations(cpu: number): void;
  /** Takes translated code that has been compiled meanwhile. */
  beforeSlice(): void;
  /** A slice ended before a block. Answers whether it is translated. */
  sample(vcpu: number, block: number): boolean;
  /** Writes steal time and the like before the guest goes on. */
  beforeRun(id: number): void;
  /** `wantsMore`: the vCPU is runnable, so that time until its next run is stolen from it. */
  afterRun(id: number, wantsMore: boolean): void;
}

type MpState = VcpuState['mpState'];

/** A completion that the next `run()` owes the guest for the exit that it returned last. */
type Pending = 'pio-read' | 'mmio-read' | 'mmio-write' | 'string-write' | 'hypercall' | undefined;

export class WasmVcpu implements Vcpu {
  readonly id: number;
  readonly cpu: RareCpu;
  readonly #host: VcpuHost;
  #mpState: MpState;
  #nmiPending = false;
  #initPending = false;
  #sipiVector = -1;
  #kicked = false;
  #pending: Pending;
  /** Instructions that the current `run()` may still take. */
  #quota = 0;
  /** Events of a loaded state of which one was about to be delivered. */
  #injected: VcpuState['events'] | undefined;
  #slice = SliceInstructions;
  readonly #foreign: ForeignState = { msrs: [], xsave: undefined };
  readonly #exits = createExits();
  #debug: VcpuDebug = {};

  constructor(id: number, cpu: RareCpu, host: VcpuHost) {
    this.id = id;
    this.cpu = cpu;
    this.#host = host;
    this.#mpState = id === 0 ? 'runnable' : 'uninitialized';
    initState(cpu);
    cpu.view.setUint16(cpu.at + Cpu.EntryRecord + Record.Handler, FixedHandler.Entry, true);
  }

  get runnable(): boolean {
    if (this.#initPending || this.#sipiVector >= 0) return true;
    if (this.#mpState === 'runnable') return true;
    return this.#mpState === 'halted' && (this.#nmiTakeable || this.#interruptTakeable);
  }

  kick(): void {
    this.#kicked = true;
  }

  /** From the interrupt controllers. */
  onEvent(event: VcpuEvent): void {
    if (event === 'nmi') this.#nmiPending = true;
    else if (event === 'init') this.#initPending = true;
    else if (event !== 'interrupt') {
      // A start-up IPI counts only while the vCPU waits for one
      if (this.#mpState === 'uninitialized' || this.#mpState === 'init-received' || this.#initPending) {
        this.#sipiVector = event.sipi;
      }
    }
  }

  run(): VcpuExit {
    this.#finishPending();
    this.#startUp();
    if (this.#mpState === 'uninitialized' || this.#mpState === 'init-received') return this.#exits.halt;
    this.#host.beforeRun(this.id);
    this.#quota = this.#slice;
    const exit = this.#runUntilExit();
    this.#host.afterRun(this.id, this.#mpState === 'runnable');
    return exit;
  }

  #runUntilExit(): VcpuExit {
    for (;;) {
      if (this.#tooManyAccesses) return tooManyAccesses;
      this.#host.dropStale();
      // An instruction whose device accesses were answered in part is completed first
      if (!this.#replaying) {
        if (this.#kicked || this.#quota <= 0) {
          this.#kicked = false;
          return this.#exits.interrupted;
        }
        if (!this.#takeEvents()) return this.#exits.shutdown;
        if (this.#mpState === 'halted') return this.#exits.halt;
      }
      const result = this.#go();
      if (result) return result;
    }
  }

  setDebug(debug: VcpuDebug): void {
    if ((debug.breakpoints?.length ?? 0) > MaxBreakpoints) {
      throw new HostError('InvalidArgument', `a processor has ${MaxBreakpoints} breakpoints: set fewer`);
    }
    this.#debug = debug;
    this.cpu.int3Leaves = debug.int3 ?? false;
  }

  /** Instructions are looked at one by one for the debugger. */
  get #debugged(): boolean {
    return this.#debug.singleStep === true || (this.#debug.breakpoints?.length ?? 0) > 0;
  }

  /** A slice or a step. Undefined to go on. */
  #go(): VcpuExit | undefined {
    const isReplay = this.#replaying;
    if (!isReplay && this.#debug.breakpoints?.includes(this.#linearRip)) return this.#debugExit('breakpoint');
    const before = this.cpu.u32(Cpu.Retired);
    const stepped = this.#step;
    const exit = stepped ? this.#runStep() : this.#runSlice();
    const retired = (this.cpu.u32(Cpu.Retired) - before) >>> 0;
    this.#quota -= retired + RoundTripInstructions;
    if (exit === LoopExit.Budget && !stepped && !this.#step) this.#quota = 0;
    const result = this.#handle(exit);
    if (result || !this.#debug.singleStep || retired === 0) return result;
    return this.#debugExit('single-step');
  }

  #debugExit(reason: 'breakpoint' | 'single-step'): VcpuExit {
    return { kind: 'debug', reason, rip: this.cpu.rip };
  }

  get #linearRip(): bigint {
    const { cpu } = this;
    return cpu.longMode ? cpu.rip : BigInt.asUintN(32, cpu.rip + cpu.segment(1).base);
  }

  state(): VcpuState {
    this.#startUp();
    const { exception, interrupt, nmi } = this.#injected ?? NothingInjected;
    const masked = this.cpu.u32(Cpu.NmiMasked) !== 0;
    return saveState(this.#parts, {
      mpState: this.#mpState,
      events: {
        exception,
        interrupt,
        interruptShadow: saveShadow(this.cpu),
        nmi: { injected: nmi.injected ?? false, pending: this.#nmiPending, masked },
        tripleFault: this.#tripleFault,
      },
    });
  }

  setState(state: VcpuState): void {
    this.#host.beforeLoad(this.id, state);
    loadState(this.#parts, state);
    this.#host.tscChanged();
    const { events, mpState } = state;
    this.#mpState = mpState === 'sipi-received' ? 'init-received' : mpState;
    this.#nmiPending = events.nmi.pending;
    this.#pending = undefined;
    this.#initPending = false;
    this.#sipiVector = mpState === 'sipi-received' ? (events.sipiVector ?? 0) : -1;
    this.#tripleFault = events.tripleFault ?? false;
    this.#tooManyAccesses = false;
    const injects = events.exception !== undefined || events.interrupt !== undefined || events.nmi.injected;
    this.#injected = injects ? structuredClone(events) : undefined;
    this.#host.flushTranslations(this.cpu.at);
  }

  get #parts(): VcpuParts {
    const { irqchip, tsc, paravirtual, xstateSupported, now } = this.#host;
    const apic = irqchip.apic(this.id);
    const firstTscOffset = this.id === 0 ? undefined : this.#host.firstTscOffset();
    const { id, cpu } = this;
    return { id, cpu, apic, tsc, paravirtual, foreign: this.#foreign, xstateSupported, firstTscOffset, now };
  }

  // Events

  get #interruptible(): boolean {
    return (this.cpu.u32(Cpu.Rflags) & Rflag.Interrupt) !== 0 && !this.#shadowed;
  }
  get #shadowed(): boolean {
    return this.cpu.u32(Cpu.Shadow) !== 0 && this.cpu.u64(Cpu.ShadowRip) === this.cpu.rip;
  }
  get #nmiTakeable(): boolean {
    return this.#nmiPending && this.cpu.u32(Cpu.NmiMasked) === 0;
  }
  get #interruptTakeable(): boolean {
    return (this.cpu.u32(Cpu.Rflags) & Rflag.Interrupt) !== 0 && this.#host.irqchip.pendingInterrupt(this.id);
  }

  /** INIT and SIPI (SDM Vol. 3A "Processor State After Reset", "MP Initialization Protocol Algorithm"). */
  #startUp(): void {
    if (this.#initPending) {
      this.#initPending = false;
      initState(this.cpu);
      this.#host.flushTranslations(this.cpu.at);
      this.#nmiPending = false;
      this.#pending = undefined;
      this.#injected = undefined;
      // The bootstrap processor starts at the reset vector at once
      this.#mpState = this.id === 0 ? 'runnable' : 'init-received';
    }
    if (this.#sipiVector >= 0) {
      const vector = this.#sipiVector;
      this.#sipiVector = -1;
      if (this.#mpState === 'runnable' || this.#mpState === 'halted') return;
      this.cpu.setSegment(1, {
        selector: vector << 8,
        base: BigInt(vector) << 12n,
        limit: 0xffff,
        attributes: 0x9b00,
      });
      this.cpu.rip = 0n;
      this.cpu.updateMode();
      this.#mpState = 'runnable';
    }
  }

  /** Delivers what is pending and deliverable. False on a triple fault. */
  #takeEvents(): boolean {
    const { irqchip, core } = this.#host;
    const { cpu } = this;
    if (this.#injected) {
      const events = this.#injected;
      this.#injected = undefined;
      if (inject(cpu, core, events) !== 0) return false;
    }
    if (this.#nmiTakeable && !this.#shadowed) {
      this.#nmiPending = false;
      cpu.setU32(Cpu.NmiMasked, 1);
      this.#mpState = 'runnable';
      if (core.interrupt(cpu.at, NmiVector, EventKind.External) !== 0) return false;
    }
    let waits = irqchip.pendingInterrupt(this.id);
    if (waits && this.#interruptible) {
      const vector = irqchip.acknowledge(this.id);
      if (vector >= 0) {
        this.#mpState = 'runnable';
        if (core.interrupt(cpu.at, vector, EventKind.External) !== 0) return false;
      }
      waits = irqchip.pendingInterrupt(this.id);
    }
    cpu.setU32(Cpu.InterruptWindow, (waits ? 1 : 0) | (this.#nmiPending ? 2 : 0));
    return true;
  }

  // Running

  get #replaying(): boolean {
    return this.cpu.u32(Cpu.ReplayCount) !== 0;
  }
  /** One instruction at a time: replayed device accesses, the trap flag, breakpoints. */
  get #step(): boolean {
    const trapped = (this.cpu.u32(Cpu.Rflags) & Rflag.Trap) !== 0;
    return this.#replaying || trapped || this.#shadowed || this.#breakpoints || this.#debugged;
  }
  get #breakpoints(): boolean {
    return (this.cpu.u32(Cpu.Dr7) & 0xff) !== 0;
  }

  #runSlice(): LoopExit {
    const { cpu } = this;
    cpu.setU32(Cpu.Shadow, 0);
    const budget = this.#host.attentionWanted() ? 1 : this.#quota;
    cpu.setU32(Cpu.Budget, budget);
    cpu.setU32(Cpu.SampledBlock, 0);
    this.#host.beforeSlice();
    const exit = this.#host.core.run(cpu.at, budget) as LoopExit;
    const block = cpu.u32(Cpu.SampledBlock);
    if (block !== 0) {
      const translated = this.#host.sample(this.id, block);
      this.#slice = translated ? Math.min(this.#slice * 2, LongestSlice) : SliceInstructions;
    }
    return exit;
  }

  /** One instruction, then the single-step trap if TF was set before it. */
  #runStep(): LoopExit {
    const { cpu } = this;
    const { core } = this.#host;
    if (this.#instructionBreakpoint()) return LoopExit.Budget;
    const trapped = (cpu.u32(Cpu.Rflags) & Rflag.Trap) !== 0;
    cpu.setU32(Cpu.PendingDebug, trapped ? 1 : 0);
    const before = cpu.u64(Cpu.Retired);
    cpu.setU32(Cpu.ModeKey, cpu.u32(Cpu.ModeKey) | ModeKey.Step);
    // What waits was looked at just now: the shadow of STI or MOV SS lets this instruction go first
    cpu.setU32(Cpu.InterruptWindow, 0);
    cpu.setU32(Cpu.ReplayNext, 0);
    cpu.setU32(Cpu.Budget, 0);
    cpu.setU32(Cpu.Shadow, 0);
    // The resume flag covers one instruction
    const resume = (cpu.u32(Cpu.Rflags) & Rflag.Resume) !== 0;
    const exit = core.run(cpu.at, 0) as LoopExit;
    cpu.setU32(Cpu.ModeKey, cpu.u32(Cpu.ModeKey) & ~ModeKey.Step);
    if (resume) cpu.setU32(Cpu.Rflags, cpu.u32(Cpu.Rflags) & ~Rflag.Resume);
    if (exit === LoopExit.MmioRead || exit === LoopExit.MmioWrite || this.#isReplayedPort(exit)) return exit;
    cpu.setU32(Cpu.ReplayCount, 0);
    const heldBack = this.#shadowed && cpu.u32(Cpu.Shadow) === InterruptShadow.MovSs;
    const touched = BigInt(cpu.u32(Cpu.TouchedBreakpoints));
    cpu.setU32(Cpu.TouchedBreakpoints, 0);
    const stepped = cpu.u32(Cpu.PendingDebug) !== 0 && cpu.u64(Cpu.Retired) !== before ? Dr6SingleStep : 0n;
    if ((stepped | touched) === 0n || heldBack) return exit;
    this.#raiseDebug(stepped | touched);
    // A debug exception ends HLT at once
    return exit === LoopExit.Halt ? LoopExit.Budget : exit;
  }

  #isReplayedPort(exit: LoopExit): boolean {
    return (exit === LoopExit.PioRead || exit === LoopExit.PioWrite) && this.#stringPort;
  }

  /** The exit came from INS or OUTS: the instruction runs again. IN and OUT are complete. */
  get #stringPort(): boolean {
    return this.cpu.u32(Cpu.ExitReplayed) !== 0;
  }

  /** DR0 to DR3 as instruction breakpoints. */
  #instructionBreakpoint(): boolean {
    const { cpu } = this;
    const dr7 = cpu.u32(Cpu.Dr7);
    if ((dr7 & 0xff) === 0 || cpu.u32(Cpu.Rflags) & Rflag.Resume) return false;
    let hit = 0n;
    for (let i = 0; i < 4; i++) {
      const enabled = (dr7 >> (2 * i)) & 3;
      const type = (dr7 >> (16 + 4 * i)) & 3;
      if (enabled && type === 0 && cpu.u64(Cpu.Dr + 8 * i) === this.#linearRip) hit |= 1n << BigInt(i);
    }
    if (hit === 0n) return false;
    this.#raiseDebug(hit, true);
    return true;
  }

  #raiseDebug(status: bigint, fault = false): void {
    const { cpu } = this;
    cpu.setU64(Cpu.Dr6, (cpu.u64(Cpu.Dr6) & ~0xfn) | status);
    if (fault) cpu.setU32(Cpu.Rflags, cpu.u32(Cpu.Rflags) | Rflag.Resume);
    cpu.raise(DebugVector);
    if (this.#host.core.deliver(cpu.at) !== 0) this.#tripleFault = true;
    if (fault) cpu.setU32(Cpu.Rflags, cpu.u32(Cpu.Rflags) & ~Rflag.Resume);
  }

  #tripleFault = false;

  /** Answers what belongs to the interrupt controllers; otherwise the exit to return, or undefined to go on. */
  #handle(exit: LoopExit): VcpuExit | undefined {
    const { cpu } = this;
    if (this.#tripleFault) {
      this.#tripleFault = false;
      return this.#exits.shutdown;
    }
    switch (exit) {
      case LoopExit.Budget:
      case LoopExit.InterruptWindow:
        return undefined;
      case LoopExit.PioRead:
        return this.#pioRead();
      case LoopExit.PioWrite:
        return this.#pioWrite();
      case LoopExit.MmioRead:
        return this.#mmioRead();
      case LoopExit.MmioWrite:
        return this.#mmioWrite();
      case LoopExit.Halt:
        this.#mpState = 'halted';
        return undefined;
      case LoopExit.Debug:
        return this.#debugExit('breakpoint');
      case LoopExit.Shutdown:
        return this.#exits.shutdown;
      case LoopExit.Hypercall:
        return this.#hypercall();
      default:
        return { kind: 'failure', reason: `loop exit ${exit} at RIP 0x${cpu.rip.toString(16)}` };
    }
  }

  #pioRead(): VcpuExit | undefined {
    const { cpu } = this;
    const port = cpu.u32(Cpu.ExitAddress);
    const size = cpu.u32(Cpu.ExitSize) as 1 | 2 | 4;
    this.#pending = 'pio-read';
    const own = this.#host.irqchip.readPort(port, size);
    const exit = Object.assign(this.#exits.pioRead, { port, size, value: own ?? 0 });
    if (own === undefined) return exit;
    this.#finishPending(exit.value);
    return undefined;
  }

  #pioWrite(): VcpuExit | undefined {
    const { cpu } = this;
    const port = cpu.u32(Cpu.ExitAddress);
    const size = cpu.u32(Cpu.ExitSize) as 1 | 2 | 4;
    const value = cpu.u32(Cpu.ExitValue);
    if (this.#stringPort) this.#pending = 'string-write';
    if (!this.#host.irqchip.writePort(port, size, value)) {
      return Object.assign(this.#exits.pioWrite, { port, size, value });
    }
    this.#finishPending();
    return undefined;
  }

  #mmioRead(): VcpuExit | undefined {
    const { cpu } = this;
    const address = Number(cpu.u64(Cpu.ExitAddress));
    const size = cpu.u32(Cpu.ExitSize) as AccessSize;
    this.#pending = 'mmio-read';
    const own = size === 8 ? undefined : this.#host.irqchip.readMmio(this.id, address, size);
    const exit = Object.assign(this.#exits.mmioRead, { address: gpa(address), size, value: BigInt(own ?? 0) });
    if (own === undefined) return exit;
    this.#finishPending();
    return undefined;
  }

  #mmioWrite(): VcpuExit | undefined {
    const { cpu } = this;
    const address = Number(cpu.u64(Cpu.ExitAddress));
    const size = cpu.u32(Cpu.ExitSize) as AccessSize;
    const value = BigInt.asUintN(size * 8, cpu.u64(Cpu.ExitValue));
    this.#pending = 'mmio-write';
    if (size === 8 || !this.#host.irqchip.writeMmio(this.id, address, size, Number(value))) {
      return Object.assign(this.#exits.mmioWrite, { address: gpa(address), size, value });
    }
    this.#finishPending();
    return undefined;
  }

  #hypercall(): VcpuExit {
    const { cpu } = this;
    this.#pending = 'hypercall';
    const args = [3, 1, 2, 6].map((register) => cpu.gpr(register));
    return Object.assign(this.#exits.hypercall, { number: cpu.gpr(0), args, result: 0n });
  }

  /** Gives the guest what the exit's handler answered. */
  #finishPending(value: number = this.#exits.pioRead.value): void {
    const pending = this.#pending;
    if (!pending) return;
    this.#pending = undefined;
    if (pending === 'pio-read') {
      if (this.#stringPort) this.#log(BigInt(value >>> 0));
      else this.#completeIn(value);
    } else if (pending === 'mmio-read') this.#log(this.#exits.mmioRead.value);
    else if (pending === 'hypercall') this.cpu.setGpr(0, BigInt.asUintN(64, this.#exits.hypercall.result));
    else this.#log(0n);
  }

  #completeIn(value: number): void {
    const { cpu } = this;
    const size = cpu.u32(Cpu.ExitSize);
    if (size === 4) cpu.setGpr(0, BigInt(value >>> 0));
    else if (size === 2) cpu.view.setUint16(cpu.at, value, true);
    else cpu.view.setUint8(cpu.at, value);
  }

  /** Adds to the replay log of the instruction that runs again. */
  #log(value: bigint): void {
    const { cpu } = this;
    const count = cpu.u32(Cpu.ReplayCount);
    this.#tooManyAccesses = count === ReplayLog.Capacity;
    if (this.#tooManyAccesses) return;
    cpu.setU64(ReplayLog.Values + 8 * count, BigInt.asUintN(64, value));
    cpu.setU32(Cpu.ReplayCount, count + 1);
  }

  #tooManyAccesses = false;
}

const tooManyAccesses: VcpuExit = {
  kind: 'failure',
  reason: `an instruction makes more than ${ReplayLog.Capacity} device accesses`,
};

const NothingInjected: VcpuState['events'] = {
  exception: undefined,
  interrupt: undefined,
  interruptShadow: 'none',
  nmi: { pending: false, masked: false },
};

/** Delivers what a loaded state was about to deliver: the exception first, as whatever comes after was found later. */
function inject(cpu: RareCpu, core: CoreExports, { exception, interrupt, nmi }: VcpuState['events']): number {
  if (exception) {
    if (exception.pending) applyPayload(cpu, exception);
    core.raise(cpu.at, exception.vector, exception.errorCode ?? 0);
    cpu.setU32(Cpu.FaultHasError, exception.errorCode === undefined ? 0 : 1);
    return core.deliver(cpu.at);
  }
  if (nmi.injected) return core.interrupt(cpu.at, NmiVector, EventKind.External);
  if (!interrupt) return 0;
  return core.interrupt(cpu.at, interrupt.vector, interrupt.soft ? EventKind.Software : EventKind.External);
}

/** What an exception leaves in registers before its delivery (KVM API documentation 4.31, "exception_payload"). */
function applyPayload(cpu: RareCpu, { vector, payload = 0n }: PendingException): void {
  if (vector === PageFaultVector) cpu.setU64(Cpu.Cr2, payload);
  if (vector === DebugVector) cpu.setU64(Cpu.Dr6, cpu.u64(Cpu.Dr6) | payload);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type ExitOf<K extends VcpuExit['kind']> = Mutable<Extract<VcpuExit, { kind: K }>>;

/** The exit objects, made once: the contract allows their reuse. */
function createExits() {
  return {
    halt: { kind: 'halt' } as ExitOf<'halt'>,
    shutdown: { kind: 'shutdown' } as ExitOf<'shutdown'>,
    interrupted: { kind: 'interrupted' } as ExitOf<'interrupted'>,
    pioRead: { kind: 'pio-read', port: 0, size: 1, value: 0 } as ExitOf<'pio-read'>,
    pioWrite: { kind: 'pio-write', port: 0, size: 1, value: 0 } as ExitOf<'pio-write'>,
    mmioRead: { kind: 'mmio-read', address: gpa(0), size: 1, value: 0n } as ExitOf<'mmio-read'>,
    mmioWrite: { kind: 'mmio-write', address: gpa(0), size: 1, value: 0n } as ExitOf<'mmio-write'>,
    hypercall: { kind: 'hypercall', number: 0n, args: [], result: 0n } as ExitOf<'hypercall'>,
  };
}
