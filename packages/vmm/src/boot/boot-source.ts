/** What is to be booted, and what booting it gave: shared by all protocols. */
import type { VcpuState } from '../engine/state.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { ByteSource } from './byte-source.ts';
import type { Decompress } from './compression.ts';
import { HostError } from '../errors/host-error.ts';
import { BootLayout } from './boot-layout.ts';
import { cString } from './byte-reader.ts';
import { writeBootData } from './place.ts';

export type BootProtocol = 'linux64' | 'pvh' | 'multiboot';

export interface BootModule {
  readonly bytes: Uint8Array | ByteSource;
  readonly commandLine?: string;
}

export interface BootSource {
  /** A bzImage, an ELF kernel, a Multiboot kernel of any file format, or one of these compressed. */
  readonly kernel: Uint8Array | ByteSource;
  /** The kernel's file in messages. */
  readonly kernelName?: string;
  /**
   * The bzImage (or its first 4 KiB) that `kernel`, a vmlinux, was unpacked from beforehand. Its
   * setup header then goes to the guest, as if the bzImage had been passed.
   */
  readonly setup?: Uint8Array;
  readonly initrd?: Uint8Array | ByteSource;
  /** Further modules for Multiboot and PVH, behind the initrd. */
  readonly modules?: readonly BootModule[];
  readonly commandLine?: string;
  readonly rsdp?: GuestPhysicalAddress;
  /** Entropy for the guest (Linux 64-bit protocol only; 32 bytes are right). */
  readonly rngSeed?: Uint8Array;
  /** Forces a protocol instead of choosing by the kernel's format. */
  readonly bootProtocol?: BootProtocol;
  readonly decompress?: Decompress;
}

export interface BootedKernel {
  readonly protocol: BootProtocol;
  readonly entry: GuestPhysicalAddress;
  /** The bootstrap processor's state. The other processors wait for INIT and SIPI. */
  readonly state: VcpuState;
  readonly initrd: { readonly start: GuestPhysicalAddress; readonly size: number } | undefined;
}

/** Checks the command line's length in bytes and writes it. */
export function writeCommandLine(memory: GuestMemory, commandLine: string, limit: number): GuestPhysicalAddress {
  const { start, size } = BootLayout.CommandLine;
  const bytes = cString(commandLine);
  const longest = Math.min(limit, size - 1);
  if (bytes.length - 1 > longest) {
    throw new HostError(
      'InvalidArgument',
      `the kernel command line has ${bytes.length - 1} bytes; this kernel takes at most ${longest}: shorten --append`,
    );
  }
  if (commandLine.includes('\0')) {
    throw new HostError('InvalidArgument', 'the kernel command line holds a NUL byte: remove it from --append');
  }
  writeBootData(memory, start, bytes);
  return start;
}
