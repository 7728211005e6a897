/** A machine that was saved for a while: its clocks show what they would if it had merely stood still. */
import type { VcpuState, VmState } from '../engine/state.ts';
import { Msr } from '../x86/msr.ts';

/** What a machine's processors and controllers consist of, as {@link VcpuState} and {@link VmState} say. */
export interface ProcessorsState {
  readonly vm: VmState;
  readonly vcpus: readonly VcpuState[];
}

const TicksPerKhz = 1_000_000n;

/**
 * kvm-clock and the TSCs go on by `nanoseconds`, so that the guest's time of day is right. Timers that count down
 * themselves (local APIC, PIT) have what they had left; a deadline of the TSC may have passed.
 */
export function advanceTime<State extends ProcessorsState>(state: State, nanoseconds: bigint): State {
  if (nanoseconds <= 0n) return state;
  const { clock } = state.vm;
  return {
    ...state,
    vm: { ...state.vm, clock: { ...clock, kvmClock: clock.kvmClock + nanoseconds } },
    vcpus: state.vcpus.map((vcpu) => advanceTsc(vcpu, nanoseconds)),
  };
}

function advanceTsc(state: VcpuState, nanoseconds: bigint): VcpuState {
  if (state.tscKhz === undefined) return state;
  const ticks = (nanoseconds * BigInt(state.tscKhz)) / TicksPerKhz;
  const msrs = state.msrs.map(([index, value]) => {
    return [index, index === Msr.TimeStampCounter ? BigInt.asUintN(64, value + ticks) : value] as const;
  });
  return { ...state, msrs };
}
