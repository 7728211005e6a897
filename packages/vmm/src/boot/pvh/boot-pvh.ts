/**
 * PVH: the 32-bit entry that a kernel names in a Xen ELF note.
 *
 * Xen docs/misc/pvh.pandoc "x86/HVM direct boot ABI (PVH)" and include/public/arch-x86/hvm/start_info.h. Leaves out
 * Xen itself: no hypercall page, no grant tables, no event channels.
 */
import { HostError } from '../../errors/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { gpa } from '../../memory/address.ts';
import { BootLayout } from '../boot-layout.ts';
import { writeCommandLine } from '../boot-source.ts';
import type { BootedKernel, BootModule, BootSource } from '../boot-source.ts';
import { ByteReader } from '../byte-reader.ts';
import { byteSource } from '../byte-source.ts';
import type { ElfFile } from '../elf/elf-file.ts';
import { isLoadedAddress, loadElf } from '../elf/load-elf.ts';
import { bootGdt, protectedModeState, stackTop } from '../initial-state.ts';
import { memoryRegions } from '../memory-regions.ts';
import { placeInitrd, writeBootData } from '../place.ts';
import type { PlacedModule } from '../place.ts';
import { placeStrings } from '../strings.ts';
import { buildMemoryMap, buildModuleList, buildStartInfo, ModuleListEntry } from './start-info.ts';

const XenNote = { Owner: 'Xen', Phys32Entry: 18 } as const;
/** Where a module may end: all of its address must fit the 32-bit fields that guests copy it to. */
const ModuleLimit = 2 ** 32;

/** The physical address of the PVH entry point, or undefined when the kernel has none. */
export function pvhEntry(elf: ElfFile): number | undefined {
  const note = elf.notes.find(({ owner, type }) => owner === XenNote.Owner && type === XenNote.Phys32Entry);
  if (!note || note.description.length < 4) return undefined;
  const entry = new ByteReader(note.description);
  return note.description.length >= 8 ? entry.number64(0) : entry.u32(0);
}

export function bootPvh(memory: GuestMemory, elf: ElfFile, source: BootSource): BootedKernel {
  const entry = checkEntry(elf);
  const regions = memoryRegions(memory);
  const kernel = loadElf(memory, regions, elf);
  const modules: BootModule[] = [...(source.initrd ? [{ bytes: source.initrd }] : []), ...(source.modules ?? [])];
  const placed: PlacedModule[] = [];
  for (const { bytes } of modules) {
    const limit = placed.at(-1)?.start ?? ModuleLimit;
    placed.push(placeInitrd(memory, regions, byteSource(bytes), kernel.end, limit));
  }
  const commandLines = placeStrings(
    memory,
    modules.map((module) => module.commandLine ?? ''),
  );
  const modulesSize = modules.length * ModuleListEntry.Size;
  if (modulesSize > BootLayout.ModuleList.size) {
    throw new HostError('InvalidArgument', `${modules.length} modules are too many: pass fewer`);
  }
  writeBootData(memory, BootLayout.ModuleList.start, buildModuleList(placed, commandLines));
  writeBootData(memory, BootLayout.MemoryMap.start, buildMemoryMap(regions));
  const startInfo = buildStartInfo({
    modules: modules.length,
    moduleList: BootLayout.ModuleList.start,
    commandLine: writeCommandLine(memory, source.commandLine ?? '', BootLayout.CommandLine.size - 1),
    rsdp: source.rsdp ?? 0,
    memoryMap: BootLayout.MemoryMap.start,
    memoryMapEntries: regions.length,
  });
  writeBootData(memory, BootLayout.Info.start, startInfo);
  const gdt = bootGdt('protected');
  writeBootData(memory, BootLayout.Gdt.start, gdt);

  const registers = { entry: gpa(entry), rbx: BigInt(BootLayout.Info.start), rsp: stackTop(BootLayout.Stack) };
  const state = protectedModeState(registers, { base: BootLayout.Gdt.start, limit: gdt.length - 1 });
  return { protocol: 'pvh', entry: gpa(entry), state, initrd: source.initrd && placed[0] };
}

function checkEntry(elf: ElfFile): number {
  const entry = pvhEntry(elf);
  if (entry === undefined) {
    throw new HostError(
      'KernelUnsupported',
      `${elf.name} has no PVH entry point (Xen ELF note 18): pass a kernel built with CONFIG_PVH, or another protocol`,
    );
  }
  if (!isLoadedAddress(elf, entry)) {
    throw new HostError(
      'KernelUnsupported',
      `${elf.name} has its PVH entry point 0x${entry.toString(16)} outside its segments: it is damaged`,
    );
  }
  return entry;
}
