/** Real-address mode (SDM Vol. 3A "Real-Address Mode"). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, ax, bx, cr, cs, ds, eax, ebx, ecx, es, mem, si, sp, ss } from '../guest/assembler.ts';
import { Cr0, Flag, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent } from './system-expect.ts';
import { At, Sel } from './system-layout.ts';

const guest = new SystemGuest();
/** Offset in CS of an address that the assembler gave. */
const offset = (address: number): number => address - At.Code;

test('INT n pushes FLAGS, CS and IP, clears IF and TF; IRET restores them', () => {
  guest.startReal();
  const a = guest.code(At.Code, 16, (a) => {
    a.sti().db(0xf9).int(0x21).label('after').setcc('c', at(0, 8)).pushf().pop(ax);
    finish(a);
  });
  const frame = expectEvent(guest, { vector: 0x21, rip: offset(a.address('after')), cs: At.Code >> 4 });
  assert.equal(frame.flags & (Flag.Interrupt | Flag.Carry), Flag.Interrupt | Flag.Carry);
  assert.equal(Number(guest.state.regs.rflags) & Flag.Interrupt, 0);
  expectDone(guest);
  assert.equal(guest.read8(0), 1, 'carry after IRET');
  assert.equal(Number(guest.state.regs.rax) & Flag.Interrupt, Flag.Interrupt);
  assert.equal(guest.state.regs.rsp, BigInt(At.Stack0));
});

test('faults push no error code and return to the instruction', () => {
  guest.startReal();
  const a = guest.code(At.Code, 16, (a) => {
    a.mov(bx, 0).label('divide').db(0xf7, 0xf3).label('past');
    a.mov(si, 0xffff)
      .label('limit')
      .mov(ax, mem({ base: si }))
      .hlt();
  });
  expectEvent(guest, { vector: 0, rip: offset(a.address('divide')) });
  guest.update(({ regs }) => {
    regs.rip = BigInt(offset(a.address('past')));
    regs.rsp = BigInt(At.Stack0);
    Object.assign(regs, { rflags: 2n });
  });
  guest.update(({ regs, sregs }) => {
    sregs.cs = { ...sregs.cs, selector: At.Code >> 4, base: BigInt(At.Code) };
    regs.rip = BigInt(offset(a.address('past')));
  });
  expectEvent(guest, { vector: 13, rip: offset(a.address('limit')) });
});

test('a stack access beyond the limit is #SS, privileged-only instructions of protected mode are #UD', () => {
  guest.startReal();
  const a = guest.code(At.Code, 16, (a) => {
    a.label('lldt').db(0x0f, 0x00, 0xd0).hlt();
  });
  expectEvent(guest, { vector: 6, rip: offset(a.address('lldt')) });
  guest.startReal();
  const b = guest.code(At.Code, 16, (b) => {
    b.mov(sp, 1)
      .mov(mem({ base: si }), ax)
      .label('push')
      .push(ax)
      .hlt();
  });
  // With SP = 1 a push of two bytes wraps to offset FFFF, whose second byte is beyond the limit; so is the frame
  guest.write32(At.Ivt + 12 * 4, (At.Stubs >> 4) << 16);
  const stop = guest.run();
  assert.equal(stop.kind, 'shutdown');
  assert.equal(Number(guest.state.regs.rip), offset(b.address('push')));
});

test('far call and return, jump through memory', () => {
  guest.startReal();
  guest.code(At.Code2, 16, (a) => {
    a.mov(ax, cs).mov(bx, 0x1234).db(0xcb);
  });
  const a = guest.code(At.Code, 16, (a) => {
    a.db(0x9a)
      .dw(0, At.Code2 >> 4)
      .label('back')
      .mov(ecx, 0x7777)
      .db(0x2e, 0xff, 0x2e)
      .dw(0x200);
    a.org(At.Code + 0x200).dw(0x300, At.Code >> 4);
    a.org(At.Code + 0x300);
    finish(a);
  });
  expectDone(guest);
  assert.equal(guest.state.regs.rax, BigInt(At.Code2 >> 4));
  assert.equal(guest.state.regs.rbx, 0x1234n);
  assert.equal(guest.state.regs.rcx, 0x7777n);
  assert.equal(guest.read32(At.Stack0 - 4), ((At.Code >> 4) << 16) | offset(a.address('back')));
  assert.equal(guest.state.regs.rsp, BigInt(At.Stack0));
});

test('segment bases follow selectors; CS is writable', () => {
  guest.startReal();
  guest.code(At.Code, 16, (a) => {
    a.mov(ax, At.Data >> 4)
      .mov(ds, ax)
      .mov(es, ax)
      .mov(ax, 0xbeef)
      .mov(at(0x10), ax);
    a.mov(mem({ displacement: 0x400, segment: cs }), ax);
    finish(a);
  });
  expectDone(guest);
  assert.equal(guest.read16(At.Data + 0x10), 0xbeef);
  assert.equal(guest.read16(At.Code + 0x400), 0xbeef);
});

test('INTO, BOUND and INT3', () => {
  guest.startReal();
  const a = guest.code(At.Code, 16, (a) => {
    a.db(0xcc).label('after int3').mov(ax, 0x7fff).db(0x05, 1, 0).db(0xce).label('after into');
    a.mov(ax, 5).mov(at(0x500), ax).mov(at(0x502), ax).mov(ax, 6).label('bound').db(0x62, 0x06, 0x00, 0x05).hlt();
  });
  expectEvent(guest, { vector: 3, rip: offset(a.address('after int3')) });
  expectEvent(guest, { vector: 4, rip: offset(a.address('after into')) });
  expectEvent(guest, { vector: 5, rip: offset(a.address('bound')) });
});

test('limits of protected mode stay after the return to real mode', () => {
  guest.startReal();
  guest.setDescriptor(Sel.Data16, guest.readDescriptor(Sel.Data32));
  guest.code(At.Code, 16, (a) => {
    a.mov(ax, At.Gdt >> 4)
      .mov(ds, ax)
      .mov(at(0x800, 16), 0xbf)
      .mov(at(0x802, 32), At.Gdt)
      .lgdt(at(0x800));
    a.cli().mov(eax, cr(0)).or(eax, 1).mov(cr(0), eax).jmp('flush').label('flush');
    a.mov(bx, Sel.Data16).mov(ds, bx).and(eax, ~1).mov(cr(0), eax).mov(bx, 0).mov(ds, bx);
    a.mov(ebx, At.Spare).mov(mem({ base: ebx, size: 32 }), 0x1234_5678);
    finish(a);
  });
  expectDone(guest);
  assert.equal(guest.read32(At.Spare), 0x1234_5678);
  assert.equal(guest.state.sregs.cr0 & Cr0.Pe, 0n);
  assert.equal(guest.state.sregs.ds.limit, 0xffff_ffff);
  assert.equal(guest.state.sregs.cs.selector, At.Code >> 4);
});

test('MOV SS and STI keep single-step and interrupts away from the next instruction', () => {
  guest.startReal();
  const a = guest.code(At.Code, 16, (a) => {
    a.pushf().pop(ax).or(ax, Flag.Trap).push(ax).mov(bx, 0).popf();
    a.mov(ss, bx).label('shadowed').nop().label('trap here').nop().hlt();
  });
  expectEvent(guest, { vector: 1, rip: offset(a.address('trap here')) });
});
