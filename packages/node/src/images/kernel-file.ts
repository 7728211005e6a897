/** Kernels from files: read, checked, and unpacked only once. */
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { HostErrorCode } from '@lodger/vmm/errors/host-error.js';
import type { BootSource } from '@lodger/vmm/boot/load-kernel.js';
import { MaxKernelSize } from '@lodger/vmm/boot/compression.js';
import { isBzImage } from '@lodger/vmm/boot/linux/setup-header.js';
import { unpackBzImage } from '@lodger/vmm/boot/linux/unpack.js';
import { cacheDirectory, exists, writeAtomically } from './cache.ts';
import { decompress } from './decompress.ts';

/** The part of loadKernel()'s argument that a kernel file gives. */
export type KernelFile = Pick<BootSource, 'kernel' | 'kernelName'> & {
  readonly setup?: Uint8Array;
  readonly decompress: NonNullable<BootSource['decompress']>;
};

/** Enough for any setup header. */
const SetupSize = 4096;

/**
 * Reads a kernel. A bzImage comes as the vmlinux inside it, from the cache if it was unpacked before.
 *
 * @throws HostError when the file cannot be read, is cut off or damaged
 */
export async function loadKernelFile(path: string): Promise<KernelFile> {
  const bytes = await readWhole(path, 'kernel', 'KernelUnreadable');
  const common = { kernelName: path, decompress };
  if (!isBzImage(bytes)) return { ...common, kernel: bytes };
  // A copy: a view would keep the whole file in memory.
  const setup = new Uint8Array(bytes.subarray(0, SetupSize));
  return { ...common, setup, kernel: await unpacked(path, bytes) };
}

/** The path of the vmlinux of the bzImage at `path`, unpacked first when it is not in the cache. */
export async function cachedVmlinux(
  path: string,
  options: { readonly sha256?: string | undefined; readonly onProgress?: ((message: string) => void) | undefined } = {},
): Promise<string> {
  if (options.sha256) {
    const known = vmlinuxPath(options.sha256);
    if (await exists(known)) return known;
  }
  options.onProgress?.('unpacking the kernel');
  const bytes = await readWhole(path, 'kernel', 'KernelUnreadable');
  const target = vmlinuxPath(sha256(bytes));
  if (!(await exists(target))) await writeAtomically(target, unpackBzImage(path, bytes, decompress));
  return target;
}

async function unpacked(name: string, bzImage: Uint8Array): Promise<Uint8Array> {
  const cached = vmlinuxPath(sha256(bzImage));
  try {
    return await readFile(cached);
  } catch {
    // Not unpacked before.
  }
  const vmlinux = unpackBzImage(name, bzImage, decompress);
  // Without a writable cache the next start unpacks again; this one goes on.
  await writeAtomically(cached, vmlinux).catch(() => {});
  return vmlinux;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function vmlinuxPath(digest: string): string {
  return join(cacheDirectory(), 'vmlinux', digest);
}

/** Reads a regular file that is small enough to be a kernel or initrd. */
export async function readWhole(
  path: string,
  what: 'kernel' | 'initrd',
  unreadable: HostErrorCode,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const file = await open(path, 'r');
    try {
      const stats = await file.stat();
      if (!stats.isFile()) {
        const kind = stats.isDirectory() ? 'a folder' : 'no regular file';
        throw new HostError(unreadable, `the ${what} ${path} is ${kind}: pass the path of a ${what} file`);
      }
      if (stats.size > MaxKernelSize) {
        throw new HostError(unreadable, `${path} is too large to be a ${what}: is it a disk? Then pass it with --disk`);
      }
      return (await file.readFile()) as Buffer<ArrayBuffer>;
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof HostError) throw cause;
    throw new HostError(unreadable, `the ${what} ${path} cannot be read: ${explain(cause, what)}`, { cause });
  }
}

function explain(error: unknown, what: string): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return `there is no such file; check the path after --${what}`;
    case 'EACCES':
    case 'EPERM':
      return `it may not be read by this user; copy it to where you may read it (chmod, or sudo cp)`;
    default:
      return (error as Error).message;
  }
}
