/** Memory slots as tiny guests see them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpa } from '@lodger/vmm/memory/address.js';
import { KvmExit } from './api/exits.ts';
import { KvmRequest, kvmIoctl } from './api/requests.ts';
import { RunOffset } from './api/run-layout.ts';
import { Regs } from './api/state-layouts.ts';
import { Code, noKvm, TinyGuest } from './testing/tiny-guest.ts';

const MiB = 1024 * 1024;
const MemorySize = 16 * MiB;
const SlotAt = 0x2000_0000;
const PageSize = 4096;

function mmio(guest: TinyGuest): string {
  const { run } = guest;
  const address = run.getBigUint64(RunOffset.MmioAddress, true).toString(16);
  const kind = run.getUint8(RunOffset.MmioIsWrite) ? `write ${run.getUint8(RunOffset.MmioData)}` : 'read';
  return `${kind} ${address}`;
}

/** Runs code and answers its accesses to what is not memory; reads of that get 0x77. */
function accesses(guest: TinyGuest, ...code: (readonly number[])[]): string[] {
  const log: string[] = [];
  guest.runToHalt([...code.flat(), ...Code.halt], (reason) => {
    assert.equal(reason, KvmExit.Mmio);
    log.push(mmio(guest));
    guest.run.setUint8(RunOffset.MmioData, 0x77);
  });
  return log;
}

function al(guest: TinyGuest): number {
  const regs = Regs.create();
  kvmIoctl(guest.vcpu, KvmRequest.GetRegs, regs);
  return Number(Regs.decode(regs).rax & 0xffn);
}

test('a slot is memory from when it is added until it is removed', { skip: noKvm() }, () => {
  using guest = new TinyGuest(MemorySize);
  const slot = { id: 3, start: gpa(SlotAt), size: 2 * PageSize, readOnly: false };
  assert.deepEqual(accesses(guest, Code.store(SlotAt, 5)), ['write 5 20000000']);
  guest.slots.set(slot);
  assert.deepEqual(accesses(guest, Code.store(SlotAt + PageSize, 5), Code.store(SlotAt + 2 * PageSize, 6)), [
    'write 6 20002000',
  ]);
  assert.equal(guest.memory.readU8(gpa(SlotAt + PageSize)), 5);
  assert.equal(guest.memory.readU8(gpa(SlotAt + 2 * PageSize)), undefined);
  guest.slots.set({ ...slot, size: 0 });
  assert.deepEqual(accesses(guest, Code.load(SlotAt + PageSize)), ['read 20001000']);
  assert.equal(al(guest), 0x77);
  assert.equal(guest.memory.readU8(gpa(SlotAt + PageSize)), undefined);
});

test('a write to a read-only slot leaves it as it is and goes to the board', { skip: noKvm() }, () => {
  using guest = new TinyGuest(MemorySize);
  const slot = { id: 3, start: gpa(SlotAt), size: PageSize, readOnly: true };
  guest.slots.set(slot);
  guest.memory.writeU8(gpa(SlotAt), 0x42);
  assert.deepEqual(accesses(guest, Code.store(SlotAt, 9), Code.load(SlotAt)), ['write 9 20000000']);
  assert.equal(al(guest), 0x42);
  guest.slots.set({ ...slot, readOnly: false });
  assert.deepEqual(accesses(guest, Code.store(SlotAt + 1, 9), Code.load(SlotAt)), []);
  assert.equal(al(guest), 0x42, 'a slot that is replaced by one of its size keeps its content');
  assert.equal(guest.memory.readU8(gpa(SlotAt + 1)), 9);
});

test('slots that overlap memory or are no whole pages are refused, and the others stay', { skip: noKvm() }, () => {
  using guest = new TinyGuest(MemorySize);
  const refuses = (start: number, size: number, message: RegExp): void =>
    assert.throws(() => guest.slots.set({ id: 4, start: gpa(start), size, readOnly: false }), {
      code: 'InvalidArgument',
      message,
    });
  guest.slots.set({ id: 3, start: gpa(SlotAt), size: PageSize, readOnly: false });
  refuses(SlotAt, PageSize, /overlap/);
  refuses(MemorySize - PageSize, 2 * PageSize, /overlap/);
  refuses(SlotAt + 100, PageSize, /whole pages/);
  refuses(SlotAt + PageSize, 100, /whole pages/);
  assert.deepEqual(accesses(guest, Code.store(SlotAt, 1), Code.load(SlotAt)), []);
  assert.equal(guest.memory.readU8(gpa(SlotAt + PageSize)), undefined);
});
