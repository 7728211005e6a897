/** The guest's physical memory map and port map, in address order. A test checks that nothing overlaps. */

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** Where RAM ends below the PC hole, at most. */
export const LowRamLimit = 0xc000_0000;
/** Where RAM above the PC hole starts. */
export const HighRamStart = 4 * GiB;

/**
 * PCI buses of the machine: no bridge leads to another one. Linux looks at 32 devices of every bus that firmware tells of,
 * one by one, which are 16,000 exits for 256 buses.
 */
export const PciBuses = 1;

export const PhysicalMap = {
  /** Boot structures (zero page, GDT, start info, page tables) are placed here by the boot protocols. */
  BootData: { start: 0x1000, size: 0x9e000 },
  ExtendedBiosData: { start: 0x9f000, size: 0x1000 },
  /** Legacy VGA memory: no device. */
  VgaMemory: { start: 0xa0000, size: 0x20000 },
  /** ACPI tables and RSDP: the BIOS area, which operating systems scan. */
  AcpiTables: { start: 0xe0000, size: 0x20000 },
  /** PCI Express configuration space of segment 0: 1 MiB a bus. */
  PciEcam: { start: 0xc000_0000, size: PciBuses * MiB },
  /** 32-bit PCI memory window. */
  PciMemory32: { start: 0xd000_0000, size: 0x1000_0000 },
  IoApic: { start: 0xfec0_0000, size: 0x1000 },
  LocalApic: { start: 0xfee0_0000, size: 0x1000 },
  /** 64-bit PCI memory window. */
  PciMemory64: { start: 512 * GiB, size: 256 * GiB },
} as const satisfies Record<string, { start: number; size: number }>;

/** A part of the RAM, and where it is in RAM as one block of host memory. */
export interface RamPart {
  readonly start: number;
  readonly length: number;
  readonly offset: number;
}

/**
 * The RAM of a machine: below the PC hole without the legacy VGA window, and from 4 GiB on. Offsets in the host are
 * guest-physical addresses below the hole, so that huge pages of host and guest coincide; the window's are not used.
 */
export function ramParts(memorySize: number): RamPart[] {
  const { VgaMemory } = PhysicalMap;
  const afterVga = VgaMemory.start + VgaMemory.size;
  const low = Math.min(memorySize, LowRamLimit);
  const parts: RamPart[] = [{ start: 0, length: Math.min(low, VgaMemory.start), offset: 0 }];
  if (low > afterVga) parts.push({ start: afterVga, length: low - afterVga, offset: afterVga });
  if (memorySize > low) parts.push({ start: HighRamStart, length: memorySize - low, offset: low });
  return parts;
}

/** Largest RAM: it ends where the 64-bit PCI window starts. */
export const MaxRamSize = LowRamLimit + (PhysicalMap.PciMemory64.start - HighRamStart);

export const PortMap = {
  Pic1: { start: 0x20, size: 2 },
  Pit: { start: 0x40, size: 4 },
  I8042Data: { start: 0x60, size: 1 },
  SpeakerControl: { start: 0x61, size: 1 },
  I8042Command: { start: 0x64, size: 1 },
  Rtc: { start: 0x70, size: 2 },
  Pic2: { start: 0xa0, size: 2 },
  /** QEMU-style debug exit: a write of v ends the machine with exit code (v << 1) | 1. */
  DebugExit: { start: 0xf4, size: 4 },
  Com1: { start: 0x3f8, size: 8 },
  Elcr: { start: 0x4d0, size: 2 },
  /** ACPI PM1a event and control blocks, PM timer, GPE0, sleep/reset registers. */
  Acpi: { start: 0x600, size: 0x20 },
  PciConfig: { start: 0xcf8, size: 8 },
  ResetControl: { start: 0xcf9, size: 1 },
  PciIo: { start: 0xc000, size: 0x4000 },
} as const satisfies Record<string, { start: number; size: number }>;

/** Global system interrupts of the platform's own devices. */
export const Gsi = {
  PitTimer: 2,
  Keyboard: 1,
  Com1: 4,
  Rtc: 8,
  AcpiSci: 9,
  /** PCI INTA# to INTD#. */
  PciInt: [16, 17, 18, 19],
} as const;
