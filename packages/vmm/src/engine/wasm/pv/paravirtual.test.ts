import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { gpa } from '../../../memory/address.ts';
import { ManualClock } from '../../../time/manual-clock.ts';
import { TscRate } from '../../../time/tsc-rate.ts';
import { SharedGuestMemory } from '../shared-memory.ts';
import { vmLayout } from '../softmmu/vm-layout.ts';
import { ClockFeatures, KvmFeature, KvmMsr } from '../../../x86/kvm-interface.ts';
import { Paravirtual } from './paravirtual.ts';
import { RunAccounting } from './run-accounting.ts';

const RamSize = 1 << 20;
const Boot = 1_700_000_000n * 1_000_000_000n + 123n;
const AllFeatures = ClockFeatures | KvmFeature.EndOfInterrupt;

let clock: ManualClock;
let memory: SharedGuestMemory;
let tscOffsets: bigint[];
let tsc: TscRate;
let pv: Paravirtual;

function create(features = AllFeatures): Paravirtual {
  return new Paravirtual({ memory, clock, tsc, vcpus: 2, tscOffset: (vcpu) => tscOffsets[vcpu]!, features });
}

beforeEach(() => {
  clock = new ManualClock(Boot);
  const layout = vmLayout(1, RamSize);
  const ranges = [{ start: gpa(0), length: RamSize, host: layout.ram }];
  memory = new SharedGuestMemory({ buffer: new SharedArrayBuffer(layout.wasmPages * 65536), ranges, layout }, () => {});
  tscOffsets = [0n, 0n];
  tsc = new TscRate();
  pv = create();
});

/** kvm-clock as a guest reads it. */
function guestTime(address: number, tsc: bigint): { nanoseconds: bigint; version: number; flags: number } {
  const u32 = (offset: number): number => memory.readU32(gpa(address + offset))!;
  const u64 = (offset: number): bigint => memory.readU64(gpa(address + offset))!;
  const shift = (memory.readU8(gpa(address + 28))! << 24) >> 24;
  const delta = BigInt.asUintN(64, tsc - u64(8));
  const scaled = shift >= 0 ? delta << BigInt(shift) : delta >> BigInt(-shift);
  const nanoseconds = u64(16) + ((scaled * BigInt(u32(24))) >> 32n);
  return { nanoseconds, version: u32(0), flags: memory.readU8(gpa(address + 29))! };
}

test('CPUID: signature and features', () => {
  const { eax, ebx, ecx, edx } = pv.cpuid(0x40000000)!;
  assert.equal(eax, 0x40000001);
  const bytes = new Uint8Array(new Uint32Array([ebx, ecx, edx]).buffer);
  assert.equal(String.fromCharCode(...bytes), 'KVMKVMKVM\0\0\0');
  assert.deepEqual(pv.cpuid(0x40000001), { eax: 0x0100006b, ebx: 0, ecx: 0, edx: 0 });
  assert.equal(pv.cpuid(0x40000002), undefined);
  assert.equal(pv.cpuid(0x80000000), undefined);
});

test('MSR_KVM_SYSTEM_TIME_NEW: the guest reads nanoseconds from its TSC', () => {
  clock.advance(5_000_000_001);
  tscOffsets = [1_000n, 1_000n];
  assert.equal(pv.writeMsr(0, KvmMsr.SystemTime, 0x1001n), true);
  assert.equal(pv.readMsr(0, KvmMsr.SystemTime), 0x1001n);
  assert.equal(pv.readMsr(1, KvmMsr.SystemTime), 0n);
  const tsc = BigInt(clock.now()) + 1_000n;
  assert.equal(guestTime(0x1000, tsc).nanoseconds, 5_000_000_001n);
  assert.equal(guestTime(0x1000, tsc + 3_600_000_000_123n).nanoseconds, 3_605_000_000_124n);
  assert.equal(guestTime(0x1000, tsc).flags, 1);
});

test('the version is even after each write and changes with it', () => {
  pv.writeMsr(0, KvmMsr.SystemTime, 0x1001n);
  const first = guestTime(0x1000, 0n).version;
  pv.clock.update();
  const second = guestTime(0x1000, 0n).version;
  assert.deepEqual([first, second], [2, 4]);
  // A guest that left an odd version, or the largest one, behind
  memory.writeU32(gpa(0x1000), 0xffffffff);
  pv.clock.update();
  assert.equal(guestTime(0x1000, 0n).version, 0);
});

test('TSCs that differ between vCPUs are not stable', () => {
  pv.writeMsr(0, KvmMsr.SystemTime, 0x1001n);
  pv.writeMsr(1, KvmMsr.SystemTime, 0x1041n);
  tscOffsets = [0n, -500n];
  pv.clock.update();
  assert.equal(guestTime(0x1000, 0n).flags, 0);
  const now = BigInt(clock.now());
  assert.equal(guestTime(0x1040, BigInt.asUintN(64, now - 500n)).nanoseconds, now);
});

test('a pause is told once: until the guest clears the flag', () => {
  pv.writeMsr(0, KvmMsr.SystemTime, 0x1001n);
  pv.clock.notePause();
  assert.equal(guestTime(0x1000, 0n).flags, 3);
  pv.clock.update();
  assert.equal(guestTime(0x1000, 0n).flags, 3);
  memory.writeU8(gpa(0x1000 + 29), 1);
  pv.clock.update();
  assert.equal(guestTime(0x1000, 0n).flags, 1);
});

test('a disabled clock, and addresses that are not RAM, are never written', () => {
  const before = new Uint8Array(RamSize);
  memory.read(gpa(0), before);
  const edges = [0x1000n, BigInt(RamSize) + 1n, BigInt(RamSize - 16) + 1n, 0x1003n, (1n << 64n) - 1n, (1n << 52n) + 1n];
  for (const value of edges) assert.equal(pv.writeMsr(0, KvmMsr.SystemTime, value), true);
  for (const value of [BigInt(RamSize - 8), 0x1002n, (1n << 63n) + 4n]) {
    assert.equal(pv.writeMsr(0, KvmMsr.WallClock, value), true);
  }
  assert.equal(pv.writeMsr(0, KvmMsr.StealTime, BigInt(RamSize) | 1n), true);
  pv.stealTime.preempt(0);
  pv.stealTime.resume(0, 1000);
  assert.equal(pv.writeMsr(0, KvmMsr.EndOfInterrupt, (1n << 53n) | 1n), true);
  pv.endOfInterrupt.offer(0);
  assert.equal(pv.endOfInterrupt.poll(0), false);
  const after = new Uint8Array(RamSize);
  memory.read(gpa(0), after);
  assert.ok(Buffer.compare(before, after) === 0);
});

test('MSR_KVM_WALL_CLOCK_NEW: the wall clock at system time 0', () => {
  clock.advance(10_000_000_000);
  pv.writeMsr(1, KvmMsr.WallClock, 0x2000n);
  assert.equal(memory.readU32(gpa(0x2000)), 2);
  assert.equal(memory.readU32(gpa(0x2004)), 1_700_000_000);
  assert.equal(memory.readU32(gpa(0x2008)), 123);
  assert.equal(pv.readMsr(0, KvmMsr.OldWallClock), 0x2000n);
});

test('MSR_KVM_STEAL_TIME: adds up, and tells of preemption', () => {
  assert.equal(pv.writeMsr(0, KvmMsr.StealTime, 0x3003n), false);
  assert.equal(pv.writeMsr(0, KvmMsr.StealTime, 0x3021n), false);
  assert.equal(pv.writeMsr(0, KvmMsr.StealTime, 0x3001n), true);
  pv.stealTime.preempt(0);
  assert.equal(memory.readU8(gpa(0x3010)), 1);
  pv.stealTime.resume(0, 1500.5);
  pv.stealTime.resume(0, 0.5);
  assert.equal(memory.readU8(gpa(0x3010)), 0);
  assert.equal(memory.readU64(gpa(0x3000)), 1501n);
  assert.equal(memory.readU32(gpa(0x3008)), 4);
  pv.writeMsr(0, KvmMsr.StealTime, 0n);
  pv.stealTime.resume(0, 1000);
  assert.equal(memory.readU64(gpa(0x3000)), 1501n);
});

test('MSR_KVM_EOI_EN: offered, taken and withdrawn', () => {
  assert.equal(pv.writeMsr(0, KvmMsr.EndOfInterrupt, 0x4003n), false);
  assert.equal(pv.writeMsr(0, KvmMsr.EndOfInterrupt, 0x4001n), true);
  const { endOfInterrupt } = pv;
  endOfInterrupt.offer(0);
  assert.equal(memory.readU8(gpa(0x4000)), 1);
  assert.equal(endOfInterrupt.poll(0), false);
  memory.writeU8(gpa(0x4000), 0);
  assert.deepEqual([endOfInterrupt.poll(0), endOfInterrupt.poll(0)], [true, false]);
  endOfInterrupt.offer(0);
  assert.equal(endOfInterrupt.withdraw(0), false);
  assert.equal(memory.readU8(gpa(0x4000)), 0);
  assert.equal(endOfInterrupt.poll(0), false);
  endOfInterrupt.offer(1);
  assert.equal(endOfInterrupt.poll(1), false);
});

test('MSRs of features that are not there raise #GP', () => {
  const plain = create(KvmFeature.Clock);
  assert.equal(plain.readMsr(0, KvmMsr.SystemTime), 0n);
  for (const msr of [KvmMsr.OldSystemTime, KvmMsr.StealTime, KvmMsr.EndOfInterrupt, 0x4b564d02, 0x4b564d05, 0x10]) {
    assert.equal(plain.readMsr(0, msr), undefined, msr.toString(16));
    assert.equal(plain.writeMsr(0, msr, 0n), false, msr.toString(16));
  }
});

test('a restored machine goes on at the system time where it was saved', () => {
  clock.advance(7_000_000_000);
  pv.writeMsr(0, KvmMsr.SystemTime, 0x1001n);
  pv.writeMsr(1, KvmMsr.StealTime, 0x3001n);
  const now = pv.clock.now();
  const saved = [0, 1].map((vcpu) => pv.saveMsrs(vcpu));
  clock = new ManualClock(Boot);
  clock.advance(1_000);
  const restored = create();
  restored.clock.restoreTime(now);
  saved.forEach((msrs, vcpu) => msrs.forEach(([index, value]) => restored.restoreMsr(vcpu, index, value)));
  assert.equal(restored.readMsr(1, KvmMsr.StealTime), 0x3001n);
  assert.deepEqual(guestTime(0x1000, 1_000n).nanoseconds, 7_000_000_000n);
  assert.equal(guestTime(0x1000, 1_000n).flags, 3);
  restored.clock.update();
  assert.equal(guestTime(0x1000, 1_000n).flags, 3, 'until the guest has seen that it stood still');
  assert.deepEqual(
    [0, 1].map((vcpu) => restored.saveMsrs(vcpu)),
    saved,
  );
});

test('a TSC of any rate: the guest reads the same nanoseconds, which stay monotonic across a change of the rate', () => {
  pv.writeMsr(0, KvmMsr.SystemTime, 0x1001n);
  for (const khz of [800_000, 1_000_000, 2_199_998, 2_450_123, 5_000_000, 333_333]) {
    tsc.khz = khz;
    pv.clock.update();
    clock.advance(3_000_000_000);
    const nanoseconds = BigInt(clock.now());
    const read = guestTime(0x1000, tsc.ticks(nanoseconds)).nanoseconds;
    assert.ok(read <= nanoseconds && nanoseconds - read < 1000n, `${khz} kHz: ${nanoseconds - read} ns late`);
  }
});

test('a vCPU that waits while another one runs is robbed; a halted one is not', () => {
  pv.writeMsr(0, KvmMsr.StealTime, 0x3001n);
  pv.writeMsr(1, KvmMsr.StealTime, 0x3041n);
  const accounting = new RunAccounting(pv.stealTime, clock, 2);
  const run = (vcpu: number, nanoseconds: number, runnable: boolean): void => {
    accounting.started(vcpu);
    clock.advance(nanoseconds);
    accounting.stopped(vcpu, runnable);
  };
  const steal = (vcpu: number): bigint => memory.readU64(gpa(0x3000 + vcpu * 0x40))!;
  const preempted = (vcpu: number): number => memory.readU8(gpa(0x3010 + vcpu * 0x40))!;
  run(0, 100, true);
  clock.advance(1000); // an exit is handled: nobody's time
  run(0, 100, true);
  assert.deepEqual([preempted(0), preempted(1)], [0, 0]);
  accounting.started(1);
  assert.deepEqual([preempted(0), preempted(1)], [1, 0]);
  clock.advance(300);
  accounting.stopped(1, false);
  run(0, 700, true);
  assert.deepEqual([steal(0), preempted(0)], [300n, 0]);
  accounting.started(1);
  assert.equal(steal(1), 0n);
});
