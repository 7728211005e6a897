/**
 * What an I/O worker sleeps on, and what wakes it.
 *
 * For engines without events of the host it is a futex word in shared memory: ringing is one atomic increment and a
 * wake-up. Another implementation sleeps in the kernel on events (`EventBell` of packages/kvm).
 */
import type { Doorbell } from './virtio-device.ts';

/** The sleeping side of a doorbell. */
export interface WorkerBell {
  /** To be called before looking for work; what it answers goes to {@link sleep}. */
  look(): number;
  /** Sleeps until there was a ring after `seen` was looked at. */
  sleep(seen: number): void;
}

/** What a worker serves when its doorbell rang. */
export interface WorkerService {
  /** Deals with what is there now. True when there may be more: it is called again before the worker sleeps. */
  work(): boolean;
}

export class FutexDoorbell implements Doorbell, WorkerBell {
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

  look(): number {
    return this.rings;
  }

  sleep(seen: number): void {
    this.wait(seen);
  }
}

/**
 * The life of an I/O worker thread: serves its devices, sleeps on its doorbell, until `stopped`, which comes before a ring.
 *
 * The doorbell is looked at first: a ring before that has `stopped` seen, one after it ends the sleep.
 */
export function runIoWorker(bell: WorkerBell, services: readonly WorkerService[], stopped: () => boolean): void {
  for (;;) {
    const seen = bell.look();
    if (stopped()) return;
    let more = false;
    for (const service of services) more = service.work() || more;
    if (!more) bell.sleep(seen);
  }
}
