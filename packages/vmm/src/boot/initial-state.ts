/** vCPU states that machines start from: the architecture's reset state and what the boot protocols hand over. */
import type { GuestPhysicalAddress } from '../memory/address.ts';
import type { GeneralRegisters, Segment, SystemRegisters, VcpuState } from '../engine/state.ts';

/** CR0 bits, SDM Vol. 3A §2.5 "Control Registers". */
export const Cr0 = {
  ProtectionEnable: 1n << 0n,
  ExtensionType: 1n << 4n,
  NotWriteThrough: 1n << 29n,
  CacheDisable: 1n << 30n,
  Paging: 1n << 31n,
} as const;

/** CR4 bits, SDM Vol. 3A §2.5 "Control Registers". */
export const Cr4 = { PhysicalAddressExtension: 1n << 5n } as const;

/** IA32_EFER bits, SDM Vol. 3A §2.2.1 "Extended Feature Enable Register". */
export const Efer = { LongModeEnable: 1n << 8n, LongModeActive: 1n << 10n } as const;

/** RFLAGS with only the bit that is always set. */
const FlagsAlwaysSet = 0x2n;
/** IA32_APIC_BASE of the bootstrap processor: 0xFEE0_0000, global enable, BSP (SDM Vol. 3A "Local APIC Status and Location"). */
const ApicBaseBsp = 0xfee0_0900n;
/** Family 6 in EDX, as processors have after reset. */
const ResetSignature = 0x600n;
const MsrPat = 0x277;
/** WB, WT, UC-, UC twice (SDM Vol. 3A "Programming the PAT"). */
const PatAfterReset = 0x0007_0406_0007_0406n;

/** Segment types, SDM Vol. 3A §3.4.5.1 "Code- and Data-Segment Descriptor Types" and §3.5 "System Descriptor Types". */
export const SegmentType = {
  DataReadWrite: 0x3,
  CodeExecuteRead: 0xb,
  Ldt: 0x2,
  BusyTss16: 0x3,
  BusyTss: 0xb,
} as const;

function segment(fields: Partial<Segment>): Segment {
  return {
    base: 0n,
    limit: 0xffff,
    selector: 0,
    type: SegmentType.DataReadWrite,
    present: true,
    dpl: 0,
    db: false,
    s: true,
    l: false,
    g: false,
    avl: false,
    unusable: false,
    ...fields,
  };
}

const flat = { limit: 0xffff_ffff, g: true } as const;

/** Selectors of the boot GDT: __BOOT_CS and __BOOT_DS of the Linux protocol serve all protocols. */
export const BootSelector = { Code: 0x10, Data: 0x18, Tss: 0x20 } as const;

const flatData = () => segment({ ...flat, selector: BootSelector.Data, db: true });
const flatCode32 = () => segment({ ...flat, selector: BootSelector.Code, type: SegmentType.CodeExecuteRead, db: true });
const flatCode64 = () => segment({ ...flat, selector: BootSelector.Code, type: SegmentType.CodeExecuteRead, l: true });
const bootTss = () => segment({ selector: BootSelector.Tss, limit: 0x67, type: SegmentType.BusyTss, s: false });

/** The state after power-up of the bootstrap processor (SDM Vol. 3A §10.1.1 "Processor State After Reset"). */
export function resetState(): VcpuState {
  return {
    version: 1,
    regs: generalRegisters({ rip: 0xfff0n, rdx: ResetSignature }),
    sregs: resetSystemRegisters(),
    fpu: {
      st: Array.from({ length: 8 }, () => ({ significand: 0n, signExponent: 0 })),
      fcw: 0x37f,
      fsw: 0,
      ftw: 0,
      lastOpcode: 0,
      lastIp: 0n,
      lastDp: 0n,
      xmm: Array.from({ length: 16 }, () => 0n),
      mxcsr: 0x1f80,
    },
    debug: { db: [0n, 0n, 0n, 0n], dr6: 0xffff_0ff0n, dr7: 0x400n },
    xcr0: 1n,
    msrs: [[MsrPat, PatAfterReset]],
    events: {
      exception: undefined,
      interrupt: undefined,
      interruptShadow: 'none',
      nmi: { pending: false, masked: false },
    },
    mpState: 'runnable',
  };
}

function generalRegisters(values: Partial<GeneralRegisters>): GeneralRegisters {
  return {
    rax: 0n,
    rbx: 0n,
    rcx: 0n,
    rdx: 0n,
    rsi: 0n,
    rdi: 0n,
    rsp: 0n,
    rbp: 0n,
    r8: 0n,
    r9: 0n,
    r10: 0n,
    r11: 0n,
    r12: 0n,
    r13: 0n,
    r14: 0n,
    r15: 0n,
    rip: 0n,
    rflags: FlagsAlwaysSet,
    ...values,
  };
}

function resetSystemRegisters(): SystemRegisters {
  return {
    cs: segment({ selector: 0xf000, base: 0xffff_0000n, type: SegmentType.CodeExecuteRead }),
    ds: segment({}),
    es: segment({}),
    fs: segment({}),
    gs: segment({}),
    ss: segment({}),
    tr: segment({ type: SegmentType.BusyTss, s: false }),
    ldt: segment({ type: SegmentType.Ldt, s: false }),
    gdt: { base: 0n, limit: 0xffff },
    idt: { base: 0n, limit: 0xffff },
    cr0: Cr0.ExtensionType | Cr0.NotWriteThrough | Cr0.CacheDisable,
    cr2: 0n,
    cr3: 0n,
    cr4: 0n,
    cr8: 0n,
    efer: 0n,
    apicBase: ApicBaseBsp,
  };
}

/** What a boot protocol prescribes beyond the mode. */
export interface EntryRegisters {
  readonly entry: GuestPhysicalAddress;
  readonly rax?: bigint;
  readonly rbx?: bigint;
  readonly rsi?: bigint;
  readonly rsp?: bigint;
}

/** 32-bit protected mode with flat segments, paging off, interrupts off: PVH and Multiboot. */
export function protectedModeState(registers: EntryRegisters, gdt: { base: number; limit: number }): VcpuState {
  const state = resetState();
  return {
    ...state,
    regs: entryRegisters(registers),
    sregs: { ...bootSystemRegisters(flatCode32(), gdt), cr0: Cr0.ProtectionEnable | Cr0.ExtensionType },
  };
}

/** 64-bit mode with paging on over the page tables at `cr3`, interrupts off: the Linux 64-bit boot protocol. */
export function longModeState(
  registers: EntryRegisters,
  gdt: { base: number; limit: number },
  cr3: GuestPhysicalAddress,
): VcpuState {
  const state = resetState();
  return {
    ...state,
    regs: entryRegisters(registers),
    sregs: {
      ...bootSystemRegisters(flatCode64(), gdt),
      cr0: Cr0.ProtectionEnable | Cr0.ExtensionType | Cr0.Paging,
      cr3: BigInt(cr3),
      cr4: Cr4.PhysicalAddressExtension,
      efer: Efer.LongModeEnable | Efer.LongModeActive,
    },
  };
}

function entryRegisters({ entry, rax = 0n, rbx = 0n, rsi = 0n, rsp = 0n }: EntryRegisters): GeneralRegisters {
  return generalRegisters({ rip: BigInt(entry), rax, rbx, rsi, rsp });
}

function bootSystemRegisters(cs: Segment, gdt: { base: number; limit: number }): SystemRegisters {
  return {
    ...resetSystemRegisters(),
    cs,
    ds: flatData(),
    es: flatData(),
    fs: flatData(),
    gs: flatData(),
    ss: flatData(),
    tr: bootTss(),
    ldt: segment({ type: SegmentType.Ldt, s: false, present: false, unusable: true }),
    gdt: { base: BigInt(gdt.base), limit: gdt.limit },
    idt: { base: 0n, limit: 0 },
  };
}

/** The GDT that matches a state's segments: null, null, code, data, TSS (two slots, as 64-bit mode takes). */
export function bootGdt(mode: 'protected' | 'long'): Uint8Array {
  const table = new BigUint64Array(6);
  table[BootSelector.Code >> 3] = encodeDescriptor(mode === 'long' ? flatCode64() : flatCode32());
  table[BootSelector.Data >> 3] = encodeDescriptor(flatData());
  table[BootSelector.Tss >> 3] = encodeDescriptor(bootTss());
  return new Uint8Array(table.buffer);
}

/** SDM Vol. 3A §3.4.5 "Segment Descriptors". */
function encodeDescriptor(from: Segment): bigint {
  const limit = BigInt(from.g ? Math.floor(from.limit / 4096) : from.limit);
  const bit = (value: boolean, position: bigint) => (value ? 1n << position : 0n);
  return (
    (limit & 0xffffn) |
    ((from.base & 0xff_ffffn) << 16n) |
    (BigInt(from.type) << 40n) |
    bit(from.s, 44n) |
    (BigInt(from.dpl) << 45n) |
    bit(from.present, 47n) |
    (((limit >> 16n) & 0xfn) << 48n) |
    bit(from.avl, 52n) |
    bit(from.l, 53n) |
    bit(from.db, 54n) |
    bit(from.g, 55n) |
    (((from.base >> 24n) & 0xffn) << 56n)
  );
}

/** The stack that 64-bit entries get: the protocols need none, early exception paths are glad of it. */
export function stackTop(stack: { start: number; size: number }): bigint {
  return BigInt(stack.start + stack.size - 16);
}
