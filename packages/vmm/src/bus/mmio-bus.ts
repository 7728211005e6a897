/**
 * Memory-mapped devices by guest-physical address.
 *
 * Reads of addresses without a device answer all ones and writes to them are dropped, as PCI host bridges do.
 */
import type { BusDevice } from './bus-device.ts';
import { overlapError } from './address-range.ts';
import type { AddressRange, Attachment } from './address-range.ts';

/** 52 physical address bits. */
const AddressLimit = 2 ** 52;

interface Slot {
  readonly start: number;
  readonly end: number;
  readonly maxAccess: number;
  readonly device: BusDevice;
}

export class MmioBus {
  /** Sorted by address; never overlapping. */
  readonly #slots: Slot[] = [];
  /** The slot of the last hit: drivers stay with one device for a while. */
  #recent: Slot | undefined;

  /** Attaches a device. Throws HostError('Internal') when the range is taken or beyond physical memory. */
  attach(range: AddressRange, device: BusDevice): Attachment {
    const attachment = this.tryAttach(range, device);
    if (!attachment) throw overlapError('MMIO bus', range);
    return attachment;
  }

  /** Like {@link attach} for ranges that a guest chose: undefined when the range is taken or beyond physical memory. */
  tryAttach(range: AddressRange, device: BusDevice): Attachment | undefined {
    const { start, size } = range;
    const end = start + size;
    if (start < 0 || size < 1 || end > AddressLimit) return undefined;
    const index = this.#firstEndingAfter(start);
    const next = this.#slots[index];
    if (next && next.start < end) return undefined;

    const slot: Slot = { start, end, maxAccess: device.maxAccess ?? 4, device };
    this.#slots.splice(index, 0, slot);
    return { range: { start, size }, detach: () => this.#detach(slot) };
  }

  /** True when a device answers at `address`. */
  has(address: number): boolean {
    return this.#slotAt(address) !== undefined;
  }

  read(address: number, size: 1 | 2 | 4): number {
    const slot = this.#slotAt(address);
    if (slot && size <= slot.maxAccess && address + size <= slot.end) {
      const value = slot.device.read(address - slot.start, size);
      return size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
    }
    if (size === 1) return 0xff;
    const half = size === 4 ? 2 : 1;
    const low = this.read(address, half);
    const high = this.read(address + half, half);
    return (low | (high << (half * 8))) >>> 0;
  }

  write(address: number, size: 1 | 2 | 4, value: number): void {
    const slot = this.#slotAt(address);
    if (slot && size <= slot.maxAccess && address + size <= slot.end) {
      const masked = size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
      slot.device.write(address - slot.start, size, masked);
      return;
    }
    if (size === 1) return;
    const half = size === 4 ? 2 : 1;
    this.write(address, half, value);
    this.write(address + half, half, value >>> (half * 8));
  }

  /** An 8-byte read: the low half first. */
  readU64(address: number): bigint {
    const low = this.read(address, 4);
    return (BigInt(this.read(address + 4, 4)) << 32n) | BigInt(low);
  }

  /** An 8-byte write: the low half first. */
  writeU64(address: number, value: bigint): void {
    this.write(address, 4, Number(value & 0xffff_ffffn));
    this.write(address + 4, 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  #slotAt(address: number): Slot | undefined {
    const recent = this.#recent;
    if (recent && address >= recent.start && address < recent.end) return recent;
    const slot = this.#slots[this.#firstEndingAfter(address)];
    if (!slot || address < slot.start) return undefined;
    this.#recent = slot;
    return slot;
  }

  /** Index of the first slot that ends after `address`. */
  #firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.#slots.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#slots[middle]!.end <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #detach(slot: Slot): void {
    const index = this.#slots.indexOf(slot);
    if (index !== -1) this.#slots.splice(index, 1);
    if (this.#recent === slot) this.#recent = undefined;
  }
}
