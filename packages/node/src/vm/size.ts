/** Sizes as people write them. */
import { HostError } from '@lodger/vmm/errors/host-error.js';

const Units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Bytes from `'256M'`, `'1G'`, `'1.5GiB'`, `'65536'` (units are powers of 1024, either case) or from a number of bytes.
 *
 * @throws HostError InvalidArgument
 */
export function parseSize(size: string | number, what: string): number {
  const bytes = typeof size === 'number' ? size : bytesOf(size);
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new HostError('InvalidArgument', `${what}: "${size}" is no size; write for example 256M or 1G`);
  }
  return bytes;
}

function bytesOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  return match ? Number(match[1]) * Units[match[2]!.toUpperCase()]! : Number.NaN;
}

/** The size in the largest unit that leaves a whole number, for messages. */
export function formatSize(bytes: number): string {
  for (const [name, unit] of [['GiB', 2 ** 30] as const, ['MiB', 2 ** 20] as const, ['KiB', 2 ** 10] as const]) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit} ${name}`;
  }
  return `${bytes} bytes`;
}
