/** Segment loads and limits in protected mode (SDM Vol. 3A "Protection"; SDM Vol. 2 "MOV—Move", "LAR", "LSL", "VERR/VERW"). */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { ax, bx, ds, eax, ebx, ecx, es, fs, gs, mem, ss, at, type Register } from '../guest/assembler.ts';
import { SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent } from './system-expect.ts';
import { At, NotPresent, Sel, Size, Type, descriptor, dpl } from './system-layout.ts';

const guest = new SystemGuest();
const Flat = Size.Bits32 | Size.Pages;

/** Runs a load of `selector` into a segment register; answers the vector and error code, or undefined when it worked. */
function load(register: Register, selector: number, cpl: 0 | 3 = 0): { vector: number; error: number } | undefined {
  const code = cpl ? At.UserCode : At.Code;
  const a = guest.code(code, 32, (a) => {
    a.mov(eax, selector).label('load').mov(register, ax).hlt();
    a.label('end');
  });
  guest.write(a.address('end') - 1, Uint8Array.from([0xe6, 0xf4]));
  const stop = guest.run();
  if (stop.kind === 'done') return undefined;
  assert.ok(stop.kind === 'event');
  assert.equal(stop.rip, a.address('load'));
  return { vector: stop.vector, error: stop.error ?? -1 };
}

describe('data segments', () => {
  beforeEach(() => guest.startProtected());

  test('a null selector loads, and using it is #GP(0)', () => {
    const a = guest.code(At.Code, 32, (a) => {
      a.mov(eax, 3).mov(ds, ax).label('use').mov(ecx, at(0x100, 32));
    });
    expectEvent(guest, { vector: 13, error: 0, rip: a.address('use') });
    assert.equal(guest.state.sregs.ds.selector, 3);
  });

  test('a selector beyond the table is #GP(selector)', () => {
    assert.deepEqual(load(ds, 0xc3), { vector: 13, error: 0xc0 });
  });

  test('a local selector without an LDT is #GP(selector)', () => {
    assert.deepEqual(load(ds, 0x0c), { vector: 13, error: 0x0c });
  });

  test('execute-only code is #GP, readable code loads', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.ExecuteOnly, Flat));
    assert.deepEqual(load(es, Sel.Test), { vector: 13, error: Sel.Test });
    guest.startProtected();
    assert.equal(load(es, Sel.Code32), undefined);
  });

  test('a system descriptor is #GP', () => {
    assert.deepEqual(load(fs, Sel.Tss), { vector: 13, error: Sel.Tss });
  });

  test('not present is #NP after the privilege check', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Data & ~NotPresent, Flat));
    assert.deepEqual(load(gs, Sel.Test), { vector: 11, error: Sel.Test });
  });

  test('RPL above DPL is #GP', () => {
    assert.deepEqual(load(ds, Sel.Data32 | 3), { vector: 13, error: Sel.Data32 });
  });

  test('CPL above DPL is #GP, but not for conforming code', () => {
    guest.startProtected({ cpl: 3 });
    assert.deepEqual(load(ds, Sel.Data32, 3), { vector: 13, error: Sel.Data32 });
    guest.startProtected({ cpl: 3 });
    assert.equal(load(ds, Sel.Conforming32 | 3, 3), undefined);
  });

  test('loading sets the accessed bit, failing does not', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Data, Flat));
    assert.equal(load(ds, Sel.Test), undefined);
    assert.equal(Number(guest.readDescriptor(Sel.Test) >> 40n) & 1, 1);
    guest.startProtected();
    guest.setDescriptor(Sel.Test, descriptor(Type.Data & ~NotPresent, Flat));
    load(ds, Sel.Test);
    assert.equal(Number(guest.readDescriptor(Sel.Test) >> 40n) & 1, 0);
  });
});

describe('the stack segment', () => {
  beforeEach(() => guest.startProtected());

  test('null is #GP(0)', () => assert.deepEqual(load(ss, 0), { vector: 13, error: 0 }));
  test('RPL other than CPL is #GP', () => {
    assert.deepEqual(load(ss, Sel.Data32 | 1), { vector: 13, error: Sel.Data32 });
  });
  test('DPL other than CPL is #GP', () => {
    assert.deepEqual(load(ss, Sel.UserData32 & ~3), { vector: 13, error: Sel.UserData32 & ~3 });
  });
  test('read-only data and code are #GP', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.ReadOnly, Flat));
    assert.deepEqual(load(ss, Sel.Test), { vector: 13, error: Sel.Test });
    guest.startProtected();
    assert.deepEqual(load(ss, Sel.Code32), { vector: 13, error: Sel.Code32 });
  });
  test('not present is #SS(selector)', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.Data & ~NotPresent, Flat));
    assert.deepEqual(load(ss, Sel.Test), { vector: 12, error: Sel.Test });
  });
});

describe('limits', () => {
  /** The vector of an access to `offset` with a segment of this descriptor, or undefined. */
  function access(value: bigint, offset: number, write: boolean, bits: 8 | 32 = 32): number | undefined {
    guest.startProtected();
    guest.setDescriptor(Sel.Test, value);
    guest.code(At.Code, 32, (a) => {
      a.mov(eax, Sel.Test).mov(es, ax).mov(ebx, offset);
      const operand = mem({ base: ebx, segment: es, size: bits });
      if (write)
        a.db(0x26).op([bits === 8 ? 0xc6 : 0xc7], 0, mem({ base: ebx, size: bits }), {
          immediate: { value: 1, bytes: bits === 8 ? 1 : 4 },
        });
      else a.op([bits === 8 ? 0x8a : 0x8b], 1, operand, { size: bits });
      finish(a);
    });
    const stop = guest.run();
    if (stop.kind === 'event') assert.equal(stop.error, 0);
    return stop.kind === 'event' ? stop.vector : undefined;
  }

  test('the last byte must be within the limit', () => {
    const small = descriptor(Type.Data, Size.Bits32, At.Data, 0xff);
    assert.equal(access(small, 0xfc, false), undefined);
    assert.equal(access(small, 0xfd, false), 13);
    assert.equal(access(small, 0xff, true, 8), undefined);
    assert.equal(access(small, 0x100, true, 8), 13);
  });
  test('the granularity bit counts pages', () => {
    const pages = descriptor(Type.Data, Flat, At.Data, 0);
    assert.equal(access(pages, 0xffc, true), undefined);
    assert.equal(access(pages, 0xffd, true), 13);
  });
  test('an offset that wraps is beyond the limit', () => {
    assert.equal(access(descriptor(Type.Data, Size.Bits32, At.Data, 0xff), 0xffff_fffe, false), 13);
  });
  test('expand-down segments reach from above the limit to the top', () => {
    const down = descriptor(Type.ExpandDown, Size.Bits32, At.Data, 0xff);
    assert.equal(access(down, 0xff, false, 8), 13);
    assert.equal(access(down, 0x100, false), undefined);
    const down16 = descriptor(Type.ExpandDown, Size.Bits16, At.Data, 0xff);
    assert.equal(access(down16, 0xfffc, true), undefined);
    assert.equal(access(down16, 0xfffd, true), 13);
  });
  test('writes need a writable segment', () => {
    assert.equal(access(descriptor(Type.ReadOnly, Flat), At.Data, false), undefined);
    assert.equal(access(descriptor(Type.ReadOnly, Flat), At.Data, true), 13);
    assert.equal(access(descriptor(Type.Code, Flat), At.Data, false), undefined);
    assert.equal(access(descriptor(Type.Code, Flat), At.Data, true), 13);
  });
});

describe('LAR, LSL, VERR, VERW', () => {
  /** ZF and EBX after the instruction with `selector` in AX, at `cpl`. */
  function probe(opcode: readonly number[], selector: number, cpl: 0 | 3 = 0): { zero: boolean; value: number } {
    guest.code(cpl ? At.UserCode : At.Code, 32, (a) => {
      a.mov(ebx, 0xdead_0000).mov(eax, selector).db(0x31, 0xc9).db(0x83, 0xf9, 1); // CMP ECX, 1: ZF clear
      a.db(...opcode).setcc('z', mem({ displacement: At.Results, size: 8 }));
      finish(a);
    });
    guest.resumeAt(cpl ? At.UserCode : At.Code);
    expectDone(guest);
    return { zero: guest.read8(At.Results) === 1, value: Number(guest.state.regs.rbx) };
  }
  const lar = [0x0f, 0x02, 0xd8];
  const lsl = [0x0f, 0x03, 0xd8];
  const verr = [0x0f, 0x00, 0xe0];
  const verw = [0x0f, 0x00, 0xe8];
  beforeEach(() => guest.startProtected());

  test('LAR answers type and attributes', () => {
    assert.deepEqual(probe(lar, Sel.UserData32), { zero: true, value: 0x00cf_f200 });
  });
  test('LSL answers the limit in bytes', () => {
    assert.deepEqual(probe(lsl, Sel.Data32), { zero: true, value: 0xffff_ffff });
    assert.deepEqual(probe(lsl, Sel.Data16), { zero: true, value: 0xffff });
  });
  test('null, beyond the table and hidden by privilege: ZF is clear and the register stays', () => {
    const hidden = { zero: false, value: 0xdead_0000 };
    assert.deepEqual(probe(lar, 0), hidden);
    assert.deepEqual(probe(lar, 0xf0), hidden);
    guest.startProtected({ cpl: 3 });
    assert.deepEqual(probe(lsl, Sel.Data32, 3), hidden);
  });
  test('LAR sees gates, LSL does not', () => {
    guest.setDescriptor(Sel.Gate, 0x0000_8c00_0008_0000n);
    assert.deepEqual(probe(lar, Sel.Gate), { zero: true, value: 0x8c00 });
    assert.equal(probe(lsl, Sel.Gate).zero, false);
    guest.setDescriptor(Sel.Gate, 0x0000_8e00_0008_0000n);
    assert.equal(probe(lar, Sel.Gate).zero, false);
  });
  test('VERR and VERW', () => {
    guest.setDescriptor(Sel.Test, descriptor(Type.ExecuteOnly, Flat));
    guest.setDescriptor(Sel.Test2, descriptor(Type.ReadOnly | dpl(3), Flat));
    assert.equal(probe(verr, Sel.Test).zero, false);
    assert.equal(probe(verr, Sel.Test2).zero, true);
    assert.equal(probe(verw, Sel.Test2).zero, false);
    assert.equal(probe(verw, Sel.Data32).zero, true);
    guest.startProtected({ cpl: 3 });
    assert.equal(probe(verr, Sel.Data32, 3).zero, false);
    assert.equal(probe(verr, Sel.Conforming32, 3).zero, true);
  });
});

describe('LLDT, LTR', () => {
  beforeEach(() => guest.startProtected());

  test('a loaded LDT provides descriptors', () => {
    guest.write64(At.Ldt + 8, descriptor(Type.Data, Flat, At.Data));
    guest.code(At.Code, 32, (a) => {
      a.mov(eax, Sel.Ldt).db(0x0f, 0x00, 0xd0).mov(eax, 0x0c).mov(ds, ax).mov(at(0, 32), 0x55aa);
      finish(a);
    });
    expectDone(guest);
    assert.equal(guest.read32(At.Data), 0x55aa);
  });
  test('LTR of a busy TSS is #GP; of an available one sets busy', () => {
    guest.code(At.Code, 32, (a) => {
      a.mov(eax, Sel.Tss2).ltr(ax).mov(bx, ax).ltr(ax);
    });
    expectEvent(guest, { vector: 13, error: Sel.Tss2 });
    assert.equal(Number(guest.readDescriptor(Sel.Tss2) >> 40n) & 0xf, 0xb);
    assert.equal(guest.state.sregs.tr.selector, Sel.Tss2);
  });
  test('LLDT of what is no LDT is #GP, of an absent one #NP, of null works', () => {
    const lldt = (selector: number): void => {
      guest.startProtected();
      guest.setDescriptor(Sel.Test, descriptor(Type.Ldt & ~NotPresent, 0, At.Ldt, 0xff));
      guest.code(At.Code, 32, (a) => {
        a.mov(eax, selector).db(0x0f, 0x00, 0xd0);
        finish(a);
      });
    };
    lldt(Sel.Tss2);
    expectEvent(guest, { vector: 13, error: Sel.Tss2 });
    lldt(Sel.Test);
    expectEvent(guest, { vector: 11, error: Sel.Test });
    lldt(0);
    expectDone(guest);
  });
  test('at CPL 3 both are #GP(0)', () => {
    guest.startProtected({ cpl: 3 });
    guest.code(At.UserCode, 32, (a) => void a.mov(eax, Sel.Ldt).db(0x0f, 0x00, 0xd0));
    expectEvent(guest, { vector: 13, error: 0 });
  });
});
