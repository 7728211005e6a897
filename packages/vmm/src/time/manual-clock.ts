/** A clock that its owner moves: for tests and for deterministic runs. */
import type { Clock } from './clock.ts';
import { HeapTimerQueue } from './timer-queue.ts';

export class ManualClock implements Clock {
  #now = 0;
  readonly #epoch: bigint;
  /** Timers that {@link advance} fires. */
  readonly timers = new HeapTimerQueue();

  /** `epoch`: the wall clock at time 0, in nanoseconds since 1970-01-01 UTC. */
  constructor(epoch = 0n) {
    this.#epoch = epoch;
  }

  now(): number {
    return this.#now;
  }

  wallClock(): bigint {
    return this.#epoch + BigInt(Math.floor(this.#now));
  }

  /** Moves time on by `nanoseconds`, stopping at every deadline on the way to fire it. */
  advance(nanoseconds: number): void {
    const end = this.#now + nanoseconds;
    for (let next = this.timers.nextDeadline(); next <= end; next = this.timers.nextDeadline()) {
      this.#now = Math.max(this.#now, next);
      this.timers.fire(this.#now);
    }
    this.#now = end;
  }

  /** Moves time on without firing anything: what a busy host looks like. The caller fires `timers` itself. */
  skip(nanoseconds: number): void {
    this.#now += nanoseconds;
  }
}
