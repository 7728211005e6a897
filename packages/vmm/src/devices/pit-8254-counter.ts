/**
 * One counter of the 8254: its modes in terms of time. Intel 8254 data sheet (order number 231164-005), "Mode
 * Definitions".
 *
 * Time runs in the clock's nanoseconds and nothing happens between two looks at the counter: its value and its output
 * follow from when it was started. A count is taken to be loaded when it is written, not at the next clock pulse
 * (838 ns later at most).
 */
import type { SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';

/** The PC's 14.31818 MHz / 12, rounded as Linux's PIT_TICK_RATE. */
export const PitFrequency = 1_193_182;
export const NanosecondsPerTick = 1e9 / PitFrequency;
/** Nanoseconds by which sums of fractional periods may be off: a timer that fires that early fires on time. */
const Rounding = 1;

/** 8254 "Mode Definitions". */
export const CounterMode = {
  InterruptOnTerminalCount: 0,
  RetriggerableOneShot: 1,
  RateGenerator: 2,
  SquareWave: 3,
  SoftwareStrobe: 4,
  HardwareStrobe: 5,
} as const;
export type CounterMode = (typeof CounterMode)[keyof typeof CounterMode];

export interface CounterState extends SavedState {
  readonly mode: CounterMode;
  readonly bcd: boolean;
  readonly gate: boolean;
  readonly modulus: number;
  readonly pendingModulus: number;
  readonly loaded: boolean;
  readonly running: boolean;
  /** Nanoseconds that the current cycle has run. */
  readonly age: number;
}

export class PitCounter {
  #mode: CounterMode = CounterMode.InterruptOnTerminalCount;
  #bcd = false;
  #gate: boolean;
  /** The count that runs, 1 to 65536 (10000 in BCD). */
  #modulus = 0x1_0000;
  /** A count that waits for the end of the cycle or for a trigger, or 0. */
  #pendingModulus = 0;
  /** A count was written since the mode was set. */
  #loaded = false;
  #running = false;
  /** While running: when the current cycle began. */
  #start = 0;
  /** While paused by the gate: how long the cycle had run. */
  #pausedAge = 0;

  constructor(gate: boolean) {
    this.#gate = gate;
  }

  get mode(): CounterMode {
    return this.#mode;
  }

  get bcd(): boolean {
    return this.#bcd;
  }

  get gate(): boolean {
    return this.#gate;
  }

  /** Repeats by itself. */
  get periodic(): boolean {
    return this.#mode === CounterMode.RateGenerator || this.#mode === CounterMode.SquareWave;
  }

  /** Nanoseconds of one cycle. */
  get period(): number {
    return this.#modulus * NanosecondsPerTick;
  }

  /** 8254 "Control Word Format": modes 6 and 7 are 2 and 3. */
  setMode(mode: number, bcd: boolean): void {
    this.#mode = (mode >= 6 ? mode - 4 : mode) as CounterMode;
    this.#bcd = bcd;
    this.#loaded = false;
    this.#running = false;
    this.#pendingModulus = 0;
    this.#pausedAge = 0;
  }

  /** Loads a count as written, 0 being the largest. */
  load(count: number, now: number): void {
    const modulus = this.#bcd ? fromBcd(count) || 10_000 : count || 0x1_0000;
    this.settle(now);
    const waitsForTrigger =
      this.#mode === CounterMode.RetriggerableOneShot || this.#mode === CounterMode.HardwareStrobe;
    if (waitsForTrigger || (this.periodic && this.#loaded)) {
      this.#pendingModulus = modulus;
    } else {
      this.#modulus = modulus;
      this.#begin(now);
    }
    this.#loaded = true;
  }

  /** 8254 "Mode 0": the first byte of a two-byte count stops the counter with its output low. */
  suspend(): void {
    if (this.#mode !== CounterMode.InterruptOnTerminalCount) return;
    this.#running = false;
    this.#loaded = false;
    this.#pausedAge = 0;
  }

  /** 8254 "Gate Pin Operations Summary". */
  setGate(gate: boolean, now: number): void {
    if (gate === this.#gate) return;
    this.settle(now);
    const age = this.#age(now);
    this.#gate = gate;
    if (!this.#loaded) return;
    if (this.#mode === CounterMode.InterruptOnTerminalCount || this.#mode === CounterMode.SoftwareStrobe) {
      this.#pausedAge = age;
      this.#running = gate;
      this.#start = now - age;
    } else if (gate) {
      this.#takePending();
      this.#begin(now);
    } else if (this.periodic) {
      this.#running = false;
      this.#pausedAge = 0;
    }
  }

  /** Brings a periodic counter to its current cycle, which a waiting count may have changed. */
  settle(now: number): void {
    if (!this.#running || !this.periodic) return;
    const age = now - this.#start + Rounding;
    if (age < this.period) return;
    if (this.#pendingModulus === 0) {
      this.#start += Math.floor(age / this.period) * this.period;
      return;
    }
    this.#start += this.period;
    this.#takePending();
    this.settle(now);
  }

  /** When the output next rises, Infinity if it does not. */
  nextRise(now: number): number {
    this.settle(now);
    if (!this.#running) return Infinity;
    const strobes = this.#mode === CounterMode.SoftwareStrobe || this.#mode === CounterMode.HardwareStrobe;
    const rise = this.#start + this.period + (strobes ? NanosecondsPerTick : 0);
    return rise > now + Rounding ? rise : Infinity;
  }

  output(now: number): boolean {
    this.settle(now);
    const mode = this.#mode;
    if (!this.#loaded) return mode !== CounterMode.InterruptOnTerminalCount;
    const ticks = this.#ticks(now);
    switch (mode) {
      case CounterMode.InterruptOnTerminalCount:
        return ticks >= this.#modulus;
      case CounterMode.RetriggerableOneShot:
        return !this.#running || ticks >= this.#modulus;
      case CounterMode.RateGenerator:
        return !this.#running || ticks !== this.#modulus - 1;
      case CounterMode.SquareWave:
        return !this.#running || ticks < Math.ceil(this.#modulus / 2);
      case CounterMode.SoftwareStrobe:
      case CounterMode.HardwareStrobe:
        return !this.#running || ticks !== this.#modulus;
      default:
        return mode satisfies never;
    }
  }

  /** The counting element as software reads it, in BCD if it counts so. */
  value(now: number): number {
    this.settle(now);
    const ticks = this.#ticks(now);
    const value = this.#mode === CounterMode.SquareWave ? this.#squareWaveValue(ticks) : this.#modulus - ticks;
    if (!this.#bcd) return value & 0xffff;
    return toBcd(((value % 10_000) + 10_000) % 10_000);
  }

  /** 8254 "Read-Back Command": a count was written that does not run yet. */
  get nullCount(): boolean {
    return !this.#loaded || this.#pendingModulus !== 0;
  }

  /** 8254 "Mode 3": counts by two, twice a cycle. */
  #squareWaveValue(ticks: number): number {
    const firstHalf = Math.ceil(this.#modulus / 2);
    const ticksOfHalf = ticks < firstHalf ? ticks : ticks - firstHalf;
    return (this.#modulus & ~1) - 2 * ticksOfHalf;
  }

  #begin(now: number): void {
    this.#start = now;
    this.#pausedAge = 0;
    const level = this.#mode !== CounterMode.RetriggerableOneShot && this.#mode !== CounterMode.HardwareStrobe;
    this.#running = this.#gate || !level;
  }

  #takePending(): void {
    if (this.#pendingModulus !== 0) this.#modulus = this.#pendingModulus;
    this.#pendingModulus = 0;
  }

  #age(now: number): number {
    return this.#running ? now - this.#start : this.#pausedAge;
  }

  /** Whole clock pulses since the cycle began. */
  #ticks(now: number): number {
    return Math.floor((this.#age(now) + Rounding) / NanosecondsPerTick);
  }

  save(now: number): CounterState {
    return {
      version: 1,
      mode: this.#mode,
      bcd: this.#bcd,
      gate: this.#gate,
      modulus: this.#modulus,
      pendingModulus: this.#pendingModulus,
      loaded: this.#loaded,
      running: this.#running,
      age: this.#age(now),
    };
  }

  restore(saved: SavedState, now: number): void {
    requireVersion(saved, 1, 'pit-8254 counter');
    const state = saved as CounterState;
    this.#mode = state.mode;
    this.#bcd = state.bcd;
    this.#gate = state.gate;
    this.#modulus = state.modulus;
    this.#pendingModulus = state.pendingModulus;
    this.#loaded = state.loaded;
    this.#running = state.running;
    this.#start = now - state.age;
    this.#pausedAge = state.running ? 0 : state.age;
  }
}

function fromBcd(value: number): number {
  const digits = [12, 8, 4, 0].map((shift) => (value >> shift) & 0xf);
  return digits.reduce((sum, digit) => sum * 10 + digit, 0) % 10_000;
}

function toBcd(value: number): number {
  return (
    (Math.floor(value / 1000) << 12) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 10) % 10) << 4) |
    (value % 10)
  );
}
