/**
 * The PC's 8254 programmable interval timer: counter 0 is the timer interrupt, counter 2 the speaker's tone.
 *
 * Intel 8254 data sheet (order number 231164-005).
 *
 * Left out: the falling edges of counter 0's output between two interrupts (the 8259A and the IOAPIC see a pulse at
 * each rising edge), and interrupts missed while the host was busy (they are not sent later). Interrupts come no oftener
 * than every MinimumPeriod, so that a tiny count cannot keep the host busy.
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import type { InterruptLine } from '../interrupts/interrupt-line.ts';
import { bitfield } from '../registers/bitfield.ts';
import type { Clock, Timer, TimerQueue } from '../time/clock.ts';
import { type CounterState, CounterMode, NanosecondsPerTick, PitCounter } from './pit-8254-counter.ts';

export { CounterMode, NanosecondsPerTick };

/** Nanoseconds between two interrupts, at least. */
const MinimumPeriod = 100_000;

/** Offsets 0 to 2 are the counters. */
const ControlWordOffset = 3;
const TimerCounter = 0;
const SpeakerCounter = 2;

/** 8254 "Control Word Format". */
const ControlWord = bitfield(8, { Bcd: 0, Mode: [3, 1], Access: [5, 4], Counter: [7, 6] });
/** What `ControlWord.Counter` says for a read-back command. */
const ReadBackSelector = 3;

/** 8254 "Read-Back Command Format": 0 in a Latch bit asks for it. */
const ReadBack = bitfield(8, { Reserved0: 0, Counters: [3, 1], NoStatus: 4, NoCount: 5, Selector: [7, 6] });

/** 8254 "Status Byte". */
const StatusByte = bitfield(8, { Bcd: 0, Mode: [3, 1], Access: [5, 4], NullCount: 6, Output: 7 });

/** 8254 "Control Word Format": RW bits. A counter that has had no control word has Latch, and counts words. */
export const PitAccess = { Latch: 0, LowByte: 1, HighByte: 2, LowThenHigh: 3 } as const;

export interface PitPortState {
  readonly access: number;
  readonly writtenLow: number | undefined;
  readonly readHighNext: boolean;
  readonly latchedCount: number | undefined;
  readonly latchedStatus: number | undefined;
}

export interface PitState extends SavedState {
  readonly counters: readonly CounterState[];
  readonly ports: readonly PitPortState[];
  readonly level: boolean;
}

/** A counter behind its port: byte order and latches. */
class CounterPort {
  readonly counter: PitCounter;
  #access: number = PitAccess.Latch;
  /** The low byte of a count whose high byte is still to come. */
  #writtenLow: number | undefined;
  #readHighNext = false;
  #latchedCount: number | undefined;
  #latchedStatus: number | undefined;

  constructor(gate: boolean) {
    this.counter = new PitCounter(gate);
  }

  configure(controlWord: number): void {
    this.#access = ControlWord.Access.get(controlWord);
    this.#writtenLow = undefined;
    this.#readHighNext = false;
    this.#latchedCount = undefined;
    this.#latchedStatus = undefined;
    this.counter.setMode(ControlWord.Mode.get(controlWord), ControlWord.Bcd.isSet(controlWord));
  }

  /** 8254 "Counter Latch Command": later ones wait until the first is read. */
  latchCount(now: number): void {
    this.#latchedCount ??= this.counter.value(now);
  }

  latchStatus(now: number): void {
    this.#latchedStatus ??= StatusByte.of({
      Bcd: this.counter.bcd,
      Mode: this.counter.mode,
      Access: this.#access,
      NullCount: this.counter.nullCount,
      Output: this.counter.output(now),
    });
  }

  read(now: number): number {
    if (this.#latchedStatus !== undefined) {
      const status = this.#latchedStatus;
      this.#latchedStatus = undefined;
      return status;
    }
    const count = this.#latchedCount ?? this.counter.value(now);
    const twoBytes = this.#access === PitAccess.LowThenHigh || this.#access === PitAccess.Latch;
    const high = twoBytes ? this.#readHighNext : this.#access === PitAccess.HighByte;
    if (twoBytes) this.#readHighNext = !high;
    if (!twoBytes || high) this.#latchedCount = undefined;
    return high ? count >> 8 : count & 0xff;
  }

  write(value: number, now: number): void {
    if (this.#access === PitAccess.LowByte) {
      this.counter.load(value, now);
    } else if (this.#access === PitAccess.HighByte) {
      this.counter.load(value << 8, now);
    } else if (this.#writtenLow === undefined) {
      this.#writtenLow = value;
      this.counter.suspend();
    } else {
      const count = (value << 8) | this.#writtenLow;
      this.#writtenLow = undefined;
      this.counter.load(count, now);
    }
  }

  save(): PitPortState {
    return {
      access: this.#access,
      writtenLow: this.#writtenLow,
      readHighNext: this.#readHighNext,
      latchedCount: this.#latchedCount,
      latchedStatus: this.#latchedStatus,
    };
  }

  restore(state: PitPortState): void {
    this.#access = state.access;
    this.#writtenLow = state.writtenLow;
    this.#readHighNext = state.readHighNext;
    this.#latchedCount = state.latchedCount;
    this.#latchedStatus = state.latchedStatus;
  }
}

export class Pit8254 implements BusDevice, Saveable {
  readonly maxAccess = 1;
  readonly #clock: Clock;
  readonly #line: InterruptLine;
  readonly #timer: Timer;
  /** What {@link #line} was driven to. */
  #level = false;
  /** The speaker's gate starts low, the others are tied high. */
  readonly #ports = [new CounterPort(true), new CounterPort(true), new CounterPort(false)] as const;

  /** `line` follows counter 0's output. */
  constructor(clock: Clock, timers: TimerQueue, line: InterruptLine) {
    this.#clock = clock;
    this.#line = line;
    this.#timer = timers.createTimer((now) => this.#rise(now));
  }

  read(offset: number): number {
    const port = this.#ports[offset];
    return port ? port.read(this.#clock.now()) : 0xff;
  }

  write(offset: number, _size: number, value: number): void {
    const now = this.#clock.now();
    const port = this.#ports[offset];
    if (port) port.write(value, now);
    else if (offset === ControlWordOffset) this.#writeControl(value, now);
    if (offset === TimerCounter) this.#timerCounterChanged(now);
  }

  /** Counter 2's gate: bit 0 of port 0x61. */
  get speakerGate(): boolean {
    return this.#ports[SpeakerCounter].counter.gate;
  }

  set speakerGate(gate: boolean) {
    this.#ports[SpeakerCounter].counter.setGate(gate, this.#clock.now());
  }

  /** Counter 2's output: bit 5 of port 0x61. */
  get speakerOutput(): boolean {
    return this.#ports[SpeakerCounter].counter.output(this.#clock.now());
  }

  #writeControl(value: number, now: number): void {
    const selector = ControlWord.Counter.get(value);
    if (selector === ReadBackSelector) {
      this.#readBack(value, now);
      return;
    }
    const port = this.#ports[selector]!;
    if (ControlWord.Access.get(value) === PitAccess.Latch) port.latchCount(now);
    else port.configure(value);
    if (selector === TimerCounter) this.#timerCounterChanged(now);
  }

  #readBack(value: number, now: number): void {
    const counters = ReadBack.Counters.get(value);
    this.#ports.forEach((port, index) => {
      if ((counters & (1 << index)) === 0) return;
      if (!ReadBack.NoCount.isSet(value)) port.latchCount(now);
      if (!ReadBack.NoStatus.isSet(value)) port.latchStatus(now);
    });
  }

  #timerCounterChanged(now: number): void {
    const { counter } = this.#ports[TimerCounter];
    // Other changes of the output come with time: see #rise.
    if (counter.nullCount || counter.mode === CounterMode.InterruptOnTerminalCount) {
      this.#drive(counter.output(now));
    }
    this.#arm(now);
  }

  #rise(now: number): void {
    this.#drive(false);
    this.#drive(true);
    this.#arm(now);
  }

  #drive(level: boolean): void {
    this.#level = level;
    this.#line.setLevel(level);
  }

  #arm(now: number): void {
    const { counter } = this.#ports[TimerCounter];
    const rise = counter.nextRise(now);
    const soonest = counter.periodic && counter.period < MinimumPeriod ? now + MinimumPeriod : 0;
    this.#timer.arm(Math.max(rise, soonest));
  }

  save(): PitState {
    const now = this.#clock.now();
    return {
      version: 1,
      counters: this.#ports.map((port) => port.counter.save(now)),
      ports: this.#ports.map((port) => port.save()),
      level: this.#level,
    };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'pit-8254');
    const state = saved as PitState;
    const now = this.#clock.now();
    this.#ports.forEach((port, index) => {
      port.counter.restore(state.counters[index]!, now);
      port.restore(state.ports[index]!);
    });
    this.#drive(state.level);
    this.#arm(now);
  }
}
