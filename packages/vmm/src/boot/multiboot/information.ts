/** The Multiboot information structure (Multiboot Specification 0.6.96 §3.3 "Boot information format"). */
import type { MemoryRegion } from '../memory-regions.ts';
import { RegionType } from '../memory-regions.ts';
import type { PlacedModule } from '../place.ts';

const Information = {
  Flags: 0,
  MemoryLower: 4,
  MemoryUpper: 8,
  CommandLine: 16,
  ModuleCount: 20,
  ModuleList: 24,
  MapLength: 44,
  MapAddress: 48,
  BootLoaderName: 64,
  Size: 120,
} as const;
const Flag = {
  Memory: 1 << 0,
  CommandLine: 1 << 2,
  Modules: 1 << 3,
  MemoryMap: 1 << 6,
  BootLoaderName: 1 << 9,
} as const;
export const ModuleEntry = { Start: 0, End: 4, CommandLine: 8, Reserved: 12, Size: 16 } as const;
/** `size` does not count itself and sits before the address. */
const MapEntry = { EntrySize: 0, Address: 4, Length: 12, Type: 20, Size: 24 } as const;
const KiB = 1024;
const UpperMemoryStart = 0x10_0000;

export interface InformationContents {
  readonly regions: readonly MemoryRegion[];
  readonly commandLine: number;
  readonly bootLoaderName: number;
  readonly modules: number;
  readonly moduleList: number;
  readonly memoryMap: number;
  readonly memoryMapSize: number;
}

export function buildInformation(contents: InformationContents): Uint8Array {
  const view = new DataView(new ArrayBuffer(Information.Size));
  const set = (field: number, value: number) => view.setUint32(field, value, true);
  set(
    Information.Flags,
    Flag.Memory | Flag.CommandLine | Flag.MemoryMap | Flag.BootLoaderName | (contents.modules > 0 ? Flag.Modules : 0),
  );
  set(Information.MemoryLower, usableFrom(contents.regions, 0) / KiB);
  set(Information.MemoryUpper, usableFrom(contents.regions, UpperMemoryStart) / KiB);
  set(Information.CommandLine, contents.commandLine);
  set(Information.ModuleCount, contents.modules);
  set(Information.ModuleList, contents.moduleList);
  set(Information.MapLength, contents.memoryMapSize);
  set(Information.MapAddress, contents.memoryMap);
  set(Information.BootLoaderName, contents.bootLoaderName);
  return new Uint8Array(view.buffer);
}

function usableFrom(regions: readonly MemoryRegion[], start: number): number {
  return regions.find((region) => region.type === RegionType.Usable && region.start === start)?.size ?? 0;
}

export function buildModules(modules: readonly PlacedModule[], commandLines: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(modules.length * ModuleEntry.Size));
  modules.forEach((module, i) => {
    const at = i * ModuleEntry.Size;
    view.setUint32(at + ModuleEntry.Start, module.start, true);
    view.setUint32(at + ModuleEntry.End, module.start + module.size, true);
    view.setUint32(at + ModuleEntry.CommandLine, commandLines[i] ?? 0, true);
  });
  return new Uint8Array(view.buffer);
}

export function buildMap(regions: readonly MemoryRegion[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(regions.length * MapEntry.Size));
  regions.forEach((region, i) => {
    const at = i * MapEntry.Size;
    view.setUint32(at + MapEntry.EntrySize, MapEntry.Size - MapEntry.Address, true);
    view.setBigUint64(at + MapEntry.Address, BigInt(region.start), true);
    view.setBigUint64(at + MapEntry.Length, BigInt(region.size), true);
    view.setUint32(at + MapEntry.Type, region.type, true);
  });
  return new Uint8Array(view.buffer);
}
