/**
 * Guest memory in a mapping of this process, for any thread that knows where it is.
 *
 * KVM keeps guests coherent with host writes by itself; writes are marked only while somebody tracks them.
 */
import type { GuestPhysicalAddress } from '@lodger/vmm/memory/address.js';
import type { GuestMemory, MemoryRange } from '@lodger/vmm/memory/guest-memory.js';
import { viewOf } from './linux/libc.ts';
import type { HostRange, SharedKvmMemory } from './host-memory.ts';
import { WrittenPages } from './written-pages.ts';

const GiB = 1024 * 1024 * 1024;
/**
 * Views longer than 4 GiB can't be made, and each new one costs a garbage collection. So a region has views made on
 * demand that overlap: one starts every 2 GiB, and any access of up to 2 GiB lies within one.
 */
const PieceStride = 2 * GiB;
const PieceLength = 4 * GiB;

interface Piece {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** A range of guest memory that is contiguous in the host. */
class Region {
  readonly start: number;
  readonly length: number;
  /** Offset in the RAM mapping; negative for a slot that was added, whose writes nobody tracks. */
  readonly offset: number;
  readonly #address: bigint;
  readonly #pieces: (Piece | undefined)[] = [];

  constructor({ start, length, address }: HostRange, offset: number) {
    this.start = start;
    this.length = length;
    this.offset = offset;
    this.#address = address;
  }

  piece(index: number): Piece {
    return this.#pieces[index] ?? this.#makePiece(index);
  }

  #makePiece(index: number): Piece {
    const from = index * PieceStride;
    const buffer = viewOf(this.#address + BigInt(from), Math.min(PieceLength, this.length - from));
    return (this.#pieces[index] = { bytes: new Uint8Array(buffer), view: new DataView(buffer) });
  }
}

export class KvmGuestMemory implements GuestMemory {
  readonly size: number;
  readonly ranges: readonly MemoryRange[];
  /** Send this to other threads: they make their own object of it. */
  readonly shared: SharedKvmMemory;
  readonly #written: WrittenPages;
  readonly #ram: readonly Region[];
  #regions: readonly Region[];
  /** Where the last {@link #locate} led: no allocation per access. */
  #piece: Piece | undefined;
  #at = 0;
  #offset = 0;

  constructor(shared: SharedKvmMemory) {
    this.shared = shared;
    this.ranges = shared.ranges;
    this.size = shared.ranges.reduce((sum, { length }) => sum + length, 0);
    this.#written = new WrittenPages(shared.written);
    this.#ram = shared.ranges.map((range) => new Region(range, Number(range.address - shared.address)));
    this.#regions = this.#ram;
  }

  /** Replaces the added memory slots that accesses by this object reach. */
  setSlots(slots: readonly HostRange[]): void {
    this.#regions = [...this.#ram, ...slots.map((slot) => new Region(slot, -1))];
  }

  read(address: GuestPhysicalAddress, target: Uint8Array): boolean {
    if (!this.#locate(address, target.length)) {
      return this.#split(address, target.length, (bytes, at) => target.set(bytes, at));
    }
    target.set(this.#piece!.bytes.subarray(this.#at, this.#at + target.length));
    return true;
  }

  write(address: GuestPhysicalAddress, source: Uint8Array): boolean {
    const { length } = source;
    if (this.#locate(address, length)) this.#piece!.bytes.set(source, this.#at);
    else if (!this.#split(address, length, (bytes, at) => bytes.set(source.subarray(at, at + bytes.length)))) {
      return false;
    }
    this.markWritten(address, length);
    return true;
  }

  readU8(address: GuestPhysicalAddress): number | undefined {
    return this.#locate(address, 1) ? this.#piece!.view.getUint8(this.#at) : undefined;
  }
  readU16(address: GuestPhysicalAddress): number | undefined {
    return this.#locate(address, 2) ? this.#piece!.view.getUint16(this.#at, true) : undefined;
  }
  readU32(address: GuestPhysicalAddress): number | undefined {
    return this.#locate(address, 4) ? this.#piece!.view.getUint32(this.#at, true) : undefined;
  }
  readU64(address: GuestPhysicalAddress): bigint | undefined {
    return this.#locate(address, 8) ? this.#piece!.view.getBigUint64(this.#at, true) : undefined;
  }
  writeU8(address: GuestPhysicalAddress, value: number): boolean {
    if (!this.#locate(address, 1)) return false;
    this.#piece!.view.setUint8(this.#at, value);
    return this.#marked(1);
  }
  writeU16(address: GuestPhysicalAddress, value: number): boolean {
    if (!this.#locate(address, 2)) return false;
    this.#piece!.view.setUint16(this.#at, value, true);
    return this.#marked(2);
  }
  writeU32(address: GuestPhysicalAddress, value: number): boolean {
    if (!this.#locate(address, 4)) return false;
    this.#piece!.view.setUint32(this.#at, value, true);
    return this.#marked(4);
  }
  writeU64(address: GuestPhysicalAddress, value: bigint): boolean {
    if (!this.#locate(address, 8)) return false;
    this.#piece!.view.setBigUint64(this.#at, value, true);
    return this.#marked(8);
  }

  view(address: GuestPhysicalAddress, length: number): Uint8Array | undefined {
    return this.#locate(address, length) ? this.#piece!.bytes.subarray(this.#at, this.#at + length) : undefined;
  }

  markWritten(address: GuestPhysicalAddress, length: number): void {
    if (length === 0 || !this.#written.active) return;
    for (const { start, length: size, offset } of this.#ram) {
      const from = Math.max(address, start);
      const to = Math.min(address + length, start + size);
      if (from < to) this.#written.mark(offset + from - start, to - from);
    }
  }

  /** After a write of `size` bytes where {@link #locate} led. */
  #marked(size: number): true {
    if (this.#offset >= 0 && this.#written.active) this.#written.mark(this.#offset, size);
    return true;
  }

  /** Finds the bytes of a range: false when it is not wholly in one region, or longer than a piece. */
  #locate(address: number, length: number): boolean {
    const regions = this.#regions;
    for (let index = 0; index < regions.length; index++) {
      const region = regions[index]!;
      const inRegion = address - region.start;
      if (inRegion < 0 || inRegion + length > region.length) continue;
      const number = Math.floor(inRegion / PieceStride);
      const piece = region.piece(number);
      this.#at = inRegion - number * PieceStride;
      this.#piece = piece;
      this.#offset = region.offset < 0 ? -1 : region.offset + inRegion;
      return this.#at + length <= piece.bytes.length;
    }
    return false;
  }

  /** A range that spans regions or pieces, part by part; false (nothing done) when some of it is not memory. */
  #split(address: number, length: number, visit: (bytes: Uint8Array, at: number) => void): boolean {
    const parts: { region: Region; inRegion: number; at: number; length: number }[] = [];
    for (let at = 0; at < length;) {
      const here = address + at;
      const region = this.#regions.find(({ start, length: size }) => here >= start && here < start + size);
      if (!region) return false;
      const inRegion = here - region.start;
      const inPiece = PieceLength - (inRegion % PieceStride);
      const size = Math.min(length - at, region.length - inRegion, inPiece);
      parts.push({ region, inRegion, at, length: size });
      at += size;
    }
    for (const { region, inRegion, at, length: size } of parts) {
      const number = Math.floor(inRegion / PieceStride);
      const from = inRegion - number * PieceStride;
      visit(region.piece(number).bytes.subarray(from, from + size), at);
    }
    return true;
  }
}
