/** For tests that need the real /dev/kvm. */
import { KvmSystem } from '@lodger/kvm/system.js';
import type { Clock } from '@lodger/vmm/time/clock.js';

const NanosecondsPerMillisecond = 1e6;

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
