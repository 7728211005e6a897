/** Interrupt wiring for tests: it remembers. */
import type { InterruptLine, MsiSink } from '../interrupts/interrupt-line.ts';

/** A wire that knows its level and how often it rose. */
export class RecordedLine implements InterruptLine {
  asserted = false;
  /** How often the level went up. */
  rises = 0;

  setLevel(asserted: boolean): void {
    if (asserted && !this.asserted) this.rises++;
    this.asserted = asserted;
  }
}

/** Collects messages until they are taken. */
export class RecordedMsi implements MsiSink {
  #messages: { address: number; data: number }[] = [];

  signalMsi(address: number, data: number): void {
    this.#messages.push({ address, data });
  }

  /** The data of the messages since the last call. */
  take(): number[] {
    return this.takeMessages().map(({ data }) => data);
  }

  takeMessages(): { address: number; data: number }[] {
    const messages = this.#messages;
    this.#messages = [];
    return messages;
  }
}
