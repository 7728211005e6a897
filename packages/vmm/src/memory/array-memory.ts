/**
 * Guest memory in plain arrays: for tests, tools and benchmarks that need no engine.
 *
 * There is no translated code to drop, so writes are only counted for tests to look at (`written`).
 */
import type { GuestPhysicalAddress } from './address.ts';
import type { GuestMemory, MemoryRange } from './guest-memory.ts';

interface Block extends MemoryRange {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Where and how long; each range becomes one buffer. */
export interface ArrayMemoryRange {
  readonly start: number;
  readonly length: number;
  /** The range's bytes, when they exist already (a SharedArrayBuffer to share them with other threads). */
  readonly buffer?: ArrayBufferLike;
  /** Where the range starts in `buffer`. */
  readonly offset?: number;
}

export class ArrayMemory implements GuestMemory {
  readonly size: number;
  readonly ranges: readonly MemoryRange[];
  /** The ranges that devices reported through {@link markWritten}, in order. */
  readonly written: { readonly address: number; readonly length: number }[] = [];
  readonly #blocks: readonly Block[];

  /** Ranges in ascending order. A single number is one range of that size from address 0 on. */
  constructor(ranges: number | readonly ArrayMemoryRange[]) {
    const list = typeof ranges === 'number' ? [{ start: 0, length: ranges }] : ranges;
    this.#blocks = list.map(({ start, length, buffer, offset }: ArrayMemoryRange) => {
      const bytes = new Uint8Array(buffer ?? new ArrayBuffer(length), offset ?? 0, length);
      const view = new DataView(bytes.buffer, bytes.byteOffset, length);
      return { start: start as GuestPhysicalAddress, length, bytes, view };
    });
    this.ranges = this.#blocks.map(({ start, length }) => ({ start, length }));
    this.size = this.#blocks.reduce((sum, block) => sum + block.length, 0);
  }

  read(address: GuestPhysicalAddress, target: Uint8Array): boolean {
    return this.#split(address, target.length, (bytes, at) => target.set(bytes, at));
  }

  write(address: GuestPhysicalAddress, source: Uint8Array): boolean {
    return this.#split(address, source.length, (bytes, at) => bytes.set(source.subarray(at, at + bytes.length)));
  }

  readU8(address: GuestPhysicalAddress): number | undefined {
    const block = this.#block(address, 1);
    return block?.view.getUint8(address - block.start);
  }

  readU16(address: GuestPhysicalAddress): number | undefined {
    const block = this.#block(address, 2);
    return block?.view.getUint16(address - block.start, true);
  }

  readU32(address: GuestPhysicalAddress): number | undefined {
    const block = this.#block(address, 4);
    return block?.view.getUint32(address - block.start, true);
  }

  readU64(address: GuestPhysicalAddress): bigint | undefined {
    const block = this.#block(address, 8);
    return block?.view.getBigUint64(address - block.start, true);
  }

  writeU8(address: GuestPhysicalAddress, value: number): boolean {
    const block = this.#block(address, 1);
    block?.view.setUint8(address - block.start, value);
    return block !== undefined;
  }

  writeU16(address: GuestPhysicalAddress, value: number): boolean {
    const block = this.#block(address, 2);
    block?.view.setUint16(address - block.start, value, true);
    return block !== undefined;
  }

  writeU32(address: GuestPhysicalAddress, value: number): boolean {
    const block = this.#block(address, 4);
    block?.view.setUint32(address - block.start, value, true);
    return block !== undefined;
  }

  writeU64(address: GuestPhysicalAddress, value: bigint): boolean {
    const block = this.#block(address, 8);
    block?.view.setBigUint64(address - block.start, value, true);
    return block !== undefined;
  }

  view(address: GuestPhysicalAddress, length: number): Uint8Array | undefined {
    const block = this.#block(address, length);
    return block?.bytes.subarray(address - block.start, address - block.start + length);
  }

  markWritten(address: GuestPhysicalAddress, length: number): void {
    this.written.push({ address, length });
  }

  /** The block that holds the whole range. */
  #block(address: number, length: number): Block | undefined {
    for (const block of this.#blocks) {
      if (address >= block.start && address + length <= block.start + block.length) return block;
    }
    return undefined;
  }

  /** Visits the bytes of a range that may cross from one block into the next. False, with no visit, when a byte is missing. */
  #split(address: number, length: number, visit: (bytes: Uint8Array, at: number) => void): boolean {
    const parts: { readonly bytes: Uint8Array; readonly at: number }[] = [];
    let done = 0;
    while (done < length) {
      const at = address + done;
      const block = this.#blocks.find(({ start, length: size }) => at >= start && at < start + size);
      if (block === undefined) return false;
      const take = Math.min(length - done, block.start + block.length - at);
      parts.push({ bytes: block.bytes.subarray(at - block.start, at - block.start + take), at: done });
      done += take;
    }
    for (const part of parts) visit(part.bytes, part.at);
    return true;
  }
}
