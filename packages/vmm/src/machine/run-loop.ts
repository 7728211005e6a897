/**
 * The exit loop of a machine whose vCPUs share one thread.
 *
 * Runnable vCPUs take turns; each turn lasts until the engine hands the vCPU back (a used-up time slice, a halt) or the
 * vCPU had its share of exits. Between turns due timers fire and the host is served. When nothing can run, the thread
 * sleeps until the next timer or until another thread wants its attention: an idle guest costs no CPU.
 */
import type { MmioBus } from '../bus/mmio-bus.ts';
import type { PioBus } from '../bus/pio-bus.ts';
import type { Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { HeapTimerQueue } from '../time/timer-queue.ts';
import type { Clock } from '../time/clock.ts';
import type { EndReason } from './end-reason.ts';

/** Exits of one vCPU before timers and the other vCPUs get their chance. */
const ExitsPerTurn = 256;
const NanosecondsPerMillisecond = 1e6;

/** KVM_ENOSYS (Linux include/uapi/linux/kvm_para.h): no hypercall is offered. */
const HypercallUnknown = BigInt.asUintN(64, -1000n);

/** What the loop asks of the thread that it runs in. */
export interface RunLoopHost {
  /** Between turns: looks at requests, moves console bytes. */
  service(): void;
  /** Nothing can run: called before each sleep. What it does may make a vCPU runnable. */
  idle(): void;
  /** Sleeps until another thread wants attention, for at most `milliseconds` (may be Infinity). */
  sleep(milliseconds: number): void;
  /** The clock's time at which {@link service} wants to run even if nothing else happens, or Infinity. */
  nextDeadline(): number;
}

export interface RunLoopConfig {
  readonly vcpus: readonly Vcpu[];
  readonly pio: PioBus;
  readonly mmio: MmioBus;
  readonly clock: Clock;
  /** Timers of devices. */
  readonly timers: HeapTimerQueue;
  /** Timers of the engine's interrupt controllers. */
  readonly engine: { nextDeadline(): number; fireTimers(): void };
  /** Devices with work left over from an earlier notification, or finished by another thread. */
  readonly poll: () => void;
  readonly host: RunLoopHost;
}

export class RunLoop {
  readonly #config: RunLoopConfig;
  #end: EndReason | undefined;

  constructor(config: RunLoopConfig) {
    this.#config = config;
  }

  /** Ends the loop after the exit that is being handled. The first reason counts. */
  end(reason: EndReason): void {
    this.#end ??= reason;
  }

  /** Runs the machine until it ends. */
  run(): EndReason {
    const { vcpus, host, poll } = this.#config;
    while (this.#end === undefined) {
      host.service();
      poll();
      this.#fireTimers();
      let idle = true;
      for (const vcpu of vcpus) {
        if (this.#end !== undefined || !vcpu.runnable) continue;
        idle = false;
        this.#takeTurn(vcpu);
      }
      if (idle && this.#end === undefined) this.#sleep();
    }
    return this.#end;
  }

  #fireTimers(): void {
    const { clock, timers, engine } = this.#config;
    const now = clock.now();
    timers.fire(now);
    if (engine.nextDeadline() <= now) engine.fireTimers();
  }

  #sleep(): void {
    const { vcpus, clock, timers, engine, host } = this.#config;
    host.idle();
    if (vcpus.some((vcpu) => vcpu.runnable)) return;
    const deadline = Math.min(timers.nextDeadline(), engine.nextDeadline(), host.nextDeadline());
    const nanoseconds = deadline - clock.now();
    if (nanoseconds > 0) host.sleep(nanoseconds / NanosecondsPerMillisecond);
  }

  #takeTurn(vcpu: Vcpu): void {
    for (let exits = 0; exits < ExitsPerTurn && this.#end === undefined; exits++) {
      if (!this.#handle(vcpu.run())) return;
    }
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
  return { kind: 'host-error', code: 'Internal', message: `the engine cannot go on with this guest: ${reason}` };
}
