/** What the guest prints, on its way to the main thread: gathered for a moment, then moved through the ring. */
import type { Clock } from '@lodger/vmm/time/clock.js';
import type { ByteRing } from './byte-ring.ts';

const BufferSize = 4096;
/** Nanoseconds that a byte waits for others. */
const GatherTime = 2e6;
/** Milliseconds between two looks at whether a full ring still has a reader. */
const PatienceStep = 100;

export interface ConsoleOutputEvents {
  /** There is something in the ring. */
  announce(): void;
  /** True when nobody will make room in the ring any more. */
  abandoned(): boolean;
}

export class ConsoleOutput {
  readonly #ring: ByteRing;
  readonly #clock: Clock;
  readonly #events: ConsoleOutputEvents;
  readonly #buffer = new Uint8Array(BufferSize);
  #length = 0;
  #due = Infinity;

  constructor(ring: ByteRing, clock: Clock, events: ConsoleOutputEvents) {
    this.#ring = ring;
    this.#clock = clock;
    this.#events = events;
  }

  put(byte: number): void {
    if (this.#length === 0) this.#due = this.#clock.now() + GatherTime;
    this.#buffer[this.#length++] = byte;
    if (this.#length === BufferSize) this.flush();
  }

  /** When {@link flushIfDue} has something to do, or Infinity. */
  get deadline(): number {
    return this.#length > 0 ? this.#due : Infinity;
  }

  flushIfDue(): void {
    if (this.#length > 0 && this.#clock.now() >= this.#due) this.flush();
  }

  /** Moves everything. Waits while the ring is full: a reader that is slow slows the guest down. */
  flush(): void {
    for (let sent = 0; sent < this.#length;) {
      sent += this.#ring.write(this.#buffer.subarray(sent, this.#length));
      this.#events.announce();
      if (sent === this.#length || this.#events.abandoned()) break;
      this.#ring.waitForRoom(PatienceStep);
    }
    this.#length = 0;
  }
}
