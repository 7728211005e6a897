/** Kernels from files: read, checked, and unpacked only once. */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { HostErrorCode } from '@lodger/vmm/errors/host-error.js';
import type { BootSource } from '@lodger/vmm/boot/load-kernel.js';
import { MaxKernelSize } from '@lodger/vmm/boot/compression.js';
import { isBzImage } from '@lodger/vmm/boot/linux/setup-header.js';
import { unpackBzImage } from '@lodger/vmm/boot/linux/unpack.js';
import { cacheDirectory, exists, writeAtomically } from './cache.ts';
import { decompress } from './decompress.ts';
import { knownOfFile, noteOfFile } from './file-identity.ts';

/** A kernel that was found and looked at. */
export interface KernelFile {
  /** The file in messages. */
  readonly kernelName: string;
  /** The file to boot, for a bzImage the vmlinux inside it; its bytes where the cache has no room for them. */
  readonly kernel: string | Uint8Array<ArrayBuffer>;
  /** The start of the bzImage. */
  readonly setup: Uint8Array<ArrayBuffer> | undefined;
}

/** The part of loadKernel()'s argument that a kernel file gives. */
export interface LoadedKernelFile extends Pick<BootSource, 'decompress'> {
  readonly kernelName: string;
  readonly kernel: Uint8Array<ArrayBuffer>;
  readonly setup?: Uint8Array;
}

/** Enough for any setup header. */
const SetupSize = 4096;
/** Where the cache has digests of bzImages. */
const DigestFolder = 'bzimages';

/**
 * Finds a kernel and unpacks it when it is a bzImage that was not unpacked before. What is not compressed is not read:
 * that is for whoever boots it.
 *
 * @throws HostError when the file cannot be read, or is a bzImage that is cut off or damaged
 */
export async function findKernelFile(path: string): Promise<KernelFile> {
  return withFile(path, 'kernel', 'KernelUnreadable', async (file, status) => {
    const head = new Uint8Array(SetupSize);
    const { bytesRead } = await file.read(head, 0, SetupSize, 0);
    const setup = head.slice(0, bytesRead);
    if (!isBzImage(setup)) return { kernelName: path, kernel: path, setup: undefined };
    const known = await knownOfFile(DigestFolder, status);
    const kernel =
      known !== undefined && (await exists(vmlinuxPath(known)))
        ? vmlinuxPath(known)
        : await unpacked(path, await file.readFile(), status);
    return { kernelName: path, kernel, setup };
  });
}

/** The same with the kernel's bytes. */
export async function loadKernelFile(path: string): Promise<LoadedKernelFile> {
  const { kernelName, kernel, setup } = await findKernelFile(path);
  const bytes = typeof kernel === 'string' ? await readWhole(kernel, 'kernel', 'KernelUnreadable') : kernel;
  return { kernelName, kernel: bytes, ...(setup && { setup }), decompress };
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

/** The path of the vmlinux, or its bytes. */
async function unpacked(
  name: string,
  bzImage: Uint8Array,
  status: BigIntStats,
): Promise<string | Uint8Array<ArrayBuffer>> {
  const digest = sha256(bzImage);
  const cached = vmlinuxPath(digest);
  if (!(await exists(cached))) {
    const vmlinux = unpackBzImage(name, bzImage, decompress);
    try {
      await writeAtomically(cached, vmlinux);
    } catch {
      // The next start unpacks again; this one goes on.
      return new Uint8Array(vmlinux);
    }
  }
  await noteOfFile(DigestFolder, status, digest);
  return cached;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function vmlinuxPath(digest: string): string {
  return join(cacheDirectory(), 'vmlinux', digest);
}

type FileKind = 'kernel' | 'initrd';

/** Reads a regular file that is small enough to be a kernel or initrd. */
export async function readWhole(
  path: string,
  what: FileKind,
  unreadable: HostErrorCode,
): Promise<Uint8Array<ArrayBuffer>> {
  return withFile(path, what, unreadable, async (file) => (await file.readFile()) as Buffer<ArrayBuffer>);
}

/** Opens such a file and says in plain words why it cannot be used. `status` is from before anything is read. */
export async function withFile<T>(
  path: string,
  what: FileKind,
  unreadable: HostErrorCode,
  use: (file: FileHandle, status: BigIntStats) => Promise<T>,
): Promise<T> {
  try {
    const file = await open(path, 'r');
    try {
      const status = await file.stat({ bigint: true });
      if (!status.isFile()) {
        const kind = status.isDirectory() ? 'a folder' : 'no regular file';
        throw new HostError(unreadable, `the ${what} ${path} is ${kind}: pass the path of a ${what} file`);
      }
      if (status.size > MaxKernelSize) {
        throw new HostError(unreadable, `${path} is too large to be a ${what}: is it a disk? Then pass it with --disk`);
      }
      return await use(file, status);
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
