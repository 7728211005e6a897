/** Hardware task switches (SDM Vol. 3A "Task Management"). */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { at, eax, ebx, ecx, esi, esp, mem } from '../guest/assembler.ts';
import { Flag, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent } from './system-expect.ts';
import { At, NotPresent, Sel, Type, descriptor, dpl, gate } from './system-layout.ts';

const guest = new SystemGuest();
const Busy = 2;
const typeOf = (selector: number): number => Number(guest.readDescriptor(selector) >> 40n) & 0xf;

interface Task {
  ip: number;
  flags?: number;
  stack?: number;
  /** ES CS SS DS FS GS */
  segments?: readonly number[];
  ldt?: number;
  link?: number;
}
const flat = [Sel.Data32, Sel.Code32, Sel.Data32, Sel.Data32, 0, 0];

function writeTask32(task: Task): void {
  guest.write(At.Tss2, new Uint8Array(0x68));
  guest.write16(At.Tss2, task.link ?? 0);
  guest.write32(At.Tss2 + 0x20, task.ip);
  guest.write32(At.Tss2 + 0x24, task.flags ?? Flag.Fixed);
  for (let i = 0; i < 8; i++) guest.write32(At.Tss2 + 0x28 + i * 4, 0x1000 + i);
  guest.write32(At.Tss2 + 0x38, task.stack ?? At.Stack1);
  (task.segments ?? flat).forEach((selector, i) => guest.write16(At.Tss2 + 0x48 + i * 4, selector));
  guest.write16(At.Tss2 + 0x60, task.ldt ?? 0);
}

beforeEach(() => guest.startProtected());

describe('by far jump', () => {
  test('saves and loads all registers, moves the busy bit, sets CR0.TS', () => {
    writeTask32({ ip: At.Code2 });
    guest.code(At.Code2, 32, (a) => void finish(a));
    const a = guest.code(At.Code, 32, (a) => {
      a.mov(eax, 0xaaaa).mov(ebx, 0xbbbb).mov(esi, 0xeeee).db(0xf9).jmpFar(Sel.Tss2, 0x1234).label('next');
    });
    expectDone(guest);
    const { regs, sregs } = guest.state;
    assert.deepEqual([regs.rax, regs.rcx, regs.rdi, regs.rsp], [0x1000n, 0x1001n, 0x1007n, BigInt(At.Stack1)]);
    assert.equal(sregs.tr.selector, Sel.Tss2);
    assert.equal(sregs.cr0 & 8n, 8n);
    assert.equal(Number(regs.rflags) & (Flag.NestedTask | Flag.Carry), 0);
    assert.deepEqual([typeOf(Sel.Tss) & Busy, typeOf(Sel.Tss2) & Busy], [0, Busy]);
    assert.deepEqual([0x20, 0x28, 0x34, 0x40].map((offset) => guest.read32(At.Tss + offset)), [
      a.address('next'), 0xaaaa, 0xbbbb, 0xeeee,
    ]); // prettier-ignore
    assert.equal(guest.read32(At.Tss + 0x24) & Flag.Carry, Flag.Carry);
    assert.equal(guest.read16(At.Tss + 0x4c), Sel.Code32);
  });

  test('to a busy, absent or short TSS', () => {
    const jump = (value: bigint): void => {
      guest.startProtected();
      guest.setDescriptor(Sel.Tss2, value);
      guest.code(At.Code, 32, (a) => void a.jmpFar(Sel.Tss2, 0));
    };
    jump(descriptor(Type.Tss32 | Busy, 0, At.Tss2, 0x67));
    expectEvent(guest, { vector: 13, error: Sel.Tss2, rip: At.Code });
    jump(descriptor(Type.Tss32 & ~NotPresent, 0, At.Tss2, 0x67));
    expectEvent(guest, { vector: 11, error: Sel.Tss2, rip: At.Code });
    jump(descriptor(Type.Tss32, 0, At.Tss2, 0x66));
    expectEvent(guest, { vector: 10, error: Sel.Tss2, rip: At.Code });
    assert.equal(guest.state.sregs.tr.selector, Sel.Tss);
  });

  test('to a task of another privilege', () => {
    writeTask32({
      ip: At.UserCode,
      stack: At.Stack3,
      segments: [0, Sel.UserCode32, Sel.UserData32, Sel.UserData32, 0, 0],
    });
    guest.code(At.UserCode, 32, (a) => void finish(a.mov(at(At.Results, 32), 0x77)));
    guest.write32(At.Tss2 + 4, At.Stack0);
    guest.write32(At.Tss2 + 8, Sel.Data32);
    guest.setDescriptor(Sel.Tss2, descriptor(Type.Tss32, 0, At.Tss2, 0x8f));
    guest.write16(At.Tss2 + 0x66, 0x68);
    guest.write(At.Tss2 + 0x68, new Uint8Array(0x28));
    guest.code(At.Code, 32, (a) => void a.jmpFar(Sel.Tss2, 0));
    expectDone(guest);
    assert.equal(guest.result(0), 0x77);
    assert.equal(guest.state.sregs.ss.selector, Sel.UserData32);
  });

  test('bad segments fault in the new task', () => {
    const jump = (segments: readonly number[], more: Partial<Task> = {}): void => {
      guest.startProtected();
      writeTask32({ ip: At.Code2, segments, ...more });
      guest.code(At.Code, 32, (a) => void a.jmpFar(Sel.Tss2, 0));
    };
    jump([0xf8, Sel.Code32, Sel.Data32, 0, 0, 0]);
    expectEvent(guest, { vector: 10, error: 0xf8, rip: At.Code2, cs: Sel.Code32 });
    assert.equal(guest.state.sregs.tr.selector, Sel.Tss2);
    jump([0, Sel.Code32, Sel.UserData32, 0, 0, 0]);
    // The stack of the new task cannot take the frame of its own fault: a task gate would be needed
    assert.equal(guest.run().kind, 'shutdown');
    jump(flat, { ldt: Sel.Data32 });
    // Which takes the fault back to the first task here, with the error code on its stack
    guest.setGate(10, gate(Type.TaskGate, Sel.Tss, 0));
    guest.code(At.Code, 32, (a) => void finish(a.jmpFar(Sel.Tss2, 0).mov(ecx, mem({ base: esp }))));
    expectDone(guest);
    assert.equal(guest.state.regs.rcx, BigInt(Sel.Data32));
    assert.equal(guest.state.sregs.tr.selector, Sel.Tss);
  });
});

describe('by call and return', () => {
  test('nests: back link and NT; IRET returns', () => {
    writeTask32({ ip: At.Code2 });
    guest.code(At.Code2, 32, (a) => {
      a.pushf()
        .pop(eax)
        .mov(at(At.Results), eax)
        .label('again')
        .db(0xcf)
        .mov(at(At.Results + 8, 32), 2)
        .jmp('again');
    });
    guest.code(At.Code, 32, (a) => {
      a.mov(ebx, 0x1111)
        .db(0x9a)
        .dd(0)
        .dw(Sel.Tss2)
        .mov(at(At.Results + 16), ebx);
      a.db(0x9a).dd(0).dw(Sel.Tss2);
      finish(a);
    });
    expectDone(guest);
    assert.equal(guest.result(0) & Flag.NestedTask, Flag.NestedTask);
    assert.equal(guest.result(1), 2, 'the second call goes on after the IRET');
    assert.equal(guest.result(2), 0x1111);
    assert.equal(guest.read16(At.Tss2), Sel.Tss);
    assert.equal(Number(guest.state.regs.rflags) & Flag.NestedTask, 0);
    assert.deepEqual([typeOf(Sel.Tss) & Busy, typeOf(Sel.Tss2) & Busy], [Busy, 0]);
  });

  test('IRET with NT and a bad link is #TS', () => {
    guest.write16(At.Tss, Sel.Tss2);
    const a = guest.code(
      At.Code,
      32,
      (a) =>
        void a
          .push(Flag.NestedTask | 2)
          .popf()
          .label('iret')
          .db(0xcf),
    );
    expectEvent(guest, { vector: 10, error: Sel.Tss2, rip: a.address('iret') });
  });

  test('through a task gate in the GDT', () => {
    writeTask32({ ip: At.Code2 });
    guest.code(At.Code2, 32, (a) => void finish(a));
    guest.setDescriptor(Sel.TaskGate, gate(Type.TaskGate, Sel.Tss2, 0));
    guest.code(At.Code, 32, (a) => void a.db(0x9a).dd(0).dw(Sel.TaskGate));
    expectDone(guest);
    assert.equal(guest.state.sregs.tr.selector, Sel.Tss2);
    assert.equal(guest.read16(At.Tss2), Sel.Tss);
  });
});

describe('by interrupt', () => {
  test('a task gate pushes the error code on the new stack', () => {
    writeTask32({ ip: At.Code2 });
    guest.code(At.Code2, 32, (a) => void finish(a.mov(ecx, mem({ base: esp }))));
    guest.setGate(13, gate(Type.TaskGate, Sel.Tss2, 0));
    const a = guest.code(At.Code, 32, (a) => void a.mov(eax, 0xf8).label('bad').db(0x8e, 0xd8));
    expectDone(guest);
    assert.equal(guest.state.regs.rcx, 0xf8n);
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack1 - 4));
    assert.equal(guest.read32(At.Tss + 0x20), a.address('bad'));
  });

  test('INT saves the next instruction; IRET comes back', () => {
    writeTask32({ ip: At.Code2 });
    guest.code(At.Code2, 32, (a) => void a.mov(at(At.Results, 32), 1).db(0xcf));
    guest.setGate(0x40, gate(Type.TaskGate | dpl(3), Sel.Tss2, 0));
    guest.code(At.Code, 32, (a) => void finish(a.int(0x40).mov(at(At.Results + 8, 32), 2)));
    expectDone(guest);
    assert.deepEqual([guest.result(0), guest.result(1)], [1, 2]);
  });

  test('a task gate takes a double fault on a lost stack', () => {
    writeTask32({ ip: At.Code2 });
    guest.code(At.Code2, 32, (a) => void finish(a.mov(ecx, mem({ base: esp }))));
    guest.setGate(8, gate(Type.TaskGate, Sel.Tss2, 0));
    guest.setDescriptor(Sel.Test, descriptor(Type.Data, 4, 0, 0xff));
    guest.code(At.Code, 32, (a) => void a.mov(eax, Sel.Test).db(0x8e, 0xd0).push(0));
    expectDone(guest);
    assert.equal(guest.state.regs.rcx, 0n);
    assert.equal(guest.state.sregs.tr.selector, Sel.Tss2);
  });
});

describe('16-bit TSS', () => {
  test('switches to and from it', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Tss16, 0, At.Tss2, 0x2b));
    guest.write(At.Tss2, new Uint8Array(0x40));
    guest.write16(At.Tss2 + 0x0e, 0x8000);
    guest.write16(At.Tss2 + 0x10, Flag.Fixed);
    for (let i = 0; i < 8; i++) guest.write16(At.Tss2 + 0x12 + i * 2, 0x2000 + i);
    [Sel.Data32, Sel.Code32, Sel.Data32, Sel.Data32].forEach((s, i) => guest.write16(At.Tss2 + 0x22 + i * 2, s));
    guest.code(0x8000, 32, (a) => void a.mov(at(At.Results), ecx).mov(ebx, 0x1_2345).db(0xcf));
    guest.code(At.Code, 32, (a) => void finish(a.mov(ecx, 0x7777_7777).db(0x9a).dd(0).dw(Sel.Test)));
    expectDone(guest);
    assert.equal(guest.result(0) & 0xffff, 0x2001);
    assert.equal(guest.read16(At.Tss2 + 0x18), 0x2345);
    assert.equal(guest.state.regs.rcx, 0x7777_7777n);
  });
});
