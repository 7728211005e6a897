/** The host's time as the machine's. */
import type { Clock } from '@lodger/vmm/time/clock.js';

const NanosecondsPerMillisecond = 1e6;

/** Starts at 0. Goes on while a machine is paused, as time does for a computer that nobody schedules. */
export function hostClock(): Clock {
  const start = performance.now();
  return {
    now: () => (performance.now() - start) * NanosecondsPerMillisecond,
    wallClock: () => BigInt(Date.now()) * BigInt(NanosecondsPerMillisecond),
  };
}
