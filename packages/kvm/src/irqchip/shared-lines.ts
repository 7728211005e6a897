/** Interrupt lines that several devices share: asserted while any of them asserts it (wired-or). */
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';

export class SharedLines {
  /** How many sources assert each line. */
  readonly #asserted: Uint32Array;
  readonly #drive: (line: number, asserted: boolean) => void;

  /** `drive` is called when a line's level changes. */
  constructor(lines: number, drive: (line: number, asserted: boolean) => void) {
    this.#asserted = new Uint32Array(lines);
    this.#drive = drive;
  }

  /** A new source on line `line`. */
  source(line: number): InterruptLine {
    let mine = false;
    return {
      setLevel: (asserted) => {
        if (asserted === mine) return;
        mine = asserted;
        const before = this.#asserted[line]!;
        this.#asserted[line] = before + (asserted ? 1 : -1);
        if ((before === 0) === asserted) this.#drive(line, asserted);
      },
    };
  }
}
