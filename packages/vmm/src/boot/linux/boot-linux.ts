/**
 * The Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst "64-bit Boot Protocol"), entering the vmlinux itself.
 *
 * Leaves out what the stub in a bzImage adds: relocation and KASLR, 5-level paging, SEV and EFI. The kernel is loaded
 * where it was linked to run and entered at startup_64.
 */
import { HostError } from '../../errors/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { gpa } from '../../memory/address.ts';
import { BootLayout } from '../boot-layout.ts';
import { writeCommandLine } from '../boot-source.ts';
import type { BootedKernel, BootSource } from '../boot-source.ts';
import { byteSource } from '../byte-source.ts';
import { Machine } from '../elf/elf-file.ts';
import type { ElfFile } from '../elf/elf-file.ts';
import { isLoadedAddress, loadElf } from '../elf/load-elf.ts';
import { bootGdt, longModeState, stackTop } from '../initial-state.ts';
import { memoryRegions } from '../memory-regions.ts';
import { placeInitrd, writeBootData } from '../place.ts';
import { writeIdentityPageTables } from './page-tables.ts';
import { thirtyTwoBit } from './setup-header.ts';
import type { SetupHeader } from './setup-header.ts';
import { buildRngSeed, buildZeroPage } from './zero-page.ts';

export function bootLinux(
  memory: GuestMemory,
  vmlinux: ElfFile,
  header: SetupHeader,
  source: BootSource,
): BootedKernel {
  checkVmlinux(vmlinux);
  const regions = memoryRegions(memory);
  const kernel = loadElf(memory, regions, vmlinux);
  const limit = header.initrdAddressMax + 1;
  const initrd = source.initrd && placeInitrd(memory, regions, byteSource(source.initrd), kernel.end, limit);
  const commandLine = writeCommandLine(memory, source.commandLine ?? '', header.commandLineSize);
  const setupData = source.rngSeed && BootLayout.SetupData.start;
  if (source.rngSeed) writeBootData(memory, BootLayout.SetupData.start, buildRngSeed(source.rngSeed));
  const zeroPage = buildZeroPage({ header, regions, commandLine, initrd, rsdp: source.rsdp, setupData });
  writeBootData(memory, BootLayout.Info.start, zeroPage);
  const cr3 = writeIdentityPageTables(memory);
  const gdt = bootGdt('long');
  writeBootData(memory, BootLayout.Gdt.start, gdt);

  const entry = gpa(Number(vmlinux.entry));
  const registers = { entry, rsi: BigInt(BootLayout.Info.start), rsp: stackTop(BootLayout.Stack) };
  const state = longModeState(registers, { base: BootLayout.Gdt.start, limit: gdt.length - 1 }, cr3);
  return { protocol: 'linux64', entry, state, initrd };
}

function checkVmlinux(vmlinux: ElfFile): void {
  if (vmlinux.machine !== Machine.X86_64 || vmlinux.bits !== 64) throw thirtyTwoBit(vmlinux.name);
  if (!isLoadedAddress(vmlinux, Number(vmlinux.entry))) {
    throw new HostError(
      'KernelUnsupported',
      `${vmlinux.name} has its entry point 0x${vmlinux.entry.toString(16)} outside its segments' physical addresses: ` +
        'it is not a Linux kernel, or damaged',
    );
  }
}
