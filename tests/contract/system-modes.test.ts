/** Changes of mode (SDM Vol. 3A "Mode Switching", "Initializing IA-32e Mode"), system calls of protected mode, and self-modifying code. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import {
  type Assembler, ax, at, bx, cr, cs, ds, eax, ebp, ebx, ecx, edi, edx, es, esi, esp, mem, rax, rbx, sp, ss,
} from '../guest/assembler.ts'; // prettier-ignore
import { Cr0, Cr4, Efer, Flag, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent } from './system-expect.ts';
import { At, Sel, Size, Type, descriptor } from './system-layout.ts';

const guest = new SystemGuest();
const TablePointers = 0x800;

/** Pointers of LGDT and LIDT for 16-bit code with DS = 0. */
function tablePointers(): void {
  guest.write16(TablePointers, 0xbf);
  guest.write32(TablePointers + 2, At.Gdt);
  guest.write16(TablePointers + 8, 0x7ff);
  guest.write32(TablePointers + 10, At.Idt);
}
/** One-to-one tables for 4-level paging. */
const tables = (): void => guest.mapLong();
const loadData = (a: Assembler, selector: number): Assembler => a.mov(ax, selector).mov(ds, ax).mov(es, ax).mov(ss, ax);

describe('the way from reset', () => {
  test('real mode to protected mode to long mode, and back', () => {
    guest.startReal();
    tablePointers();
    tables();
    guest.update(({ regs, sregs }) => {
      Object.assign(sregs.cs, { base: 0n, selector: 0 });
      regs.rip = BigInt(0xc000);
    });
    guest.code(0xc000, 16, (a) => {
      const mark = (index: number): void => void a.mov(at(At.Results + index * 8, 16), index + 1);
      mark(0);
      a.cli().lgdt(at(TablePointers)).mov(eax, cr(0)).or(eax, 1).mov(cr(0), eax).jmpFar(Sel.Code32, 'protected', 32);
      a.bits = 32;
      loadData(a.label('protected'), Sel.Data32).mov(esp, At.Stack0);
      mark(1);
      // To long mode
      a.mov(eax, cr(4)).or(eax, Number(Cr4.Pae)).mov(cr(4), eax).mov(eax, At.PageTables).mov(cr(3), eax);
      a.mov(ecx, 0xc000_0080).rdmsr().or(eax, Number(Efer.Lme)).wrmsr();
      a.mov(eax, cr(0))
        .or(eax, 0x8000_0000)
        .mov(cr(0), eax)
        .rdmsr()
        .mov(at(At.Results + 0x40), eax);
      a.jmpFar(Sel.Code64, 'long');
      a.bits = 64;
      a.label('long')
        .mov(rax, 0x1234_5678_9abcn)
        .mov(at(At.Results + 0x48), rax);
      mark(2);
      // Back: compatibility mode, paging off, long mode off
      a.mov(at(At.Results + 0x100, 32), 'compatible').mov(at(At.Results + 0x104, 32), Sel.Code32);
      a.db(0xff, 0x2c, 0x25).dd(At.Results + 0x100);
      a.bits = 32;
      a.label('compatible').mov(eax, cr(0)).and(eax, 0x7fff_ffff).mov(cr(0), eax);
      a.mov(ecx, 0xc000_0080)
        .rdmsr()
        .mov(at(At.Results + 0x50), eax)
        .and(eax, ~Number(Efer.Lme))
        .wrmsr();
      mark(3);
      a.jmpFar(Sel.Code16, 'sixteen');
      a.bits = 16;
      loadData(a.label('sixteen'), Sel.Data16).mov(eax, cr(0)).and(eax, ~1).mov(cr(0), eax).jmpFar(0, 'real');
      a.label('real').mov(ax, 0).mov(ds, ax).mov(ss, ax).mov(sp, At.Stack0);
      mark(4);
      a.int(0x21);
      finish(a);
    });
    const frame = expectEvent(guest, { vector: 0x21, cs: 0 });
    assert.equal(frame.flags & Flag.Virtual8086, 0);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((i) => guest.read16(At.Results + i * 8)),
      [1, 2, 3, 4, 5],
    );
    assert.equal(guest.read32(At.Results + 0x40), Number(Efer.Lme | Efer.Lma));
    assert.equal(guest.read64(At.Results + 0x48), 0x1234_5678_9abcn);
    assert.equal(guest.read32(At.Results + 0x50), Number(Efer.Lme));
    expectDone(guest);
    const { sregs } = guest.state;
    assert.deepEqual([sregs.cr0 & (Cr0.Pe | Cr0.Pg), sregs.efer], [0n, 0n]);
  });

  test('the code goes on in 16 bits until CS is loaded', () => {
    guest.startReal();
    tablePointers();
    guest.code(At.Code, 16, (a) => {
      a.cli().lgdt(at(TablePointers)).mov(eax, cr(0)).or(eax, 1).mov(cr(0), eax).mov(ax, 0x1234).mov(bx, cs);
      finish(a);
    });
    expectDone(guest);
    assert.deepEqual([guest.state.regs.rax & 0xffffn, guest.state.regs.rbx], [0x1234n, BigInt(At.Code >> 4)]);
  });

  test('MOV DS with a protected-mode selector needs CR0.PE, LMSW sets it but does not clear it', () => {
    guest.startReal();
    tablePointers();
    guest.code(At.Code, 16, (a) => {
      a.cli().lgdt(at(TablePointers)).mov(ax, 1).db(0x0f, 0x01, 0xf0).mov(ax, 0).db(0x0f, 0x01, 0xf0);
      a.db(0x0f, 0x01, 0xe3).mov(ax, Sel.Data32).mov(ds, ax).mov(ebx, At.Spare).db(0x67, 0x66, 0xc7, 0x03).dd(0x7777);
      finish(a);
    });
    expectDone(guest);
    assert.equal(guest.read32(At.Spare), 0x7777);
    assert.equal(guest.state.sregs.cr0 & 1n, 1n);
  });
});

describe('rules of CR0, CR4 and EFER on the way to long mode', () => {
  beforeEach(() => guest.startProtected());
  const enable = (options: { pae: boolean; longCode?: boolean }): Assembler => {
    tables();
    guest.update(({ sregs }) => {
      sregs.cr4 = options.pae ? Cr4.Pae : 0n;
      sregs.cr3 = BigInt(At.PageTables);
      sregs.efer = Efer.Lme;
      if (options.longCode) sregs.cs.l = true;
    });
    return guest.code(At.Code, 32, (a) => {
      a.mov(eax, cr(0)).or(eax, 0x8000_0000).label('paging').mov(cr(0), eax);
      finish(a);
    });
  };
  test('without PAE, paging with LME is #GP', () => {
    const a = enable({ pae: false });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('paging') });
  });
  test('with CS.L set, too', () => {
    const a = enable({ pae: true, longCode: true });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('paging') });
  });
  test('paging without protection is #GP', () => {
    guest.startReal();
    guest.write16(13 * 4, At.Stubs + 13 * 4);
    const a = guest.code(At.Code, 16, (a) => void a.mov(eax, 0x8000_0000).label('paging').mov(cr(0), eax));
    expectEvent(guest, { vector: 13, rip: a.address('paging') - At.Code });
  });
  test('LMA cannot be written', () => {
    guest.code(At.Code, 32, (a) => {
      a.mov(ecx, 0xc000_0080)
        .mov(edx, 0)
        .mov(eax, Number(Efer.Lma | Efer.Nxe))
        .wrmsr()
        .rdmsr();
      finish(a);
    });
    const stop = guest.run();
    // AMD APM Vol. 2 "Extended Feature Enable Register": read-only, and ignored or #GP
    if (stop.kind === 'done') assert.equal(guest.state.sregs.efer & Efer.Lma, 0n);
    else assert.ok(stop.kind === 'event' && stop.vector === 13);
  });
});

describe('SYSENTER, SYSEXIT and SYSCALL in protected mode', () => {
  const setMsrs = (values: readonly (readonly [number, bigint])[]): void =>
    guest.update((state) => {
      const map = new Map(values);
      Object.assign(state, { msrs: state.msrs.map(([index, value]) => [index, map.get(index) ?? value]) });
    });
  /** SYSEXIT wants four descriptors in a row. */
  const Base = Sel.Test & ~7;
  const sysenterSegments = (): void => {
    const flat = Size.Bits32 | Size.Pages;
    guest.setDescriptor(Base, descriptor(Type.Code, flat));
    guest.setDescriptor(Base + 8, descriptor(Type.Data, flat));
    guest.setDescriptor(Base + 16, descriptor(Type.Code | 0x60, flat));
    guest.setDescriptor(Base + 24, descriptor(Type.Data | 0x60, flat));
  };

  test('SYSENTER goes to CPL 0, SYSEXIT back', () => {
    guest.startProtected({ cpl: 3 });
    sysenterSegments();
    setMsrs([[0x174, BigInt(Base)], [0x175, BigInt(At.Stack1)], [0x176, BigInt(At.Code)]]); // prettier-ignore
    guest.code(At.Code, 32, (a) => {
      a.mov(ebx, cs).mov(esi, ss).mov(edi, esp).mov(edx, 'out').mov(ecx, At.Stack3).db(0x0f, 0x35);
      a.label('out').mov(ebp, cs);
      finish(a);
    });
    guest.code(At.UserCode, 32, (a) => void a.db(0x0f, 0x34));
    expectDone(guest);
    const { regs, sregs } = guest.state;
    assert.deepEqual([regs.rbx, regs.rsi & 0xffffn, regs.rdi], [BigInt(Base), BigInt(Base + 8), BigInt(At.Stack1)]);
    assert.deepEqual(
      [regs.rbp, sregs.ss.selector, regs.rsp],
      [BigInt(Base + 16) | 3n, (Base + 24) | 3, BigInt(At.Stack3)],
    );
  });

  test('a null SYSENTER_CS is #GP(0)', () => {
    guest.startProtected({ cpl: 3 });
    setMsrs([[0x174, 3n]]);
    guest.code(At.UserCode, 32, (a) => void a.db(0x0f, 0x34));
    expectEvent(guest, { vector: 13, error: 0, rip: At.UserCode });
  });

  test('SYSCALL takes EIP and selectors from STAR and clears IF; SYSRET returns', () => {
    guest.startProtected({ cpl: 3 });
    sysenterSegments();
    const star = (BigInt(Base + 16) << 48n) | (BigInt(Base) << 32n) | BigInt(At.Code);
    setMsrs([[0xc000_0081, star]]);
    guest.update(({ regs, sregs }) => {
      sregs.efer |= Efer.Sce;
      regs.rflags |= BigInt(Flag.Interrupt);
    });
    guest.code(At.Code, 32, (a) => void a.mov(ebx, cs).mov(esp, At.Stack0).pushf().pop(esi).db(0x0f, 0x07));
    const a = guest.code(At.UserCode, 32, (a) => {
      a.db(0x0f, 0x05).label('after').mov(edi, cs);
      finish(a);
    });
    expectDone(guest);
    const { regs } = guest.state;
    assert.deepEqual(
      [regs.rbx, regs.rcx, regs.rdi],
      [BigInt(Base), BigInt(a.address('after')), BigInt(Base + 16) | 3n],
    );
    assert.equal(Number(regs.rsi) & Flag.Interrupt, 0);
    assert.equal(Number(regs.rflags) & Flag.Interrupt, Flag.Interrupt);
  });
});

describe('ENTER outside 64-bit code', () => {
  test('16-bit stack', () => {
    guest.startReal();
    guest.update(({ regs }) => void Object.assign(regs, { rsp: 0x5_7000n, rbp: 0x5_1234n }));
    guest.code(At.Code, 16, (a) => void finish(a.db(0xc8, 0x10, 0, 1)));
    expectDone(guest);
    const { regs } = guest.state;
    assert.deepEqual([regs.rsp, regs.rbp], [0x5_0000n | (0x7000n - 2n - 2n - 0x10n), 0x5_0000n | 0x6ffen]);
    assert.deepEqual([guest.read16(0x6ffe), guest.read16(0x6ffc)], [0x1234, 0x6ffe]);
  });
  test('a frame that does not fit is #SS(0) and changes nothing', () => {
    guest.startProtected();
    guest.setDescriptor(Sel.Test, descriptor(Type.ExpandDown, Size.Bits32, 0, At.Stack0 - 0x100));
    const a = guest.code(At.Code, 32, (a) => void a.mov(eax, Sel.Test).mov(ss, ax).label('enter').db(0xc8, 0, 2, 0));
    guest.setDescriptor(Sel.Data32Ring1, descriptor(Type.Data, Size.Bits32 | Size.Pages));
    expectEvent(guest, { vector: 12, error: 0, rip: a.address('enter') });
    assert.equal(guest.state.regs.rbp, 0n);
  });
});

describe('self-modifying code', () => {
  beforeEach(() => guest.startLong());

  test('a store to the next instruction takes effect after a jump', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(mem({ displacement: 'patched', size: 32 }), 0x0000_02b8)
        .jmp('patched')
        .label('patched')
        .db(0xb8)
        .dd(1);
      finish(a);
    });
    expectDone(guest, 2);
  });

  test('a loop that patches its own body each time round', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(ecx, 5).mov(eax, 0).label('loop').label('patched').add(eax, 1).jmp('next').label('next');
      // ADD EAX, imm32 is 81 C0 imm32: the immediate grows
      a.mov(rbx, 'patched').inc(mem({ base: rbx, displacement: 2, size: 8 }));
      a.dec(ecx).jcc('nz', 'loop');
      finish(a);
    });
    expectDone(guest, 1 + 2 + 3 + 4 + 5);
  });

  test('through another linear address of the same page', () => {
    const alias = 0x80_0000;
    guest.write64(At.PageTables + 0x2000 + 4 * 8, 0x87n); // linear 8 MiB maps physical 0
    guest.code(At.Code, 64, (a) => {
      a.call('function')
        .mov(rbx, alias + At.Code2)
        .mov(mem({ base: rbx, displacement: 1, size: 8 }), 9)
        .call('function');
      finish(a).label('function').mov(rax, At.Code2).jmp(rax);
    });
    guest.code(At.Code2, 64, (a) => void a.db(0xb8).dd(1).ret());
    expectDone(guest, 9);
  });

  test('by REP MOVS, by PUSH, and by the host', () => {
    guest.code(At.Code2, 64, (a) => void a.db(0xb8).dd(1).ret());
    guest.code(At.Data, 64, (a) => void a.db(0xb8).dd(0x21).ret());
    guest.code(At.Code, 64, (a) => {
      a.mov(rbx, At.Code2).call(rbx).mov(esi, At.Data).mov(edi, At.Code2).mov(ecx, 6).repMovs(8).call(rbx);
      a.mov(at(At.Results), eax)
        .mov(esp, At.Code2 + 8)
        .push(0x9090_35b8)
        .mov(esp, At.Stack0);
      finish(a).call(rbx);
      finish(a);
    });
    guest.code(At.Code2, 64, (a) => void a.db(0xb8).dd(1).ret());
    expectDone(guest);
    assert.equal(guest.result(0), 0x21);
    guest.write(At.Code2, Uint8Array.from([0xb8, 0x42, 0, 0, 0, 0xc3]));
    expectDone(guest, 0x42);
  });

  test('an instruction that crosses into a page which is then written', () => {
    const start = At.Code2 + 0xffe;
    guest.code(start, 64, (a) => void a.db(0xb8).dd(1).ret());
    guest.code(At.Code, 64, (a) => {
      a.mov(rbx, start)
        .call(rbx)
        .mov(at(start + 2, 8), 7)
        .call(rbx);
      finish(a);
    });
    expectDone(guest);
    assert.equal(guest.state.regs.rax, 0x701n);
  });

  test('page tables that move code elsewhere', () => {
    const linear = 0xa0_0000;
    const entry = At.PageTables + 0x2000 + (linear >> 21) * 8;
    guest.code(0x20_0000, 64, (a) => void a.db(0xb8).dd(1).ret());
    guest.code(0x40_0000, 64, (a) => void a.db(0xb8).dd(2).ret());
    guest.write64(entry, 0x20_0087n);
    guest.code(At.Code, 64, (a) => {
      a.mov(rbx, linear)
        .call(rbx)
        .mov(at(At.Results), eax)
        .mov(at(entry, 32), 0x40_0087)
        .mov(rax, cr(3))
        .mov(cr(3), rax);
      a.call(rbx);
      finish(a);
    });
    expectDone(guest, 2);
    assert.equal(guest.result(0), 1);
  });

  test('one page runs as 16-, 32- and 64-bit code', () => {
    const bytes = [0xb8, 1, 0, 0, 0, 0x40, 0xe6, 0xf4, 0x90];
    const run = (start: () => void): bigint => {
      start();
      guest.write(At.Code, Uint8Array.from(bytes));
      expectDone(guest);
      return guest.state.regs.rax;
    };
    assert.equal(
      run(() => guest.startProtected()),
      2n,
    );
    assert.equal(
      run(() => guest.startLong()),
      1n,
    ); // 40 is REX there
    guest.startReal();
    guest.write(At.Code, Uint8Array.from([0xb8, 1, 0, 0x66, 0x40, 0xe6, 0xf4]));
    expectDone(guest);
    assert.equal(guest.state.regs.rax, 2n);
  });
});
