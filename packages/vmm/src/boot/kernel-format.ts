/** Names what a file is that is no kernel for this machine, so that messages can say what to pass instead. */
import { ByteReader } from './byte-reader.ts';

interface Foreign {
  readonly is: (file: ByteReader) => boolean;
  readonly what: string;
  readonly advice: string;
}

const PassKernel = 'pass a bzImage (/boot/vmlinuz-…), a vmlinux, or a PVH or Multiboot kernel for x86';

/** In order: the first match names the file. */
const Foreigners: readonly Foreign[] = [
  { is: (file) => file.length === 0, what: 'is empty', advice: 'fetch or copy it again' },
  { is: (file) => file.matches(0x38, 'ARM\x64'), what: 'is an ARM64 kernel image', advice: PassKernel },
  { is: (file) => file.matches(0x38, 'RSC\x05'), what: 'is a RISC-V kernel image', advice: PassKernel },
  { is: (file) => file.matches(0x24, '\x18\x28\x6f\x01'), what: 'is a 32-bit ARM kernel image', advice: PassKernel },
  { is: (file) => file.matches(4, 'zimg'), what: 'is a compressed EFI kernel for another machine', advice: PassKernel },
  {
    is: (file) => file.matches(0, 'MZ'),
    what: 'is an EFI or Windows program without a Linux setup header',
    advice: 'pass the kernel itself; for a unified kernel image, extract its .linux and .initrd sections with objcopy',
  },
  { is: (file) => file.matches(0, '#!'), what: 'is a script', advice: PassKernel },
  { is: (file) => file.matches(0, '!<arch>\n'), what: 'is a Debian package or library', advice: 'unpack it first' },
  { is: (file) => file.matches(0, '\x27\x05\x19\x56'), what: 'is a U-Boot image', advice: PassKernel },
  { is: (file) => file.matches(0, '07070'), what: 'is a cpio archive', advice: 'pass it as --initrd' },
  { is: (file) => file.matches(0, 'QFI\xfb'), what: 'is a qcow2 disk image', advice: 'convert it to raw for --disk' },
  { is: (file) => file.matches(0x8001, 'CD001'), what: 'is a CD image', advice: 'pass it as --disk' },
  {
    is: (file) => file.u16(0x1fe) === 0xaa55,
    what: 'is a disk image or boot sector without a Linux setup header',
    advice: 'pass it as --disk',
  },
  {
    is: (file) => file.length < 0x1000,
    what: 'is too short for a kernel',
    advice: 'it may be truncated: copy it again',
  },
];

/** "<what it is>: <what to do>". */
export function describeForeign(bytes: Uint8Array): string {
  const file = new ByteReader(bytes);
  const found = Foreigners.find((foreign) => foreign.is(file));
  return found ? `${found.what}: ${found.advice}` : `is of no known kernel format: ${PassKernel}`;
}
