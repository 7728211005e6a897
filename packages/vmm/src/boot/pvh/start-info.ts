/** struct hvm_start_info, version 1, and its lists (Xen include/public/arch-x86/hvm/start_info.h). */
import type { MemoryRegion } from '../memory-regions.ts';
import type { PlacedModule } from '../place.ts';

const StartInfo = {
  Magic: 0,
  Version: 4,
  Flags: 8,
  ModuleCount: 12,
  ModuleList: 16,
  CommandLine: 24,
  Rsdp: 32,
  MemoryMap: 40,
  MemoryMapEntries: 48,
  Reserved: 52,
  Size: 56,
} as const;
const StartInfoMagic = 0x336e_c578;
const StartInfoVersion = 1;
export const ModuleListEntry = { Address: 0, Length: 8, CommandLine: 16, Reserved: 24, Size: 32 } as const;
const MemoryMapEntry = { Address: 0, Length: 8, Type: 16, Reserved: 20, Size: 24 } as const;

export interface StartInfoContents {
  readonly modules: number;
  readonly moduleList: number;
  readonly commandLine: number;
  readonly rsdp: number;
  readonly memoryMap: number;
  readonly memoryMapEntries: number;
}

export function buildStartInfo(contents: StartInfoContents): Uint8Array {
  const view = new DataView(new ArrayBuffer(StartInfo.Size));
  view.setUint32(StartInfo.Magic, StartInfoMagic, true);
  view.setUint32(StartInfo.Version, StartInfoVersion, true);
  view.setUint32(StartInfo.ModuleCount, contents.modules, true);
  view.setBigUint64(StartInfo.ModuleList, BigInt(contents.modules > 0 ? contents.moduleList : 0), true);
  view.setBigUint64(StartInfo.CommandLine, BigInt(contents.commandLine), true);
  view.setBigUint64(StartInfo.Rsdp, BigInt(contents.rsdp), true);
  view.setBigUint64(StartInfo.MemoryMap, BigInt(contents.memoryMap), true);
  view.setUint32(StartInfo.MemoryMapEntries, contents.memoryMapEntries, true);
  return new Uint8Array(view.buffer);
}

export function buildModuleList(modules: readonly PlacedModule[], commandLines: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(modules.length * ModuleListEntry.Size));
  modules.forEach((module, i) => {
    const at = i * ModuleListEntry.Size;
    view.setBigUint64(at + ModuleListEntry.Address, BigInt(module.start), true);
    view.setBigUint64(at + ModuleListEntry.Length, BigInt(module.size), true);
    view.setBigUint64(at + ModuleListEntry.CommandLine, BigInt(commandLines[i] ?? 0), true);
  });
  return new Uint8Array(view.buffer);
}

/** The region types are E820's in this list, too. */
export function buildMemoryMap(regions: readonly MemoryRegion[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(regions.length * MemoryMapEntry.Size));
  regions.forEach((region, i) => {
    const at = i * MemoryMapEntry.Size;
    view.setBigUint64(at + MemoryMapEntry.Address, BigInt(region.start), true);
    view.setBigUint64(at + MemoryMapEntry.Length, BigInt(region.size), true);
    view.setUint32(at + MemoryMapEntry.Type, region.type, true);
  });
  return new Uint8Array(view.buffer);
}
