/** Interrupts, call gates and returns between privileges in protected mode (SDM Vol. 3A "Protected-Mode Exceptions and Interrupts", "Privilege Levels"). */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { type Assembler, al, at, ax, cr, cs, ds, eax, ebx, ecx, es, esp, fs, mem, ss } from '../guest/assembler.ts';
import { Flag, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent, expectShutdown } from './system-expect.ts';
import { At, NotPresent, Sel, Size, Type, descriptor, dpl, gate } from './system-layout.ts';

const guest = new SystemGuest();
const Flat = Size.Bits32 | Size.Pages;
/** Error code of a fault that names an IDT entry. */
const idtError = (vector: number, external = 0): number => (vector << 3) | 2 | external;
const stub = (vector: number): number => At.Stubs + vector * 4;

describe('interrupt and trap gates at one privilege', () => {
  beforeEach(() => guest.startProtected());

  test('an interrupt gate clears IF, a trap gate keeps it; both clear TF and NT', () => {
    guest.setGate(0x41, gate(Type.Trap32, Sel.Code32, stub(0x41)));
    const a = guest.code(At.Code, 32, (a) => {
      a.sti().nop().int(0x40).label('one').int(0x41).label('two');
      finish(a);
    });
    const frame = expectEvent(guest, { vector: 0x40, rip: a.address('one'), cs: Sel.Code32 });
    assert.equal(frame.flags & Flag.Interrupt, Flag.Interrupt);
    assert.equal(Number(guest.state.regs.rflags) & Flag.Interrupt, 0);
    expectEvent(guest, { vector: 0x41, rip: a.address('two') });
    assert.equal(Number(guest.state.regs.rflags) & Flag.Interrupt, Flag.Interrupt);
    expectDone(guest);
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack0));
  });

  test('16-bit gates push words', () => {
    guest.setGate(0x40, gate(Type.Interrupt16, Sel.Code32, stub(0x40)));
    guest.code(At.Code, 32, (a) => void a.nop().int(0x40));
    guest.write(stub(0x40), Uint8Array.from([0xe6, 0xf4, 0x66, 0xcf]));
    expectDone(guest);
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack0 - 6));
    assert.equal(guest.read16(At.Stack0 - 6), (At.Code + 3) & 0xffff);
    assert.equal(guest.read16(At.Stack0 - 4), Sel.Code32);
  });

  test('faults of delivery: limit, type, absence', () => {
    const raise = (): void => {
      guest.startProtected();
      guest.code(At.Code, 32, (a) => void a.int(0x40));
    };
    raise();
    guest.update(({ sregs }) => void (sregs.idt = { base: sregs.idt.base, limit: 0x40 * 8 + 6 }));
    expectEvent(guest, { vector: 13, error: idtError(0x40), rip: At.Code });
    raise();
    guest.setGate(0x40, gate(Type.CallGate32, Sel.Code32, stub(0x40)));
    expectEvent(guest, { vector: 13, error: idtError(0x40), rip: At.Code });
    raise();
    guest.setGate(0x40, gate(Type.Interrupt32 & ~NotPresent, Sel.Code32, stub(0x40)));
    expectEvent(guest, { vector: 11, error: idtError(0x40), rip: At.Code });
  });

  test('faults of the handler segment', () => {
    const through = (selector: number, offset = stub(0x40)): void => {
      guest.setGate(0x40, gate(Type.Interrupt32, selector, offset));
      guest.code(At.Code, 32, (a) => void a.int(0x40));
      guest.resumeAt(At.Code);
    };
    through(0);
    expectEvent(guest, { vector: 13, error: 0, rip: At.Code });
    through(Sel.Data32);
    expectEvent(guest, { vector: 13, error: Sel.Data32 });
    through(0xf8);
    expectEvent(guest, { vector: 13, error: 0xf8 });
    through(Sel.UserCode32);
    expectEvent(guest, { vector: 13, error: Sel.UserCode32 & ~3 });
    guest.setDescriptor(Sel.Test, descriptor(Type.Code & ~NotPresent, Flat));
    through(Sel.Test);
    expectEvent(guest, { vector: 11, error: Sel.Test });
    guest.setDescriptor(Sel.Test, descriptor(Type.Code, Size.Bits32, 0, 0xff));
    through(Sel.Test, 0x100);
    expectEvent(guest, { vector: 13, error: 0 });
  });

  test('delivery of a fault sets EXT in what fails on the way', () => {
    guest.setGate(6, gate(Type.Interrupt32, Sel.Data32, stub(6)));
    guest.code(At.Code, 32, (a) => void a.ud2());
    expectEvent(guest, { vector: 13, error: Sel.Data32 | 1, rip: At.Code });
  });

  test('a fault pushes RF set, INT does not', () => {
    guest.code(At.Code, 32, (a) => void a.ud2());
    const frame = expectEvent(guest, { vector: 6, rip: At.Code });
    assert.equal(frame.flags & Flag.Resume, Flag.Resume);
    guest.startProtected();
    guest.code(At.Code, 32, (a) => void a.int(0x40));
    assert.equal(expectEvent(guest, { vector: 0x40 }).flags & Flag.Resume, 0);
  });

  test('the accessed bit of the handler segment is set', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Code, Flat));
    guest.setGate(0x40, gate(Type.Interrupt32, Sel.Test, stub(0x40)));
    guest.code(At.Code, 32, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 0x40 });
    assert.equal(Number(guest.readDescriptor(Sel.Test) >> 40n) & 1, 1);
  });
});

describe('interrupts from CPL 3', () => {
  beforeEach(() => guest.startProtected({ cpl: 3 }));

  test('switch to the stack of the TSS and return', () => {
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code32, stub(0x40)));
    const a = guest.code(At.UserCode, 32, (a) => {
      a.int(0x40).label('back').mov(eax, cs).mov(ebx, ss);
      finish(a);
    });
    expectEvent(guest, {
      vector: 0x40, rip: a.address('back'), cs: Sel.UserCode32, rsp: At.Stack3, ss: Sel.UserData32,
    }); // prettier-ignore
    const { regs, sregs } = guest.state;
    assert.deepEqual(
      [regs.rsp, sregs.ss.selector, sregs.cs.selector],
      [BigInt(At.Stack0 - 20), Sel.Data32, Sel.Code32],
    );
    expectDone(guest);
    assert.deepEqual([guest.state.regs.rax, guest.state.regs.rbx], [BigInt(Sel.UserCode32), BigInt(Sel.UserData32)]);
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack3));
  });

  test('a gate below CPL is #GP for INT, not for faults', () => {
    const a = guest.code(At.UserCode, 32, (a) => void a.label('int').int(0x40).ud2());
    expectEvent(guest, { vector: 13, error: idtError(0x40), rip: a.address('int') });
    guest.startProtected({ cpl: 3 });
    guest.code(At.UserCode, 32, (a) => void a.ud2());
    expectEvent(guest, { vector: 6, rip: At.UserCode, ss: Sel.UserData32 });
  });

  test('privilege 1 uses its own stack; conforming handlers stay at CPL 3', () => {
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code32Ring1, At.Code2));
    guest.code(At.Code2, 32, (a) => void a.db(0xcc));
    guest.setGate(3, gate(Type.Interrupt32 | dpl(3), Sel.Code32, stub(3)));
    guest.code(At.UserCode, 32, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 3, cs: Sel.Code32Ring1, rsp: At.Stack1 - 20, ss: Sel.Data32Ring1 });
    guest.startProtected({ cpl: 3 });
    guest.code(At.Code2, 32, (a) => void a.db(0xcc));
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Conforming32, At.Code2));
    guest.setGate(3, gate(Type.Interrupt32 | dpl(3), Sel.Code32, stub(3)));
    guest.code(At.UserCode, 32, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 3, cs: Sel.Conforming32 | 3, rsp: At.Stack3 - 12 });
  });

  test('a bad stack of the TSS is #TS, an absent one #SS', () => {
    const withStack = (selector: number, change: () => void = () => {}): void => {
      guest.startProtected({ cpl: 3 });
      guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code32Ring1, At.Code2));
      guest.write32(At.Tss + 16, selector);
      change();
      guest.code(At.UserCode, 32, (a) => void a.int(0x40));
    };
    withStack(0);
    expectEvent(guest, { vector: 10, error: 0, rip: At.UserCode });
    withStack(Sel.Data32);
    expectEvent(guest, { vector: 10, error: Sel.Data32 });
    withStack(Sel.Code32Ring1);
    expectEvent(guest, { vector: 10, error: Sel.Code32Ring1 & ~3 });
    withStack(0xf9);
    expectEvent(guest, { vector: 10, error: 0xf8 });
    withStack(Sel.Data32Ring1, () =>
      guest.setDescriptor(Sel.Data32Ring1, descriptor((Type.Data | dpl(1)) & ~NotPresent, Flat)),
    );
    expectEvent(guest, { vector: 12, error: Sel.Data32Ring1 & ~3 });
    withStack(Sel.Data32Ring1, () =>
      guest.setDescriptor(Sel.Data32Ring1, descriptor(Type.Data | dpl(1), Size.Bits32, 0, 0xff)),
    );
    expectEvent(guest, { vector: 12, error: Sel.Data32Ring1 & ~3 });
  });

  test('a TSS that is too short is #TS(TR)', () => {
    guest.update(({ sregs }) => void (sregs.tr = { ...sregs.tr, limit: 16 }));
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code32Ring1, At.Code2));
    guest.code(At.UserCode, 32, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 10, error: Sel.Tss, rip: At.UserCode });
  });

  test('privileged instructions are #GP(0)', () => {
    const instructions: [string, (a: Assembler) => unknown][] = [
      ['HLT', (a) => a.hlt()],
      ['CLI', (a) => a.cli()],
      ['STI', (a) => a.sti()],
      ['MOV CR0', (a) => a.mov(cr(0), eax)],
      ['MOV from CR3', (a) => a.mov(eax, cr(3))],
      ['LGDT', (a) => a.lgdt(at(0x100))],
      ['LIDT', (a) => a.lidt(at(0x100))],
      ['LTR', (a) => a.ltr(ax)],
      ['INVLPG', (a) => a.invlpg(at(0))],
      ['WRMSR', (a) => a.wrmsr()],
      ['RDMSR', (a) => a.rdmsr()],
      ['CLTS', (a) => a.db(0x0f, 0x06)],
      ['LMSW', (a) => a.db(0x0f, 0x01, 0xf0)],
      ['WBINVD', (a) => a.db(0x0f, 0x09)],
      ['MOV DR7', (a) => a.db(0x0f, 0x23, 0xf8)],
    ];
    for (const [name, emit] of instructions) {
      guest.startProtected({ cpl: 3 });
      guest.code(At.UserCode, 32, (a) => void emit(a));
      const stop = guest.run();
      assert.ok(stop.kind === 'event', name);
      assert.deepEqual([stop.vector, stop.error, stop.rip], [13, 0, At.UserCode], name);
    }
  });

  test('POPF changes IF only at IOPL, IOPL only at CPL 0', () => {
    const popf = (iopl: number): number => {
      guest.startProtected({ cpl: 3 });
      guest.update(({ regs }) => void (regs.rflags = BigInt(Flag.Fixed | (iopl << 12))));
      guest.code(At.UserCode, 32, (a) => {
        a.push(Flag.Interrupt | Flag.Iopl3 | Flag.Carry)
          .popf()
          .pushf()
          .pop(eax);
        finish(a);
      });
      expectDone(guest);
      return Number(guest.state.regs.rax) & (Flag.Interrupt | Flag.Iopl3 | Flag.Carry);
    };
    assert.equal(popf(0), Flag.Carry);
    assert.equal(popf(3), Flag.Carry | Flag.Interrupt | Flag.Iopl3);
  });
});

describe('the I/O permission bit map', () => {
  /** OUT of `bytes` bytes to port 0xf3 at CPL 3 with these bits set in the map. */
  function out(bytes: 1 | 2 | 4, denied: number[], change: () => void = () => {}): number | undefined {
    guest.startProtected({ cpl: 3 });
    for (const port of denied) {
      const at = At.Tss + 0x68 + (port >> 3);
      guest.write(at, Uint8Array.from([guest.read8(at) | (1 << (port & 7))]));
    }
    change();
    guest.code(At.UserCode, 32, (a) => {
      a.db(...{ 1: [0xe6], 2: [0x66, 0xe7], 4: [0xe7] }[bytes], 0xf4);
    });
    const stop = guest.run();
    if (stop.kind === 'event') assert.deepEqual([stop.error, stop.rip], [0, At.UserCode]);
    return stop.kind === 'event' ? stop.vector : undefined;
  }
  test('every byte of the access must be allowed', () => {
    assert.equal(out(1, []), undefined);
    assert.equal(out(1, [0xf4]), 13);
    assert.equal(out(1, [0xf3, 0xf5]), undefined);
    assert.equal(out(2, [0xf5]), 13);
    assert.equal(out(4, [0xf7]), 13);
    assert.equal(out(4, [0xf8]), undefined);
  });
  test('beyond the limit of the TSS nothing is allowed', () => {
    assert.equal(
      out(1, [], () => guest.update(({ sregs }) => void (sregs.tr = { ...sregs.tr, limit: 0x86 }))),
      13,
    );
    assert.equal(
      out(1, [], () => guest.write16(At.Tss + 0x66, 0xffff)),
      13,
    );
  });
  test('IOPL 3 needs no map', () => {
    const iopl = (): void => guest.update(({ regs }) => void (regs.rflags |= BigInt(Flag.Iopl3)));
    assert.equal(out(1, [0xf4], iopl), undefined);
  });
});

describe('call gates', () => {
  beforeEach(() => guest.startProtected({ cpl: 3 }));
  const callGate = (type: number, selector: number, offset: number, count = 0): void =>
    guest.setDescriptor(Sel.Gate, gate(type, selector, offset, count));

  test('a call inward switches stacks and copies parameters; RETF n releases both stacks', () => {
    callGate(Type.CallGate32 | dpl(3), Sel.Code32, At.Code2, 2);
    guest.code(At.Code2, 32, (a) => {
      for (let i = 0; i < 6; i++) a.mov(eax, mem({ base: esp, displacement: i * 4 })).mov(at(At.Results + i * 8), eax);
      a.db(0xca, 8, 0);
    });
    const a = guest.code(At.UserCode, 32, (a) => {
      a.push(0x1111)
        .push(0x2222)
        .db(0x9a)
        .dd(0)
        .dw(Sel.Gate | 3)
        .label('back')
        .mov(ecx, esp);
      finish(a);
    });
    expectDone(guest);
    const expected = [a.address('back'), Sel.UserCode32, 0x2222, 0x1111, At.Stack3 - 8, Sel.UserData32];
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((i) => guest.result(i)),
      expected,
    );
    assert.equal(guest.state.regs.rcx, BigInt(At.Stack3));
    assert.equal(guest.state.sregs.cs.selector, Sel.UserCode32);
  });

  test('a 16-bit gate pushes words', () => {
    guest.write(0x8000, new Uint8Array([0xe6, 0xf4]));
    callGate(Type.CallGate16 | dpl(3), Sel.Code32, 0x8000, 1);
    const a = guest.code(
      At.UserCode,
      32,
      (a) =>
        void a
          .push(0x1_2345)
          .db(0x9a)
          .dd(0)
          .dw(Sel.Gate | 3)
          .label('back'),
    );
    expectDone(guest);
    const words = [0, 1, 2, 3, 4].map((i) => guest.read16(At.Stack0 - 10 + i * 2));
    assert.deepEqual(words, [
      a.address('back') & 0xffff,
      Sel.UserCode32,
      0x2345,
      (At.Stack3 - 4) & 0xffff,
      Sel.UserData32,
    ]);
  });

  test('a jump through a gate may not change privilege', () => {
    callGate(Type.CallGate32 | dpl(3), Sel.Code32, At.Code2);
    guest.code(At.UserCode, 32, (a) => void a.jmpFar(Sel.Gate | 3, 0));
    expectEvent(guest, { vector: 13, error: Sel.Code32, rip: At.UserCode });
    guest.startProtected({ cpl: 3 });
    callGate(Type.CallGate32 | dpl(3), Sel.Conforming32, At.Code2);
    guest.code(At.Code2, 32, (a) => void finish(a.mov(eax, cs)));
    guest.code(At.UserCode, 32, (a) => void a.jmpFar(Sel.Gate | 3, 0));
    expectDone(guest);
    assert.equal(guest.state.regs.rax, BigInt(Sel.Conforming32 | 3));
  });

  test('gate privilege, presence and target', () => {
    const call = (value: bigint): void => {
      guest.startProtected({ cpl: 3 });
      guest.setDescriptor(Sel.Gate, value);
      guest.code(
        At.UserCode,
        32,
        (a) =>
          void a
            .db(0x9a)
            .dd(0)
            .dw(Sel.Gate | 3),
      );
    };
    call(gate(Type.CallGate32 | dpl(2), Sel.Code32, At.Code2));
    expectEvent(guest, { vector: 13, error: Sel.Gate, rip: At.UserCode });
    call(gate((Type.CallGate32 | dpl(3)) & ~NotPresent, Sel.Code32, At.Code2));
    expectEvent(guest, { vector: 11, error: Sel.Gate });
    call(gate(Type.CallGate32 | dpl(3), 0, At.Code2));
    expectEvent(guest, { vector: 13, error: 0 });
    call(gate(Type.CallGate32 | dpl(3), Sel.Data32, At.Code2));
    expectEvent(guest, { vector: 13, error: Sel.Data32 });
  });
});

describe('far jumps and returns', () => {
  beforeEach(() => guest.startProtected());

  test('code segments: limit, privilege, presence, type', () => {
    const jump = (selector: number, offset: number): void => {
      guest.code(At.Code, 32, (a) => void a.jmpFar(selector, offset));
      guest.resumeAt(At.Code);
    };
    guest.setDescriptor(Sel.Test, descriptor(Type.Code, Size.Bits32, 0, 0xff));
    guest.setDescriptor(Sel.Test2, descriptor(Type.Code & ~NotPresent, Flat));
    jump(0, 0);
    expectEvent(guest, { vector: 13, error: 0, rip: At.Code });
    jump(Sel.Test, 0x100);
    expectEvent(guest, { vector: 13, error: 0 });
    jump(Sel.Test2, 0);
    expectEvent(guest, { vector: 11, error: Sel.Test2 });
    jump(Sel.Data32, 0);
    expectEvent(guest, { vector: 13, error: Sel.Data32 });
    jump(Sel.UserCode32, At.UserCode);
    expectEvent(guest, { vector: 13, error: Sel.UserCode32 & ~3 });
    jump(0xf8, 0);
    expectEvent(guest, { vector: 13, error: 0xf8 });
  });

  test('RETF to outer privilege loads SS:ESP and drops data segments that it may not use', () => {
    const a = guest.code(At.Code, 32, (a) => {
      a.mov(eax, Sel.Data32).mov(ds, ax).mov(eax, Sel.UserData32).mov(es, ax).mov(eax, Sel.Conforming32).mov(fs, ax);
      a.push(Sel.UserData32).push(At.Stack3).push(Sel.UserCode32).push(At.UserCode).label('retf').db(0xcb);
    });
    guest.code(At.UserCode, 32, (a) => void finish(a));
    expectDone(guest);
    const { sregs, regs } = guest.state;
    assert.deepEqual(
      [sregs.cs.selector, sregs.ss.selector, regs.rsp],
      [Sel.UserCode32, Sel.UserData32, BigInt(At.Stack3)],
    );
    assert.deepEqual([sregs.ds.selector, sregs.ds.unusable], [0, true]);
    assert.deepEqual([sregs.es.selector, sregs.fs.selector], [Sel.UserData32, Sel.Conforming32]);
    assert.ok(a.address('retf') > 0);
  });

  test('RETF to an inner privilege is #GP(selector)', () => {
    guest.startProtected({ cpl: 3 });
    const a = guest.code(At.UserCode, 32, (a) => void a.push(Sel.Code32).push(At.Code).label('retf').db(0xcb));
    expectEvent(guest, { vector: 13, error: Sel.Code32, rip: a.address('retf') });
  });

  test('RETF with a bad outer stack is #GP(SS)', () => {
    const a = guest.code(At.Code, 32, (a) => {
      a.push(Sel.Data32).push(At.Stack3).push(Sel.UserCode32).push(At.UserCode).label('retf').db(0xcb);
    });
    expectEvent(guest, { vector: 13, error: Sel.Data32, rip: a.address('retf') });
  });

  test('a 16-bit segment runs 16-bit code', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Code, Size.Bits16, At.Code2, 0xffff));
    guest.code(At.Code, 32, (a) => void a.mov(eax, 0x1234_5678).jmpFar(Sel.Test, 0));
    guest.code(At.Code2, 16, (a) => void finish(a.mov(ax, 1)));
    expectDone(guest);
    assert.equal(guest.state.regs.rax, 0x1234_0001n);
  });
});

describe('virtual-8086 mode', () => {
  const enter = (flags: number, code: (a: Assembler) => void): Assembler => {
    guest.startProtected();
    const entry = guest.code(At.Code, 32, (a) => {
      for (const value of [0x6000, 0x5000, 0x4000, 0x3000, 0x0400, 0x800]) a.push(value);
      a.push(flags | Flag.Virtual8086)
        .push(At.UserCode >> 4)
        .push(0)
        .iret();
    });
    assert.ok(entry.here > 0);
    return guest.code(At.UserCode, 16, code);
  };

  test('IRET enters it; an interrupt leaves it with nine slots and null data segments', () => {
    const a = enter(Flag.Iopl3 | Flag.Interrupt, (a) => {
      a.mov(ax, ds).mov(at(0x10), ax).label('int').db(0xcc).label('after').mov(ax, 7);
      finish(a);
    });
    guest.setGate(3, gate(Type.Interrupt32 | dpl(3), Sel.Code32, stub(3)));
    const frame = expectEvent(guest, {
      vector: 3,
      rip: a.address('after') - At.UserCode,
      cs: At.UserCode >> 4,
      rsp: 0x800,
      ss: 0x400,
    });
    assert.deepEqual(frame.more, [0x3000, 0x4000, 0x5000, 0x6000]);
    assert.equal(frame.flags & (Flag.Virtual8086 | Flag.Interrupt), Flag.Virtual8086 | Flag.Interrupt);
    const { sregs, regs } = guest.state;
    assert.equal(Number(regs.rflags) & Flag.Virtual8086, 0);
    assert.ok([sregs.ds, sregs.es, sregs.fs, sregs.gs].every(({ selector, unusable }) => selector === 0 && unusable));
    assert.equal(guest.read16(0x4_0010), 0x4000);
    expectDone(guest, 7);
    assert.equal(guest.state.sregs.ds.selector, 0x4000);
  });

  test('with IOPL below 3, INT n, CLI, STI, PUSHF, POPF and IRET are #GP(0); INT3 is not', () => {
    for (const bytes of [[0xcd, 0x40], [0xfa], [0xfb], [0x9c], [0x9d], [0xcf]]) {
      enter(0, (a) => void a.db(...bytes));
      const frame = expectEvent(guest, { vector: 13, error: 0, rip: 0 });
      assert.equal(frame.cs, At.UserCode >> 4, `opcode ${bytes[0]?.toString(16)}`);
    }
    enter(0, (a) => void a.db(0xcc));
    guest.setGate(3, gate(Type.Interrupt32 | dpl(3), Sel.Code32, stub(3)));
    expectEvent(guest, { vector: 3, rip: 1 });
  });

  test('with IOPL 3, INT n goes through the IDT', () => {
    enter(Flag.Iopl3, (a) => void a.int(0x40));
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code32, stub(0x40)));
    expectEvent(guest, { vector: 0x40, rip: 2 });
  });

  test('the handler must be at privilege 0', () => {
    enter(Flag.Iopl3, (a) => void a.int(0x40));
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Code32Ring1, stub(0x40)));
    expectEvent(guest, { vector: 13, error: Sel.Code32Ring1 & ~3, rip: 0 });
    enter(Flag.Iopl3, (a) => void a.int(0x40));
    guest.setGate(0x40, gate(Type.Interrupt32 | dpl(3), Sel.Conforming32, stub(0x40)));
    expectEvent(guest, { vector: 13, error: Sel.Conforming32, rip: 0 });
  });

  test('limits are 64 KiB; IN and OUT ask the bit map whatever IOPL says', () => {
    enter(Flag.Iopl3, (a) => void a.db(0x66, 0xb8).dd(0x1_0000).db(0x67, 0x8b, 0x18));
    expectEvent(guest, { vector: 13, error: 0, rip: 6 });
    enter(Flag.Iopl3, (a) => void a.out(0xe8, al));
    guest.write(At.Tss + 0x68 + (0xe8 >> 3), Uint8Array.from([1]));
    expectEvent(guest, { vector: 13, error: 0, rip: 0 });
  });

  test('system instructions are #UD', () => {
    for (const bytes of [
      [0x0f, 0x00, 0xd0],
      [0x0f, 0x00, 0xc0],
      [0x0f, 0x02, 0xc0],
      [0x63, 0xc0],
    ]) {
      enter(Flag.Iopl3, (a) => void a.db(...bytes));
      expectEvent(guest, { vector: 6, rip: 0 });
    }
  });
});

describe('double and triple faults', () => {
  beforeEach(() => guest.startProtected());

  test('a contributory fault while delivering one is #DF(0)', () => {
    guest.setGate(13, gate(Type.Interrupt32 & ~NotPresent, Sel.Code32, stub(13)));
    const a = guest.code(
      At.Code,
      32,
      (a) =>
        void a
          .nop()
          .label('bad')
          .mov(ds, mem({ displacement: 'selector' }))
          .label('selector')
          .dw(0xf8),
    );
    expectEvent(guest, { vector: 8, error: 0, rip: a.address('bad') });
  });

  test('a benign fault first is no double fault', () => {
    guest.setGate(6, gate(Type.Interrupt32 & ~NotPresent, Sel.Code32, stub(6)));
    guest.code(At.Code, 32, (a) => void a.ud2());
    expectEvent(guest, { vector: 11, error: idtError(6, 1), rip: At.Code });
  });

  test('an INT whose delivery faults is no double fault', () => {
    guest.setGate(0x40, gate(Type.Interrupt32, Sel.Data32, stub(0x40)));
    guest.code(At.Code, 32, (a) => void a.int(0x40));
    expectEvent(guest, { vector: 13, error: Sel.Data32, rip: At.Code });
  });

  test('a fault while delivering #DF shuts down', () => {
    for (const vector of [8, 13]) guest.setGate(vector, gate(Type.Interrupt32 & ~NotPresent, Sel.Code32, stub(vector)));
    guest.code(
      At.Code,
      32,
      (a) =>
        void a
          .mov(ds, mem({ displacement: 'selector' }))
          .label('selector')
          .dw(0xf8),
    );
    expectShutdown(guest);
  });

  test('an empty IDT shuts down', () => {
    guest.update(({ sregs }) => void (sregs.idt = { base: 0n, limit: 0 }));
    guest.code(At.Code, 32, (a) => void a.int(3));
    expectShutdown(guest);
  });

  test('the guest runs again after a shutdown when its state is set', () => {
    guest.code(At.Code, 32, (a) => void finish(a.ud2()));
    expectEvent(guest, { vector: 6 });
    guest.resumeAt(At.Code + 2);
    expectDone(guest);
  });
});
