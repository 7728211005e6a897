/** 64-bit and compatibility mode (SDM Vol. 3A "IA-32e Mode"; AMD APM Vol. 2 "Long Mode"). */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import {
  type Assembler, at, ax, cr, cs, ds, eax, ebx, ecx, edx, es, fs, gs, mem, r11, rax, rbx, rcx, rdx, rsp, ss,
} from '../guest/assembler.ts'; // prettier-ignore
import { Cr0, Efer, Flag, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent, expectShutdown } from './system-expect.ts';
import { At, NotPresent, Sel, Size, Type, descriptor, dpl, gate } from './system-layout.ts';

const guest = new SystemGuest();
const stub = (vector: number): number => At.Stubs + vector * 4;
const NonCanonical = 0x8000_0000_0000n;
const hex = (value: bigint): string => value.toString(16);
/** Far jump through memory at At.Results + 0x100. */
const jumpFar = (a: Assembler, selector: number, offset: number): Assembler =>
  a
    .mov(at(At.Results + 0x100, 32), offset)
    .mov(at(At.Results + 0x104, 32), selector)
    .db(0xff, 0x2c, 0x25)
    .dd(At.Results + 0x100);

describe('interrupts', () => {
  beforeEach(() => guest.startLong());

  test('always push SS:RSP, on an aligned stack', () => {
    guest.update(({ regs }) => void (regs.rsp = BigInt(At.Stack0 - 3)));
    const a = guest.code(At.Code, 64, (a) => void finish(a.int(0x40).label('after').nop()));
    expectEvent(guest, { vector: 0x40, rip: a.address('after'), cs: Sel.Code64, rsp: At.Stack0 - 3, ss: Sel.Data32 });
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack0 - 16 - 40));
    expectDone(guest);
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack0 - 3));
  });

  test('from CPL 3 load a null SS with the new RPL', () => {
    guest.startLong({ cpl: 3 });
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code64, stub(0x40)));
    const a = guest.code(At.UserCode, 64, (a) => void finish(a.int(0x40).label('after').mov(rax, ss)));
    expectEvent(guest, {
      vector: 0x40,
      rip: a.address('after'),
      cs: Sel.UserCode64,
      rsp: At.Stack3,
      ss: Sel.UserData32,
    });
    assert.equal(guest.state.sregs.ss.selector, 0);
    expectDone(guest);
    assert.equal(guest.state.regs.rax & 0xffffn, BigInt(Sel.UserData32));
  });

  test('the interrupt stack table switches stacks at the same privilege', () => {
    guest.write64(At.Tss + 36 + 8, BigInt(At.Stack1));
    guest.setGate(0x40, gate(Type.Interrupt32, Sel.Code64, stub(0x40), 2));
    guest.code(At.Code, 64, (a) => void finish(a.int(0x40)));
    expectEvent(guest, { vector: 0x40, rsp: At.Stack0 });
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack1 - 40));
    expectDone(guest);
  });

  test('bad handlers: null, 32-bit code, absent, gate type, non-canonical offset', () => {
    const through = (value: bigint, upper = 0n): void => {
      guest.startLong();
      guest.setGate(0x40, value);
      guest.write64(At.Idt + 0x40 * 16 + 8, upper);
      guest.code(At.Code, 64, (a) => void a.int(0x40));
    };
    through(gate(Type.Interrupt32, 0, stub(0x40)));
    expectEvent(guest, { vector: 13, error: 0, rip: At.Code });
    through(gate(Type.Interrupt32, Sel.Code32, stub(0x40)));
    expectEvent(guest, { vector: 13, error: Sel.Code32 });
    through(gate(Type.Interrupt32 & ~NotPresent, Sel.Code64, stub(0x40)));
    expectEvent(guest, { vector: 11, error: 0x202 });
    through(gate(Type.Interrupt16, Sel.Code64, stub(0x40)));
    expectEvent(guest, { vector: 13, error: 0x202 });
    through(gate(Type.TaskGate, Sel.Tss2, 0));
    expectEvent(guest, { vector: 13, error: 0x202 });
    through(gate(Type.Interrupt32, Sel.Code64, 0), 0x8000n);
    expectEvent(guest, { vector: 13, error: 0 });
  });

  test('beyond the IDT: #GP(vector), and an IDT that has no #DF shuts down', () => {
    guest.update(({ sregs }) => void (sregs.idt = { base: sregs.idt.base, limit: 0x40 * 16 + 14 }));
    guest.code(At.Code, 64, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 13, error: 0x202, rip: At.Code });
    guest.startLong();
    guest.update(({ sregs }) => void (sregs.idt = { base: sregs.idt.base, limit: 0x7f }));
    guest.code(At.Code, 64, (a) => void a.int(0x40));
    expectShutdown(guest);
  });

  test('an INT gate below CPL is #GP', () => {
    guest.startLong({ cpl: 3 });
    guest.code(At.UserCode, 64, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 13, error: 0x202, rip: At.UserCode });
  });
});

describe('canonical addresses', () => {
  beforeEach(() => guest.startLong());

  test('data is #GP(0), the stack #SS(0)', () => {
    const a = guest.code(At.Code, 64, (a) => {
      a.mov(rbx, NonCanonical)
        .label('load')
        .mov(rax, mem({ base: rbx }));
    });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('load') });
    guest.startLong();
    const b = guest.code(At.Code, 64, (b) => {
      b.mov(rsp, NonCanonical + 8n)
        .label('push')
        .push(rax);
    });
    guest.write64(At.Tss + 36, BigInt(At.Stack1));
    for (const vector of [12, 13]) guest.setGate(vector, gate(Type.Interrupt32, Sel.Code64, stub(vector), 1));
    expectEvent(guest, { vector: 12, error: 0, rip: b.address('push') });
  });

  test('a jump there faults; RET leaves RSP', () => {
    guest.code(At.Code, 64, (a) => void a.mov(rax, NonCanonical).label('jump').jmp(rax));
    expectEvent(guest, { vector: 13, error: 0 });
  });

  test('MSRs, LGDT and IRET check', () => {
    const a = guest.code(At.Code, 64, (a) => {
      a.mov(ecx, 0xc000_0082).mov(edx, 0x8000).mov(eax, 0).label('wrmsr').wrmsr();
    });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('wrmsr') });
    guest.startLong();
    guest.write64(At.Data + 2, NonCanonical);
    const b = guest.code(At.Code, 64, (b) => void b.label('lgdt').lgdt(at(At.Data)));
    expectEvent(guest, { vector: 13, error: 0, rip: b.address('lgdt') });
    guest.startLong();
    const c = guest.code(At.Code, 64, (c) => {
      c.mov(rax, NonCanonical).push(Sel.Data32).push(At.Stack0).push(2).push(Sel.Code64).push(rax).label('iret').iret();
    });
    expectEvent(guest, { vector: 13, error: 0, rip: c.address('iret') });
  });
});

describe('segments', () => {
  beforeEach(() => guest.startLong());

  test('only FS and GS have bases', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Data, Size.Bits32, At.Data, 0));
    guest.code(At.Code, 64, (a) => {
      a.mov(eax, Sel.Test)
        .mov(ds, ax)
        .mov(fs, ax)
        .mov(rbx, mem({ displacement: 8, segment: fs }))
        .mov(rcx, at(At.Data + 8));
      finish(a);
    });
    guest.write64(At.Data + 8, 0x1122_3344_5566_7788n);
    expectDone(guest);
    assert.deepEqual([guest.state.regs.rbx, guest.state.regs.rcx], [0x1122_3344_5566_7788n, 0x1122_3344_5566_7788n]);
  });

  test('null data segments are usable, SS may be null below CPL 3', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(eax, 0).mov(ds, ax).mov(es, ax).mov(ss, ax).push(0x1234).pop(rbx).mov(rcx, at(At.Code));
      finish(a);
    });
    expectDone(guest);
    assert.equal(guest.state.regs.rbx, 0x1234n);
    guest.startLong({ cpl: 3 });
    const a = guest.code(At.UserCode, 64, (a) => void a.mov(eax, 3).label('ss').mov(ss, ax));
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('ss') });
  });

  test('MSRs and WRFSBASE set 64-bit bases, SWAPGS exchanges', () => {
    guest.update(({ sregs }) => void (sregs.cr4 |= 1n << 16n));
    guest.code(At.Code, 64, (a) => {
      a.mov(ecx, 0xc000_0101).mov(edx, 0xffff_8000).mov(eax, 0x1000).wrmsr(); // GS
      a.mov(ecx, 0xc000_0102).mov(edx, 0).mov(eax, At.Data).wrmsr(); // kernel GS
      a.db(0x0f, 0x01, 0xf8).mov(rbx, mem({ displacement: 0, segment: gs })); // SWAPGS
      a.db(0xf3, 0x48, 0x0f, 0xae, 0xc9); // RDGSBASE RCX
      a.mov(rdx, 0x1234_5678_9abcn).db(0xf3, 0x48, 0x0f, 0xae, 0xd2); // WRFSBASE RDX
      finish(a);
    });
    guest.write64(At.Data, 0x5a5an);
    expectDone(guest);
    const { regs, sregs } = guest.state;
    assert.deepEqual([regs.rbx, regs.rcx, sregs.fs.base], [0x5a5an, BigInt(At.Data), 0x1234_5678_9abcn]);
    assert.equal(hex(guest.state.msrs.find(([index]) => index === 0xc000_0102)?.[1] ?? 0n), 'ffff800000001000');
  });

  test('LTR and LLDT read 16-byte descriptors', () => {
    guest.setDescriptor(Sel.Tss2, descriptor(Type.Tss32, 0, At.Tss2, 0x67));
    guest.write64(At.Gdt + Sel.Tss2 + 8, 0xffff_8000n);
    guest.write64(At.Gdt + Sel.Ldt + 8, 0xffff_9000n);
    const a = guest.code(At.Code, 64, (a) => {
      a.mov(eax, Sel.Ldt).db(0x0f, 0x00, 0xd0).mov(eax, Sel.Tss2).ltr(ax).label('again').ltr(ax);
    });
    expectEvent(guest, { vector: 13, error: Sel.Tss2, rip: a.address('again') });
    assert.equal(hex(guest.state.sregs.tr.base), `ffff80000000${At.Tss2.toString(16)}`);
    assert.equal(hex(guest.state.sregs.ldt.base), `ffff90000000${At.Ldt.toString(16)}`);
  });

  test('LTR of a 16-bit TSS or a non-canonical base is #GP', () => {
    guest.setDescriptor(Sel.Tss2, descriptor(Type.Tss32, 0, At.Tss2, 0x67));
    guest.write64(At.Gdt + Sel.Tss2 + 8, 0x8000n);
    guest.code(At.Code, 64, (a) => void a.mov(eax, Sel.Tss2).ltr(ax));
    expectEvent(guest, { vector: 13, error: Sel.Tss2 });
    guest.startLong();
    guest.setDescriptor(Sel.Tss2, descriptor(Type.Tss16, 0, At.Tss2, 0x67));
    guest.write64(At.Gdt + Sel.Tss2 + 8, 0n);
    guest.code(At.Code, 64, (a) => void a.mov(eax, Sel.Tss2).ltr(ax));
    expectEvent(guest, { vector: 13, error: Sel.Tss2 });
  });
});

describe('far transfers', () => {
  beforeEach(() => guest.startLong());

  test('to compatibility mode and back: 32-bit registers, 8-byte interrupt frames', () => {
    guest.code(At.Code, 64, (a) => void jumpFar(a, Sel.Code32, At.Code2));
    const b = guest.code(At.Code2, 32, (a) => {
      a.mov(eax, 0xffff_ffff).db(0x40).int(0x40).label('after').mov(ebx, cs).jmpFar(Sel.Code64, 'long');
      a.bits = 64;
      a.label('long').mov(rcx, 0x1_0000_0000n);
      finish(a);
    });
    expectEvent(guest, { vector: 0x40, cs: Sel.Code32, rip: b.address('after') });
    expectDone(guest);
    const { regs } = guest.state;
    assert.deepEqual([regs.rax, regs.rbx, regs.rcx], [0n, BigInt(Sel.Code32), 0x1_0000_0000n]);
  });

  test('L and D together are #GP', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Code, Size.Bits64 | Size.Bits32 | Size.Pages));
    guest.code(At.Code, 64, (a) => void jumpFar(a, Sel.Test, At.Code2));
    expectEvent(guest, { vector: 13, error: Sel.Test });
  });

  test('TSS and task gates are #GP', () => {
    guest.code(At.Code, 64, (a) => void jumpFar(a, Sel.Tss2, 0));
    expectEvent(guest, { vector: 13, error: Sel.Tss2 });
  });

  test('a 64-bit call gate switches to RSP0 and pushes 8-byte slots', () => {
    guest.startLong({ cpl: 3 });
    guest.setDescriptor(Sel.Gate, gate(Type.CallGate32 | dpl(3), Sel.Code64, At.Code2));
    guest.write64(At.Gdt + Sel.Gate + 8, 0n);
    guest.code(At.Code2, 64, (a) => {
      for (let i = 0; i < 4; i++) a.mov(rax, mem({ base: rsp, displacement: i * 8 })).mov(at(At.Results + i * 8), rax);
      a.mov(rbx, ss).mov(rcx, rsp).db(0x48, 0xcb);
    });
    const a = guest.code(At.UserCode, 64, (a) => {
      a.mov(at(At.Data, 32), 0)
        .mov(at(At.Data + 4, 32), Sel.Gate | 3)
        .db(0xff, 0x1c, 0x25)
        .dd(At.Data)
        .label('back');
      finish(a);
    });
    expectDone(guest);
    assert.deepEqual([0, 1, 2, 3].map((i) => guest.result(i)), [
      a.address('back'), Sel.UserCode64, At.Stack3, Sel.UserData32,
    ]); // prettier-ignore
    assert.equal(guest.state.regs.rbx & 0xffffn, 0n);
    assert.equal(guest.state.regs.rcx, BigInt(At.Stack0 - 32));
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack3));
  });

  test('a call gate to code that is not 64-bit, or with a type in its upper half, is #GP', () => {
    const call = (selector: number, upper: bigint): void => {
      guest.startLong();
      guest.setDescriptor(Sel.Gate, gate(Type.CallGate32, selector, At.Code2));
      guest.write64(At.Gdt + Sel.Gate + 8, upper);
      guest.code(At.Code, 64, (a) => void jumpFar(a, Sel.Gate, 0));
    };
    call(Sel.Code32, 0n);
    expectEvent(guest, { vector: 13, error: Sel.Code32 });
    call(Sel.Code64, 0x100_0000_0000n);
    expectEvent(guest, { vector: 13, error: Sel.Gate });
  });

  test('IRETQ to CPL 3 in compatibility mode and with null data segments', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(eax, Sel.Data32).mov(ds, ax);
      a.push(Sel.UserData32).push(At.Stack3).push(2).push(Sel.UserCode32).push(At.UserCode).iret();
    });
    guest.code(At.UserCode, 32, (a) => {
      a.mov(eax, 0xffff_ffff).db(0x40).push(eax);
      finish(a);
    });
    expectDone(guest);
    const { sregs, regs } = guest.state;
    assert.deepEqual(
      [sregs.cs.selector, sregs.ss.selector, regs.rsp],
      [Sel.UserCode32, Sel.UserData32, BigInt(At.Stack3 - 4)],
    );
    assert.deepEqual([sregs.ds.selector, sregs.ds.unusable], [0, true]);
  });

  test('IRETQ with NT set is #GP(0)', () => {
    const a = guest.code(
      At.Code,
      64,
      (a) =>
        void a
          .push(Flag.NestedTask | 2)
          .popf()
          .label('iret')
          .iret(),
    );
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('iret') });
  });

  test('IRETQ to a null SS at CPL 3, or to inner privilege, is #GP', () => {
    const a = guest.code(At.Code, 64, (a) => {
      a.push(3).push(At.Stack3).push(2).push(Sel.UserCode64).push(At.UserCode).label('iret').iret();
    });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('iret') });
    guest.startLong({ cpl: 3 });
    guest.code(At.UserCode, 64, (a) => void a.push(0).push(0).push(2).push(Sel.Code64).push(At.Code).iret());
    expectEvent(guest, { vector: 13, error: Sel.Code64 });
  });
});

describe('SYSCALL and SYSRET', () => {
  const star = (BigInt(Sel.UserCode32) << 48n) | (BigInt(Sel.Code64) << 32n);
  const setStar = (): void =>
    guest.update((state) => {
      const values = new Map<number, bigint>([
        [0xc000_0081, star], [0xc000_0082, BigInt(At.Code)], [0xc000_0083, BigInt(At.Code)], [0xc000_0084, BigInt(Flag.Interrupt | Flag.Carry)],
      ]); // prettier-ignore
      Object.assign(state, { msrs: state.msrs.map(([index, value]) => [index, values.get(index) ?? value]) });
    });

  test('save RIP and RFLAGS, mask, and return', () => {
    guest.startLong({ cpl: 3 });
    setStar();
    guest.code(At.Code, 64, (a) => {
      a.pushf().pop(rbx).mov(rdx, cs).mov(rax, rsp).db(0x48, 0x0f, 0x07);
    });
    const a = guest.code(At.UserCode, 64, (a) => {
      a.db(0xf9).db(0x0f, 0x05).label('after').mov(eax, cs);
      finish(a);
    });
    expectDone(guest);
    const { regs, sregs } = guest.state;
    assert.equal(regs.rcx, BigInt(a.address('after')));
    assert.equal(Number(regs.r11) & Flag.Carry, Flag.Carry);
    assert.equal(Number(regs.rbx) & Flag.Carry, 0);
    assert.equal(Number(regs.rflags) & Flag.Carry, Flag.Carry);
    assert.deepEqual([regs.rdx & 0xffffn, regs.rax], [BigInt(Sel.Code64), BigInt(Sel.UserCode32 + 16)]);
    assert.deepEqual([sregs.cs.selector, sregs.ss.selector], [Sel.UserCode32 + 16, Sel.UserData32]);
  });

  test('from compatibility mode go to CSTAR; SYSRET with 32-bit operands comes back to it', () => {
    guest.startLong({ cpl: 3 });
    setStar();
    guest.update(({ sregs, regs }) => {
      sregs.cs = guest.segmentOf(Sel.UserCode32);
      regs.rip = BigInt(At.UserCode);
    });
    guest.code(At.Code, 64, (a) => void a.mov(rbx, 0x1_0000_0000n).db(0x0f, 0x07));
    const a = guest.code(At.UserCode, 32, (a) => {
      a.db(0x0f, 0x05).label('after').mov(edx, cs);
      finish(a);
    });
    expectDone(guest);
    const { regs } = guest.state;
    assert.deepEqual(
      [regs.rcx, regs.rbx, regs.rdx],
      [BigInt(a.address('after')), 0x1_0000_0000n, BigInt(Sel.UserCode32)],
    );
  });

  test('without EFER.SCE they are #UD; SYSRET at CPL 3 is #GP; SYSENTER is #UD in long mode', () => {
    guest.startLong();
    guest.update(({ sregs }) => void (sregs.efer &= ~Efer.Sce));
    guest.code(At.Code, 64, (a) => void a.db(0x0f, 0x05));
    expectEvent(guest, { vector: 6, rip: At.Code });
    guest.startLong({ cpl: 3 });
    guest.code(At.UserCode, 64, (a) => void a.db(0x48, 0x0f, 0x07));
    expectEvent(guest, { vector: 13, error: 0 });
    guest.startLong();
    guest.code(At.Code, 64, (a) => void a.db(0x0f, 0x34));
    expectEvent(guest, { vector: 6 });
  });
});

describe('control registers', () => {
  beforeEach(() => guest.startLong());
  /** The error code of #GP for MOV CRn, value; undefined when it worked. */
  function write(register: number, value: bigint): number | undefined {
    guest.startLong();
    const a = guest.code(At.Code, 64, (a) => {
      a.mov(rax, value).label('write').mov(cr(register), rax);
      finish(a);
    });
    const stop = guest.run();
    if (stop.kind === 'done') return undefined;
    assert.ok(stop.kind === 'event' && stop.vector === 13, JSON.stringify(stop));
    assert.equal(stop.rip, a.address('write'));
    return stop.error;
  }
  const cr0 = Cr0.Pe | Cr0.Et | Cr0.Ne | Cr0.Wp | Cr0.Pg;

  test('CR0: paging and protection stay on in 64-bit code, contradictions and high bits are #GP', () => {
    assert.equal(write(0, cr0), undefined);
    assert.equal(write(0, cr0 & ~Cr0.Pg), 0);
    assert.equal(write(0, cr0 & ~Cr0.Pe), 0);
    assert.equal(write(0, cr0 | (1n << 29n)), 0);
    assert.equal(write(0, cr0 | (1n << 32n)), 0);
  });
  test('CR3 and CR4: reserved bits, PAE', () => {
    assert.equal(write(3, BigInt(At.PageTables) | (1n << 48n)), 0);
    assert.equal(write(3, BigInt(At.PageTables) | 0x18n), undefined);
    assert.equal(write(4, 0x200n), 0);
    assert.equal(write(4, 0x20n | (1n << 30n)), 0);
    assert.equal(write(4, 0x20n | (1n << 13n)), 0);
  });
  test('CR8: four bits', () => {
    assert.equal(write(8, 5n), undefined);
    assert.equal(guest.state.sregs.cr8, 5n);
    assert.equal(write(8, 16n), 0);
  });
  test('other registers are #UD', () => {
    guest.code(At.Code, 64, (a) => void a.db(0x0f, 0x20, 0xc8));
    expectEvent(guest, { vector: 6, rip: At.Code });
  });
  test('EFER.LME does not change while paging is on', () => {
    const a = guest.code(
      At.Code,
      64,
      (a) => void a.mov(ecx, 0xc000_0080).db(0x0f, 0x32).and(eax, ~0x100).label('wrmsr').wrmsr(),
    );
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('wrmsr') });
  });
  test('XSETBV and XGETBV need CR4.OSXSAVE, and x87 enabled', () => {
    const xsetbv = [0x0f, 0x01, 0xd1];
    guest.code(
      At.Code,
      64,
      (a) =>
        void a
          .mov(ecx, 0)
          .mov(edx, 0)
          .mov(eax, 3)
          .db(...xsetbv),
    );
    expectEvent(guest, { vector: 6 });
    guest.startLong();
    guest.update(({ sregs }) => void (sregs.cr4 |= 1n << 18n));
    const a = guest.code(At.Code, 64, (a) => {
      a.mov(ecx, 0)
        .mov(edx, 0)
        .mov(eax, 3)
        .db(...xsetbv)
        .mov(eax, 0)
        .db(0x0f, 0x01, 0xd0)
        .mov(at(At.Results), eax);
      a.mov(eax, 2)
        .label('bad')
        .db(...xsetbv);
    });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('bad') });
    assert.equal(guest.result(0), 3);
  });
});

describe('ENTER and division', () => {
  beforeEach(() => guest.startLong());

  test('ENTER 16, 2 copies a frame pointer', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(rax, 0x1111).push(rax).db(0x48, 0x89, 0xe5).mov(rbx, 0x2222).push(rbx); // MOV RBP, RSP
      a.db(0xc8, 16, 0, 2).mov(rcx, rsp).mov(at(At.Results), rcx);
      finish(a);
    });
    expectDone(guest);
    const top = At.Stack0 - 16;
    const { regs } = guest.state;
    assert.equal(regs.rbp, BigInt(top - 8));
    assert.equal(regs.rsp, BigInt(top - 8 - 16 - 16));
    assert.deepEqual([guest.read64(top - 8), guest.read64(top - 16), guest.read64(top - 24)], [
      BigInt(At.Stack0 - 8), 0x2222n, BigInt(top - 8),
    ]); // prettier-ignore
  });

  test('DIV and IDIV of 128 bits', () => {
    const divide = (opcode: number, high: bigint, low: bigint, by: bigint): [bigint, bigint] | number => {
      guest.startLong();
      guest.code(At.Code, 64, (a) => {
        a.mov(rdx, high).mov(rax, low).mov(r11, by).db(0x49, 0xf7, opcode);
        finish(a);
      });
      const stop = guest.run();
      return stop.kind === 'event' ? stop.vector : [guest.state.regs.rax, guest.state.regs.rdx];
    };
    const div = 0xf3;
    const idiv = 0xfb;
    const all = (1n << 64n) - 1n;
    assert.deepEqual(divide(div, 5n, 7n, 9n), [((5n << 64n) + 7n) / 9n, ((5n << 64n) + 7n) % 9n]);
    assert.equal(divide(div, 9n, 0n, 9n), 0);
    assert.equal(divide(div, 1n, 0n, 0n), 0);
    assert.deepEqual(divide(div, all - 1n, all, all), [all, all - 1n]);
    assert.deepEqual(divide(idiv, all, 1n, 2n), [BigInt.asUintN(64, (1n - (1n << 64n)) / 2n), all]);
    assert.equal(divide(idiv, 1n << 63n, 0n, all), 0);
    assert.deepEqual(divide(idiv, all, 1n << 63n, 1n), [1n << 63n, 0n]);
    assert.equal(divide(idiv, all, 1n << 63n, all), 0);
  });
});
