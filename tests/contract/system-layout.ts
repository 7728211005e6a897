/** Where the system guests keep their tables, and the descriptors that they start with. */

/** Guest-physical addresses; all below 1 MiB, so that real mode reaches them. */
export const At = {
  /** Real-mode interrupt vectors. */
  Ivt: 0,
  Gdt: 0x1000,
  Idt: 0x2000,
  Tss: 0x3000,
  Tss2: 0x3800,
  Ldt: 0x4000,
  /** Tops of stacks. */
  Stack0: 0x7000,
  Stack1: 0x8000,
  Stack3: 0x9000,
  /** Where guests leave what tests look at. */
  Results: 0xa000,
  /** One stub an interrupt vector: reports to the host, then returns from the interrupt. */
  Stubs: 0xb000,
  Code: 0x1_0000,
  /** Code of other segments and privileges. */
  Code2: 0x1_8000,
  UserCode: 0x2_0000,
  Data: 0x3_0000,
  PageTables: 0x8_0000,
  /** A page that no paging test maps at its own address. */
  Spare: 0x40_0000,
} as const;

export const MemorySize = 16 << 20;

/** Selectors of the standard GDT. Gaps are for tests. */
export const Sel = {
  Code32: 0x08,
  Data32: 0x10,
  Code16: 0x18,
  Data16: 0x20,
  Code64: 0x28,
  UserCode32: 0x33,
  UserData32: 0x3b,
  UserCode64: 0x43,
  /** 16 bytes in long mode. */
  Tss: 0x48,
  Ldt: 0x58,
  Conforming32: 0x68,
  Code32Ring1: 0x71,
  Data32Ring1: 0x79,
  /** 16 bytes: for a gate of the test. */
  Gate: 0x80,
  Tss2: 0x90,
  TaskGate: 0x98,
  /** For descriptors of the test. */
  Test: 0xa0,
  Test2: 0xa8,
} as const;
export const GdtLimit = 0xbf;

/** Access bytes of descriptors: type, S, DPL, P. */
export const Type = {
  Data: 0x92,
  ReadOnly: 0x90,
  ExpandDown: 0x96,
  Code: 0x9a,
  ExecuteOnly: 0x98,
  Conforming: 0x9e,
  Ldt: 0x82,
  Tss16: 0x81,
  Tss32: 0x89,
  CallGate16: 0x84,
  TaskGate: 0x85,
  Interrupt16: 0x86,
  Trap16: 0x87,
  CallGate32: 0x8c,
  Interrupt32: 0x8e,
  Trap32: 0x8f,
} as const;
export const NotPresent = 0x80;
export const dpl = (level: number): number => level << 5;

/** Flags of a descriptor's limit byte. */
export const Size = { Bits16: 0, Bits32: 0x4, Bits64: 0x2, Pages: 0x8 } as const;

export function descriptor(type: number, flags = 0, base = 0, limit = 0xf_ffff): bigint {
  const low = BigInt(limit & 0xffff) | (BigInt(base & 0xff_ffff) << 16n);
  const high = BigInt(type) | (BigInt((limit >>> 16) | (flags << 4)) << 8n) | (BigInt(base >>> 24) << 16n);
  return low | (high << 40n);
}

/** A gate of 8 bytes; `count` is a call gate's parameter count or, in long mode, the interrupt stack table index. */
export function gate(type: number, selector: number, offset: number, count = 0): bigint {
  const high = BigInt((offset & 0xffff_0000) >>> 0) | (BigInt(type) << 8n) | BigInt(count);
  return BigInt(offset & 0xffff) | (BigInt(selector) << 16n) | (high << 32n);
}

const Flat32 = Size.Bits32 | Size.Pages;

/** Selector (without RPL) and descriptor. */
export const standardDescriptors: readonly (readonly [selector: number, descriptor: bigint])[] = [
  [Sel.Code32, descriptor(Type.Code, Flat32)],
  [Sel.Data32, descriptor(Type.Data, Flat32)],
  [Sel.Code16, descriptor(Type.Code, Size.Bits16, 0, 0xffff)],
  [Sel.Data16, descriptor(Type.Data, Size.Bits16, 0, 0xffff)],
  [Sel.Code64, descriptor(Type.Code, Size.Bits64 | Size.Pages)],
  [Sel.UserCode32, descriptor(Type.Code | dpl(3), Flat32)],
  [Sel.UserData32, descriptor(Type.Data | dpl(3), Flat32)],
  [Sel.UserCode64, descriptor(Type.Code | dpl(3), Size.Bits64 | Size.Pages)],
  [Sel.Tss, descriptor(Type.Tss32, 0, At.Tss, 0x8f)],
  [Sel.Ldt, descriptor(Type.Ldt, 0, At.Ldt, 0xff)],
  [Sel.Conforming32, descriptor(Type.Conforming, Flat32)],
  [Sel.Code32Ring1, descriptor(Type.Code | dpl(1), Flat32)],
  [Sel.Data32Ring1, descriptor(Type.Data | dpl(1), Flat32)],
  [Sel.Tss2, descriptor(Type.Tss32, 0, At.Tss2, 0x67)],
];
