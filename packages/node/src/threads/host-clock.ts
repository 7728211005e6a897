/** The host's time as the machine's. */
import type { Clock } from '@lodger/vmm/time/clock.js';

const NanosecondsPerMillisecond = 1e6;
const NanosecondsPerSecond = 1e9;

/** When a machine's clock starts, for all of its threads. */
export type ClockStart = readonly [seconds: number, nanoseconds: number];

export const clockStart = (): ClockStart => process.hrtime();

/** Starts at 0. Goes on while a machine is paused, as time does for a computer that nobody schedules. */
export function hostClock([seconds, nanoseconds]: ClockStart = clockStart()): Clock {
  return {
    now() {
      const [second, nanosecond] = process.hrtime();
      return (second - seconds) * NanosecondsPerSecond + (nanosecond - nanoseconds);
    },
    wallClock: () => BigInt(Date.now()) * BigInt(NanosecondsPerMillisecond),
  };
}
