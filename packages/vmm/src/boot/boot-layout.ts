/**
 * Where the boot protocols put their structures inside `PhysicalMap.BootData`, in address order.
 *
 * Operating systems copy what they need out of it before they reuse the memory, so E820 calls all of it usable RAM.
 */
import { gpa } from '../memory/address.ts';
import { PhysicalMap } from '../machine/memory-map.ts';

export const BootLayout = {
  Gdt: { start: gpa(0x1000), size: 0x1000 },
  /** Zero page, hvm_start_info or Multiboot information. */
  Info: { start: gpa(0x2000), size: 0x1000 },
  /** PML4, one PDPT and four page directories: 4 GiB mapped one to one in 2 MiB pages. */
  PageTables: { start: gpa(0x3000), size: 0x6000 },
  Stack: { start: gpa(0x9000), size: 0x1000 },
  /** Memory map entries of PVH and Multiboot. */
  MemoryMap: { start: gpa(0xa000), size: 0x2000 },
  /** Module lists of PVH and Multiboot. */
  ModuleList: { start: gpa(0xc000), size: 0x4000 },
  /** setup_data nodes of the Linux protocol. */
  SetupData: { start: gpa(0x10000), size: 0x1000 },
  CommandLine: { start: gpa(0x20000), size: 0x10000 },
  /** Command lines of modules, the boot loader's name. */
  Strings: { start: gpa(0x30000), size: 0x10000 },
} as const;

/** The end of everything that the boot protocols write below 1 MiB. */
export const BootDataEnd = PhysicalMap.BootData.start + PhysicalMap.BootData.size;

/** Kernels are loaded at or above 1 MiB: below are the boot structures, firmware tables and the VGA hole. */
export const LowestKernelAddress = 0x10_0000;
