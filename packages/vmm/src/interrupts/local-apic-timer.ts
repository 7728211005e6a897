/**
 * The local APIC's timer: SDM Vol. 3A "APIC Timer".
 *
 * Counts at 1 GHz before the divider, as KVM's does, so that everything but the TSC's deadline is in the clock's
 * nanoseconds.
 *
 * Periods below MinimumPeriod are counted exactly but interrupt no oftener than that (KVM has the same limit in its
 * min_timer_period_us): a guest cannot keep its host busy with timer interrupts alone.
 */
import type { Clock, Timer, TimerQueue } from '../time/clock.ts';
import type { TscRate } from '../time/tsc-rate.ts';
import { Lvt, TimerDivide, TimerMode } from './local-apic-registers.ts';

/** Nanoseconds between two interrupts of a periodic timer, at least. */
const MinimumPeriod = 100_000;

/** The registers beside the LVT entry and IA32_TSC_DEADLINE. */
export interface LocalApicTimerState {
  readonly divide: number;
  readonly initialCount: number;
  readonly currentCount: number;
}

export class LocalApicTimer {
  readonly #clock: Clock;
  readonly #tsc: TscRate;
  readonly #timer: Timer;
  readonly #expired: (vector: number) => void;

  #lvt = Lvt.Mask.mask;
  #divide = 0;
  #initialCount = 0;
  /** When the current cycle began. */
  #cycleStart = 0;
  /** When the current cycle ends, or Infinity when the timer is stopped. */
  #cycleEnd = Infinity;
  #tscDeadline = 0n;
  #tscOffset = 0n;

  /** `expired` delivers the LVT entry's vector; it is not called for a masked entry. */
  constructor(clock: Clock, timers: TimerQueue, tsc: TscRate, expired: (vector: number) => void) {
    this.#clock = clock;
    this.#tsc = tsc;
    this.#expired = expired;
    this.#timer = timers.createTimer((now) => {
      this.#settle(now);
      this.#arm(now);
    });
  }

  reset(): void {
    this.#lvt = Lvt.Mask.mask;
    this.#divide = 0;
    this.#stop();
  }

  get lvt(): number {
    return this.#lvt;
  }

  set lvt(value: number) {
    const now = this.#clock.now();
    this.#settle(now);
    const wasDeadline = this.#mode === TimerMode.TscDeadline;
    this.#lvt = value;
    // SDM Vol. 3A "TSC-Deadline Mode": changing to or from it disarms the timer.
    if (wasDeadline !== (this.#mode === TimerMode.TscDeadline)) this.#stop();
    this.#arm(now);
  }

  get divide(): number {
    return this.#divide;
  }

  set divide(value: number) {
    const now = this.#clock.now();
    this.#settle(now);
    const remaining = this.#remaining(now);
    this.#divide = value & (TimerDivide.Low.mask | TimerDivide.High.mask);
    if (this.#cycleEnd === Infinity || this.#mode === TimerMode.TscDeadline) return;
    this.#cycleEnd = now + remaining * this.#tick;
    this.#cycleStart = this.#cycleEnd - this.#initialCount * this.#tick;
    this.#arm(now);
  }

  get initialCount(): number {
    return this.#initialCount;
  }

  /** Starts the timer, or with 0 stops it. Ignored in TSC-deadline mode. */
  set initialCount(count: number) {
    if (this.#mode === TimerMode.TscDeadline) return;
    const now = this.#clock.now();
    this.#settle(now);
    this.#stop();
    this.#initialCount = count;
    if (count === 0) return;
    this.#cycleStart = now;
    this.#cycleEnd = now + count * this.#tick;
    this.#arm(now);
  }

  get currentCount(): number {
    if (this.#mode === TimerMode.TscDeadline) return 0;
    const now = this.#clock.now();
    this.#settle(now);
    return this.#remaining(now);
  }

  /** IA32_TSC_DEADLINE: reads 0 once it has passed and outside TSC-deadline mode. */
  get tscDeadline(): bigint {
    this.#settle(this.#clock.now());
    return this.#tscDeadline;
  }

  set tscDeadline(deadline: bigint) {
    if (this.#mode !== TimerMode.TscDeadline) return;
    this.#stop();
    if (deadline === 0n) return;
    const now = this.#clock.now();
    this.#tscDeadline = deadline;
    this.#cycleEnd = this.#tsc.nanoseconds(deadline - this.#tscOffset);
    this.#settle(now);
    this.#arm(now);
  }

  /** What the guest's TSC is ahead of the ticks in the clock's nanoseconds: moves with IA32_TSC and IA32_TSC_ADJUST. */
  set tscOffset(offset: bigint) {
    this.#settle(this.#clock.now());
    this.#tscOffset = offset;
    if (this.#tscDeadline !== 0n) this.tscDeadline = this.#tscDeadline;
  }

  get tscOffset(): bigint {
    return this.#tscOffset;
  }

  get #mode(): number {
    return Lvt.TimerMode.get(this.#lvt);
  }

  /** Nanoseconds a count. SDM Vol. 3A "Divide Configuration Register": 000 is 2, 110 is 128, 111 is 1. */
  get #tick(): number {
    const code = (TimerDivide.High.get(this.#divide) << 2) | TimerDivide.Low.get(this.#divide);
    return 1 << ((code + 1) & 7);
  }

  #remaining(now: number): number {
    if (this.#cycleEnd === Infinity) return 0;
    return Math.max(0, Math.min(this.#initialCount, Math.ceil((this.#cycleEnd - now) / this.#tick)));
  }

  /** Ends the cycles that are over at `now`; interrupts once for all of them. */
  #settle(now: number): void {
    if (now < this.#cycleEnd) return;
    if (this.#mode === TimerMode.Periodic) {
      const period = this.#initialCount * this.#tick;
      this.#cycleStart += Math.floor((now - this.#cycleStart) / period) * period;
      this.#cycleEnd = this.#cycleStart + period;
    } else {
      this.#cycleEnd = Infinity;
      this.#tscDeadline = 0n;
    }
    if (!Lvt.Mask.isSet(this.#lvt)) this.#expired(Lvt.Vector.get(this.#lvt));
  }

  #arm(now: number): void {
    // A masked timer needs no wake-up: whoever looks at it settles it.
    if (this.#cycleEnd === Infinity || Lvt.Mask.isSet(this.#lvt)) {
      this.#timer.disarm();
    } else if (this.#mode === TimerMode.Periodic && this.#initialCount * this.#tick < MinimumPeriod) {
      this.#timer.arm(now + MinimumPeriod);
    } else {
      this.#timer.arm(this.#cycleEnd);
    }
  }

  #stop(): void {
    this.#timer.disarm();
    this.#initialCount = 0;
    this.#cycleEnd = Infinity;
    this.#tscDeadline = 0n;
  }

  save(): LocalApicTimerState {
    const { currentCount } = this;
    return { divide: this.#divide, initialCount: this.#initialCount, currentCount };
  }

  /** Goes on with the count. A deadline of the TSC is set afterwards. */
  restore(lvt: number, state: LocalApicTimerState): void {
    const now = this.#clock.now();
    this.#stop();
    this.#lvt = lvt;
    this.#divide = state.divide;
    this.#initialCount = state.initialCount;
    if (this.#mode === TimerMode.TscDeadline || state.initialCount === 0) return;
    const periodic = this.#mode === TimerMode.Periodic;
    const remaining = state.currentCount === 0 && periodic ? state.initialCount : state.currentCount;
    if (remaining === 0) return;
    this.#cycleEnd = now + remaining * this.#tick;
    this.#cycleStart = this.#cycleEnd - state.initialCount * this.#tick;
    this.#arm(now);
  }
}
