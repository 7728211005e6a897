/**
 * Multiboot 1 (Multiboot Specification 0.6.96): entry in 32-bit protected mode with paging off.
 *
 * Leaves out the boot device, symbol tables, drives, the BIOS configuration table, APM and video modes (a kernel that
 * prefers one gets none). Module and kernel memory stays marked usable in the map, as GRUB leaves it.
 */
import { HostError } from '../../errors/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { gpa, PageSize } from '../../memory/address.ts';
import { BootLayout, LowestKernelAddress } from '../boot-layout.ts';
import { writeCommandLine } from '../boot-source.ts';
import type { BootedKernel, BootModule, BootSource } from '../boot-source.ts';
import { byteSource, wholeOf } from '../byte-source.ts';
import { isElf, parseElf } from '../elf/elf-file.ts';
import type { ElfFile } from '../elf/elf-file.ts';
import { isLoadedAddress, loadElf } from '../elf/load-elf.ts';
import { bootGdt, protectedModeState, stackTop } from '../initial-state.ts';
import { isUsable, memoryRegions } from '../memory-regions.ts';
import type { MemoryRegion } from '../memory-regions.ts';
import { memoryTooSmall, readSegment, writeBootData, writeSegment } from '../place.ts';
import type { PlacedModule } from '../place.ts';
import { placeStrings } from '../strings.ts';
import { checkDemands, findMultibootHeader, loadAddresses } from './header.ts';
import type { LoadAddresses } from './header.ts';
import { buildInformation, buildMap, buildModules, ModuleEntry } from './information.ts';

/** §3.2 "Machine state": what EAX holds. */
const LoaderMagic = 0x2bad_b002n;
const LoaderName = 'lodger';

export function bootMultiboot(memory: GuestMemory, name: string, source: BootSource): BootedKernel {
  const regions = memoryRegions(memory);
  const kernel = loadMultibootKernel(memory, regions, name, wholeOf(source.kernel));
  const modules: BootModule[] = [...(source.initrd ? [{ bytes: source.initrd }] : []), ...(source.modules ?? [])];
  const placed = placeModules(memory, regions, modules, kernel.end);
  const [bootLoaderName, ...commandLines] = placeStrings(memory, [
    LoaderName,
    ...modules.map((module) => module.commandLine ?? ''),
  ]);
  const map = buildMap(regions);
  writeBootData(memory, BootLayout.ModuleList.start, buildModules(placed, commandLines));
  writeBootData(memory, BootLayout.MemoryMap.start, map);
  const information = buildInformation({
    regions,
    commandLine: writeCommandLine(memory, source.commandLine ?? '', BootLayout.CommandLine.size - 1),
    bootLoaderName: bootLoaderName ?? 0,
    modules: placed.length,
    moduleList: BootLayout.ModuleList.start,
    memoryMap: BootLayout.MemoryMap.start,
    memoryMapSize: map.length,
  });
  writeBootData(memory, BootLayout.Info.start, information);
  const gdt = bootGdt('protected');
  writeBootData(memory, BootLayout.Gdt.start, gdt);

  const entry = gpa(kernel.entry);
  const registers = { entry, rax: LoaderMagic, rbx: BigInt(BootLayout.Info.start), rsp: stackTop(BootLayout.Stack) };
  const state = protectedModeState(registers, { base: BootLayout.Gdt.start, limit: gdt.length - 1 });
  return { protocol: 'multiboot', entry, state, initrd: source.initrd && placed[0] };
}

/** Loads by the header's own addresses when it has them, by the ELF headers otherwise. */
function loadMultibootKernel(
  memory: GuestMemory,
  regions: readonly MemoryRegion[],
  name: string,
  bytes: Uint8Array,
): { entry: number; end: number } {
  const header = findMultibootHeader(bytes);
  if (!header) {
    throw new HostError(
      'KernelUnsupported',
      `${name} has no Multiboot header in its first 8 KiB: pass a Multiboot 1 kernel, or choose another protocol`,
    );
  }
  checkDemands(name, header);
  const addresses = loadAddresses(name, bytes, header);
  if (addresses) return loadByAddresses(memory, regions, name, bytes, addresses);
  if (!isElf(bytes)) {
    throw new HostError(
      'KernelUnsupported',
      `${name} has a Multiboot header without load addresses and is no ELF file: set bit 16 of the header's flags`,
    );
  }
  const elf = parseElf(name, byteSource(bytes));
  const entry = multibootEntry(elf);
  return { entry, end: loadElf(memory, regions, elf).end };
}

function loadByAddresses(
  memory: GuestMemory,
  regions: readonly MemoryRegion[],
  name: string,
  bytes: Uint8Array,
  { fileOffset, fileSize, loadAddress, memorySize, entry }: LoadAddresses,
): { entry: number; end: number } {
  const end = loadAddress + memorySize;
  if (loadAddress < LowestKernelAddress) {
    throw new HostError('KernelUnsupported', `${name} wants to be loaded below 1 MiB: link it at 1 MiB or above`);
  }
  if (!isUsable(regions, loadAddress, memorySize)) throw memoryTooSmall(memory, `the kernel ${name}`, end);
  writeSegment(memory, loadAddress, bytes.subarray(fileOffset, fileOffset + fileSize), memorySize);
  return { entry, end };
}

/** An entry given as a virtual address is turned into the physical one, as GRUB does. */
function multibootEntry(elf: ElfFile): number {
  const segment = elf.segments.find(
    ({ virtualAddress, memorySize }) => elf.entry >= virtualAddress && elf.entry < virtualAddress + BigInt(memorySize),
  );
  const entry = segment ? Number(elf.entry - segment.virtualAddress) + segment.physicalAddress : Number(elf.entry);
  if (isLoadedAddress(elf, entry) && entry < 2 ** 32) return entry;
  throw new HostError(
    'KernelUnsupported',
    `${elf.name} has its entry point 0x${elf.entry.toString(16)} outside its segments: it is damaged`,
  );
}

/** Modules follow the kernel, each on its own page. */
function placeModules(
  memory: GuestMemory,
  regions: readonly MemoryRegion[],
  modules: readonly BootModule[],
  kernelEnd: number,
): PlacedModule[] {
  if (modules.length * ModuleEntry.Size > BootLayout.ModuleList.size) {
    throw new HostError('InvalidArgument', `${modules.length} modules are too many: pass fewer`);
  }
  let next = kernelEnd;
  return modules.map(({ bytes }) => {
    const start = Math.ceil(next / PageSize) * PageSize;
    next = start + bytes.length;
    if (!isUsable(regions, start, bytes.length)) throw memoryTooSmall(memory, 'the kernel and its modules', next);
    readSegment(memory, start, { source: byteSource(bytes), offset: 0, fileSize: bytes.length }, bytes.length);
    return { start: gpa(start), size: bytes.length };
  });
}
