/**
 * Registers of the local APIC: SDM Vol. 3A "Local APIC Register Address Map" and "x2APIC Register Address Space".
 *
 * An xAPIC has them as 32-bit words at these offsets, an x2APIC as MSR 0x800 + offset / 16.
 */
import { bitfield } from '../registers/bitfield.ts';

export const LocalApicRegister = {
  Id: 0x020,
  Version: 0x030,
  TaskPriority: 0x080,
  ArbitrationPriority: 0x090,
  ProcessorPriority: 0x0a0,
  EndOfInterrupt: 0x0b0,
  RemoteRead: 0x0c0,
  LogicalDestination: 0x0d0,
  DestinationFormat: 0x0e0,
  SpuriousVector: 0x0f0,
  /** Eight registers. */
  InService: 0x100,
  TriggerMode: 0x180,
  InterruptRequest: 0x200,
  ErrorStatus: 0x280,
  InterruptCommandLow: 0x300,
  InterruptCommandHigh: 0x310,
  LvtTimer: 0x320,
  LvtThermal: 0x330,
  LvtPerformance: 0x340,
  LvtLint0: 0x350,
  LvtLint1: 0x360,
  LvtError: 0x370,
  TimerInitialCount: 0x380,
  TimerCurrentCount: 0x390,
  TimerDivide: 0x3e0,
  /** x2APIC only. */
  SelfIpi: 0x3f0,
} as const;

/** Bytes that the vector bitmaps (eight registers of 16 bytes) span. */
export const VectorBitmapSpan = 0x80;

export const LocalApicMsr = {
  ApicBase: 0x1b,
  TscDeadline: 0x6e0,
  X2ApicFirst: 0x800,
  X2ApicLast: 0x8ff,
} as const;

/** SDM Vol. 3A "Local APIC Version Register". */
export const ApicVersion = bitfield(32, {
  Version: [7, 0],
  Reserved8: [15, 8],
  MaximumLvtEntry: [23, 16],
  SuppressEoiBroadcast: 24,
  Reserved25: [31, 25],
});

/** SDM Vol. 3A "Local Vector Table": the fields of all entries together. */
export const Lvt = bitfield(32, {
  Vector: [7, 0],
  DeliveryMode: [10, 8],
  Reserved11: 11,
  DeliveryStatus: 12,
  ActiveLow: 13,
  RemoteIrr: 14,
  LevelTriggered: 15,
  Mask: 16,
  TimerMode: [18, 17],
  Reserved19: [31, 19],
});

/** The bits of each entry that software can write. */
export const LvtWritable = {
  timer: Lvt.Vector.mask | Lvt.Mask.mask | Lvt.TimerMode.mask,
  plain: Lvt.Vector.mask | Lvt.DeliveryMode.mask | Lvt.Mask.mask,
  lint: Lvt.Vector.mask | Lvt.DeliveryMode.mask | Lvt.ActiveLow.mask | Lvt.LevelTriggered.mask | Lvt.Mask.mask,
  error: Lvt.Vector.mask | Lvt.Mask.mask,
} as const;

/** SDM Vol. 3A "APIC Timer": LVT timer modes. */
export const TimerMode = { OneShot: 0, Periodic: 1, TscDeadline: 2 } as const;

/** SDM Vol. 3A "Divide Configuration Register". */
export const TimerDivide = bitfield(32, { Low: [1, 0], Reserved2: 2, High: 3, Reserved4: [31, 4] });

/** SDM Vol. 3A "Spurious-Interrupt Vector Register (SVR)". */
export const SpuriousVector = bitfield(32, {
  Vector: [7, 0],
  SoftwareEnable: 8,
  FocusDisable: 9,
  Reserved10: [11, 10],
  SuppressEoiBroadcast: 12,
  Reserved13: [31, 13],
});

/** SDM Vol. 3A "Error Status Register (ESR)". */
export const ErrorStatus = bitfield(32, {
  SendChecksum: 0,
  ReceiveChecksum: 1,
  SendAccept: 2,
  ReceiveAccept: 3,
  RedirectableIpi: 4,
  SendIllegalVector: 5,
  ReceivedIllegalVector: 6,
  IllegalRegisterAddress: 7,
  Reserved8: [31, 8],
});

/** SDM Vol. 3A "Interrupt Command Register (ICR)", low half. */
export const InterruptCommand = bitfield(32, {
  Vector: [7, 0],
  DeliveryMode: [10, 8],
  Logical: 11,
  DeliveryStatus: 12,
  Reserved13: 13,
  Assert: 14,
  LevelTriggered: 15,
  Reserved16: [17, 16],
  Shorthand: [19, 18],
  Reserved20: [31, 20],
});

/** SDM Vol. 3A "Interrupt Command Register (ICR)": destination shorthands. */
export const Shorthand = { None: 0, Self: 1, AllIncludingSelf: 2, AllExcludingSelf: 3 } as const;
export type Shorthand = (typeof Shorthand)[keyof typeof Shorthand];

/** SDM Vol. 3A "Destination Format Register (DFR)". */
export const DestinationFormat = bitfield(32, { Reserved0: [27, 0], Model: [31, 28] });
export const DestinationModel = { Cluster: 0x0, Flat: 0xf } as const;

/** Identifiers and logical destinations of an xAPIC sit in the register's top byte. */
export const XApicTopByte = bitfield(32, { Reserved0: [23, 0], Value: [31, 24] });

/** SDM Vol. 3A "Logical Destination Mode in x2APIC Mode". */
export const X2ApicLogicalId = bitfield(32, { Members: [15, 0], Cluster: [31, 16] });

/** SDM Vol. 3A "Local APIC Status and Location": IA32_APIC_BASE. */
export const ApicBase = bitfield(64, {
  Reserved0: [7, 0],
  Bootstrap: 8,
  Reserved9: 9,
  X2Apic: 10,
  Enable: 11,
  Page: [51, 12],
  Reserved52: [63, 52],
});

/** Vectors below this one belong to exceptions; APICs refuse them. */
export const FirstLegalVector = 16;
