/** Time sources and timers as devices see them. Injected, so that tests and deterministic runs own time. */

export interface Clock {
  /** Monotonic nanoseconds since the machine was created (a double: exact to 104 days). */
  now(): number;
  /** Wall-clock nanoseconds since 1970-01-01 UTC. */
  wallClock(): bigint;
}

/** One-shot timers in the clock's nanoseconds, fired by the thread that owns the device. */
export interface TimerQueue {
  /** Registers a timer, disarmed. `expired` runs on the owning thread, at or soon after its deadline. */
  createTimer(expired: (now: number) => void): Timer;
}

export interface Timer {
  /** Arms (or re-arms) the timer for an absolute time in the clock's nanoseconds. */
  arm(deadline: number): void;
  disarm(): void;
  /** The armed deadline, or undefined. */
  readonly deadline: number | undefined;
}
