/**
 * The vCPU's state block in the engine's shared memory: byte offsets from the block's start.
 *
 * Records (record.ts) name base and index registers by these offsets, so everything that they name lies below 64 KiB.
 */
import type { I32, I64 } from '../encoder/values.ts';

/** General registers RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: 8 bytes each, encoding order. */
export const gprOffset = (index: number): number => index * 8;
export const xmmOffset = (index: number): number => 0x400 + index * 16;
/** Bits 128 to 255 of YMM registers. */
export const ymmHighOffset = (index: number): number => 0x500 + index * 16;
/** Physical x87 register `index` (not ST order): 80-bit value in 16 bytes; MMX registers are the low 8 bytes. */
export const x87Offset = (index: number): number => 0x600 + index * 16;

/** Segment register caches, encoding order ES CS SS DS FS GS, then LDTR and TR. Fields: {@link SegmentField}. */
export const segmentOffset = (index: number): number => 0x100 + index * 32;
export const SegmentIndex = { Es: 0, Cs: 1, Ss: 2, Ds: 3, Fs: 4, Gs: 5, Ldtr: 6, Tr: 7 } as const;
export const SegmentField = {
  /** i64 */
  Base: 0,
  /** u32, in bytes, granularity applied */
  Limit: 8,
  /** u32: bits 8 to 23 of the descriptor's second doubleword, in place (type 8-11, S 12, DPL 13-14, P 15, AVL 20, L 21, D/B 22, G 23); bit 0: unusable */
  Attributes: 12,
  /** u32 */
  Selector: 16,
} as const;

export const Cpu = {
  /** Always zero: stands for "no base" and "no index". */
  Zero: 0x80,
  /** Linear address computed by an address micro-operation for the next record. */
  EffectiveAddress: 0x88,
  /** RIP (not linear) of the current code page's first byte. Instruction RIP = this + record offset. */
  RipPage: 0x90,
  /** RIP while outside the interpreter loop and at exceptions. */
  Rip: 0x98,
  /** Lazy flags (flags.ts). */
  CcResult: 0xa0,
  CcA: 0xa8,
  CcB: 0xb0,
  CcOverflow: 0xb8,
  CcAdjust: 0xc0,
  /** u32: RFLAGS without CF PF AF ZF SF OF (those live in the lazy flags); bit 1 is set. */
  Rflags: 0xc8,
  /** u32: current privilege level. */
  Cpl: 0xcc,
  /** u32: pointer to the TLB bank of the current privilege. */
  TlbBank: 0xd0,
  /** u32: block-lookup key of the current mode (mode-key.ts). */
  ModeKey: 0xd4,
  /** u32: 1 when an interrupt waits for IF: the loop leaves when interrupts become enabled. */
  InterruptWindow: 0xd8,
  /** u32: an InterruptShadow while that of STI or MOV SS may cover the instruction at ShadowRip, else 0. */
  Shadow: 0xdc,
  ShadowRip: 0xe0,
  /** i64: instructions retired. */
  Retired: 0xe8,
  /** u32: current generation of the jump cache. */
  JumpGeneration: 0xf0,
  /** u32: where this vCPU's physical block hash is. */
  BlockHash: 0xf4,
  /** u32: budget that the current run was started with. */
  Budget: 0xf8,

  Cr0: 0x200,
  Cr2: 0x208,
  Cr3: 0x210,
  Cr4: 0x218,
  Cr8: 0x220,
  Efer: 0x228,
  Xcr0: 0x230,
  Dr: 0x238 /* DR0 to DR3, 8 bytes each */,
  Dr6: 0x258,
  Dr7: 0x260,
  GdtBase: 0x268,
  GdtLimit: 0x270,
  IdtBase: 0x278,
  IdtLimit: 0x280,
  Star: 0x288,
  Lstar: 0x290,
  Cstar: 0x298,
  SyscallMask: 0x2a0,
  KernelGsBase: 0x2a8,
  SysenterCs: 0x2b0,
  SysenterEsp: 0x2b8,
  SysenterEip: 0x2c0,
  TscAux: 0x2c8,
  Pat: 0x2d0,
  /** i64: added by RDTSC to the ticks in the clock's nanoseconds. */
  TscOffset: 0x2d8,
  TscAdjust: 0x2e0,

  /** x87: control word, status word (TOP kept in FpuTop), tag word abridged (bit set: not empty). u32 each. */
  FpuControl: 0x680,
  FpuStatus: 0x684,
  FpuTags: 0x688,
  FpuTop: 0x68c,
  FpuLastOpcode: 0x690,
  FpuLastIp: 0x698,
  FpuLastDp: 0x6a0,
  FpuLastCs: 0x6a8,
  FpuLastDs: 0x6ac,
  Mxcsr: 0x6b0,
  /**
   * u32: vector that SSE instructions raise: 6 (#UD) when CR0.EM is set or CR4.OSFXSR is clear, else 7 (#NM) when CR0.TS
   * is set, else 0. Whoever changes CR0 or CR4 keeps it.
   */
  SimdDisabled: 0x6b4,
  /** u32: scratch of the SSE helpers: exceptions (MXCSR bits 0 to 5) of the instruction so far; vector to raise, or 0. */
  SimdFlags: 0x6b8,
  SimdVector: 0x6bc,
  /**
   * u32: vector that VEX-encoded vector instructions raise: 6 (#UD) when CR4.OSXSAVE is clear, XCR0 lacks SSE or AVX or the
   * processor is in real mode, else 7 (#NM) when CR0.TS is set, else 0. Kept with SimdDisabled.
   */
  AvxDisabled: 0x6c0,

  /** Pending exception: set by `raise` before leaving a handler with HandlerResult.Fault. u32 each. */
  FaultVector: 0x700,
  FaultErrorCode: 0x704 /* meaningful when FaultHasError */,
  FaultHasError: 0x708,
  /** u32: what the loop left for (LoopExit). */
  ExitKind: 0x70c,
  /** u32: port number, size in bytes, index of the access in the replay log. */
  ExitSize: 0x710,
  ExitPort: 0x714,
  /** i64 */
  ExitAddress: 0x718,
  ExitValue: 0x720,
  /** u32: accesses of the current instruction that the replay log holds / that were replayed so far. */
  ReplayCount: 0x728,
  ReplayNext: 0x72c,
  /** u32: 1 while an exception is being delivered, for double-fault detection: 0 none, 1 benign, 2 contributory, 3 page fault, 4 double. */
  DeliveryClass: 0x730,
  /** u32: 1 when the exit is a logged access of an instruction that runs again; 0 for IN and OUT. */
  ExitReplayed: 0x738,
  /** u32: 1 from an NMI to the next IRET. */
  NmiMasked: 0x73c,
  /** u32: 1 while the instruction that is stepped still ends in a single-step trap: events and SYSCALL take it back. */
  PendingDebug: 0x734,

  /** u32: HandlerResult that a slow memory path wants, 0 when it succeeded. */
  SlowStatus: 0x860,
  /** u32: RAM page index (from the start of RAM) of the last resolve. */
  SlowPage: 0x864,
  /** i64: physical address of the last resolved access */
  SlowPhysical: 0x868,

  /** i64: operands and result of instructions implemented in JavaScript. */
  RareArgument: 0x870,
  RareArgument2: 0x878,
  RareResult: 0x880,
  /** A record whose handler enters the loop at Cpu.Rip. 32 bytes. */
  EntryRecord: 0x8a0,
  /** A record whose offset, length and count describe the instruction that translated code was left at. 32 bytes. */
  ExitRecord: 0x8e0,
  /** u32: HandlerResult that translated code was left with; 0 for a jump to Cpu.Rip. */
  RegionStatus: 0x8c8,
  /** i64: of the instructions retired, those of translated code; i32: times that translated code was entered */
  RegionRetired: 0x8d8,
  RegionEntries: 0x8d4,
  /** u32: 1 while translated code runs. */
  InRegion: 0x8cc,
  /** u32: first record of the block that the interpreter was about to run when its budget was used up, or 0. */
  SampledBlock: 0x8d0,
  /** u32: data breakpoints (bits 0 to 3) that the running instruction touched. */
  TouchedBreakpoints: 0x8c0,
  /** u32: what decoding and dropping blocks cost since the last lookup, in instructions: taken from the budget. */
  DecodeCost: 0x8c4,

  /** 64 bytes each: where slow memory paths leave or take data wider than 8 bytes. */
  Scratch0: 0x900,
  Scratch1: 0x940,
  /** 4 KiB of scratch for translated helpers (x87, FXSAVE). */
  ScratchPage: 0xa00,
  /** 4 KiB: bounce buffer of wide writes. */
  ScratchWrite: 0x1a00,
} as const;

/** What Cpu.Shadow holds back: interrupts, and debug traps too. */
export const InterruptShadow = { Sti: 1, MovSs: 2 } as const;

/**
 * Addresses of TLB entries that were filled with translations of non-global pages since the last flush: what a CR3 write
 * has to empty. When there are more than fit, the whole TLB is looked through.
 */
export const LocalFills = { Count: 0x2a00, List: 0x2a04, Capacity: 1024 } as const;

/** Values of the replayed accesses of an instruction, 8 bytes each (writes: 0). The longest are those of XSAVE and ENTER. */
export const ReplayLog = { Values: 0x3a80, Capacity: 128 } as const;

/** Where the TLB banks start, from the state block's start. */
export const TlbOffset = 0x4000;
/** Entries in each of a bank's two tables (reads, then writes). */
export const TlbEntries = 1024;
export const TlbEntrySize = 16;
export const TlbTableSize = TlbEntries * TlbEntrySize;
/** Bank: read table, then write table. */
export const TlbBankSize = 2 * TlbTableSize;
/** Bank 0: supervisor. Bank 1: user (CPL 3). SMAP would want a third, for EFLAGS.AC. */
export const TlbBanks = 2;
export const TlbEntry = {
  /** i64: linear address of the page. A slot is empty when its tag belongs to another slot. */
  Tag: 0,
  /** i32: host address = low 32 bits of the linear address + this. */
  Addend: 8,
  /** u32: physical page number; bit 31: global. */
  Page: 12,
} as const;

/** Direct-mapped cache from linear RIP to block. */
export const JumpCacheOffset = TlbOffset + TlbBanks * TlbBankSize;
export const JumpCacheEntries = 4096;
export const JumpCacheEntrySize = 16;
export const JumpCacheEntry = {
  /** i64: linear address */
  Tag: 0,
  /** u32: generation, and in the low ModeKey.Bits bits the mode key */
  Stamp: 8,
  /** u32: first record of the block */
  Block: 12,
} as const;

/**
 * Direct-mapped cache of fetches: from the linear address of a code page to where it is. Translated code asks it before it
 * goes from page to page.
 */
export const FetchCacheOffset = JumpCacheOffset + JumpCacheEntries * JumpCacheEntrySize;
export const FetchCacheEntries = 256;
export const FetchCacheEntrySize = 16;
export const FetchCacheEntry = {
  /** i64: linear address of the page */
  Tag: 0,
  /** u32: as JumpCacheEntry.Stamp */
  Stamp: 8,
  /** u32: RAM page index */
  Page: 12,
} as const;

/** The entry of a linear address. */
export function fetchCacheEntry(cpu: I32, linear: I64): I32 {
  const slot = linear
    .toI32()
    .shrU(12)
    .and(FetchCacheEntries - 1);
  return cpu.add(slot.shl(4)).add(FetchCacheOffset);
}

/** Size of a vCPU's state block in bytes. */
export const CpuBlockSize = FetchCacheOffset + FetchCacheEntries * FetchCacheEntrySize;

/** What an out-of-line handler (and every handler, inside) answers. */
export const HandlerResult = {
  /** Go on with the next record. */
  Next: 0,
  /** RIP (Cpu.Rip) or the mode changed: look the next block up. */
  Resync: 1,
  /** An exception waits in Cpu.Fault*: deliver it; RIP is that of this instruction. */
  Fault: 2,
  /** Leave the loop with Cpu.ExitKind; Cpu.Rip is set by the loop to this instruction (it is run again after). */
  Exit: 3,
  /** Leave the loop with Cpu.ExitKind; the instruction is complete and Cpu.Rip is set by the loop to the next one. */
  ExitAfter: 4,
  /** As Resync, but RIP is that of this same instruction: it goes on after interrupts were looked at (REP). */
  Again: 5,
  /** The instruction is complete and changed what blocks depend on (mode, mapping, interrupt flag): look RIP + length up. */
  ResyncNext: 6,
  /** Of translated code: nothing was done, the interpreter does this instruction. */
  Retry: 7,
} as const;

/** Why the interpreter loop came back to JavaScript. */
export const LoopExit = {
  /** The instruction budget is used up. */
  Budget: 0,
  /** Interrupts are enabled and Cpu.InterruptWindow was set. */
  InterruptWindow: 1,
  PioRead: 2,
  PioWrite: 3,
  MmioRead: 4,
  MmioWrite: 5,
  Halt: 6,
  Shutdown: 7,
  Hypercall: 8,
  Debug: 9,
  Failure: 10,
} as const;
export type LoopExit = (typeof LoopExit)[keyof typeof LoopExit];
