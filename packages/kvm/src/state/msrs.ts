/** MSRs of a state into a vCPU, and the rate of its TSC. */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { KvmMsr } from '@lodger/vmm/x86/kvm-interface.js';
import { Msr } from '@lodger/vmm/x86/msr.js';
import { readMsrs, writeMsrs } from '../cpu/msrs.ts';
import type { MsrValue } from '../cpu/msrs.ts';
import { setTscKhz, tscKhz } from '../cpu/tsc.ts';
import type { StateContext } from './context.ts';
import { readLapic } from './lapic.ts';

/** Numbers of MSRs that a guest does without: nothing comes of them any more, which it can cope with. */
const Dispensable = {
  /** Steal time, end of interrupt and asynchronous page faults: offers of the hypervisor. */
  stealTime: KvmMsr.StealTime,
  endOfInterrupt: KvmMsr.EndOfInterrupt,
  asyncPageFault: 0x4b56_4d02,
  pollControl: 0x4b56_4d05,
  asyncPageFaultInterrupt: 0x4b56_4d06,
  asyncPageFaultAcknowledge: 0x4b56_4d07,
  /** Counts of what the hypervisor's processor did. */
  smiCount: 0x34,
} as const;
const dispensable = new Set<number>(Object.values(Dispensable));

/** Writes `values` in their order, by the host's order of MSRs. An MSR that KVM refuses may have the value already. */
export function restoreMsrs(fd: number, values: readonly MsrValue[], { msrs }: StateContext): void {
  const rank = new Map(msrs.map((index, position) => [index, position]));
  for (const [index, value] of values) if (index === Msr.TimeStampCounter) restoreTsc(fd, value);
  const others = values.filter(([index]) => index !== Msr.TimeStampCounter);
  const ordered = others.sort(([a], [b]) => (rank.get(a) ?? -1) - (rank.get(b) ?? -1));
  const missing = writeMsrs(fd, ordered).filter(([index, value]) => !isTolerable(fd, index, value));
  if (missing.length === 0) return;
  const names = missing.map(([index, value]) => `0x${index.toString(16)} (0x${value.toString(16)})`);
  throw new HostError(
    'InvalidArgument',
    `this host's KVM cannot set the saved MSRs ${names.join(', ')}: continue the machine on a host like the one that ` +
      'saved it, or start it with --cpu x86-64-v2 to be able to move it',
  );
}

/** Ticks that the TSC may have gone on since it was written: seconds. */
const MuchLater = 1n << 33n;
/** Ticks by which no TSC is in step with another. */
const FarAway = 1n << 45n;

/**
 * KVM takes a TSC that is within a second of the others' for an attempt to be in step with them, and leaves it as they are
 * (Linux arch/x86/kvm/x86.c, kvm_synchronize_tsc). Right for all vCPUs but the first one, which the others are to follow.
 */
function restoreTsc(fd: number, value: bigint): void {
  writeMsrs(fd, [[Msr.TimeStampCounter, value]]);
  if (readLapic(fd).id !== 0) return;
  const now = readMsrs(fd, [Msr.TimeStampCounter])[0]?.[1] ?? value;
  if (BigInt.asUintN(64, now - value) < MuchLater) return;
  writeMsrs(fd, [[Msr.TimeStampCounter, BigInt.asUintN(64, value + FarAway)]]);
  writeMsrs(fd, [[Msr.TimeStampCounter, value]]);
}

function isTolerable(fd: number, index: number, value: bigint): boolean {
  if (value === 0n || dispensable.has(index)) return true;
  const [current] = readMsrs(fd, [index]);
  return current?.[1] === value;
}

/** A frequency that is off by this much counts as the same: KVM's default (its parameter tsc_tolerance_ppm), and NTP's. */
const TolerancePpm = 250;
const Million = 1_000_000;

/** @throws HostError when this host cannot give the guest's TSC the saved rate. */
export function restoreTscKhz(fd: number, saved: number | undefined, { scalesTsc }: StateContext): void {
  const current = tscKhz(fd);
  if (saved === undefined || saved === current) return;
  const isClose = current !== undefined && Math.abs(saved - current) <= (current * TolerancePpm) / Million;
  if (isClose) return;
  try {
    setTscKhz(fd, saved, scalesTsc);
  } catch (cause) {
    throw new HostError(
      'InvalidArgument',
      `the saved guest counts time with a TSC of ${saved} kHz, which this host cannot give it: continue it on wasm or ` +
        `on a host with TSC scaling, or start it with a rate that both hosts have (${(cause as Error).message})`,
      { cause },
    );
  }
}
