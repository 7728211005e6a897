/** What the host puts into the harness guest's memory before it starts: tables, driver, handlers; and the vCPU's state. */
import type { Segment, VcpuState } from '@lodger/vmm/engine/state.js';
import { buildDriver, buildHandlers } from './harness-guest.ts';
import type { HarnessKind } from './harness-guest.ts';
import { FsBase, GsBase, HighAlias, Low, Selector } from './harness-layout.ts';
import type { OracleTarget } from './target.ts';
import { descriptorOf, testSegments } from './test-segments.ts';

/** Supervisor pages, from Low.Tables on. */
const Table = {
  Pml4: Low.Tables,
  LowPdpt: Low.Tables + 0x1000,
  HighPdpt: Low.Tables + 0x2000,
  LowPd: Low.Tables + 0x3000,
  HighPd: Low.Tables + 0x4000,
  Pt: Low.Tables + 0x5000,
  Gdt: Low.Tables + 0x8000,
  Ldt: Low.Tables + 0x8800,
  Idt: Low.Tables + 0x9000,
  Tss: Low.Tables + 0xa000,
  Handlers: Low.Tables + 0xb000,
  StackTop: Low.Tables + 0x1_0000,
} as const;

/** Page-table entry bits (SDM Vol. 3A Table 4-20 "Format of a Page-Table Entry that Maps a 4-KByte Page"). */
const Pte = { Present: 1n, Write: 2n, User: 4n, Accessed: 0x20n, Dirty: 0x40n, NoExecute: 1n << 63n } as const;
const Touched = Pte.Present | Pte.Accessed | Pte.Dirty;

export interface PageAccess {
  readonly user: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

/** Access rights of the page at `address`, or undefined when it is not present. */
export function pageAccess(address: number): PageAccess | undefined {
  const access = (user: boolean, write: boolean, execute: boolean): PageAccess => ({ user, write, execute });
  const within = (start: number, end: number) => address >= start && address < end;
  if (address < Low.Control || within(Low.Hole, Low.ReadOnly)) return undefined;
  if (within(Low.Arena, Low.Hole)) return access(true, true, false);
  if (within(Low.Driver, Low.Arena)) return access(true, false, true);
  if (within(Low.ReadOnly, Low.Supervisor)) return access(true, false, false);
  if (within(Low.Supervisor, Low.Supervisor + 0x1000)) return access(false, true, true);
  if (within(Low.Slots, Low.Slots + 0x6000)) return access(true, false, true);
  if (within(Low.HighInput, Low.Input)) return access(true, true, false);
  if (within(Low.Tables, Low.HighInput)) return access(false, true, true);
  return access(true, true, true);
}

function pageEntry(address: number): bigint {
  const access = pageAccess(address);
  if (access === undefined) return 0n;
  const rights =
    (access.user ? Pte.User : 0n) | (access.write ? Pte.Write : 0n) | (access.execute ? 0n : Pte.NoExecute);
  return BigInt(address) | Touched | rights;
}

function writeU64s(target: OracleTarget, address: number, values: readonly bigint[]): void {
  const view = new DataView(new ArrayBuffer(values.length * 8));
  values.forEach((value, index) => view.setBigUint64(index * 8, BigInt.asUintN(64, value), true));
  target.write(address, new Uint8Array(view.buffer));
}

function writePageTables(target: OracleTarget): void {
  const link = Touched | Pte.User | Pte.Write;
  const entry = (table: number, index: bigint, to: number) =>
    writeU64s(target, table + Number(index & 511n) * 8, [BigInt(to) | link]);
  entry(Table.Pml4, 0n, Table.LowPdpt);
  entry(Table.LowPdpt, 0n, Table.LowPd);
  entry(Table.LowPd, 0n, Table.Pt);
  entry(Table.Pml4, HighAlias >> 39n, Table.HighPdpt);
  entry(Table.HighPdpt, HighAlias >> 30n, Table.HighPd);
  entry(Table.HighPd, HighAlias >> 21n, Table.Pt);
  const pages = Array.from({ length: 512 }, (_, index) => pageEntry(index * 4096));
  writeU64s(target, Table.Pt, pages);
}

/** Code and data descriptors (SDM Vol. 3A Figure 3-8 "Segment Descriptor"), flat. */
const Descriptor = {
  Code64: 0x00af_9b00_0000_ffffn,
  Code32: 0x00cf_9b00_0000_ffffn,
  Data: 0x00cf_9300_0000_ffffn,
} as const;
const Ring3 = 3n << 45n;
const TssLimit = 0x67;
const LdtLimit = testSegments.length * 8 - 1;

function writeGdt(target: OracleTarget): number {
  const entries = Array<bigint>(12).fill(0n);
  const set = (selector: number, value: bigint) => (entries[selector >> 3] = value);
  set(Selector.KernelCode, Descriptor.Code64);
  set(Selector.KernelData, Descriptor.Data);
  set(Selector.UserCode32, Descriptor.Code32 | Ring3);
  set(Selector.UserData, Descriptor.Data | Ring3);
  set(Selector.UserCode64, Descriptor.Code64 | Ring3);
  const base = BigInt(Table.Tss);
  writeU64s(target, Table.Ldt, testSegments.map(descriptorOf));
  set(Selector.Ldt, (0x82n << 40n) | (BigInt(Table.Ldt) << 16n) | BigInt(LdtLimit));
  set(Selector.Tss, ((base >> 24n) << 56n) | (0x8bn << 40n) | ((base & 0xff_ffffn) << 16n) | BigInt(TssLimit));
  writeU64s(target, Table.Gdt, entries);
  return entries.length * 8 - 1;
}

/** Interrupt gates (SDM Vol. 3A Figure 6-8 "64-Bit IDT Gate Descriptors"); those that ring 3 may call have DPL 3. */
function writeIdt(target: OracleTarget, vectors: ReadonlyMap<number, number>): number {
  const callable = [3, 4];
  for (const [vector, address] of vectors) {
    const offset = BigInt(address);
    const attributes = callable.includes(vector) ? 0xeen : 0x8en;
    const low = (offset & 0xffffn) | (BigInt(Selector.KernelCode) << 16n) | (attributes << 40n);
    writeU64s(target, Table.Idt + vector * 16, [low | ((offset >> 16n) << 48n), 0n]);
  }
  return (Math.max(...vectors.keys()) + 1) * 16 - 1;
}

const flat = (selector: number, type: number, dpl: number, l: boolean): Segment => ({
  base: 0n, limit: 0xffff_ffff, selector, type, present: true, dpl, db: !l, s: true, l, g: true, avl: false,
  unusable: false,
}); // prettier-ignore

function initialState(entry: number, gdtLimit: number, idtLimit: number, kind: HarnessKind): VcpuState {
  const data = flat(Selector.UserData, 3, 3, false);
  const system = { ...flat(0, 0, 0, false), s: false, g: false, db: false };
  return {
    version: 1,
    regs: {
      rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rsp: BigInt(Table.StackTop), rbp: 0n, r8: 0n, r9: 0n,
      r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n, rip: BigInt(entry), rflags: 2n,
    },
    sregs: {
      cs: flat(Selector.KernelCode, 11, 0, true),
      ds: data,
      es: data,
      fs: { ...data, selector: 0, base: FsBase },
      gs: { ...data, selector: 0, base: GsBase },
      ss: flat(Selector.KernelData, 3, 0, false),
      tr: { ...system, base: BigInt(Table.Tss), limit: TssLimit, selector: Selector.Tss, type: 11 },
      ldt: { ...system, base: BigInt(Table.Ldt), limit: LdtLimit, selector: Selector.Ldt, type: 2 },
      gdt: { base: BigInt(Table.Gdt), limit: gdtLimit },
      idt: { base: BigInt(Table.Idt), limit: idtLimit },
      cr0: 0x8005_0033n, // PG AM WP NE ET MP PE
      cr2: 0n,
      cr3: BigInt(Table.Pml4),
      cr4: 0x5_0620n, // OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PAE
      cr8: 0n,
      efer: 0xd01n, // NXE LMA LME SCE
      apicBase: 0xfee0_0900n,
    },
    fpu: {
      st: Array.from({ length: 8 }, () => ({ significand: 0n, signExponent: 0 })),
      fcw: 0x37f, fsw: 0, ftw: 0, lastOpcode: 0, lastIp: 0n, lastDp: 0n,
      xmm: Array<bigint>(16).fill(0n), mxcsr: 0x1f80,
    },
    debug: { db: [0n, 0n, 0n, 0n], dr6: 0xffff_0ff0n, dr7: 0x400n },
    xcr0: kind === 'avx' ? 7n : 3n,
    msrs: [],
    events: {
      exception: undefined, interrupt: undefined, interruptShadow: 'none', nmi: { pending: false, masked: false },
    },
    mpState: 'runnable',
  }; // prettier-ignore
}

/** Prepares memory and vCPU. Answers the address where landing pads go to. */
export function loadHarness(target: OracleTarget, kind: HarnessKind): { exit: number } {
  const driver = buildDriver(kind);
  const handlers = buildHandlers(Table.Handlers, driver);
  writePageTables(target);
  const gdtLimit = writeGdt(target);
  const idtLimit = writeIdt(target, handlers.vectors);
  const tss = new Uint8Array(TssLimit + 1);
  new DataView(tss.buffer).setBigUint64(4, BigInt(Table.StackTop), true); // RSP0
  new DataView(tss.buffer).setUint16(0x66, TssLimit + 1, true); // no I/O permission bitmap
  target.write(Table.Tss, tss);
  target.write(Low.Driver, driver.code);
  target.write(Table.Handlers, handlers.code);
  target.start(initialState(handlers.entry, gdtLimit, idtLimit, kind));
  return { exit: driver.exit };
}
