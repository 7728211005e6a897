/** A saved machine's file by its descriptor, which is valid on every thread of the process. */
import { readSync, writeSync } from 'node:fs';
import type { SnapshotSink, SnapshotSource } from '@lodger/vmm/snapshot/snapshot-file.js';

/** Small writes are collected. */
const BufferSize = 64 * 1024;

export class FileSink implements SnapshotSink {
  readonly #descriptor: number;
  readonly #buffer = new Uint8Array(BufferSize);
  #used = 0;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  write(bytes: Uint8Array): void {
    if (this.#used + bytes.length > BufferSize) this.flush();
    if (bytes.length > BufferSize) return this.#writeAll(bytes);
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** To be called at the end. */
  flush(): void {
    this.#writeAll(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  #writeAll(bytes: Uint8Array): void {
    for (let written = 0; written < bytes.length;) {
      written += writeSync(this.#descriptor, bytes, written, bytes.length - written);
    }
  }
}

export function fileSource(descriptor: number): SnapshotSource {
  return {
    read(position, target) {
      let filled = 0;
      while (filled < target.length) {
        const got = readSync(descriptor, target, filled, target.length - filled, position + filled);
        if (got === 0) break;
        filled += got;
      }
      return filled;
    },
  };
}
