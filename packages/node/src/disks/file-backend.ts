/**
 * A disk in a raw image file or block device, with synchronous calls on the I/O worker's thread.
 *
 * Node reads into and writes from views of the guest's shared memory without a copy. Storage is given back with
 * util-linux's `fallocate`, for which Node has no call: large ranges only, since each takes a process; smaller discards
 * are advice not taken.
 */
import { spawnSync } from 'node:child_process';
import { fdatasyncSync, readvSync, writevSync } from 'node:fs';
import type { BlockBackend, BlockResult } from '@lodger/vmm/devices/virtio/block/block-backend.js';

/** The smallest range that is worth a process. */
const SmallestHole = 1024 * 1024;
const ZeroChunk = 1024 * 1024;

export interface FileBackendConfig {
  readonly descriptor: number;
  readonly size: number;
  readonly readOnly: boolean;
}

export class FileBackend implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #descriptor: number;
  /** Linux forgets what it could not write once it has reported it: after a failed flush, no other may succeed. */
  #flushFailed = false;
  #canPunch = true;

  constructor({ descriptor, size, readOnly }: FileBackendConfig) {
    this.#descriptor = descriptor;
    this.size = size;
    this.readOnly = readOnly;
  }

  read(offset: number, buffers: readonly Uint8Array[]): BlockResult {
    return this.#transfer(readvSync, offset, buffers);
  }

  write(offset: number, buffers: readonly Uint8Array[]): BlockResult {
    return this.#transfer(writevSync, offset, buffers);
  }

  flush(): BlockResult {
    if (this.readOnly) return 'ok';
    if (this.#flushFailed) return 'io-error';
    try {
      fdatasyncSync(this.#descriptor);
      return 'ok';
    } catch (error) {
      this.#flushFailed = true;
      return resultOf(error);
    }
  }

  discard(offset: number, length: number): BlockResult {
    if (length >= SmallestHole) this.#punchHole(offset, length);
    return 'ok';
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): BlockResult {
    if (mayUnmap && length >= SmallestHole && this.#punchHole(offset, length)) return 'ok';
    const zeroes = new Uint8Array(Math.min(length, ZeroChunk));
    for (let done = 0; done < length; done += zeroes.length) {
      const chunk = zeroes.subarray(0, Math.min(zeroes.length, length - done));
      const result = this.write(offset + done, [chunk]);
      if (result !== 'ok') return result;
    }
    return 'ok';
  }

  /** Moves all bytes; the kernel may move fewer than asked for at a time. */
  #transfer(call: typeof readvSync, offset: number, buffers: readonly Uint8Array[]): BlockResult {
    try {
      for (let rest = buffers; rest.length > 0;) {
        const moved = call(this.#descriptor, rest, offset);
        // The end of the file: it was made shorter under us.
        if (moved === 0) return 'io-error';
        offset += moved;
        rest = skip(rest, moved);
      }
      return 'ok';
    } catch (error) {
      return resultOf(error);
    }
  }

  #punchHole(offset: number, length: number): boolean {
    if (!this.#canPunch) return false;
    const range = ['--offset', String(offset), '--length', String(length)];
    const { status } = spawnSync('fallocate', ['--punch-hole', ...range, '/proc/self/fd/3'], {
      stdio: ['ignore', 'ignore', 'ignore', this.#descriptor],
    });
    this.#canPunch = status === 0;
    return this.#canPunch;
  }
}

/** What is left of `buffers` after their first `moved` bytes. */
function skip(buffers: readonly Uint8Array[], moved: number): readonly Uint8Array[] {
  const index = buffers.findIndex((buffer) => {
    if (moved < buffer.length) return true;
    moved -= buffer.length;
    return false;
  });
  if (index < 0) return [];
  const [first, ...rest] = buffers.slice(index);
  return moved === 0 ? [first!, ...rest] : [first!.subarray(moved), ...rest];
}

function resultOf(error: unknown): BlockResult {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG' ? 'no-space' : 'io-error';
}
