/** A disk in an array, with faults to order. */
import type { BlockBackend, BlockResult } from '../devices/virtio/block/block-backend.ts';

export class MemoryDisk implements BlockBackend {
  readonly bytes: Uint8Array;
  readonly readOnly: boolean;
  /** What happened, in order: `write 512+1024`, `flush`, … */
  readonly log: string[] = [];
  /** The result of the operations named here, instead of doing them. */
  readonly failing = new Map<string, BlockResult>();

  constructor(size: number, readOnly = false) {
    this.bytes = new Uint8Array(size);
    this.readOnly = readOnly;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(offset: number, buffers: readonly Uint8Array[]): BlockResult {
    return this.#transfer('read', offset, buffers, (buffer, at) => {
      buffer.set(this.bytes.subarray(at, at + buffer.length));
    });
  }

  write(offset: number, buffers: readonly Uint8Array[]): BlockResult {
    return this.#transfer('write', offset, buffers, (buffer, at) => this.bytes.set(buffer, at));
  }

  flush(): BlockResult {
    this.log.push('flush');
    return this.failing.get('flush') ?? 'ok';
  }

  discard(offset: number, length: number): BlockResult {
    this.log.push(`discard ${offset}+${length}`);
    return this.failing.get('discard') ?? 'ok';
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): BlockResult {
    this.log.push(`zero ${offset}+${length}${mayUnmap ? ' unmap' : ''}`);
    const failure = this.failing.get('zero');
    if (failure !== undefined) return failure;
    this.bytes.fill(0, offset, offset + length);
    return 'ok';
  }

  #transfer(
    name: string,
    offset: number,
    buffers: readonly Uint8Array[],
    copy: (buffer: Uint8Array, at: number) => void,
  ): BlockResult {
    const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    this.log.push(`${name} ${offset}+${length}`);
    const failure = this.failing.get(name);
    if (failure !== undefined) return failure;
    let at = offset;
    for (const buffer of buffers) {
      copy(buffer, at);
      at += buffer.length;
    }
    return 'ok';
  }
}
