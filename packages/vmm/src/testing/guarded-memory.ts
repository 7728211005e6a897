/** Guest memory for fuzzing: canaries around every range, and a count of the work done in it. */
import { ArrayMemory } from '../memory/array-memory.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';

const CanaryBytes = 64 * 1024;
const Canary = 0xc7;

export class GuardedMemory extends ArrayMemory {
  /** Accesses since this was last set to 0. */
  accesses = 0;
  /** Bytes that left or entered guest memory in bulk since this was last set to 0. */
  bytesMoved = 0;
  readonly #buffer: Uint8Array;
  readonly #canaries: readonly { readonly start: number; readonly end: number }[];

  constructor(ranges: readonly { readonly start: number; readonly length: number }[]) {
    const total = ranges.reduce((sum, { length }) => sum + length + CanaryBytes, CanaryBytes);
    const buffer = new Uint8Array(new SharedArrayBuffer(total)).fill(Canary);
    const canaries = [{ start: 0, end: CanaryBytes }];
    let next = CanaryBytes;
    const placed = ranges.map(({ start, length }) => {
      const offset = next;
      buffer.fill(0, offset, offset + length);
      next = offset + length + CanaryBytes;
      canaries.push({ start: offset + length, end: next });
      return { start, length, buffer: buffer.buffer, offset };
    });
    super(placed);
    this.#buffer = buffer;
    this.#canaries = canaries;
  }

  /** True while nothing outside of the ranges was written. */
  get intact(): boolean {
    return this.#canaries.every(({ start, end }) => this.#buffer.subarray(start, end).every((byte) => byte === Canary));
  }

  override read(address: GuestPhysicalAddress, target: Uint8Array): boolean {
    this.#count(target.length);
    return super.read(address, target);
  }

  override write(address: GuestPhysicalAddress, source: Uint8Array): boolean {
    this.#count(source.length);
    return super.write(address, source);
  }

  override readU16(address: GuestPhysicalAddress): number | undefined {
    this.#count(2);
    return super.readU16(address);
  }

  override view(address: GuestPhysicalAddress, length: number): Uint8Array | undefined {
    this.#count(length);
    return super.view(address, length);
  }

  override markWritten(): void {}

  #count(bytes: number): void {
    this.accesses++;
    this.bytesMoved += bytes;
  }
}
