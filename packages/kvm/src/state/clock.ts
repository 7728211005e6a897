/** kvm-clock. */
import type { VmClockState } from '@lodger/vmm/engine/state.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { ClockData, ClockFlag } from '../api/state-layouts.ts';
import { getState } from './transfer.ts';

/**
 * KVM API documentation 4.29 "KVM_GET_CLOCK". `wallClock`: the host's, in nanoseconds since 1970, where KVM does not give
 * its own.
 */
export function readClock(vm: number, wallClock: bigint): VmClockState {
  const { clock, flags, realtime } = getState(vm, KvmRequest.GetClock, ClockData);
  return { kvmClock: clock, wallClock: flags & ClockFlag.Realtime ? realtime : wallClock };
}

/** KVM API documentation 4.30 "KVM_SET_CLOCK": without KVM_CLOCK_REALTIME, so that it goes on from here. */
export function writeClock(vm: number, kvmClock: bigint): void {
  kvmIoctl(vm, KvmRequest.SetClock, ClockData.create({ clock: kvmClock }));
}
