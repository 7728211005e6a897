/** Counts steal time of vCPUs that take turns in one thread: the time that others ran while they could have. */
import type { Clock } from '../../../time/clock.ts';
import type { StealTime } from './steal-time.ts';

export class RunAccounting {
  readonly #stealTime: StealTime;
  readonly #clock: Clock;
  /** Nanoseconds stolen since the vCPU ran last. */
  readonly #stolen: number[];
  /** Stopped, and could go on. */
  readonly #ready: boolean[];
  #last = 0;
  #started = 0;

  constructor(stealTime: StealTime, clock: Clock, vcpus: number) {
    this.#stealTime = stealTime;
    this.#clock = clock;
    this.#stolen = Array.from({ length: vcpus }, () => 0);
    this.#ready = Array.from({ length: vcpus }, () => false);
  }

  /** A vCPU starts to run. */
  started(vcpu: number): void {
    if (this.#stolen.length === 1) return;
    this.#started = this.#clock.now();
    this.#ready[vcpu] = false;
    if (vcpu === this.#last) return;
    if (this.#ready[this.#last]) this.#stealTime.preempt(this.#last);
    this.#last = vcpu;
    this.#stealTime.resume(vcpu, this.#stolen[vcpu]!);
    this.#stolen[vcpu] = 0;
  }

  /** It stopped; `runnable`: not because it has nothing to do. */
  stopped(vcpu: number, runnable: boolean): void {
    if (this.#stolen.length === 1) return;
    const elapsed = this.#clock.now() - this.#started;
    this.#ready.forEach((ready, other) => {
      if (ready) this.#stolen[other]! += elapsed;
    });
    this.#ready[vcpu] = runnable;
  }
}
