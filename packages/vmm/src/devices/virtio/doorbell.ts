/** Doorbells made of a futex word in shared memory: ringing is one atomic increment and a wake-up. */
import type { Doorbell } from './virtio-device.ts';
import type { SharedQueueService } from './shared-queue-runner.ts';

export class FutexDoorbell implements Doorbell {
  readonly #words: Int32Array;
  readonly #word: number;

  /** The word at index `word` of `shared`, taken as 32-bit integers. */
  constructor(shared: SharedArrayBuffer, word = 0) {
    this.#words = new Int32Array(shared);
    this.#word = word;
  }

  ring(): void {
    Atomics.add(this.#words, this.#word, 1);
    Atomics.notify(this.#words, this.#word);
  }

  /** A value that changes with each ring. */
  get rings(): number {
    return Atomics.load(this.#words, this.#word);
  }

  /** Sleeps until {@link rings} differs from `seen`, or the time is up. */
  wait(seen: number, milliseconds?: number): void {
    Atomics.wait(this.#words, this.#word, seen, milliseconds);
  }
}

/** The life of an I/O worker thread: serves its devices, sleeps on its doorbell, until `stopped` (after a ring). */
export function runIoWorker(
  doorbell: FutexDoorbell,
  services: readonly SharedQueueService[],
  stopped: () => boolean,
): void {
  while (!stopped()) {
    const rings = doorbell.rings;
    let more = false;
    for (const service of services) more = service.work() || more;
    if (!more) doorbell.wait(rings);
  }
}
