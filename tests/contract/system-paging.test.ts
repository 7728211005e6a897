/** Paging in its three modes (SDM Vol. 3A "Paging"; AMD APM Vol. 2 "Page Translation and Protection"). */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { type Assembler, at, cr, eax, ebx, mem, rax, rbx, rcx, al } from '../guest/assembler.ts';
import { Cr0, Cr4, Efer, type Frame, SystemGuest, finish } from './system-guest.ts';
import { expectDone, expectEvent } from './system-expect.ts';
import { At, MemorySize, Sel, Type, gate } from './system-layout.ts';

const guest = new SystemGuest();
const P = {
  Present: 1n,
  Write: 2n,
  User: 4n,
  Accessed: 0x20n,
  Dirty: 0x40n,
  Large: 0x80n,
  Global: 0x100n,
  Nx: 1n << 63n,
} as const;
const All = P.Present | P.Write | P.User;
/** Bits of a page fault's error code. */
const E = { Present: 1, Write: 2, User: 4, Reserved: 8, Fetch: 16 } as const;

/** A linear address of its own, mapped through its own table. */
const Test = 0x60_0000;
const TestTable = At.PageTables + 0x5000;

interface Mode {
  readonly name: string;
  readonly entryBytes: 4 | 8;
  start(cpl: 0 | 3): void;
  /** The entry of the last level that maps Test, the one above it, and the highest. */
  readonly entry: number;
  readonly middle: number;
  readonly top: number;
  /** Bytes of a large page. */
  readonly large: number;
}

/** Sets up 32-bit or PAE paging of the first 16 MiB. */
function legacyPaging(cpl: 0 | 3, pae: boolean): void {
  guest.startProtected({ cpl });
  const root = At.PageTables;
  const directory = root + 0x1000;
  if (pae) {
    guest.write64(root, BigInt(directory) | P.Present);
    for (let i = 0; i < MemorySize >> 21; i++) guest.write64(directory + i * 8, BigInt(i << 21) | All | P.Large);
    guest.write64(directory + (Test >> 21) * 8, BigInt(TestTable) | All);
    for (let i = 0; i < 512; i++) guest.write64(TestTable + i * 8, BigInt(Test + i * 4096) | All);
  } else {
    for (let i = 0; i < MemorySize >> 22; i++) guest.write32(root + i * 4, (i << 22) | Number(All | P.Large));
    guest.write32(root + (Test >> 22) * 4, TestTable | Number(All));
    for (let i = 0; i < 1024; i++) guest.write32(TestTable + i * 4, ((Test & ~0x3f_ffff) + i * 4096) | Number(All));
  }
  guest.update(({ sregs }) => {
    sregs.cr3 = BigInt(root);
    sregs.cr4 = pae ? Cr4.Pae : Cr4.Pse;
    sregs.efer = pae ? Efer.Nxe : 0n;
    sregs.cr0 |= Cr0.Pg | Cr0.Wp;
  });
}

const directoryEntry = At.PageTables + 0x1000 + (Test >> 21) * 8;
const longDirectoryEntry = directoryEntry + 0x1000;
const modes: readonly Mode[] = [
  {
    name: '32-bit paging',
    entryBytes: 4,
    start: (cpl) => legacyPaging(cpl, false),
    entry: TestTable + ((Test >> 12) & 1023) * 4,
    middle: At.PageTables + (Test >> 22) * 4,
    top: At.PageTables + (Test >> 22) * 4,
    large: 4 << 20,
  },
  {
    name: 'PAE paging',
    entryBytes: 8,
    start: (cpl) => legacyPaging(cpl, true),
    entry: TestTable,
    middle: directoryEntry,
    top: directoryEntry,
    large: 2 << 20,
  },
  {
    name: '4-level paging',
    entryBytes: 8,
    start(cpl) {
      guest.startLong({ cpl });
      guest.write64(longDirectoryEntry, BigInt(TestTable) | All);
      for (let i = 0; i < 512; i++) guest.write64(TestTable + i * 8, BigInt(Test + i * 4096) | All);
    },
    entry: TestTable,
    middle: longDirectoryEntry,
    top: At.PageTables,
    large: 2 << 20,
  },
];

for (const mode of modes) {
  const bits = mode.name.startsWith('4') ? 64 : 32;
  const codeAt = (cpl: 0 | 3): number => (cpl ? At.UserCode : At.Code);
  const get = (address: number): bigint =>
    mode.entryBytes === 4 ? BigInt(guest.read32(address)) : guest.read64(address);
  const set = (address: number, value: bigint): void =>
    mode.entryBytes === 4 ? guest.write32(address, Number(value & 0xffff_ffffn)) : guest.write64(address, value);

  /** Runs one access to Test; answers the page fault's frame, or undefined. */
  function access(kind: 'read' | 'write' | 'fetch', cpl: 0 | 3, prepare: () => void = () => {}): Frame | undefined {
    mode.start(cpl);
    guest.write(Test, Uint8Array.from([0xc3])); // RET
    prepare();
    const a = guest.code(codeAt(cpl), bits, (a) => {
      a.mov(ebx, Test).label('access');
      if (kind === 'read') a.mov(al, mem({ base: bits === 64 ? rbx : ebx }));
      else if (kind === 'write') a.mov(mem({ base: bits === 64 ? rbx : ebx }), al);
      else a.call(bits === 64 ? rbx : ebx);
      finish(a);
    });
    const stop = guest.run();
    if (stop.kind === 'done') return undefined;
    assert.ok(stop.kind === 'event' && stop.vector === 14, JSON.stringify(stop));
    assert.equal(guest.state.sregs.cr2, BigInt(Test));
    assert.equal(stop.rip, kind === 'fetch' ? Test : a.address('access'));
    return stop;
  }
  const errorOf = (...args: Parameters<typeof access>): number | undefined => access(...args)?.error;

  describe(mode.name, () => {
    test('accessed bits at every level, dirty at the last', () => {
      assert.equal(access('read', 3), undefined);
      assert.equal(get(mode.entry) & (P.Accessed | P.Dirty), P.Accessed);
      assert.equal(get(mode.middle) & P.Accessed, P.Accessed);
      assert.equal(access('write', 3), undefined);
      assert.equal(get(mode.entry) & (P.Accessed | P.Dirty), P.Accessed | P.Dirty);
      if (mode.middle !== mode.entry) assert.equal(get(mode.middle) & P.Dirty, 0n);
    });

    test('a write after a read still sets the dirty bit', () => {
      mode.start(0);
      guest.code(At.Code, bits, (a) => {
        a.mov(eax, at(Test)).mov(eax, at(Test)).mov(at(Test), eax);
        finish(a);
      });
      expectDone(guest);
      assert.equal(get(mode.entry) & P.Dirty, P.Dirty);
    });

    test('a faulting access leaves the bits of the last level alone', () => {
      const readOnly = (): void => set(mode.entry, get(mode.entry) & ~P.Write);
      assert.equal(errorOf('write', 3, readOnly), E.Present | E.Write | E.User);
      assert.equal(get(mode.entry) & (P.Accessed | P.Dirty), 0n);
    });

    test('not present, at each level', () => {
      for (const level of [mode.entry, mode.middle, mode.top]) {
        const absent = (): void => set(level, get(level) & ~P.Present);
        if (level === At.PageTables) continue; // everything is mapped through it
        assert.equal(errorOf('read', 0, absent), 0);
        assert.equal(errorOf('write', 0, absent), E.Write);
        assert.equal(errorOf('read', 3, absent), E.User);
        assert.equal(errorOf('write', 3, absent), E.Write | E.User);
      }
    });

    test('supervisor pages, at each level', () => {
      for (const level of [mode.entry, mode.middle]) {
        const supervisor = (): void => set(level, get(level) & ~P.User);
        assert.equal(errorOf('read', 0, supervisor), undefined);
        assert.equal(errorOf('read', 3, supervisor), E.Present | E.User);
        assert.equal(errorOf('write', 3, supervisor), E.Present | E.Write | E.User);
      }
    });

    test('read-only pages, and CR0.WP', () => {
      for (const level of [mode.entry, mode.middle]) {
        const readOnly = (): void => set(level, get(level) & ~P.Write);
        assert.equal(errorOf('read', 3, readOnly), undefined);
        assert.equal(errorOf('write', 3, readOnly), E.Present | E.Write | E.User);
        assert.equal(errorOf('write', 0, readOnly), E.Present | E.Write);
        const withoutWp = (): void => {
          readOnly();
          guest.update(({ sregs }) => void (sregs.cr0 &= ~Cr0.Wp));
        };
        assert.equal(errorOf('write', 0, withoutWp), undefined);
        assert.equal(errorOf('write', 3, withoutWp), E.Present | E.Write | E.User);
      }
    });

    test('SMEP', () => {
      const smep = (): void => guest.update(({ sregs }) => void (sregs.cr4 |= Cr4.Smep));
      const kernelPage = (): void => {
        smep();
        // The code itself runs from supervisor pages
        const first = mode.name.startsWith('4')
          ? At.PageTables + 0x2000
          : mode.entryBytes === 8
            ? At.PageTables + 0x1000
            : At.PageTables;
        set(first, get(first) & ~P.User);
      };
      assert.equal(errorOf('fetch', 0, kernelPage), E.Present | E.Fetch);
      assert.equal(errorOf('read', 0, kernelPage), undefined);
      assert.equal(errorOf('fetch', 3, smep), undefined);
    });

    test('a large page', () => {
      const large = (): void => {
        const base = BigInt(Test & ~(mode.large - 1));
        set(mode.middle, base | All | P.Large);
      };
      assert.equal(access('write', 3, large), undefined);
      assert.equal(get(mode.middle) & (P.Accessed | P.Dirty), P.Accessed | P.Dirty);
      const reserved = (): void => {
        large();
        set(mode.middle, get(mode.middle) | (mode.entryBytes === 8 ? 1n << 13n : 1n << 21n));
      };
      assert.equal(errorOf('read', 0, reserved), E.Present | E.Reserved);
      assert.equal(errorOf('write', 3, reserved), E.Present | E.Reserved | E.Write | E.User);
    });

    if (mode.entryBytes === 8) {
      test('NX, and reserved without EFER.NXE', () => {
        for (const level of [mode.entry, mode.middle]) {
          const nx = (): void => set(level, get(level) | P.Nx);
          assert.equal(errorOf('read', 0, nx), undefined);
          assert.equal(errorOf('fetch', 0, nx), E.Present | E.Fetch);
          assert.equal(errorOf('fetch', 3, nx), E.Present | E.User | E.Fetch);
          const withoutNxe = (): void => {
            nx();
            guest.update(({ sregs }) => void (sregs.efer &= ~Efer.Nxe));
          };
          assert.equal(errorOf('read', 0, withoutNxe), E.Present | E.Reserved);
          assert.equal(errorOf('fetch', 0, withoutNxe), E.Present | E.Reserved);
        }
      });

      test('reserved physical address bits', () => {
        const reserved = (): void => set(mode.entry, get(mode.entry) | (1n << 50n));
        assert.equal(errorOf('read', 3, reserved), E.Present | E.Reserved | E.User);
      });
    }

    test('CR3 and INVLPG drop translations; global pages survive CR3 but not CR4.PGE', () => {
      const results = (global: boolean, flush: (a: Assembler) => unknown): number => {
        mode.start(0);
        if (global) {
          set(mode.entry, get(mode.entry) | P.Global);
          guest.update(({ sregs }) => void (sregs.cr4 |= Cr4.Pge));
        }
        guest.write32(Test, 0x1111);
        guest.write32(At.Spare, 0x2222);
        guest.code(At.Code, bits, (a) => {
          a.mov(eax, at(Test)).mov(eax, at(mode.entry)).and(eax, 0xfff).or(eax, At.Spare).mov(at(mode.entry), eax);
          flush(a);
          a.mov(ebx, at(Test)).mov(at(At.Results), ebx);
          finish(a);
        });
        expectDone(guest);
        return guest.result(0);
      };
      const full = bits === 64 ? rax : eax;
      const reloadCr3 = (a: Assembler): unknown => a.mov(full, cr(3)).mov(cr(3), full);
      const togglePge = (a: Assembler): unknown =>
        a.mov(full, cr(4)).xor(eax, Number(Cr4.Pge)).mov(cr(4), full).xor(eax, Number(Cr4.Pge)).mov(cr(4), full);
      assert.equal(results(false, reloadCr3), 0x2222);
      assert.equal(
        results(false, (a) => a.invlpg(at(Test))),
        0x2222,
      );
      assert.equal(results(true, reloadCr3), 0x1111);
      assert.equal(
        results(true, (a) => a.invlpg(at(Test))),
        0x2222,
      );
      assert.equal(results(true, togglePge), 0x2222);
    });

    test('an access across two pages checks both before it writes', () => {
      mode.start(0);
      const second = mode.entry + mode.entryBytes;
      set(second, get(second) & ~P.Present);
      guest.write32(Test + 0xffe, 0xaaaa_aaaa);
      guest.code(At.Code, bits, (a) => void finish(a.mov(at(Test + 0xffe, 32), 0x1234_5678)));
      const frame = expectEvent(guest, { vector: 14, error: E.Write, rip: At.Code });
      assert.equal(guest.state.sregs.cr2, BigInt(Test + 0x1000));
      assert.equal(guest.read16(Test + 0xffe), 0xaaaa);
      assert.ok(frame.rip === At.Code);
      set(second, BigInt(At.Spare) | All);
      // As a handler would: drop the error code and return
      guest.update(({ regs }) => void (regs.rsp += BigInt(bits / 8)));
      expectDone(guest);
      assert.deepEqual([guest.read16(Test + 0xffe), guest.read16(At.Spare)], [0x5678, 0x1234]);
    });

    test('an instruction across two pages', () => {
      mode.start(0);
      set(mode.entry + mode.entryBytes, BigInt(At.Spare) | All);
      const a = guest.code(Test + 0xffd, bits, (a) => void a.mov(eax, 0x1234_5678).db(0xe6, 0xf4));
      const bytes = a.finish();
      guest.write(At.Spare, bytes.subarray(3));
      guest.write(Test + 0x1000, new Uint8Array(16));
      guest.code(At.Code, bits, (a) => void a.jmp(Test + 0xffd));
      expectDone(guest);
      assert.equal(guest.state.regs.rax, 0x1234_5678n);
      mode.start(0);
      set(mode.entry + mode.entryBytes, 0n);
      guest.write(Test + 0xffd, bytes.subarray(0, 3));
      guest.code(At.Code, bits, (a) => void a.jmp(Test + 0xffd));
      expectEvent(guest, { vector: 14, error: mode.entryBytes === 8 ? E.Fetch : 0, rip: Test + 0xffd });
      assert.equal(guest.state.sregs.cr2, BigInt(Test + 0x1000));
    });

    test('a page fault while delivering a page fault is a double fault', () => {
      mode.start(0);
      set(mode.entry, 0n);
      guest.setGate(14, gate(Type.Interrupt32, bits === 64 ? Sel.Code64 : Sel.Code32, At.Stubs + 14 * 4));
      guest.update(({ sregs }) => {
        // The IDT entry of #PF lies in the absent page, that of #DF before it
        const entry = bits === 64 ? 16 : 8;
        sregs.idt = { base: BigInt(Test - 14 * entry), limit: 256 * entry - 1 };
      });
      const entry = bits === 64 ? 16 : 8;
      for (let i = 0; i < 14 * entry; i++)
        guest.write(Test - 14 * entry + i, Uint8Array.from([guest.read8(At.Idt + i)]));
      const a = guest.code(
        At.Code,
        bits,
        (a) =>
          void a
            .mov(ebx, Test)
            .label('bad')
            .mov(eax, mem({ base: bits === 64 ? rbx : ebx })),
      );
      expectEvent(guest, { vector: 8, error: 0, rip: a.address('bad') });
    });

    test('descriptor tables are read as a supervisor at CPL 3', () => {
      mode.start(3);
      set(mode.entry, get(mode.entry) & ~P.User);
      for (let i = 0; i < 0xc0; i++) guest.write(Test + i, Uint8Array.from([guest.read8(At.Gdt + i)]));
      guest.update(({ sregs }) => void (sregs.gdt = { base: BigInt(Test), limit: 0xbf }));
      const a = guest.code(At.UserCode, bits, (a) => {
        a.mov(eax, Sel.UserData32).db(0x8e, 0xd8).label('data').mov(eax, at(Test));
      });
      expectEvent(guest, { vector: 14, error: E.Present | E.User, rip: a.address('data') });
    });
  });
}

describe('4-level paging only', () => {
  beforeEach(() => guest.startLong());

  test('1 GiB pages', () => {
    guest.write64(At.PageTables + 0x1000 + 8, All | P.Large); // linear 1 GiB maps physical 0
    guest.code(At.Code, 64, (a) => {
      a.mov(rbx, (1 << 30) + At.Data).mov(mem({ base: rbx, size: 32 }), 0x1234);
      finish(a);
    });
    expectDone(guest);
    assert.equal(guest.read32(At.Data), 0x1234);
    assert.equal(guest.read64(At.PageTables + 0x1008) & P.Dirty, P.Dirty);
  });

  test('the large bit is reserved in a PML4 entry', () => {
    guest.write64(At.PageTables + 8, BigInt(At.PageTables + 0x1000) | All | P.Large);
    const a = guest.code(
      At.Code,
      64,
      (a) =>
        void a
          .mov(rbx, 1n << 39n)
          .label('read')
          .mov(rax, mem({ base: rbx })),
    );
    expectEvent(guest, { vector: 14, error: E.Present | E.Reserved, rip: a.address('read') });
  });

  test('the upper half is reached through entry 256 and above', () => {
    guest.write64(At.PageTables + 511 * 8, BigInt(At.PageTables + 0x1000) | All);
    guest.code(At.Code, 64, (a) => {
      a.mov(rbx, -(1n << 39n) + BigInt(At.Data)).mov(rcx, mem({ base: rbx }));
      finish(a);
    });
    guest.write64(At.Data, 0x77n);
    expectDone(guest);
    assert.equal(guest.state.regs.rcx, 0x77n);
  });

  test('a page table outside memory reads as absent or faults, and does not reach beyond', () => {
    guest.write64(At.PageTables + 8, 0x7fff_ffff_f000n | All);
    const a = guest.code(
      At.Code,
      64,
      (a) =>
        void a
          .mov(rbx, 1n << 39n)
          .label('read')
          .mov(rax, mem({ base: rbx })),
    );
    const stop = guest.run();
    assert.ok(stop.kind === 'event' && stop.vector === 14);
    assert.equal(stop.rip, a.address('read'));
  });
});
