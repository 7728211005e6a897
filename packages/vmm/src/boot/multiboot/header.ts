/**
 * The Multiboot header in a kernel file (Multiboot Specification 0.6.96 §3.1 "OS image format").
 */
import { HostError } from '../../errors/host-error.ts';
import { ByteReader } from '../byte-reader.ts';

const Field = {
  Magic: 0,
  Flags: 4,
  Checksum: 8,
  HeaderAddress: 12,
  LoadAddress: 16,
  LoadEndAddress: 20,
  BssEndAddress: 24,
  EntryAddress: 28,
  AddressesSize: 32,
  Size: 12,
} as const;
const HeaderMagic = 0x1bad_b002;
/** The header lies wholly in the first 8192 bytes, 32-bit aligned. */
export const MultibootSearchLimit = 8192;

/** Bits 0 to 15 are demands that a loader must understand; the video mode is a preference and is not met. */
const Flag = { AlignModules: 1 << 0, MemoryInfo: 1 << 1, VideoMode: 1 << 2, Addresses: 1 << 16 } as const;
const UnderstoodDemands = Flag.AlignModules | Flag.MemoryInfo | Flag.VideoMode;

/** Where a kernel that is no ELF file is to be loaded ("a.out kludge"). */
export interface LoadAddresses {
  readonly fileOffset: number;
  readonly loadAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly entry: number;
}

export interface MultibootHeader {
  readonly offset: number;
  readonly flags: number;
}

export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const file = new ByteReader(bytes);
  const last = Math.min(MultibootSearchLimit, file.length) - Field.Size;
  // indexOf() is much faster than reading every word: every boot of a Linux searches in vain.
  const words = new Uint32Array(bytes.slice(0, Math.max(0, last + 4) & ~3).buffer);
  for (let at = words.indexOf(HeaderMagic); at >= 0; at = words.indexOf(HeaderMagic, at + 1)) {
    const offset = at * Uint32Array.BYTES_PER_ELEMENT;
    const flags = file.u32(offset + Field.Flags);
    const sum = HeaderMagic + flags + file.u32(offset + Field.Checksum);
    if (sum % 2 ** 32 === 0) return { offset, flags };
  }
  return undefined;
}

/** Refuses demands that are not understood, as the specification asks. */
export function checkDemands(name: string, header: MultibootHeader): void {
  const unknown = header.flags & 0xffff & ~UnderstoodDemands;
  if (unknown === 0) return;
  throw new HostError(
    'KernelUnsupported',
    `${name} demands Multiboot features 0x${unknown.toString(16)} that no Multiboot 1 loader knows: it is damaged`,
  );
}

/** The address fields, checked against the file, or undefined when the kernel leaves loading to its ELF headers. */
export function loadAddresses(name: string, bytes: Uint8Array, header: MultibootHeader): LoadAddresses | undefined {
  if ((header.flags & Flag.Addresses) === 0) return undefined;
  const file = new ByteReader(bytes);
  if (header.offset + Field.AddressesSize > file.length) throw damaged(name, 'it ends inside its Multiboot header');
  const headerAddress = file.u32(header.offset + Field.HeaderAddress);
  const loadAddress = file.u32(header.offset + Field.LoadAddress);
  const loadEnd = file.u32(header.offset + Field.LoadEndAddress);
  const bssEnd = file.u32(header.offset + Field.BssEndAddress);
  const fileOffset = header.offset - (headerAddress - loadAddress);
  if (fileOffset < 0 || fileOffset > header.offset) throw damaged(name, 'its load address lies behind its header');
  const fileSize = loadEnd === 0 ? file.length - fileOffset : loadEnd - loadAddress;
  if (fileSize <= 0) throw damaged(name, 'its load addresses are in the wrong order');
  if (fileOffset + fileSize > file.length) throw damaged(name, 'it ends before its last byte to load');
  const memorySize = Math.max(fileSize, bssEnd - loadAddress);
  const entry = file.u32(header.offset + Field.EntryAddress);
  if (entry < loadAddress || entry >= loadAddress + memorySize) {
    throw damaged(name, `its entry point 0x${entry.toString(16)} is not part of it`);
  }
  return { fileOffset, loadAddress, fileSize, memorySize, entry };
}

function damaged(name: string, what: string): HostError {
  return new HostError('KernelTruncated', `${name} is truncated or damaged: ${what}; build or copy it again`);
}
