/**
 * Port 0x61: the speaker's control bits, the refresh toggle and the timer's output.
 *
 * Intel 82371AB (PIIX4) data sheet, "NMISC—NMI Status and Control Register". Linux calibrates the TSC and the APIC timer
 * with the gate and the output of counter 2 here.
 *
 * Left out: sound; SERR# and IOCHK# NMIs (nothing raises them; their disable bits are kept).
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import { bitfield } from '../registers/bitfield.ts';
import type { Clock } from '../time/clock.ts';
import type { Pit8254 } from './pit-8254.ts';

export const NmiStatusControl = bitfield(8, {
  TimerGate: 0,
  SpeakerData: 1,
  SerrDisable: 2,
  IoCheckDisable: 3,
  RefreshToggle: 4,
  TimerOutput: 5,
  IoCheckStatus: 6,
  SerrStatus: 7,
});

/** The bits besides the gate that keep what was written. */
const Kept =
  NmiStatusControl.SpeakerData.mask | NmiStatusControl.SerrDisable.mask | NmiStatusControl.IoCheckDisable.mask;

/** Nanoseconds between two refresh cycles, each of which flips the toggle. */
const RefreshPeriod = 15_085;

export interface SpeakerPortState extends SavedState {
  readonly kept: number;
}

export class SpeakerPort implements BusDevice, Saveable {
  readonly maxAccess = 1;
  readonly #pit: Pit8254;
  readonly #clock: Clock;
  #kept = 0;

  constructor(pit: Pit8254, clock: Clock) {
    this.#pit = pit;
    this.#clock = clock;
  }

  read(): number {
    const status = NmiStatusControl.of({
      TimerGate: this.#pit.speakerGate,
      RefreshToggle: Math.floor(this.#clock.now() / RefreshPeriod) % 2,
      TimerOutput: this.#pit.speakerOutput,
    });
    return status | this.#kept;
  }

  write(_offset: number, _size: number, value: number): void {
    this.#pit.speakerGate = NmiStatusControl.TimerGate.isSet(value);
    this.#kept = value & Kept;
  }

  save(): SpeakerPortState {
    return { version: 1, kept: this.#kept };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'speaker-port');
    this.#kept = (saved as SpeakerPortState).kept;
  }
}
