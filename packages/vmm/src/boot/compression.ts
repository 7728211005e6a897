/** The compression formats of kernels and initrds, told apart by their first bytes as Linux does (lib/decompress.c). */
import { HostError } from '../errors/host-error.ts';

export type CompressionFormat = 'gzip' | 'lz4' | 'zstd' | 'xz';

/**
 * Unpacks `bytes`, one complete stream of `format` (lz4: the legacy frame format). Injected, as the host knows how.
 * Throws on damaged input and on more than `maxSize` bytes of output.
 */
export type Decompress = (format: CompressionFormat, bytes: Uint8Array, maxSize: number) => Uint8Array;

/** No kernel is larger; what claims to be is damaged. */
export const MaxKernelSize = 1 << 30;

const Magics = [
  { format: 'gzip', magic: [0x1f, 0x8b] },
  { format: 'gzip', magic: [0x1f, 0x9e] },
  { format: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { format: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { format: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { format: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { format: 'lzma', magic: [0x5d, 0x00, 0x00] },
  { format: 'lzo', magic: [0x89, 0x4c, 0x5a, 0x4f] },
] as const;
export type KnownCompression = (typeof Magics)[number]['format'];

/** The format of a compressed stream, or undefined. */
export function detectCompression(bytes: Uint8Array): KnownCompression | undefined {
  return Magics.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte))?.format;
}

/** Unpacks a compressed kernel, with every failure as a HostError. `name` is the file in messages. */
export function unpackKernel(
  name: string,
  bytes: Uint8Array,
  maxSize: number,
  decompress: Decompress | undefined,
): Uint8Array {
  const format = detectCompression(bytes);
  if (format === undefined) {
    throw new HostError(
      'KernelUnsupported',
      `${name}: its payload has no known compression format; the file may be damaged (fetch it again), or pass an ` +
        'uncompressed vmlinux',
    );
  }
  if (format === 'bzip2' || format === 'lzma' || format === 'lzo' || !decompress) {
    throw new HostError(
      'KernelUnsupported',
      `${name}: ${format} compression is not supported; unpack the kernel first (Linux's scripts/extract-vmlinux) and ` +
        'pass the vmlinux',
    );
  }
  try {
    return decompress(format, bytes, maxSize);
  } catch (cause) {
    if (cause instanceof HostError) throw cause;
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new HostError(
      'KernelTruncated',
      `${name}: its ${format} data is truncated or damaged (${detail}); fetch or copy the file again`,
      { cause },
    );
  }
}
