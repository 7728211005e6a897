/**
 * Page walk in wasm (SDM Vol. 3A "Paging"; AMD APM Vol. 2 "Page Translation and Protection"): 4-level, PAE and 32-bit
 * paging, accessed and dirty bits, NX, U/S, R/W, WP, SMEP, reserved bits.
 *
 * Left out: PAE page-directory pointers are read at each walk instead of being cached at MOV CR3. Protection keys, SMAP
 * and 5-level paging are not advertised.
 */
import type { FunctionBuilder, FunctionRef, Label } from '../encoder/function-builder.ts';
import type { ModuleBuilder } from '../encoder/module-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../encoder/values.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';
import { Access } from './access.ts';

/** Bits of a walk's result, below the page's physical address. */
export const WalkResult = {
  /** The page may be written through a cached translation: writable at this privilege and already dirty. */
  Writable: 1,
  Global: 2,
} as const;

const Pte = { Present: 1n, Write: 2n, User: 4n, Accessed: 0x20n, Dirty: 0x40n, Large: 0x80n, Global: 0x100n } as const;
const AddressMask = 0x000f_ffff_ffff_f000n;
/** Physical address bits 48 to 51 are reserved: MAXPHYADDR is 48. */
const ReservedHigh = 0x000f_0000_0000_0000n;
const NoExecute = 1n << 63n;

const Cr0Paging = 1 << 31;
const Cr0WriteProtect = 1 << 16;
const Cr4Pse = 1 << 4;
const Cr4Pae = 1 << 5;
const Cr4Smep = 1 << 20;
const EferLma = 1 << 10;
const EferNxe = 1 << 11;

const PageFaultError = { Present: 1, Write: 2, User: 4, Reserved: 8, Fetch: 16 } as const;

interface Walk {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly linear: Local<I64>;
  readonly access: Local<I32>;
  /** Physical address of the current table. */
  readonly table: Local<I64>;
  readonly entry: Local<I64>;
  readonly host: Local<I32>;
  /** AND of the entries so far (R/W and U/S), OR of NX. */
  readonly allowed: Local<I64>;
  readonly nx: Local<I64>;
  /** Bits of the linear address inside the page. */
  readonly pageMask: Local<I64>;
  readonly reserved: Local<I32>;
}

/** Emits `walk(cpu, linear, access) -> i64`: page address (4 KiB-aligned) | WalkResult, or -1 with the fault recorded. */
export function definePageWalk(
  module: ModuleBuilder,
  walk: FunctionRef,
  hostOf: FunctionRef,
  raise: FunctionRef,
): void {
  module.define(walk, (f) => {
    const cpu = f.param('i32', 0);
    const w: Walk = {
      f,
      cpu,
      linear: f.param('i64', 1),
      access: f.param('i32', 2),
      table: f.local('i64'),
      entry: f.local('i64'),
      host: f.local('i32'),
      allowed: f.local('i64'),
      nx: f.local('i64'),
      pageMask: f.local('i64'),
      reserved: f.local('i32'),
    };
    const efer = f.let(cpu.load32(Cpu.Efer));
    const cr4 = f.let(cpu.load32(Cpu.Cr4));
    f.if(cpu.load32(Cpu.Cr0).and(Cr0Paging).eqz(), () => {
      f.return(w.linear.and(0xffff_f000n).or(BigInt(WalkResult.Writable)));
    });
    f.set(w.allowed, i64(Pte.Write | Pte.User));
    f.set(w.nx, i64(0));
    f.set(w.reserved, i32(0));
    f.block((faulted) => {
      f.block((found) => {
        f.if(efer.and(EferLma), () => longWalk(w, hostOf, raise, efer, found, faulted));
        f.if(cr4.and(Cr4Pae), () => paeWalk(w, hostOf, efer, found, faulted));
        legacyWalk(w, hostOf, cr4, found, faulted);
      });
      checkAndMark(w, efer, cr4, faulted);
    });
    pageFault(w, efer, cr4, raise);
    f.return(i64(-1));
  });
}

function longWalk(w: Walk, hostOf: FunctionRef, raise: FunctionRef, efer: I32, found: Label, faulted: Label): void {
  const { f } = w;
  f.unlikely(w.linear.shl(16).shrS(16).ne(w.linear), () => {
    // SDM Vol. 1 "Canonical Addressing": #SS for stack accesses, else #GP
    f.call(raise, w.cpu, w.access.and(Access.Stack).select(i32(12), i32(13)), i32(0));
    f.return(i64(-1));
  });
  f.set(w.table, w.cpu.load64(Cpu.Cr3).and(AddressMask));
  for (const level of [3, 2, 1, 0]) wideLevel(w, hostOf, efer, 12 + 9 * level, level, found, faulted);
}

function paeWalk(w: Walk, hostOf: FunctionRef, efer: I32, found: Label, faulted: Label): void {
  const { f } = w;
  const pointer = w.cpu.load64(Cpu.Cr3).and(0xffff_ffe0n).add(w.linear.shrU(30).and(3).shl(3));
  f.set(w.host, f.callValue('i32', hostOf, f.let(pointer)));
  f.brIf(faulted, w.host.eqz());
  f.set(w.entry, w.host.load64());
  f.brIf(faulted, w.entry.and(Pte.Present).eqz());
  f.set(w.table, w.entry.and(AddressMask));
  for (const level of [1, 0]) wideLevel(w, hostOf, efer, 12 + 9 * level, level, found, faulted);
}

/** One level of 8-byte entries. Leaves to `found` at a leaf, to `faulted` when not present or reserved bits are set. */
function wideLevel(
  w: Walk,
  hostOf: FunctionRef,
  efer: I32,
  shift: number,
  level: number,
  found: Label,
  faulted: Label,
): void {
  const { f } = w;
  f.set(w.host, f.callValue('i32', hostOf, w.table.add(w.linear.shrU(shift).and(511).shl(3))));
  f.brIf(faulted, w.host.eqz());
  f.set(w.entry, w.host.load64());
  f.brIf(faulted, w.entry.and(Pte.Present).eqz());
  const reservedBits = efer.and(EferNxe).select(i64(ReservedHigh), i64(ReservedHigh | NoExecute));
  const isReserved = level === 3 ? w.entry.and(reservedBits.or(Pte.Large)) : w.entry.and(reservedBits);
  f.if(isReserved.eqz().eqz(), () => {
    f.set(w.reserved, i32(1));
    f.br(faulted);
  });
  f.set(w.allowed, w.allowed.and(w.entry));
  f.set(w.nx, w.nx.or(w.entry));
  f.set(w.pageMask, i64((1n << BigInt(shift)) - 1n));
  if (level === 0) {
    f.br(found);
    return;
  }
  if (level < 3) {
    f.if(w.entry.and(Pte.Large).eqz().eqz(), () => {
      // Address bits below the page size, except PAT (bit 12), are reserved in a large page's entry
      f.set(
        w.reserved,
        w.entry
          .and(((1n << BigInt(shift)) - 1n) & ~0x1fffn)
          .eqz()
          .eqz(),
      );
      f.brIf(faulted, w.reserved);
      f.br(found);
    });
  }
  markAccessed(w, 8);
  f.set(w.table, w.entry.and(AddressMask));
}

function legacyWalk(w: Walk, hostOf: FunctionRef, cr4: I32, found: Label, faulted: Label): void {
  const { f } = w;
  f.set(w.nx, i64(0));
  const directory = w.cpu.load64(Cpu.Cr3).and(0xffff_f000n).add(w.linear.shrU(22).and(1023).shl(2));
  f.set(w.host, f.callValue('i32', hostOf, f.let(directory)));
  f.brIf(faulted, w.host.eqz());
  f.set(w.entry, w.host.load64_32u());
  f.brIf(faulted, w.entry.and(Pte.Present).eqz());
  f.set(w.allowed, w.allowed.and(w.entry));
  f.if(w.entry.and(Pte.Large).eqz().eqz().and(cr4.and(Cr4Pse).ne(0)), () => {
    f.set(w.pageMask, i64((1n << 22n) - 1n));
    // PSE-36: bits 13 to 20 are address bits 32 to 39; bit 21 is reserved
    f.set(
      w.reserved,
      w.entry
        .and(1n << 21n)
        .eqz()
        .eqz(),
    );
    f.brIf(faulted, w.reserved);
    f.br(found);
  });
  markAccessed(w, 4);
  f.set(w.host, f.callValue('i32', hostOf, w.entry.and(0xffff_f000n).add(w.linear.shrU(12).and(1023).shl(2))));
  f.brIf(faulted, w.host.eqz());
  f.set(w.entry, w.host.load64_32u());
  f.brIf(faulted, w.entry.and(Pte.Present).eqz());
  f.set(w.allowed, w.allowed.and(w.entry));
  f.set(w.pageMask, i64(0xfff));
  f.br(found);
}

function markAccessed(w: Walk, bytes: 4 | 8): void {
  const { f } = w;
  f.if(w.entry.and(Pte.Accessed).eqz(), () => {
    if (bytes === 8) f.store64(w.host, 0, w.entry.or(Pte.Accessed));
    else f.store32(w.host, 0, w.entry.or(Pte.Accessed));
  });
}

/** At a leaf: permissions (SDM Vol. 3A "Determination of Access Rights"), A and D bits; returns the result. */
function checkAndMark(w: Walk, efer: I32, cr4: I32, faulted: Label): void {
  const { f, access } = w;
  const user = f.let(access.and(Access.User | Access.System).eq(Access.User));
  const userPage = f.let(w.allowed.and(Pte.User).eqz().eqz());
  const writeProtect = w.cpu.load32(Cpu.Cr0).and(Cr0WriteProtect).ne(0);
  const mayWrite = f.let(w.allowed.and(Pte.Write).eqz().eqz().or(user.or(writeProtect).eqz()));
  f.set(w.reserved, i32(2)); // from here on a fault is one of permissions: P = 1
  f.brIf(faulted, user.and(userPage.eqz()));
  f.brIf(faulted, access.and(Access.Write).and(mayWrite.eqz()));
  f.if(access.and(Access.Execute), () => {
    f.brIf(faulted, w.nx.ltS(0).and(efer.and(EferNxe).ne(0)));
    f.brIf(faulted, cr4.and(Cr4Smep).ne(0).and(userPage).and(user.eqz()));
  });
  const marks = f.let(access.and(Access.Write).select(i64(Pte.Accessed | Pte.Dirty), i64(Pte.Accessed)));
  f.if(w.entry.and(marks).ne(marks), () => {
    f.set(w.entry, w.entry.or(marks));
    f.if(
      efer.and(EferLma).or(cr4.and(Cr4Pae)),
      () => f.store64(w.host, 0, w.entry),
      () => f.store32(w.host, 0, w.entry),
    );
  });
  const writable = mayWrite.and(w.entry.and(Pte.Dirty).eqz().eqz());
  const global = w.entry.and(Pte.Global).eqz().eqz().and(cr4.shrU(7));
  const isWide = efer.and(EferLma).or(cr4.and(Cr4Pae));
  // 4 MiB pages of 32-bit paging: PSE-36
  const pse = w.entry.and(0xffc0_0000n).or(w.entry.and(0x1f_e000n).shl(19));
  const base = f.let(
    isWide
      .eqz()
      .and(w.pageMask.ne(0xfff))
      .choose(pse, w.entry.and(AddressMask).and(w.pageMask.xor(-1n))),
  );
  f.return(base.or(w.linear.and(w.pageMask).and(-4096n)).or(writable.toI64u()).or(global.and(1).shl(1).toI64u()));
}

function pageFault(w: Walk, efer: I32, cr4: I32, raise: FunctionRef): void {
  const { f, access } = w;
  f.store64(w.cpu, Cpu.Cr2, w.linear);
  const fetchReported = efer.and(EferNxe).ne(0).or(cr4.and(Cr4Smep).ne(0));
  const error = w.reserved
    .ne(0)
    .select(i32(PageFaultError.Present), i32(0))
    .or(w.reserved.eq(1).select(i32(PageFaultError.Reserved), i32(0)))
    .or(access.and(Access.Write).select(i32(PageFaultError.Write), i32(0)))
    .or(
      access
        .and(Access.User | Access.System)
        .eq(Access.User)
        .select(i32(PageFaultError.User), i32(0)),
    )
    .or(access.and(Access.Execute).ne(0).and(fetchReported).select(i32(PageFaultError.Fetch), i32(0)));
  f.call(raise, w.cpu, i32(14), error);
}
