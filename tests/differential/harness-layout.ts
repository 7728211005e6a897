/**
 * Where things are in the harness guest, and the layout of the records that it reads and writes.
 *
 * Physical and linear addresses are the same, and once more at {@link HighAlias}, so that 64-bit addresses are used too.
 */

export const GuestSize = 0x40_0000;

/** Low addresses: within reach of 16-bit addressing. Access of ring 3 in brackets. */
export const Low = {
  /** [read, write] What driver and fault handlers keep; fields: {@link Control}. */
  Control: 0x1000,
  /** [read, execute] The driver. */
  Driver: 0x2000,
  /** [read, write, no execute] Two pages; test cases work in windows at their border and end. */
  Arena: 0x3000,
  /** Not present. */
  Hole: 0x5000,
  /** [read] */
  ReadOnly: 0x6000,
  /** [none] */
  Supervisor: 0x7000,
  /** [read, write] */
  DriverStackTop: 0xa000,
  /** [read, execute] Code of the cases. */
  Slots: 0xa000,
  /** Supervisor: page tables, descriptor tables, handlers, stack. */
  Tables: 0x2_0000,
  /** [read, write] Upper halves of the vector registers, of groups that use them: {@link HighSize} for each case. */
  HighInput: 0xc_0000,
  HighOutput: 0xd_0000,
  /** [read, write] Records of a batch. */
  Input: 0x10_0000,
  Output: 0x18_0000,
} as const;

/** Linear address (48 bits used) of a second mapping of the first 2 MiB. */
export const HighAlias = 0x7654_3200_0000n;

/** Bases of FS and GS while a case runs in 64-bit code. */
export const FsBase = BigInt(Low.Arena) + 0x800n;
export const GsBase = HighAlias + BigInt(Low.Arena) + 0x400n;

/** The two windows of the arena that are set before and saved after each case. */
export const Window1 = { start: Low.Arena + 0xe00, size: 0x400 } as const;
export const Window2 = { start: Low.Arena + 0x1f00, size: 0x100 } as const;

export const BatchSize = 256;

/** A case's place for code: [pad 3][instruction, pad 1][pad 2]. */
export const Slot = {
  Size: 64,
  /** Of the instruction from the slot's start; such that one in 64 instructions crosses a page border. */
  Instruction: 57,
  /** Landing pads: where a taken branch comes out, forwards and backwards. */
  Forward: 57 + 32,
  Backward: 57 - 16,
} as const;
export const slotAddress = (slot: number): number => Low.Slots + slot * Slot.Size;

/** Fields of the control page. */
export const Control = {
  /** Which landing pad the case came out at: 1 behind the instruction, 2 forwards, 3 backwards; 0 after a fault. */
  Marker: Low.Control,
  SavedRsp: Low.Control + 0x08,
  /** 0xffff: no fault. */
  Vector: Low.Control + 0x10,
  ErrorCode: Low.Control + 0x18,
  FaultRip: Low.Control + 0x20,
  Cr2: Low.Control + 0x28,
  FaultRflags: Low.Control + 0x30,
  FaultCs: Low.Control + 0x38,
  SavedRax: Low.Control + 0x40,
  SavedRbx: Low.Control + 0x48,
  /** Far pointer to the case's code. */
  Target: Low.Control + 0x50,
  Input: Low.Control + 0x60,
  Output: Low.Control + 0x68,
  Remaining: Low.Control + 0x70,
  /** Cases of the batch, set by the host. */
  Count: Low.Control + 0x78,
  /** Where the current case's upper halves are. */
  HighInput: Low.Control + 0x80,
  HighOutput: Low.Control + 0x88,
} as const;

export const RecordSize = 0x800;
/** Bits 128 to 255 of sixteen registers. */
export const HighSize = 256;
/** Fields of both records. */
export const Fields = {
  Fx: 0,
  Gpr: 512,
  Rflags: 640,
  Windows: 768,
} as const;
/** Fields of the input only. */
export const InputFields = {
  /** u32 offset, u16 selector */
  Target: 648,
  /** u32: {@link CaseFlags} */
  Flags: 656,
  /** u16 each, 8 bytes apart: ES SS DS FS GS, for CaseFlags.LoadSegments. */
  Selectors: 664,
} as const;
export const CaseFlags = {
  /** Enter by a far jump (to a compatibility-mode segment). */
  Far: 1,
  /** Save segment registers and bases, then restore them. */
  Segments: 2,
  /** Load data segment registers before (together with Segments, which restores them). */
  LoadSegments: 4,
} as const;
/** Fields of the output only. */
export const OutputFields = {
  Marker: 648,
  Vector: 656,
  ErrorCode: 664,
  FaultRip: 672,
  Cr2: 680,
  FaultRflags: 688,
  FaultCs: 696,
  /** u16 each, 8 bytes apart: ES CS SS DS FS GS; zero unless CaseFlags.Segments. */
  Selectors: 704,
  FsBase: 752,
  GsBase: 760,
} as const;

/** Selectors. They are those of Linux, whose tables a process-like engine may have loaded in place of the guest's. */
export const Selector = {
  KernelCode: 0x10,
  KernelData: 0x18,
  UserCode32: 0x23,
  UserData: 0x2b,
  UserCode64: 0x33,
  Tss: 0x40,
  Ldt: 0x50,
  /** The first entry of the LDT. */
  UserCode16: 0x07,
} as const;

/** Ports that the guest writes to. */
export const Port = { BatchDone: 0xf4, Broken: 0xf5 } as const;
