/**
 * The memory map that every boot protocol hands to the guest, in E820 terms (ACPI 6.5 §15 "System Address Map
 * Interfaces"): RAM without the legacy PC area, and what operating systems must leave alone.
 */
import type { GuestMemory } from '../memory/guest-memory.ts';
import { gpa, PageSize } from '../memory/address.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';
import { PhysicalMap } from '../machine/memory-map.ts';

export const RegionType = { Usable: 1, Reserved: 2, AcpiReclaimable: 3, AcpiNvs: 4 } as const;
export type RegionType = (typeof RegionType)[keyof typeof RegionType];

export interface MemoryRegion {
  readonly start: number;
  readonly size: number;
  readonly type: RegionType;
}

const { ExtendedBiosData, AcpiTables, PciEcam } = PhysicalMap;
/** From the extended BIOS data area to 1 MiB nothing is usable, even where the engine has RAM. */
const LegacyHole = { start: ExtendedBiosData.start, end: 0x10_0000 } as const;

/**
 * The guest's memory map in ascending order. The ECAM window is reserved, as Linux demands before it uses it
 * (PCI Firmware Specification 3.3 §4.1.2 "MCFG Table Description").
 */
export function memoryRegions(memory: GuestMemory): MemoryRegion[] {
  const regions: MemoryRegion[] = [];
  for (const range of memory.ranges) regions.push(...usableParts(range.start, range.start + range.length));
  for (const reserved of [ExtendedBiosData, AcpiTables, PciEcam]) {
    regions.push({ start: reserved.start, size: reserved.size, type: RegionType.Reserved });
  }
  return regions.sort((a, b) => a.start - b.start);
}

function usableParts(start: number, end: number): MemoryRegion[] {
  const parts = [
    { start, end: Math.min(end, LegacyHole.start) },
    { start: Math.max(start, LegacyHole.end), end },
  ];
  return parts
    .filter((part) => part.end > part.start)
    .map((part) => ({ start: part.start, size: part.end - part.start, type: RegionType.Usable }));
}

/** True when `[start, start + size)` is usable RAM. */
export function isUsable(regions: readonly MemoryRegion[], start: number, size: number): boolean {
  return regions.some(
    (region) =>
      region.type === RegionType.Usable && start >= region.start && start + size <= region.start + region.size,
  );
}

/**
 * The highest page-aligned place for `size` bytes that starts at or above `from` and ends at or below `limit`, or
 * undefined.
 */
export function findHighest(
  regions: readonly MemoryRegion[],
  size: number,
  from: number,
  limit: number,
): GuestPhysicalAddress | undefined {
  for (const region of [...regions].reverse()) {
    if (region.type !== RegionType.Usable) continue;
    const end = Math.min(region.start + region.size, limit);
    const start = Math.floor((end - size) / PageSize) * PageSize;
    if (start >= Math.max(region.start, from)) return gpa(start);
  }
  return undefined;
}
