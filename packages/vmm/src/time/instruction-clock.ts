/**
 * A clock that follows the instructions of a single vCPU, for deterministic runs: an instruction takes a nanosecond, and while
 * the guest has nothing to do its owner lets time jump. Nothing of the host's time is in it.
 */
import type { Clock } from './clock.ts';

/** 2024-01-01 00:00 UTC. */
const DefaultEpoch = 1_704_067_200_000_000_000n;

export class InstructionClock implements Clock {
  readonly #epoch: bigint;
  #count: () => number = () => 0;
  #skipped = 0;

  /** `epoch`: the wall clock at time 0, in nanoseconds since 1970-01-01 UTC. */
  constructor(epoch = DefaultEpoch) {
    this.#epoch = epoch;
  }

  /** Instructions so far, as the engine counts them. */
  get instructions(): number {
    return this.#count();
  }

  now(): number {
    return this.#count() + this.#skipped;
  }

  wallClock(): bigint {
    return this.#epoch + BigInt(this.now());
  }

  /** For the engine that the clock is given to: how many instructions its vCPU has executed, also in the middle of one. */
  follow(count: () => number): void {
    this.#count = count;
  }

  /** Lets time pass without instructions: whole nanoseconds. */
  skip(nanoseconds: number): void {
    this.#skipped += Math.ceil(nanoseconds);
  }
}
