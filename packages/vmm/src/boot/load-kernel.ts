/**
 * The one door of the boot protocols: detects what a kernel file is, loads it and gives the first vCPU's state.
 *
 * Without a forced protocol, the first of these that applies is taken:
 * 1. bzImage (setup header "HdrS"): Linux 64-bit.
 * 2. A Multiboot header in the first 8 KiB: Multiboot. (Linux has none; Xen has, besides its PVH note.)
 * 3. An ELF file with a note by "Linux", or a Xen note that names the guest "linux": Linux 64-bit. Its PVH entry would
 *    work as well, but runs 32-bit start-up code for nothing.
 * 4. An ELF file with a PVH note: PVH.
 * 5. Another 64-bit x86 executable which is linked to the upper half, as kernels are: Linux 64-bit.
 * A file compressed as a whole (xen.gz, vmlinux.zst) is unpacked first.
 */
import { HostError } from '../errors/host-error.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { BootedKernel, BootProtocol, BootSource } from './boot-source.ts';
import { byteSource, readPart, wholeOf } from './byte-source.ts';
import { detectCompression, MaxKernelSize, unpackKernel } from './compression.ts';
import { ElfType, isElf, Machine, parseElf } from './elf/elf-file.ts';
import type { ElfFile } from './elf/elf-file.ts';
import { describeForeign } from './kernel-format.ts';
import { bootLinux } from './linux/boot-linux.ts';
import { isBzImage, parseBzImage, parseSetup, syntheticSetupHeader } from './linux/setup-header.ts';
import { unpackBzImage } from './linux/unpack.ts';
import { bootMultiboot } from './multiboot/boot-multiboot.ts';
import { findMultibootHeader, MultibootSearchLimit } from './multiboot/header.ts';
import { bootPvh, pvhEntry } from './pvh/boot-pvh.ts';

export type { ByteSource } from './byte-source.ts';
export type { BootedKernel, BootModule, BootProtocol, BootSource } from './boot-source.ts';
export type { CompressionFormat, Decompress } from './compression.ts';

const XenGuestOs = 6;

/** Loads the kernel into guest memory. Everything wrong with the files is a HostError that names the next step. */
export function loadKernel(memory: GuestMemory, source: BootSource): BootedKernel {
  const name = source.kernelName ?? 'the kernel';
  if (source.initrd?.length === 0) {
    throw new HostError('InitrdUnsupported', 'the initrd is empty: pass a cpio archive, or none');
  }
  const kernel = unpackWhole(name, source);
  const head = kernelHead(kernel);
  if (isBzImage(head)) return bootBzImage(memory, name, { ...source, kernel });

  const protocol = source.bootProtocol ?? (findMultibootHeader(head) && 'multiboot');
  if (protocol === 'multiboot') return bootMultiboot(memory, name, { ...source, kernel });
  if (!isElf(head)) throw new HostError('KernelUnsupported', `${name} ${describeForeign(wholeOf(kernel))}`);
  const elf = parseElf(name, byteSource(kernel));
  if ((protocol ?? chooseProtocol(elf)) === 'pvh') return bootPvh(memory, elf, source);
  const header = source.setup ? parseSetup(name, source.setup) : syntheticSetupHeader();
  return bootLinux(memory, elf, header, source);
}

/** True for kernels that take Linux's command line: all that do not start by Multiboot. */
export function isLinuxLike(kernel: BootSource['kernel']): boolean {
  const head = kernelHead(kernel);
  return isBzImage(head) || !findMultibootHeader(head);
}

/** As much of a kernel as tells what it is. */
function kernelHead(kernel: BootSource['kernel']): Uint8Array {
  return readPart(byteSource(kernel), 0, MultibootSearchLimit);
}

function unpackWhole(name: string, { kernel, decompress }: BootSource): BootSource['kernel'] {
  if (detectCompression(kernelHead(kernel)) === undefined) return kernel;
  return unpackKernel(name, wholeOf(kernel), MaxKernelSize, decompress);
}

function bootBzImage(memory: GuestMemory, name: string, source: BootSource): BootedKernel {
  if (source.bootProtocol === 'multiboot') return bootMultiboot(memory, name, source);
  const kernel = wholeOf(source.kernel);
  const header = parseBzImage(name, kernel);
  const vmlinux = parseElf(name, byteSource(unpackBzImage(name, kernel, source.decompress)));
  return source.bootProtocol === 'pvh' ? bootPvh(memory, vmlinux, source) : bootLinux(memory, vmlinux, header, source);
}

function chooseProtocol(elf: ElfFile): BootProtocol {
  if (isLinux(elf)) return 'linux64';
  if (pvhEntry(elf) !== undefined) return 'pvh';
  if (looksLikeKernel(elf)) return 'linux64';
  throw new HostError(
    'KernelUnsupported',
    elf.machine === Machine.I386
      ? `${elf.name} is a 32-bit x86 ELF file with neither a PVH nor a Multiboot entry: pass a kernel for x86-64`
      : `${elf.name} is an ELF file but no kernel (a program, library or object file): pass a vmlinux or bzImage`,
  );
}

/** A note is cheap to find; the banner "Linux version" would need a search through all of the data. */
function isLinux(elf: ElfFile): boolean {
  if (elf.machine !== Machine.X86_64) return false;
  return elf.notes.some(
    ({ owner, type, description }) =>
      owner === 'Linux' ||
      (owner === 'Xen' && type === XenGuestOs && String.fromCharCode(...description.subarray(0, 5)) === 'linux'),
  );
}

function looksLikeKernel(elf: ElfFile): boolean {
  const upperHalf = 1n << 63n;
  return (
    elf.bits === 64 &&
    elf.machine === Machine.X86_64 &&
    elf.type === ElfType.Executable &&
    !elf.hasInterpreter &&
    elf.segments.some(({ virtualAddress }) => virtualAddress >= upperHalf)
  );
}
