/**
 * The exit loop of a machine's thread: it has the board, runs some vCPUs itself ("local") and answers the exits of the
 * others, which have threads of their own ("remote").
 *
 * Local vCPUs that can run take turns; each turn lasts until the engine hands the vCPU back (a used-up time slice, a
 * halt, a deadline, another thread's request) or the vCPU had its share of exits. Between turns due timers fire, the host
 * is served and remote vCPUs get their answers. When nothing can run, the thread sleeps until the next timer or until
 * another thread wants its attention: here, or inside `run()` with an engine whose vCPUs halt there. An idle guest costs
 * no CPU.
 */
import type { MmioBus } from '../bus/mmio-bus.ts';
import type { PioBus } from '../bus/pio-bus.ts';
import type { EngineVm, Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { HeapTimerQueue } from '../time/timer-queue.ts';
import type { Clock } from '../time/clock.ts';
import type { EndReason } from './end-reason.ts';
import type { BoardMailbox } from './exit-mailbox.ts';
import { ExitCounts } from './exit-counts.ts';
import { HypercallUnknown } from './hypercalls.ts';
import { nextLookAround } from './look-around.ts';
import { RemoteVcpus } from './remote-vcpus.ts';

/** Exits of one vCPU before timers and the other vCPUs get their chance. */
const ExitsPerTurn = 256;
const NanosecondsPerMillisecond = 1e6;
/** Exits of remote vCPUs, each of which interrupts a local one, before that one gets {@link OwnTime}. */
const RemoteShare = 64;
/** Nanoseconds that no other thread interrupts. */
const OwnTime = 100_000;
/** Nanoseconds between two looks at whether a guest that runs has become idle. */
const IdleCheckInterval = 1e6;

/** What the loop asks of the thread that it runs in. */
export interface RunLoopHost {
  /** Between turns: looks at requests, moves console bytes. */
  service(): void;
  /** The clock's time at which {@link service} wants to run even if nothing else happens, or Infinity. */
  serviceDeadline(): number;
  /** Nothing can run: called before each sleep. What it does may make a vCPU runnable. */
  idle(): void;
  /** The clock's time at which {@link idle} wants to be called if nothing can run then, or Infinity. */
  idleDeadline(): number;
  /** Sleeps until another thread wants attention, for at most `milliseconds` (may be Infinity). */
  sleep(milliseconds: number): void;
  /** Until the next {@link service}, other threads' requests for attention do not interrupt a vCPU. */
  deferAttention?(): void;
}

export interface RunLoopConfig {
  /** The vCPUs that this thread runs. */
  readonly vcpus: readonly Vcpu[];
  /** The mailboxes of the others. */
  readonly remotes?: readonly BoardMailbox[];
  readonly pio: PioBus;
  readonly mmio: MmioBus;
  readonly clock: Clock;
  /** Timers of devices. */
  readonly timers: HeapTimerQueue;
  /** Timers of the engine's interrupt controllers, and whether its vCPUs wait inside `run()` while they are halted. */
  readonly engine: Pick<EngineVm, 'nextDeadline' | 'fireTimers' | 'haltsInRun' | 'answer' | 'postedWrites'>;
  /** Devices with work left over from an earlier notification, or finished by another thread. */
  readonly poll: () => void;
  readonly host: RunLoopHost;
}

export class RunLoop {
  /** Of the local vCPUs. */
  readonly counts = new ExitCounts();
  readonly remotes: RemoteVcpus;
  readonly #config: RunLoopConfig;
  readonly #haltsInRun: boolean;
  #end: EndReason | undefined;
  /** Local vCPUs in the middle of an instruction: the answer to their last exit has not reached them. */
  readonly #unsettled = new Set<Vcpu>();
  /** Exits of remote vCPUs since the local ones had time of their own. */
  #remoteExits = 0;
  #nextIdleCheck = 0;
  #nextLookAround = 0;

  constructor(config: RunLoopConfig) {
    this.#config = config;
    this.#haltsInRun = config.engine.haltsInRun ?? false;
    this.remotes = new RemoteVcpus(config.remotes ?? [], (exit) => {
      this.#takePostedWrites();
      if (!config.engine.answer?.(exit)) this.#handle(exit);
    });
  }

  /** Ends the loop after the exit that is being handled. The first reason counts. */
  end(reason: EndReason): void {
    this.#end ??= reason;
  }

  /** Runs the machine until it ends. */
  run(): EndReason {
    const { vcpus, host, poll } = this.#config;
    this.remotes.run();
    while (this.#end === undefined) {
      host.service();
      poll();
      this.#fireTimers();
      this.#remoteExits += this.remotes.answer();
      if (this.#haltsInRun) this.#checkIdle();
      let idle = true;
      for (const vcpu of vcpus) {
        if (this.#end !== undefined || !(this.#haltsInRun || vcpu.runnable)) continue;
        idle = false;
        if (this.#remoteExits < RemoteShare) this.#takeTurn(vcpu);
        else this.#takeOwnTime(vcpu);
      }
      if (idle && this.#end === undefined) this.#sleep();
    }
    this.remotes.end();
    for (const vcpu of vcpus) vcpu.leaveThread?.();
    return this.#end;
  }

  /**
   * Brings every vCPU to rest between two instructions. For the thread that calls {@link run}, between two turns; without
   * {@link resume} the remote vCPUs stay there.
   */
  pause(): void {
    // Nobody goes on from where an ended machine is.
    for (const vcpu of this.#end ? [] : this.#unsettled) {
      do vcpu.kick();
      while (this.#run(vcpu) && this.#end === undefined);
    }
    this.#unsettled.clear();
    this.remotes.hold();
    this.#takePostedWrites();
  }

  resume(): void {
    this.remotes.run();
  }

  #fireTimers(): void {
    const { clock, timers, engine } = this.#config;
    const now = clock.now();
    this.#nextLookAround = nextLookAround(now);
    timers.fire(now);
    if (engine.nextDeadline() <= now) engine.fireTimers();
  }

  get #timerDeadline(): number {
    const { timers, engine } = this.#config;
    return Math.min(timers.nextDeadline(), engine.nextDeadline());
  }

  #sleep(): void {
    const { vcpus, clock, host } = this.#config;
    host.idle();
    if (vcpus.some((vcpu) => vcpu.runnable)) return;
    const nanoseconds = Math.min(this.#timerDeadline, host.idleDeadline()) - clock.now();
    if (nanoseconds > 0) host.sleep(nanoseconds / NanosecondsPerMillisecond);
  }

  #takeTurn(vcpu: Vcpu): void {
    for (let exits = 0; exits < ExitsPerTurn && this.#end === undefined; exits++) {
      if (!this.#run(vcpu)) return this.#settled(vcpu, true);
    }
    this.#settled(vcpu, false);
  }

  #settled(vcpu: Vcpu, settled: boolean): void {
    if (settled) this.#unsettled.delete(vcpu);
    else this.#unsettled.add(vcpu);
  }

  /** A turn that lasts: remote vCPUs that make exits without pause would otherwise leave a local one no time. */
  #takeOwnTime(vcpu: Vcpu): void {
    const { clock, host } = this.#config;
    this.#remoteExits = 0;
    host.deferAttention?.();
    const end = clock.now() + OwnTime;
    let settled: boolean;
    do settled = !this.#run(vcpu, end);
    while (this.#end === undefined && clock.now() < end && !(settled && !vcpu.runnable));
    this.#settled(vcpu, settled);
  }

  /** Runs the vCPU up to one exit and deals with it. False ends its turn. */
  #run(vcpu: Vcpu, deadline = Infinity): boolean {
    const exit = vcpu.run(this.#haltsInRun ? Math.min(deadline, this.#runDeadline()) : deadline);
    this.counts.count(exit.kind);
    this.#takePostedWrites();
    return this.#handle(exit);
  }

  /** Port writes that the engine kept were before the exit that is being handled: they come first. */
  #takePostedWrites(): void {
    this.#config.engine.postedWrites?.drain(this.#writePort);
  }

  readonly #writePort = (port: number, size: 1 | 2 | 4, value: number): void =>
    this.#config.pio.write(port, size, value);

  /** When this thread has something else to do than to run, or to wait inside, a vCPU. */
  #runDeadline(): number {
    const { host } = this.#config;
    const idleCheck = Math.max(host.idleDeadline(), this.#nextIdleCheck);
    return Math.min(this.#timerDeadline, host.serviceDeadline(), idleCheck, this.#nextLookAround);
  }

  /** The counterpart of what {@link #sleep} does, for vCPUs that halt in `run()`. */
  #checkIdle(): void {
    const { vcpus, clock, host } = this.#config;
    const now = clock.now();
    if (now < host.idleDeadline() || now < this.#nextIdleCheck) return;
    this.#nextIdleCheck = now + IdleCheckInterval;
    const remotes = vcpus.some((vcpu) => vcpu.runnable) ? 'busy' : this.remotes.idleState();
    if (remotes === 'unknown') return;
    this.remotes.forgetIdleState();
    if (remotes === 'halted') host.idle();
  }

  /** Deals with an exit. False ends the vCPU's turn. */
  #handle(exit: VcpuExit): boolean {
    const { pio, mmio } = this.#config;
    switch (exit.kind) {
      case 'pio-read':
        exit.value = pio.read(exit.port, exit.size);
        return true;
      case 'pio-write':
        pio.write(exit.port, exit.size, exit.value);
        return true;
      case 'mmio-read':
        exit.value = exit.size === 8 ? mmio.readU64(exit.address) : BigInt(mmio.read(exit.address, exit.size));
        return true;
      case 'mmio-write':
        if (exit.size === 8) mmio.writeU64(exit.address, exit.value);
        else mmio.write(exit.address, exit.size, Number(exit.value & 0xffff_ffffn));
        return true;
      case 'hypercall':
        exit.result = HypercallUnknown;
        return true;
      case 'halt':
      case 'interrupted':
        return false;
      case 'shutdown':
        this.end({ kind: 'triple-fault' });
        return false;
      case 'debug':
        this.end(engineFailure(`stopped for a ${exit.reason} that nobody asked for at 0x${exit.rip.toString(16)}`));
        return false;
      case 'failure':
        this.end(engineFailure(exit.reason));
        return false;
      default:
        return exit satisfies never;
    }
  }
}

function engineFailure(reason: string): EndReason {
  const message = `the engine cannot go on with this guest, try the other one (--engine): ${reason}`;
  return { kind: 'host-error', code: 'EngineFailed', message };
}
