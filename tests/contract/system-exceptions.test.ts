/** Exceptions in 64-bit mode, their order, NMI, single-step and debug registers (SDM Vol. 3A "Exceptions and Interrupts", Vol. 3B "Debug"). */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { type Assembler, at, ax, cr, dr, eax, ecx, mem, rax, rbx, rsp, ss } from '../guest/assembler.ts';
import { Cr0, Cr4, Flag, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent } from './system-expect.ts';
import { At, NotPresent, Sel, Type, gate } from './system-layout.ts';

const guest = new SystemGuest();
const stub = (vector: number): number => At.Stubs + vector * 4;
const setTrap = (): void => guest.update(({ regs }) => void (regs.rflags |= BigInt(Flag.Trap)));
const Bs = 1n << 14n;
const Bd = 1n << 13n;

describe('faults, traps and their error codes', () => {
  beforeEach(() => guest.startLong());
  const cases: readonly [name: string, vector: number, error: number | undefined, emit: (a: Assembler) => unknown][] = [
    ['#DE', 0, undefined, (a) => a.db(0xf7, 0xf1)],
    ['#UD: UD2', 6, undefined, (a) => a.ud2()],
    ['#UD: an opcode of 32-bit code', 6, undefined, (a) => a.db(0x06)],
    ['#UD: LOCK on a register', 6, undefined, (a) => a.db(0xf0, 0x01, 0xc0)],
    ['#UD: LOCK on MOV', 6, undefined, (a) => a.db(0xf0, 0x89, 0x03)],
    ['#UD: MOV to CS', 6, undefined, (a) => a.db(0x8e, 0xc8)],
    ['#GP: an unknown MSR', 13, 0, (a) => a.mov(ecx, 0x1234_5678).rdmsr()],
    ['#GP: longer than 15 bytes', 13, 0, (a) => a.db(...new Array<number>(15).fill(0x66), 0x90)],
    ['#GP: not aligned', 13, 0, (a) => a.mov(rbx, At.Data + 8).db(0x0f, 0x28, 0x03)],
    [
      '#SS: not canonical',
      12,
      0,
      (a) =>
        a
          .mov(rbx, 1n << 62n)
          .db(0x48, 0x89, 0xdd)
          .db(0x8b, 0x45, 0x00),
    ],
  ];
  for (const [name, vector, error, emit] of cases) {
    test(name, () => {
      const a = guest.code(At.Code, 64, (a) => {
        emit(a);
        a.label('end');
      });
      const frame = expectEvent(guest, { vector, error, cs: Sel.Code64 });
      assert.ok(frame.rip >= At.Code && frame.rip < a.address('end'));
      assert.equal(frame.flags & Flag.Resume, Flag.Resume);
    });
  }

  test('INT3 and INTO-like traps point behind themselves', () => {
    const a = guest.code(At.Code, 64, (a) => void a.db(0xcc).label('after'));
    assert.equal(expectEvent(guest, { vector: 3, rip: a.address('after') }).flags & Flag.Resume, 0);
  });

  test('#NM: x87 with CR0.TS or EM, SSE with TS; #UD: SSE with EM or without OSFXSR', () => {
    const run = (
      bytes: readonly number[],
      change: (sregs: { cr0: bigint; cr4: bigint }) => void,
    ): number | undefined => {
      guest.startLong();
      guest.update(({ sregs }) => void change(sregs));
      guest.code(At.Code, 64, (a) => void finish(a.db(...bytes)));
      const stop = guest.run();
      return stop.kind === 'event' ? stop.vector : undefined;
    };
    const fld1 = [0xd9, 0xe8];
    const xorps = [0x0f, 0x57, 0xc0];
    assert.equal(
      run(fld1, (s) => void (s.cr0 |= Cr0.Ts)),
      7,
    );
    assert.equal(
      run(fld1, (s) => void (s.cr0 |= 4n)),
      7,
    );
    assert.equal(
      run(xorps, (s) => void (s.cr0 |= Cr0.Ts)),
      7,
    );
    assert.equal(
      run(xorps, (s) => void (s.cr0 |= 4n)),
      6,
    );
    assert.equal(
      run(xorps, (s) => void (s.cr4 &= ~Cr4.Fxsr)),
      6,
    );
    assert.equal(
      run(xorps, () => {}),
      undefined,
    );
    assert.equal(
      run([0x9b], (s) => void (s.cr0 |= Cr0.Ts)),
      undefined,
      'WAIT with TS but without MP',
    );
    assert.equal(
      run([0x9b], (s) => void (s.cr0 |= Cr0.Ts | 2n)),
      7,
      'WAIT with TS and MP',
    );
  });

  test('CLTS and MOV CR0 bring the FPU back', () => {
    guest.update(({ sregs }) => void (sregs.cr0 |= Cr0.Ts));
    guest.code(At.Code, 64, (a) => {
      a.db(0x0f, 0x06)
        .db(0x0f, 0x57, 0xc0)
        .mov(rax, cr(0))
        .or(eax, 8)
        .mov(cr(0), rax)
        .label('sse')
        .db(0x0f, 0x57, 0xc0);
    });
    expectEvent(guest, { vector: 7 });
  });
});

describe('order of checks', () => {
  beforeEach(() => guest.startLong({ cpl: 3 }));

  test('#UD before privilege, privilege before the operand', () => {
    guest.code(At.UserCode, 64, (a) => void a.db(0x0f, 0x20, 0xc8));
    expectEvent(guest, { vector: 6 });
    guest.startLong({ cpl: 3 });
    guest.code(At.UserCode, 64, (a) => void a.mov(rbx, 1n << 62n).db(0x0f, 0x01, 0x13));
    expectEvent(guest, { vector: 13, error: 0 });
  });

  test('the segment limit of code before paging', () => {
    guest.startProtected();
    guest.setDescriptor(Sel.Test, 0x0040_9a00_0000_000fn);
    guest.code(0, 32, (a) => {
      for (let i = 0; i < 16; i++) a.nop();
    });
    guest.code(At.Code, 32, (a) => void a.jmpFar(Sel.Test, 0));
    const frame = expectEvent(guest, { vector: 13, error: 0, cs: Sel.Test });
    assert.equal(frame.rip, 16);
  });

  test('nothing has changed when an instruction faults', () => {
    guest.startLong();
    guest.write64(At.PageTables + 0x2000 + 4 * 8, 0n); // 8 MiB is absent
    const cases: readonly ((a: Assembler) => unknown)[] = [
      (a) => a.push(mem({ displacement: 0x80_0000, size: 64 })),
      (a) => a.pop(mem({ displacement: 0x80_0000, size: 64 })),
      (a) => a.call(mem({ displacement: 0x80_0000, size: 64 })),
      (a) => a.db(0x48, 0x0f, 0xc1, 0x04, 0x25).dd(0x80_0000), // XADD
      (a) => a.db(0x48, 0x87, 0x04, 0x25).dd(0x80_0000), // XCHG
      (a) => a.db(0xff, 0x1c, 0x25).dd(0x80_0000), // CALLF
      (a) => a.db(0x0f, 0xb2, 0x04, 0x25).dd(0x80_0000), // LSS
    ];
    for (const emit of cases) {
      guest.resumeAt(At.Code);
      guest.update(({ regs }) => void Object.assign(regs, { rax: 0x1234n, rsp: BigInt(At.Stack0), rflags: 0x202n }));
      guest.code(At.Code, 64, (a) => void emit(a));
      const frame = expectEvent(guest, { vector: 14, rip: At.Code, rsp: At.Stack0, ss: Sel.Data32 });
      assert.equal(guest.state.regs.rax, 0x1234n);
      assert.equal(frame.flags & ~Flag.Resume, 0x202);
    }
  });
});

describe('NMI', () => {
  const nmi = (): void => guest.update(({ events }) => void (events.nmi.pending = true));
  beforeEach(() => guest.startLong());

  test('is taken with IF clear, and held back until IRET', () => {
    guest.code(At.Code, 64, (a) => void finish(a.nop().nop()));
    nmi();
    assert.equal(expectEvent(guest, { vector: 2, rip: At.Code }).flags & Flag.Resume, 0);
    nmi();
    expectEvent(guest, { vector: 2, rip: At.Code });
    expectDone(guest);
  });

  test('wakes from HLT', () => {
    const a = guest.code(At.Code, 64, (a) => void finish(a.hlt().label('after')));
    assert.equal(guest.vcpu.run().kind, 'halt');
    nmi();
    expectEvent(guest, { vector: 2, rip: a.address('after') });
    expectDone(guest);
  });

  test('waits for the instruction after MOV SS', () => {
    const a = guest.code(
      At.Code,
      64,
      (a) => void finish(a.mov(eax, Sel.Data32).mov(ss, ax).label('next').nop().label('then')),
    );
    guest.update((state) => {
      state.events.nmi.pending = true;
      state.events.interruptShadow = 'mov-ss';
      state.regs.rip = BigInt(a.address('next'));
    });
    expectEvent(guest, { vector: 2, rip: a.address('then') });
  });
});

describe('external interrupts', () => {
  beforeEach(() => guest.startLong());
  const Vector = 0x50;
  const raise = (): void => guest.vm.msi.signalMsi(0xfee0_0000, Vector);
  /** Enables the local APIC and ends the interrupt that an earlier test left in service. */
  const enableApic = (a: Assembler): Assembler =>
    a
      .mov(rbx, 0xfee0_0000n)
      .mov(mem({ base: rbx, displacement: 0xf0, size: 32 }), 0x1ff)
      .mov(mem({ base: rbx, displacement: 0xb0, size: 32 }), 0);
  /** The local APIC's page is mapped like the rest. */
  const mapApic = (): void => {
    guest.write64(At.PageTables + 0x1000 + 3 * 8, BigInt(At.PageTables + 0x4000) | 7n);
    guest.write64(At.PageTables + 0x4000 + ((0xfee0_0000 >>> 21) & 511) * 8, 0xfee0_0000n | 0x87n);
  };

  test('STI covers one more instruction', () => {
    mapApic();
    const a = guest.code(At.Code, 64, (a) => {
      finish(enableApic(a)).sti().nop().label('here').nop();
      finish(a);
    });
    expectDone(guest);
    raise();
    expectEvent(guest, { vector: Vector, rip: a.address('here') });
  });

  test('wait for IF; HLT ends with them', () => {
    mapApic();
    const a = guest.code(At.Code, 64, (a) => {
      finish(enableApic(a)).cli().nop().nop();
      finish(a).sti().hlt().label('after').nop();
      finish(a);
    });
    expectDone(guest);
    raise();
    expectDone(guest);
    expectEvent(guest, { vector: Vector, rip: a.address('after') });
  });
});

describe('single-step', () => {
  beforeEach(() => guest.startLong());

  test('traps after each instruction with DR6.BS', () => {
    setTrap();
    const a = guest.code(At.Code, 64, (a) => void finish(a.mov(eax, 1).label('one').mov(eax, 2).label('two')));
    const frame = expectEvent(guest, { vector: 1, rip: a.address('one') });
    assert.equal(frame.flags & Flag.Trap, Flag.Trap);
    assert.equal(guest.state.debug.dr6 & Bs, Bs);
    assert.equal(Number(guest.state.regs.rflags) & Flag.Trap, 0);
    assert.equal(guest.state.regs.rax, 1n);
    expectEvent(guest, { vector: 1, rip: a.address('two') });
  });

  test('POPF that sets TF traps after the next instruction, one that clears it after itself', () => {
    const a = guest.code(At.Code, 64, (a) => {
      a.push(Flag.Trap | 2)
        .popf()
        .nop()
        .label('set')
        .push(2)
        .label('pushed')
        .popf()
        .label('cleared')
        .nop();
      finish(a);
    });
    expectEvent(guest, { vector: 1, rip: a.address('set') });
    expectEvent(guest, { vector: 1, rip: a.address('pushed') });
    expectEvent(guest, { vector: 1, rip: a.address('cleared') });
    expectDone(guest);
  });

  test('a taken branch, a fault and an INT', () => {
    setTrap();
    const a = guest.code(At.Code, 64, (a) => {
      a.jmp('target').nop().label('target').label('bad').ud2().label('int').int(0x40).label('after');
      finish(a);
    });
    expectEvent(guest, { vector: 1, rip: a.address('target') });
    expectEvent(guest, { vector: 6, rip: a.address('bad') });
    guest.update(({ regs }) => void (regs.rip = BigInt(a.address('int'))));
    setTrap();
    // INT clears TF: the handler is not stepped, its IRET sets it again
    expectEvent(guest, { vector: 0x40, rip: a.address('after') });
  });

  test('one iteration of a repeated string instruction at a time', () => {
    setTrap();
    guest.update(({ regs }) => void Object.assign(regs, { rcx: 3n, rdi: BigInt(At.Data) }));
    guest.code(At.Code, 64, (a) => void finish(a.repStos(8)));
    expectEvent(guest, { vector: 1, rip: At.Code });
    assert.equal(guest.state.regs.rcx, 2n);
    expectEvent(guest, { vector: 1, rip: At.Code });
    expectEvent(guest, { vector: 1, rip: At.Code + 2 });
    assert.equal(guest.state.regs.rcx, 0n);
  });
});

describe('debug registers', () => {
  beforeEach(() => guest.startLong());

  test('an instruction breakpoint is a fault with RF', () => {
    const a = guest.code(At.Code, 64, (a) => void finish(a.nop().label('here').mov(eax, 5)));
    guest.update(({ debug }) => {
      debug.db[1] = BigInt(a.address('here'));
      debug.dr7 = 0x400n | (1n << 2n);
    });
    const frame = expectEvent(guest, { vector: 1, rip: a.address('here') });
    assert.equal(frame.flags & Flag.Resume, Flag.Resume);
    assert.equal(guest.state.debug.dr6 & 0xfn, 2n);
    expectDone(guest, 5);
  });

  test('MOV DR: fixed bits, aliases without CR4.DE', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(rax, 0).mov(dr(6), rax).mov(rbx, dr(6)).mov(at(At.Results), rbx);
      a.mov(rax, 0x400)
        .mov(dr(7), rax)
        .mov(rbx, dr(5))
        .mov(at(At.Results + 8), rbx);
      a.mov(rax, 0x1234_5678_9abcn).mov(dr(0), rax).mov(rbx, dr(0));
      finish(a);
    });
    expectDone(guest);
    assert.deepEqual([guest.read64(At.Results), guest.read64(At.Results + 8)], [0xffff_0ff0n, 0x400n]);
    assert.equal(guest.state.regs.rbx, 0x1234_5678_9abcn);
  });

  test('DR4 is #UD with CR4.DE; high bits of DR7 are #GP', () => {
    guest.update(({ sregs }) => void (sregs.cr4 |= Cr4.De));
    guest.code(At.Code, 64, (a) => void a.mov(rax, dr(4)));
    expectEvent(guest, { vector: 6, rip: At.Code });
    guest.startLong();
    const a = guest.code(
      At.Code,
      64,
      (a) =>
        void a
          .mov(rax, 1n << 32n)
          .label('dr')
          .mov(dr(7), rax),
    );
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('dr') });
  });

  test('general detect traps the next access and clears itself', () => {
    const a = guest.code(At.Code, 64, (a) => {
      a.mov(rax, 0x2400).mov(dr(7), rax).label('read').mov(rbx, dr(0));
      finish(a);
    });
    expectEvent(guest, { vector: 1, rip: a.address('read') });
    assert.equal(guest.state.debug.dr6 & Bd, Bd);
    assert.equal(guest.state.debug.dr7 & 0x2000n, 0n);
    expectDone(guest);
  });

  test('INT1 goes through the gate of #DB without a privilege check', () => {
    guest.startLong({ cpl: 3 });
    const a = guest.code(At.UserCode, 64, (a) => void a.db(0xf1).label('after'));
    expectEvent(guest, { vector: 1, rip: a.address('after'), cs: Sel.UserCode64 });
  });
});

describe('double and triple faults in long mode', () => {
  beforeEach(() => guest.startLong());

  test('#DF on its own stack', () => {
    guest.write64(At.Tss + 36, BigInt(At.Stack1));
    guest.setGate(8, gate(Type.Interrupt32, Sel.Code64, stub(8), 1));
    const a = guest.code(
      At.Code,
      64,
      (a) =>
        void a
          .mov(rsp, 1n << 62n)
          .label('push')
          .push(rax),
    );
    expectEvent(guest, { vector: 8, error: 0, rip: a.address('push') });
    assert.equal(guest.state.regs.rsp, BigInt(At.Stack1 - 48));
  });

  test('a stack that cannot be written shuts down', () => {
    guest.code(At.Code, 64, (a) => void a.mov(rsp, 1n << 62n).push(rax));
    assert.deepEqual(guest.run(), { kind: 'shutdown' });
  });

  test('#NP while delivering #PF is a double fault, #PF while delivering #UD is not', () => {
    guest.setGate(14, gate(Type.Interrupt32 & ~NotPresent, Sel.Code64, stub(14)));
    guest.code(At.Code, 64, (a) => void a.mov(rbx, 1n << 40n).mov(rax, mem({ base: rbx })));
    expectEvent(guest, { vector: 8, error: 0 });
    guest.startLong();
    guest.setGate(6, gate(Type.Interrupt32 & ~NotPresent, Sel.Code64, stub(6)));
    guest.code(At.Code, 64, (a) => void a.ud2());
    expectEvent(guest, { vector: 11, error: 0x33, rip: At.Code });
  });

  test('a stack on a device, and endless faults, end the guest instead of hanging it', () => {
    guest.write64(At.PageTables + 0x2000 + 5 * 8, 0xd000_0000n | 0x87n); // linear 10 MiB: no memory there
    guest.update(({ regs }) => void (regs.rsp = 0xa0_1000n));
    guest.code(At.Code, 64, (a) => void a.ud2());
    assert.deepEqual(guest.run(), { kind: 'shutdown' });
  });
});
