/** For tests that need the real /dev/kvm. */
import { KvmSystem } from '@lodger/kvm/system.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import type { EngineGuest, Outcome, RunOptions } from './engine-guest.ts';

const NanosecondsPerMillisecond = 1e6;

/** Milliseconds that a guest may wait for another thread on a busy host. */
export const Patience = 60_000;

/** Why this host's KVM can't be used; undefined when it can. */
export function kvmMissing(): string | undefined {
  try {
    KvmSystem.open().close();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export function realClock(): Clock {
  return {
    now: () => performance.now() * NanosecondsPerMillisecond,
    wallClock: () => BigInt(Date.now()) * BigInt(NanosecondsPerMillisecond),
  };
}

/** Runs the guest to its end; interrupts that other threads raise end its halts. */
export function runPastHalts(guest: EngineGuest, options: RunOptions = {}): Outcome {
  const log: string[] = [];
  const deadline = Date.now() + Patience;
  for (;;) {
    const outcome = guest.run(options);
    log.push(...outcome.log);
    if (outcome.end !== 'halt' || Date.now() > deadline) return { log, end: outcome.end };
  }
}
