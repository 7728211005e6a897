/** From a bzImage to the vmlinux inside it, unpacked by the host: a guest that unpacks itself loses seconds. */
import { HostError } from '../../errors/host-error.ts';
import { ByteReader } from '../byte-reader.ts';
import { detectCompression, MaxKernelSize, unpackKernel } from '../compression.ts';
import type { Decompress } from '../compression.ts';
import { isElf } from '../elf/elf-file.ts';
import { parseBzImage } from './setup-header.ts';

/** The build appends the unpacked size to every format but gzip, whose own trailer ends with it. */
const SizeTrailer = 4;

/**
 * The vmlinux of a bzImage. Behind its ELF image come the relocations of a relocatable kernel, unused here.
 * (Linux arch/x86/boot/compressed/Makefile: vmlinux.bin.all is vmlinux.bin with vmlinux.relocs appended.)
 */
export function unpackBzImage(name: string, bytes: Uint8Array, decompress: Decompress | undefined): Uint8Array {
  const { payload } = parseBzImage(name, bytes);
  if (isElf(payload)) return payload;
  const size = payload.length > SizeTrailer ? new ByteReader(payload).u32(payload.length - SizeTrailer) : 0;
  if (size === 0 || size > MaxKernelSize) throw damaged(name);
  const trailer = detectCompression(payload) === 'gzip' ? 0 : SizeTrailer;
  const vmlinux = unpackKernel(name, payload.subarray(0, payload.length - trailer), size, decompress);
  if (vmlinux.length !== size || !isElf(vmlinux)) throw damaged(name);
  return vmlinux;
}

function damaged(name: string): HostError {
  return new HostError(
    'KernelTruncated',
    `${name}: what it unpacks to is not the kernel that its header describes; fetch or copy the file again`,
  );
}
