/**
 * ACPI power management registers: PM1 event and control blocks, PM timer, general-purpose events 0, reset register.
 *
 * Spec: ACPI 6.4 §4.8.3 "Fixed Hardware Registers", §4.8.4 "Generic Hardware Registers", §4.8.3.6 "Reset Register".
 *
 * Left out: the timer, global-lock and RTC events (nothing sets their status bits; the FADT says so of the RTC), sleep
 * states but S5, SMI commands (the machine is always in ACPI mode, so SCI_EN reads as one).
 */
import type { AccessSize, BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import type { InterruptLine } from '../interrupts/interrupt-line.ts';
import { bitfield } from '../registers/bitfield.ts';
import type { Clock } from '../time/clock.ts';
import { RegisterSpace, merge, register, reserved } from './pci/register-space.ts';
import type { RegisterField } from './pci/register-space.ts';

/** Where the blocks are, relative to the device's first port; the FADT tells the guest. */
export const AcpiPmLayout = {
  Pm1Event: { offset: 0x00, bytes: 4 },
  Pm1Control: { offset: 0x04, bytes: 2 },
  PmTimer: { offset: 0x08, bytes: 4 },
  Gpe0: { offset: 0x0c, bytes: 4 },
  Reset: { offset: 0x10, bytes: 1 },
  Size: 0x20,
} as const;

/** What a guest writes to the reset register. */
export const ResetValue = 0x01;
/** The sleep type of S5 ("soft off"), as \_S5 in the DSDT has it. */
export const SleepTypeS5 = 5;

/** ACPI 6.4 §4.8.3.1.1 "PM1 Status Registers"; the enable register has the same bits. */
const Pm1Event = bitfield(16, {
  Timer: 0,
  Reserved1: [3, 1],
  BusMaster: 4,
  Global: 5,
  Reserved6: [7, 6],
  PowerButton: 8,
  SleepButton: 9,
  Rtc: 10,
  Reserved11: [14, 11],
  Wake: 15,
});

/** §4.8.3.2.1 "PM1 Control Registers". */
const Pm1Control = bitfield(16, {
  SciEnable: 0,
  BusMasterReload: 1,
  GlobalRelease: 2,
  Reserved3: [9, 3],
  SleepType: [12, 10],
  SleepEnable: 13,
  Reserved14: [15, 14],
});
const Pm1ControlKept = Pm1Control.BusMasterReload.mask | Pm1Control.SleepType.mask;

/** §4.8.3.3 "Power Management Timer". */
const TimerFrequency = 3_579_545;
const NanosecondsPerSecond = 1_000_000_000;

export interface AcpiPmOptions {
  readonly clock: Clock;
  /** The system control interrupt: level-triggered. */
  readonly sci: InterruptLine;
  /** The guest entered S5. */
  readonly powerOff: () => void;
  /** The guest wrote the reset register. */
  readonly reset: () => void;
}

/** An event block: status bits that software clears by writing ones, and their enable bits. */
interface EventBlock {
  status: number;
  enable: number;
}

export class AcpiPm implements BusDevice, Saveable {
  readonly #options: AcpiPmOptions;
  readonly #registers: RegisterSpace;
  readonly #pm1: EventBlock = { status: 0, enable: 0 };
  readonly #gpe0: EventBlock = { status: 0, enable: 0 };
  #control = 0;
  /** Added to the clock's ticks: a restored timer goes on where it was. */
  #timerOffset = 0;

  constructor(options: AcpiPmOptions) {
    this.#options = options;
    this.#registers = new RegisterSpace(AcpiPmLayout.Size, [
      ...this.#eventBlock('pm1', this.#pm1),
      register('pm1Control', 2, {
        get: () => this.#control | Pm1Control.SciEnable.mask,
        set: (value) => this.#writeControl(value),
      }),
      reserved(2),
      { name: 'pmTimer', bytes: 4, read: () => this.#timer(), write: () => {} },
      ...this.#eventBlock('gpe0', this.#gpe0),
      { name: 'reset', bytes: 1, read: () => 0, write: (value) => this.#writeReset(value) },
    ]);
  }

  read(offset: number, size: AccessSize): number {
    return this.#registers.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#registers.write(offset, size, value);
  }

  /** The power button was pressed: a guest that listens shuts down. */
  pressPowerButton(): void {
    this.#pm1.status |= Pm1Event.PowerButton.mask;
    this.#driveSci();
  }

  /** Raises general-purpose event `number` (0 to 15). */
  raiseEvent(number: number): void {
    this.#gpe0.status |= 1 << number;
    this.#driveSci();
  }

  reset(): void {
    Object.assign(this.#pm1, { status: 0, enable: 0 });
    Object.assign(this.#gpe0, { status: 0, enable: 0 });
    this.#control = 0;
    this.#driveSci();
  }

  save(): SavedState {
    return {
      version: 1,
      pm1: { ...this.#pm1 },
      gpe0: { ...this.#gpe0 },
      control: this.#control,
      timer: this.#timer(),
    };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'ACPI power management');
    const saved = state as unknown as { pm1: EventBlock; gpe0: EventBlock; control: number; timer: number };
    Object.assign(this.#pm1, saved.pm1);
    Object.assign(this.#gpe0, saved.gpe0);
    this.#control = saved.control;
    this.#timerOffset = 0;
    this.#timerOffset = (saved.timer - this.#timer()) >>> 0;
    this.#driveSci();
  }

  #eventBlock(name: string, block: EventBlock): RegisterField[] {
    return [
      {
        name: `${name}Status`,
        bytes: 2,
        read: () => block.status,
        write: (value) => {
          block.status &= ~value;
          this.#driveSci();
        },
      },
      {
        name: `${name}Enable`,
        bytes: 2,
        read: () => block.enable,
        write: (value, mask) => {
          block.enable = merge(block.enable, value, mask);
          this.#driveSci();
        },
      },
    ];
  }

  #writeControl(value: number): void {
    this.#control = value & Pm1ControlKept;
    const sleeps = Pm1Control.SleepEnable.isSet(value);
    if (sleeps && Pm1Control.SleepType.get(value) === SleepTypeS5) this.#options.powerOff();
  }

  #writeReset(value: number): void {
    if (value === ResetValue) this.#options.reset();
  }

  /** 32 bits at 3.579545 MHz of the machine's clock. */
  #timer(): number {
    const now = this.#options.clock.now();
    const seconds = Math.floor(now / NanosecondsPerSecond);
    const rest = now - seconds * NanosecondsPerSecond;
    const ticks = seconds * TimerFrequency + Math.floor((rest * TimerFrequency) / NanosecondsPerSecond);
    return (ticks + this.#timerOffset) % 2 ** 32;
  }

  #driveSci(): void {
    const pending = (this.#pm1.status & this.#pm1.enable) | (this.#gpe0.status & this.#gpe0.enable);
    this.#options.sci.setLevel(pending !== 0);
  }
}
