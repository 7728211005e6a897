/**
 * The setup header of a bzImage, and the start of the zero page which repeats it.
 *
 * Linux Documentation/arch/x86/boot.rst "The Real-Mode Kernel Header" and "Details of Header Fields".
 */
import { HostError } from '../../errors/host-error.ts';
import { ByteReader } from '../byte-reader.ts';

/** Offsets in the file and in the zero page. */
export const SetupField = {
  SetupSectors: 0x1f1,
  RootFlags: 0x1f2,
  SystemSize: 0x1f4,
  VideoMode: 0x1fa,
  BootFlag: 0x1fe,
  /** The second byte of a short jump over the header: the header ends this far behind 0x202. */
  JumpOffset: 0x201,
  Magic: 0x202,
  Version: 0x206,
  TypeOfLoader: 0x210,
  LoadFlags: 0x211,
  RamdiskImage: 0x218,
  RamdiskSize: 0x21c,
  CommandLinePointer: 0x228,
  InitrdAddressMax: 0x22c,
  KernelAlignment: 0x230,
  XLoadFlags: 0x236,
  CommandLineSize: 0x238,
  PayloadOffset: 0x248,
  PayloadLength: 0x24c,
  SetupData: 0x250,
} as const;

export const HeaderStart = SetupField.SetupSectors;
/** The most that the header may take: the E820 table follows it in the zero page at 0x2d0. */
const HeaderLimit = 0x290;

export const LoadFlag = { LoadedHigh: 1 << 0 } as const;
const XLoadFlag = { Kernel64: 1 << 0 } as const;
export const BootFlagMagic = 0xaa55;
export const HeaderMagic = 'HdrS';
const SectorSize = 512;
const ParagraphSize = 16;
/** The first version with payload_offset and payload_length. */
const OldestVersion = 0x0208;
/** The first version with xloadflags. */
const XLoadFlagsVersion = 0x020c;

export interface SetupHeader {
  /** The header's bytes as they go into the zero page at 0x1f1. */
  readonly bytes: Uint8Array;
  /** The highest address that any byte of the initrd may have. */
  readonly initrdAddressMax: number;
  /** The longest command line without its NUL. */
  readonly commandLineSize: number;
}

/** A setup header together with where the compressed kernel lies in the file. */
export interface BzImage extends SetupHeader {
  readonly payload: Uint8Array;
}

export function isBzImage(bytes: Uint8Array): boolean {
  const file = new ByteReader(bytes);
  return file.u16(SetupField.BootFlag) === BootFlagMagic && file.matches(SetupField.Magic, HeaderMagic);
}

/** Validates the setup header at the start of a bzImage. `name` is the file in messages. */
export function parseSetup(name: string, bytes: Uint8Array): SetupHeader {
  const file = new ByteReader(bytes);
  const headerEnd = SetupField.Magic + file.u8(SetupField.JumpOffset);
  if (file.length < headerEnd) throw truncated(name, file.length, headerEnd);
  checkSupported(name, file);
  if (headerEnd < SetupField.PayloadLength + 4 || headerEnd > HeaderLimit) {
    throw new HostError('KernelUnsupported', `${name}: its setup header is damaged; fetch or copy the file again`);
  }
  return {
    bytes: new Uint8Array(bytes.subarray(HeaderStart, headerEnd)),
    initrdAddressMax: file.u32(SetupField.InitrdAddressMax),
    commandLineSize: file.u32(SetupField.CommandLineSize),
  };
}

/** Validates a whole bzImage and finds its payload. `name` is the file in messages. */
export function parseBzImage(name: string, bytes: Uint8Array): BzImage {
  const header = parseSetup(name, bytes);
  const file = new ByteReader(bytes);
  const codeStart = ((file.u8(SetupField.SetupSectors) || 4) + 1) * SectorSize;
  const fileSize = codeStart + file.u32(SetupField.SystemSize) * ParagraphSize;
  if (file.length < fileSize) throw truncated(name, file.length, fileSize);
  const payloadStart = codeStart + file.u32(SetupField.PayloadOffset);
  const payloadEnd = payloadStart + file.u32(SetupField.PayloadLength);
  if (payloadEnd > fileSize || payloadEnd <= payloadStart) {
    throw new HostError(
      'KernelUnsupported',
      `${name}: its setup header places the kernel outside the file; it is damaged: fetch or copy it again`,
    );
  }
  return { ...header, payload: bytes.subarray(payloadStart, payloadEnd) };
}

function checkSupported(name: string, file: ByteReader): void {
  const version = file.u16(SetupField.Version);
  if (version < OldestVersion) {
    const printed = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
    throw new HostError(
      'KernelUnsupported',
      `${name} speaks boot protocol ${printed}; 2.08 (Linux 2.6.26) is the oldest supported: pass a newer kernel`,
    );
  }
  if ((file.u8(SetupField.LoadFlags) & LoadFlag.LoadedHigh) === 0) {
    throw new HostError('KernelUnsupported', `${name} is a zImage, which loads below 1 MiB: pass a bzImage`);
  }
  if (version >= XLoadFlagsVersion && (file.u16(SetupField.XLoadFlags) & XLoadFlag.Kernel64) === 0) {
    throw thirtyTwoBit(name);
  }
}

export function thirtyTwoBit(name: string): HostError {
  return new HostError(
    'KernelUnsupported',
    `${name} is a 32-bit kernel without a 64-bit entry point: pass a kernel for x86-64 (Debian's -amd64 packages)`,
  );
}

function truncated(name: string, has: number, needs: number): HostError {
  return new HostError(
    'KernelTruncated',
    `${name} is truncated: it has ${has} bytes where its header promises ${needs}; fetch or copy it again`,
  );
}

/** What a loader fills in for a vmlinux, which carries no setup header: the values of a current 64-bit kernel. */
export function syntheticSetupHeader(): SetupHeader {
  const page = new Uint8Array(HeaderLimit);
  const view = new DataView(page.buffer);
  const MountRootReadOnly = 1;
  const NormalVideoMode = 0xffff;
  view.setUint16(SetupField.RootFlags, MountRootReadOnly, true);
  view.setUint16(SetupField.VideoMode, NormalVideoMode, true);
  view.setUint16(SetupField.BootFlag, BootFlagMagic, true);
  for (let i = 0; i < HeaderMagic.length; i++) page[SetupField.Magic + i] = HeaderMagic.charCodeAt(i);
  view.setUint16(SetupField.Version, 0x020f, true);
  view.setUint8(SetupField.LoadFlags, LoadFlag.LoadedHigh);
  const initrdAddressMax = 0x7fff_ffff;
  view.setUint32(SetupField.InitrdAddressMax, initrdAddressMax, true);
  view.setUint32(SetupField.KernelAlignment, 0x20_0000, true);
  view.setUint16(SetupField.XLoadFlags, XLoadFlag.Kernel64, true);
  const commandLineSize = 2047;
  view.setUint32(SetupField.CommandLineSize, commandLineSize, true);
  return { bytes: page.slice(HeaderStart, 0x26c), initrdAddressMax, commandLineSize };
}
