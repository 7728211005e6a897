/**
 * Guest memory in the engine's shared WebAssembly.Memory, for any thread that holds it.
 *
 * The vCPU thread drops translated code on written pages at once; other threads ask it to and wait for it (rare: a
 * device writes to a page that held code).
 */
import type { GuestPhysicalAddress } from '../../memory/address.ts';
import type { GuestMemory, MemoryRange } from '../../memory/guest-memory.ts';
import { StaleRequest, VmBlock, VmField, type VmLayout } from './softmmu/vm-layout.ts';

/** RAM as slots: guest-physical range and where it is in the shared memory. Plain data: can be sent to other threads. */
export interface RamRange extends MemoryRange {
  readonly host: number;
}

export interface SharedMemoryDescription {
  readonly buffer: SharedArrayBuffer;
  readonly ranges: readonly RamRange[];
  readonly layout: Pick<VmLayout, 'ram' | 'codeLines' | 'staleCode'>;
}

/** How long another thread waits for the vCPU thread to drop code, in milliseconds, before it looks again. */
const StaleWait = 10;

export class SharedGuestMemory implements GuestMemory {
  readonly size: number;
  readonly ranges: readonly RamRange[];
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #layout: SharedMemoryDescription['layout'];
  /** RAM and the memory slots that were added. */
  #slots: readonly RamRange[];
  /** Set on the vCPU thread: drops the code of a RAM page. */
  #dropCode: ((page: number) => void) | undefined;

  constructor(description: SharedMemoryDescription, dropCode?: (page: number) => void) {
    this.ranges = description.ranges;
    this.size = description.ranges.reduce((sum, { length }) => sum + length, 0);
    this.#bytes = new Uint8Array(description.buffer);
    this.#view = new DataView(description.buffer);
    this.#words = new Int32Array(description.buffer);
    this.#layout = description.layout;
    this.#slots = description.ranges;
    this.#dropCode = dropCode;
  }

  /** Replaces the memory slots, RAM included, that this thread's accesses reach. */
  setSlots(slots: readonly RamRange[]): void {
    this.#slots = slots;
  }

  read(address: GuestPhysicalAddress, target: Uint8Array): boolean {
    const source = this.view(address, target.length);
    if (!source) return this.#pieces(address, target.length, (bytes, at) => target.set(bytes, at));
    target.set(source);
    return true;
  }

  write(address: GuestPhysicalAddress, source: Uint8Array): boolean {
    const target = this.view(address, source.length);
    if (target) target.set(source);
    else if (!this.#pieces(address, source.length, (bytes, at) => bytes.set(source.subarray(at, at + bytes.length)))) {
      return false;
    }
    this.markWritten(address, source.length);
    return true;
  }

  readU8(address: GuestPhysicalAddress): number | undefined {
    const host = this.#host(address, 1);
    return host ? this.#view.getUint8(host) : undefined;
  }
  readU16(address: GuestPhysicalAddress): number | undefined {
    const host = this.#host(address, 2);
    return host ? this.#view.getUint16(host, true) : undefined;
  }
  readU32(address: GuestPhysicalAddress): number | undefined {
    const host = this.#host(address, 4);
    return host ? this.#view.getUint32(host, true) : undefined;
  }
  readU64(address: GuestPhysicalAddress): bigint | undefined {
    const host = this.#host(address, 8);
    return host ? this.#view.getBigUint64(host, true) : undefined;
  }
  writeU8(address: GuestPhysicalAddress, value: number): boolean {
    return this.#store(address, 1, (host) => this.#view.setUint8(host, value));
  }
  writeU16(address: GuestPhysicalAddress, value: number): boolean {
    return this.#store(address, 2, (host) => this.#view.setUint16(host, value, true));
  }
  writeU32(address: GuestPhysicalAddress, value: number): boolean {
    return this.#store(address, 4, (host) => this.#view.setUint32(host, value, true));
  }
  writeU64(address: GuestPhysicalAddress, value: bigint): boolean {
    return this.#store(address, 8, (host) => this.#view.setBigUint64(host, value, true));
  }

  view(address: GuestPhysicalAddress, length: number): Uint8Array | undefined {
    const host = this.#host(address, length);
    return host ? this.#bytes.subarray(host, host + length) : undefined;
  }

  markWritten(address: GuestPhysicalAddress, length: number): void {
    if (length === 0) return;
    for (const range of this.#slots) {
      const start = Math.max(address, range.start);
      const end = Math.min(address + length, range.start + range.length);
      if (start < end) this.#dropRange(range.host + (start - range.start), end - start);
    }
  }

  #dropRange(host: number, length: number): void {
    const first = (host - this.#layout.ram) >>> 12;
    const last = (host + length - 1 - this.#layout.ram) >>> 12;
    let asked = false;
    for (let page = first; page <= last; page++) {
      const lines = (this.#layout.codeLines >> 2) + page * 2;
      if ((this.#words[lines]! | this.#words[lines + 1]!) === 0) continue;
      if (this.#dropCode) this.#dropCode(page);
      else {
        Atomics.store(this.#words, (this.#layout.staleCode >> 2) + page, 1);
        asked = true;
      }
    }
    if (asked) this.#askToDrop();
  }

  /** Another thread's request: the write counts as done when the vCPU thread has dropped the code. */
  #askToDrop(): void {
    const pending = (VmBlock + VmField.StalePending) >> 2;
    const attention = (VmBlock + VmField.Attention) >> 2;
    Atomics.store(this.#words, pending, StaleRequest.Asked);
    Atomics.store(this.#words, attention, 1);
    Atomics.notify(this.#words, attention);
    // Bounded: a vCPU thread that ended will not answer
    for (let tries = 0; tries < 100; tries++) {
      const state = Atomics.load(this.#words, pending);
      if (state === StaleRequest.None) return;
      Atomics.wait(this.#words, pending, state, StaleWait);
    }
  }

  #store(address: GuestPhysicalAddress, size: number, store: (host: number) => void): boolean {
    const host = this.#host(address, size);
    if (!host) return false;
    store(host);
    this.markWritten(address, size);
    return true;
  }

  /** Host address when the whole range lies in one RAM range, else 0. */
  #host(address: number, length: number): number {
    for (const range of this.#slots) {
      const offset = address - range.start;
      if (offset >= 0 && offset + length <= range.length) return range.host + offset;
    }
    return 0;
  }

  /** A range that spans adjacent RAM ranges, piece by piece; false (nothing done) when some of it is not RAM. */
  #pieces(address: number, length: number, visit: (bytes: Uint8Array, at: number) => void): boolean {
    const pieces: { host: number; at: number; length: number }[] = [];
    let at = 0;
    while (at < length) {
      const here = address + at;
      const range = this.#slots.find(({ start, length: size }) => here >= start && here < start + size);
      if (!range) return false;
      const size = Math.min(length - at, range.start + range.length - here);
      pieces.push({ host: range.host + (here - range.start), at, length: size });
      at += size;
    }
    for (const piece of pieces) visit(this.#bytes.subarray(piece.host, piece.host + piece.length), piece.at);
    return true;
  }
}
