/**
 * The reset control register: a byte at port 0xCF9.
 *
 * Spec: Intel I/O Controller Hub 9 Datasheet §13.7.5 "RST_CNT—Reset Control Register".
 *
 * Left out: the difference between hard, soft and full resets (each is a reset of the machine).
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import { bitfield } from '../registers/bitfield.ts';

const Control = bitfield(8, { Reserved0: 0, SystemReset: 1, ResetCpu: 2, FullReset: 3, Reserved4: [7, 4] });
const Writable = Control.SystemReset.mask | Control.ResetCpu.mask | Control.FullReset.mask;

export interface ResetControlOptions {
  readonly reset: () => void;
}

export class ResetControl implements BusDevice, Saveable {
  readonly maxAccess = 1;
  readonly #options: ResetControlOptions;
  #control = 0;

  constructor(options: ResetControlOptions) {
    this.#options = options;
  }

  read(): number {
    return this.#control;
  }

  /** A reset happens when ResetCpu goes from 0 to 1. */
  write(_offset: number, _size: number, value: number): void {
    const rises = Control.ResetCpu.isSet(value) && !Control.ResetCpu.isSet(this.#control);
    this.#control = value & Writable;
    if (rises) this.#options.reset();
  }

  reset(): void {
    this.#control = 0;
  }

  save(): SavedState {
    return { version: 1, control: this.#control };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'reset control');
    this.#control = (state as unknown as { control: number }).control;
  }
}
