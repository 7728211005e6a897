/**
 * A disk image on the host: opening it, everything that can be wrong with it, and its lock.
 *
 * The lock is flock(2) on the image's own open file description: exclusive for a writable disk, shared for a read-only
 * one. Node has no call for it, so util-linux's `flock` takes it on the descriptor that it inherits. It belongs to the
 * description, not to that short-lived process: the kernel keeps it until Lodger closes the image or dies, and nothing
 * stale can stay behind. Programs that lock byte ranges instead (QEMU) are found in /proc/locks.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { DiskOptions } from '../vm/options.ts';

export const SectorSize = 512;

/** An open, checked and locked image. `descriptor` is valid on every thread of this process. */
export interface DiskImage {
  readonly path: string;
  readonly descriptor: number;
  readonly size: number;
  readonly readOnly: boolean;
  /** Closes the image, which drops its lock. */
  close(): void;
}

/**
 * Opens an image.
 *
 * @throws HostError DiskUnreadable, DiskLocked or DiskOddSized
 */
export function openDiskImage({ path, readOnly = false }: DiskOptions): DiskImage {
  const descriptor = openImageFile(path, readOnly);
  try {
    const stats = fstatSync(descriptor, { bigint: true });
    const size = checkedSize(path, stats);
    lock(path, descriptor, readOnly);
    checkRangeLocks(path, stats, readOnly);
    return { path, descriptor, size, readOnly, close: () => closeSync(descriptor) };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

const OpenProblems: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder; pass a raw image file or a block device',
  ELOOP: 'its symbolic links go in circles',
};

function openImageFile(path: string, readOnly: boolean): number {
  try {
    return openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    const advice = readOnly ? 'give yourself read permission' : `to use it without writing, pass "${path},readonly"`;
    const reason = denied
      ? `no permission to ${readOnly ? 'read' : 'write'} it; ${advice}`
      : (OpenProblems[code ?? ''] ?? message);
    throw new HostError('DiskUnreadable', `cannot open disk ${path}: ${reason}`, { cause: error });
  }
}

function checkedSize(path: string, stats: BigIntStats): number {
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new HostError('DiskUnreadable', `disk ${path} is neither a file nor a block device`);
  }
  const size = stats.isFile() ? Number(stats.size) : blockDeviceSize(path, stats.rdev);
  if (size === 0) {
    throw new HostError('DiskOddSized', `disk ${path} is empty; make one with: truncate -s 1G ${path}`);
  }
  if (size % SectorSize !== 0) {
    const next = Math.ceil(size / SectorSize) * SectorSize;
    throw new HostError(
      'DiskOddSized',
      `disk ${path} has ${size} bytes, which is no multiple of ${SectorSize}: it is truncated or no raw image; ` +
        `if its end may be padded: truncate -s ${next} ${path}`,
    );
  }
  return size;
}

function blockDeviceSize(path: string, device: bigint): number {
  const { major, minor } = deviceNumbers(device);
  try {
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'latin1')) * SectorSize;
  } catch (error) {
    throw new HostError('DiskUnreadable', `cannot tell the size of block device ${path}`, { cause: error });
  }
}

/** Exit status of flock(1) when the lock is held by another (its manual, option --conflict-exit-code). */
const FlockConflict = 1;

function lock(path: string, descriptor: number, readOnly: boolean): void {
  const inherited = 3;
  const result = spawnSync('flock', ['--nonblock', readOnly ? '--shared' : '--exclusive', String(inherited)], {
    stdio: ['ignore', 'ignore', 'pipe', descriptor],
  });
  if (result.status === 0) return;
  if (result.status === FlockConflict) throw lockedError(path, readOnly);
  const detail = result.error?.message ?? String(result.stderr).trim();
  throw new HostError('DiskLocked', `cannot lock disk ${path}: flock (package util-linux) failed: ${detail}`, {
    cause: result.error,
  });
}

function lockedError(path: string, readOnly: boolean): HostError {
  const advice = readOnly ? 'end the process that writes to it' : 'end the process that uses it, or pass a copy';
  return new HostError('DiskLocked', `disk ${path} is in use by another process; ${advice}`);
}

/** Refuses an image whose byte ranges another program has locked (POSIX or OFD locks). */
function checkRangeLocks(path: string, stats: BigIntStats, readOnly: boolean): void {
  let locks: string;
  try {
    locks = readFileSync('/proc/locks', 'latin1');
  } catch {
    return;
  }
  const { major, minor } = deviceNumbers(stats.dev);
  const file = `${hex2(major)}:${hex2(minor)}:${stats.ino}`;
  for (const line of locks.split('\n')) {
    // "2: OFDLCK ADVISORY  READ -1 fe:00:1234 100 101"
    const [, kind, , access, , lockedFile] = line.trim().split(/\s+/);
    const foreign = lockedFile === file && (kind === 'POSIX' || kind === 'OFDLCK');
    if (foreign && !(readOnly && access === 'READ')) throw lockedError(path, readOnly);
  }
}

function hex2(value: bigint): string {
  return value.toString(16).padStart(2, '0');
}

/** Splits a dev_t as Linux packs it (makedev(3)). */
function deviceNumbers(device: bigint): { major: bigint; minor: bigint } {
  return {
    major: ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn),
    minor: (device & 0xffn) | ((device >> 12n) & ~0xffn),
  };
}
