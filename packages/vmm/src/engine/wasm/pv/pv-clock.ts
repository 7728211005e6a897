/**
 * kvm-clock: the guest converts its TSC to nanoseconds by a structure that the hypervisor keeps (Linux
 * Documentation/virt/kvm/x86/msr.rst, "MSR_KVM_SYSTEM_TIME_NEW", "MSR_KVM_WALL_CLOCK_NEW").
 *
 * The TSC follows the machine clock, so a structure stays true until the guest writes its TSC or the TSC's rate changes.
 */
import { gpa } from '../../../memory/address.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import type { Clock } from '../../../time/clock.ts';
import type { TscRate } from '../../../time/tsc-rate.ts';
import { guestAddress, writeVersioned } from './sequence.ts';

/** struct pvclock_vcpu_time_info, and where its part after the version starts. */
const TimeInfo = {
  Version: 0,
  TscTimestamp: 8,
  SystemTime: 16,
  Multiplier: 24,
  Shift: 28,
  Flags: 29,
  Size: 32,
} as const;
const TimeFlag = { Stable: 1, Paused: 2 } as const;
const Enable = 1n;

/** struct pvclock_wall_clock. */
const WallClock = { Version: 0, Seconds: 4, Nanoseconds: 8, Size: 12 } as const;
const NanosecondsPerSecond = 1_000_000_000n;

export interface PvClockConfig {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly vcpus: number;
  readonly tsc: TscRate;
  /** What RDTSC adds to the ticks in the clock's nanoseconds. */
  tscOffset(vcpu: number): bigint;
}

export class PvClock {
  readonly #config: PvClockConfig;
  readonly #systemTime: bigint[];
  readonly #paused: boolean[];
  #wallClock = 0n;
  /** Added to the machine clock: system time goes on where it was when a machine is restored. */
  #offset = 0n;

  constructor(config: PvClockConfig) {
    this.#config = config;
    this.#systemTime = Array.from({ length: config.vcpus }, () => 0n);
    this.#paused = Array.from({ length: config.vcpus }, () => false);
  }

  /** kvm-clock's nanoseconds. */
  now(): bigint {
    return BigInt(Math.floor(this.#config.clock.now())) + this.#offset;
  }

  /** System time goes on from `now`, and the guest is told that it stood still. */
  restoreTime(now: bigint): void {
    this.#offset += now - this.now();
    this.notePause();
  }

  /** Takes a saved MSR over without writing the wall clock to the guest again. */
  restoreWallClock(value: bigint): void {
    this.#wallClock = value;
  }

  systemTime(vcpu: number): bigint {
    return this.#systemTime[vcpu]!;
  }

  /** An address outside RAM, or misaligned, is kept but nothing is written to it. */
  setSystemTime(vcpu: number, value: bigint): void {
    this.#systemTime[vcpu] = value;
    this.#write(vcpu);
  }

  get wallClock(): bigint {
    return this.#wallClock;
  }

  /** Writes the wall clock at system time 0 to the address, once. Address 0 is none. */
  setWallClock(value: bigint): void {
    this.#wallClock = value;
    const address = value === 0n ? undefined : guestAddress(value);
    if (address === undefined || address % 4 !== 0) return;
    const start = this.#config.clock.wallClock() - this.now();
    const body = new DataView(new ArrayBuffer(WallClock.Size - WallClock.Seconds));
    body.setUint32(0, Number(BigInt.asUintN(32, start / NanosecondsPerSecond)), true);
    body.setUint32(WallClock.Nanoseconds - WallClock.Seconds, Number(start % NanosecondsPerSecond), true);
    const bytes = new Uint8Array(body.buffer);
    writeVersioned(this.#config.memory, address, WallClock.Version, WallClock.Seconds, bytes);
  }

  /** Writes the structures of all vCPUs again: after a TSC was written, or the machine was restored. */
  update(): void {
    for (let vcpu = 0; vcpu < this.#config.vcpus; vcpu++) this.#write(vcpu);
  }

  /** Tells the vCPUs that the host stopped them for a while: their watchdogs do not count that time. */
  notePause(): void {
    this.#paused.fill(true);
    this.update();
  }

  #write(vcpu: number): void {
    const value = this.#systemTime[vcpu]!;
    if ((value & Enable) === 0n) return;
    const address = guestAddress(value - Enable);
    if (address === undefined || address % 4 !== 0) return;
    const body = new DataView(new ArrayBuffer(TimeInfo.Size - TimeInfo.TscTimestamp));
    const at = (offset: number): number => offset - TimeInfo.TscTimestamp;
    const { clock, tsc, tscOffset } = this.#config;
    const { multiplier, shift } = tickScale(tsc.khz);
    const nanoseconds = BigInt(Math.floor(clock.now()));
    body.setBigUint64(at(TimeInfo.TscTimestamp), BigInt.asUintN(64, tsc.ticks(nanoseconds) + tscOffset(vcpu)), true);
    body.setBigUint64(at(TimeInfo.SystemTime), BigInt.asUintN(64, nanoseconds + this.#offset), true);
    body.setUint32(at(TimeInfo.Multiplier), multiplier, true);
    body.setInt8(at(TimeInfo.Shift), shift);
    const stable = this.#tscsAgree() ? TimeFlag.Stable : 0;
    // The guest clears the flag when it has seen it
    const unseen = (this.#config.memory.readU8(gpa(address + TimeInfo.Flags)) ?? 0) & TimeFlag.Paused;
    body.setUint8(at(TimeInfo.Flags), stable | unseen | (this.#paused[vcpu] ? TimeFlag.Paused : 0));
    writeVersioned(this.#config.memory, address, TimeInfo.Version, TimeInfo.TscTimestamp, new Uint8Array(body.buffer));
    this.#paused[vcpu] = false;
  }

  /** One vCPU's structure serves all of them only when their TSCs are equal. */
  #tscsAgree(): boolean {
    const { vcpus, tscOffset } = this.#config;
    const first = tscOffset(0);
    for (let vcpu = 1; vcpu < vcpus; vcpu++) if (tscOffset(vcpu) !== first) return false;
    return true;
  }
}

/** time = (ticks << shift) * multiplier >> 32, with the multiplier in [2^31, 2^32): a nanosecond a tick is 2^31 and 1. */
function tickScale(khz: number): { multiplier: number; shift: number } {
  let nanosecondsPerTick = 1e6 / khz;
  let shift = 0;
  for (; nanosecondsPerTick >= 1; nanosecondsPerTick /= 2) shift++;
  for (; nanosecondsPerTick < 0.5; nanosecondsPerTick *= 2) shift--;
  return { multiplier: Math.min(Math.floor(nanosecondsPerTick * 2 ** 32), 2 ** 32 - 1), shift };
}
