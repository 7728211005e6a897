/**
 * The PC's real-time clock and its battery-backed memory.
 *
 * Motorola MC146818A data sheet (1984), "Registers" and "Interrupts"; the bytes beyond it as PC firmware uses them.
 *
 * Time follows the host's wall clock, plus what the guest set it to differ. Nothing runs between two looks at the clock
 * unless an interrupt is enabled: flags are worked out when register C is read.
 *
 * Left out: daylight saving (DSE is kept), the square wave, a day of the week that differs from the date's, time bases
 * other than 32.768 kHz, and the update's 2 ms (UIP announces it; the update itself takes no time).
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import type { InterruptLine } from '../interrupts/interrupt-line.ts';
import { bitfield } from '../registers/bitfield.ts';
import type { Clock, Timer, TimerQueue } from '../time/clock.ts';
import { decodeByte, decodeHour, fromCalendar, toCalendar } from './rtc-calendar.ts';
import type { CalendarBytes, CalendarFormat } from './rtc-calendar.ts';
import { describeMemory } from './rtc-memory-size.ts';

/** Ports 0x70 and 0x71. */
const Port = { Index: 0, Data: 1 } as const;
const IndexPort = bitfield(8, { Index: [6, 0], NmiDisable: 7 });

/** MC146818A "Address Map"; the century is where the FADT says. */
const Cell = {
  Second: 0x00,
  SecondAlarm: 0x01,
  Minute: 0x02,
  MinuteAlarm: 0x03,
  Hour: 0x04,
  HourAlarm: 0x05,
  Weekday: 0x06,
  Day: 0x07,
  Month: 0x08,
  Year: 0x09,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  Century: 0x32,
} as const;
const CellCount = 128;

const CalendarCells = new Map<number, keyof CalendarBytes>([
  [Cell.Second, 'second'],
  [Cell.Minute, 'minute'],
  [Cell.Hour, 'hour'],
  [Cell.Weekday, 'weekday'],
  [Cell.Day, 'day'],
  [Cell.Month, 'month'],
  [Cell.Year, 'year'],
  [Cell.Century, 'century'],
]);

/** MC146818A "Register A". */
const RegisterA = bitfield(8, { RateSelect: [3, 0], Divider: [6, 4], UpdateInProgress: 7 });
/** Divider values from this one on hold the clock in reset. */
const DividerReset = 6;
const DividerRunning = 2;

/** MC146818A "Register B". */
const RegisterB = bitfield(8, {
  DaylightSaving: 0,
  Hours24: 1,
  Binary: 2,
  SquareWave: 3,
  UpdateInterrupt: 4,
  AlarmInterrupt: 5,
  PeriodicInterrupt: 6,
  Set: 7,
});

/** MC146818A "Register C": flags at the same bits as their enables in register B. */
const RegisterC = bitfield(8, { Reserved0: [3, 0], Update: 4, Alarm: 5, Periodic: 6, InterruptRequest: 7 });

/** MC146818A "Register D". */
const RegisterD = bitfield(8, { Reserved0: [6, 0], ValidRam: 7 });

const MicrosecondsPerSecond = 1e6;
const NanosecondsPerMicrosecond = 1000;
const SecondsPerDay = 86_400;
/** MC146818A "Update Cycle": UIP comes up this long before an update. */
const UpdateNotice = 244;
/** MC146818A "Register A": the first update comes half a second after the divider's reset ends. */
const DividerStartDelay = 500_000;
/** Alarm bytes from here on match anything: MC146818A "Alarm Interrupt". */
const AnyValue = 0xc0;
const BaseFrequency = 32_768;

export interface RtcConfig {
  readonly clock: Clock;
  readonly timers: TimerQueue;
  readonly interrupt: InterruptLine;
  /** RAM in bytes below the PC hole and from 4 GiB on, which PC firmware leaves in the memory here. */
  readonly memory?: { readonly low: number; readonly high: number };
}

interface RtcState extends SavedState {
  readonly index: number;
  readonly cells: readonly number[];
  readonly flags: number;
  /** Microseconds that the guest's time is ahead of the host's. */
  readonly offset: number;
}

export class RtcMc146818 implements BusDevice, Saveable {
  readonly maxAccess = 1;
  readonly #clock: Clock;
  readonly #interrupt: InterruptLine;
  readonly #timer: Timer;
  readonly #cells = new Uint8Array(CellCount);
  #index = 0;
  /** Register C without its request bit. */
  #flags = 0;
  #offset = 0;
  /** Up to where updates and alarms, and periods, are in `#flags`. */
  #checkedTime: number;
  #checkedPeriods = 0;

  constructor(config: RtcConfig) {
    this.#clock = config.clock;
    this.#interrupt = config.interrupt;
    this.#timer = config.timers.createTimer(() => this.#refresh());
    this.#cells[Cell.A] = RegisterA.of({ Divider: DividerRunning, RateSelect: 6 });
    this.#cells[Cell.B] = RegisterB.of({ Hours24: 1 });
    if (config.memory) for (const [cell, value] of describeMemory(config.memory)) this.#cells[cell] = value;
    this.#checkedTime = this.#time();
  }

  read(offset: number): number {
    return offset === Port.Data ? this.#readCell(this.#index) : 0xff;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === Port.Index) this.#index = IndexPort.Index.get(value);
    else this.#writeCell(this.#index, value);
  }

  #readCell(cell: number): number {
    const calendarByte = CalendarCells.get(cell);
    if (calendarByte !== undefined && !this.#halted) return toCalendar(this.#time(), this.#format)[calendarByte];
    switch (cell) {
      case Cell.A:
        return RegisterA.UpdateInProgress.set(this.#cells[Cell.A]!, this.#updateInProgress);
      case Cell.C:
        return this.#readFlags();
      case Cell.D:
        return RegisterD.ValidRam.mask;
      default:
        return this.#cells[cell]!;
    }
  }

  #writeCell(cell: number, value: number): void {
    if (cell === Cell.C || cell === Cell.D) return;
    this.#collect();
    const calendarByte = CalendarCells.get(cell);
    if (cell === Cell.A || cell === Cell.B) {
      this.#writeControl(cell, value);
    } else if (calendarByte !== undefined && !this.#halted) {
      const subsecond = modulo(this.#time(), MicrosecondsPerSecond);
      this.#setTime(
        fromCalendar({ ...toCalendar(this.#time(), this.#format), [calendarByte]: value }, this.#format) + subsecond,
      );
    } else {
      this.#cells[cell] = value;
    }
    this.#refresh();
  }

  /** Registers A and B: starting and stopping the clock, and everything about interrupts. */
  #writeControl(cell: typeof Cell.A | typeof Cell.B, value: number): void {
    const wasHalted = this.#halted;
    const wasReset = this.#dividerReset;
    if (!wasHalted) this.#keepCalendar();
    if (cell === Cell.A) this.#cells[Cell.A] = RegisterA.UpdateInProgress.set(value, 0);
    // MC146818A "Register B": SET clears UIE.
    else this.#cells[Cell.B] = RegisterB.Set.isSet(value) ? RegisterB.UpdateInterrupt.set(value, 0) : value;
    this.#checkedPeriods = this.#periods();
    if (!wasHalted || this.#halted) return;
    const written = fromCalendar(this.#keptCalendar(), this.#format);
    this.#setTime(written + (wasReset ? MicrosecondsPerSecond - DividerStartDelay : 0));
  }

  /** While the clock stands, its bytes are in the cells. */
  #keepCalendar(): void {
    const calendar = toCalendar(this.#time(), this.#format);
    for (const [cell, name] of CalendarCells) this.#cells[cell] = calendar[name];
  }

  #keptCalendar(): CalendarBytes {
    const entries = [...CalendarCells].map(([cell, name]) => [name, this.#cells[cell]!] as const);
    return Object.fromEntries(entries) as unknown as CalendarBytes;
  }

  /** Reading register C clears its flags and lets the interrupt go. */
  #readFlags(): number {
    this.#collect();
    const flags = this.#flagsWithRequest;
    this.#flags = 0;
    this.#refresh();
    return flags;
  }

  get #flagsWithRequest(): number {
    const requested = (this.#flags & this.#cells[Cell.B]! & ~RegisterB.Set.mask) !== 0;
    return RegisterC.InterruptRequest.set(this.#flags, requested);
  }

  get #format(): CalendarFormat {
    const control = this.#cells[Cell.B]!;
    return { binary: RegisterB.Binary.isSet(control), hours24: RegisterB.Hours24.isSet(control) };
  }

  get #dividerReset(): boolean {
    return RegisterA.Divider.get(this.#cells[Cell.A]!) >= DividerReset;
  }

  get #halted(): boolean {
    return this.#dividerReset || RegisterB.Set.isSet(this.#cells[Cell.B]!);
  }

  get #updateInProgress(): boolean {
    if (this.#halted) return false;
    return modulo(this.#time(), MicrosecondsPerSecond) >= MicrosecondsPerSecond - UpdateNotice;
  }

  /** The guest's time of day in microseconds since 1970. */
  #time(): number {
    return Number(this.#clock.wallClock() / BigInt(NanosecondsPerMicrosecond)) + this.#offset;
  }

  #setTime(time: number): void {
    this.#offset += time - this.#time();
    this.#checkedTime = time;
  }

  /** Adds to the flags what happened since the last call. */
  #collect(): void {
    const periods = this.#periods();
    if (periods > this.#checkedPeriods) this.#flags |= RegisterC.Periodic.mask;
    this.#checkedPeriods = periods;
    if (this.#halted) return;
    const time = this.#time();
    const from = Math.floor(this.#checkedTime / MicrosecondsPerSecond);
    this.#checkedTime = time;
    const to = Math.floor(time / MicrosecondsPerSecond);
    if (to <= from) return;
    this.#flags |= RegisterC.Update.mask;
    if (this.#nextAlarm(from) <= to) this.#flags |= RegisterC.Alarm.mask;
  }

  /** Brings the flags, the interrupt and the timer up to date. */
  #refresh(): void {
    this.#collect();
    this.#interrupt.setLevel(RegisterC.InterruptRequest.isSet(this.#flagsWithRequest));
    this.#timer.arm(this.#clock.now() + this.#nextEvent() * NanosecondsPerMicrosecond);
  }

  /** Microseconds until something sets a flag whose interrupt is enabled and not requested yet, or Infinity. */
  #nextEvent(): number {
    const control = this.#cells[Cell.B]! & ~this.#flags;
    let next = Infinity;
    const period = this.#period();
    if (RegisterB.PeriodicInterrupt.isSet(control) && period !== 0) {
      const now = this.#clock.now() / NanosecondsPerMicrosecond;
      next = Math.min(next, (this.#checkedPeriods + 1) * period - now);
    }
    if (this.#halted) return next;
    const time = this.#time();
    const second = Math.floor(time / MicrosecondsPerSecond);
    if (RegisterB.UpdateInterrupt.isSet(control)) next = Math.min(next, (second + 1) * MicrosecondsPerSecond - time);
    if (RegisterB.AlarmInterrupt.isSet(control)) {
      next = Math.min(next, this.#nextAlarm(second) * MicrosecondsPerSecond - time);
    }
    // Clocks of a microsecond and a nanosecond meet here: never early by a fraction.
    return next + 1;
  }

  /** MC146818A "Table 5": microseconds of a periodic interrupt, 0 for none. */
  #period(): number {
    const rate = RegisterA.RateSelect.get(this.#cells[Cell.A]!);
    if (rate === 0 || this.#dividerReset) return 0;
    const exponent = rate <= 2 ? rate + 6 : rate - 1;
    return (2 ** exponent / BaseFrequency) * MicrosecondsPerSecond;
  }

  /** Periods since the machine was created. */
  #periods(): number {
    const period = this.#period();
    return period === 0 ? 0 : Math.floor(this.#clock.now() / NanosecondsPerMicrosecond / period);
  }

  /** The first second after `second` (since 1970) at which the alarm matches, Infinity when it never does. */
  #nextAlarm(second: number): number {
    const format = this.#format;
    const matches = (cell: number, value: number): boolean => {
      const alarm = this.#cells[cell]!;
      if (alarm >= AnyValue) return true;
      return value === (cell === Cell.HourAlarm ? decodeHour(alarm, format) : decodeByte(alarm, format));
    };
    let candidate = second + 1;
    while (candidate <= second + SecondsPerDay) {
      const ofDay = modulo(candidate, SecondsPerDay);
      if (!matches(Cell.HourAlarm, Math.floor(ofDay / 3600))) candidate += 3600 - (ofDay % 3600);
      else if (!matches(Cell.MinuteAlarm, Math.floor(ofDay / 60) % 60)) candidate += 60 - (ofDay % 60);
      else if (!matches(Cell.SecondAlarm, ofDay % 60)) candidate++;
      else return candidate;
    }
    return Infinity;
  }

  save(): RtcState {
    this.#collect();
    return {
      version: 1,
      index: this.#index,
      cells: [...this.#cells],
      flags: this.#flags,
      offset: this.#offset,
    };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'rtc-mc146818');
    const state = saved as RtcState;
    this.#index = state.index;
    this.#cells.set(state.cells.slice(0, CellCount));
    this.#flags = state.flags;
    this.#offset = state.offset;
    this.#checkedTime = this.#time();
    this.#checkedPeriods = this.#periods();
    this.#refresh();
  }
}

function modulo(value: number, divisor: number): number {
  return value - Math.floor(value / divisor) * divisor;
}
