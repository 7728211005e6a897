/** Loads an ELF kernel at its physical addresses. No relocation: a kernel runs where it was linked to run. */
import { HostError } from '../../errors/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { LowestKernelAddress } from '../boot-layout.ts';
import { isUsable } from '../memory-regions.ts';
import type { MemoryRegion } from '../memory-regions.ts';
import { memoryTooSmall, readSegment } from '../place.ts';
import type { ElfFile } from './elf-file.ts';

export interface LoadedKernel {
  /** The first byte behind the kernel, its cleared memory included. */
  readonly end: number;
}

/** Checks every segment before it writes the first one. */
export function loadElf(memory: GuestMemory, regions: readonly MemoryRegion[], elf: ElfFile): LoadedKernel {
  const { name, segments } = elf;
  if (segments.length === 0) {
    throw new HostError('KernelUnsupported', `${name} has nothing to load: pass a linked kernel, not an object file`);
  }
  const end = Math.max(...segments.map((segment) => segment.physicalAddress + segment.memorySize));
  for (const { physicalAddress, memorySize } of segments) {
    if (physicalAddress < LowestKernelAddress) {
      throw new HostError(
        'KernelUnsupported',
        `${name} wants to be loaded at 0x${physicalAddress.toString(16)}, below 1 MiB, where boot data and firmware ` +
          'tables are: link it at 1 MiB or above',
      );
    }
    if (isUsable(regions, physicalAddress, memorySize)) continue;
    if (end > 2 ** 40) {
      throw new HostError(
        'KernelUnsupported',
        `${name} wants to be loaded at physical address 0x${physicalAddress.toString(16)}, which no machine here has: ` +
          'it is damaged or not a kernel',
      );
    }
    throw memoryTooSmall(memory, `the kernel ${name}`, end);
  }
  for (const { offset, fileSize, physicalAddress, memorySize } of segments) {
    readSegment(memory, physicalAddress, { source: elf.source, offset, fileSize }, memorySize);
  }
  return { end };
}

/** True when `address` lies in a segment by its physical address: an entry that can be jumped to. */
export function isLoadedAddress(elf: ElfFile, address: number): boolean {
  return elf.segments.some(
    ({ physicalAddress, memorySize }) => address >= physicalAddress && address < physicalAddress + memorySize,
  );
}
