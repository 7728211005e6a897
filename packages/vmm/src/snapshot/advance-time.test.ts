import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState } from '../boot/initial-state.ts';
import type { VcpuState, VmState } from '../engine/state.ts';
import { Msr } from '../x86/msr.ts';
import { advanceTime } from './advance-time.ts';

const vm = { version: 1, clock: { kvmClock: 5_000n, wallClock: 77n } } as VmState;
const vcpu = (tscKhz: number | undefined, tsc: bigint): VcpuState => ({
  ...resetState(),
  ...(tscKhz !== undefined && { tscKhz }),
  msrs: [
    [Msr.TscAdjust, 3n],
    [Msr.TimeStampCounter, tsc],
    [Msr.TscDeadline, 9n],
  ],
});
const tscOf = ({ msrs }: VcpuState): bigint | undefined => new Map(msrs).get(Msr.TimeStampCounter);

test('kvm-clock and every TSC go on, each at its rate; nothing else changes', () => {
  const state = { vm, vcpus: [vcpu(1_000_000, 10n), vcpu(2_450_123, 20n), vcpu(undefined, 30n)] };
  const later = advanceTime(state, 2_000_000_000n);
  assert.deepEqual(later.vm.clock, { kvmClock: 2_000_005_000n, wallClock: 77n });
  assert.deepEqual(later.vcpus.map(tscOf), [2_000_000_010n, 4_900_246_020n, 30n]);
  assert.deepEqual(new Map(later.vcpus[1]!.msrs).get(Msr.TscDeadline), 9n);
  assert.deepEqual(state.vcpus.map(tscOf), [10n, 20n, 30n], 'the saved state stays');
});

test('a host whose clock is behind does not take the guest back', () => {
  const state = { vm, vcpus: [vcpu(1_000_000, 10n)] };
  assert.equal(advanceTime(state, -5n), state);
});

test('a TSC wraps', () => {
  const state = { vm, vcpus: [vcpu(1_000_000, (1n << 64n) - 1n)] };
  assert.equal(tscOf(advanceTime(state, 3n).vcpus[0]!), 2n);
});
