/**
 * The address windows that a PCI host bridge forwards, and what is decoded in them.
 *
 * A window is one device on the port or MMIO bus; base address registers come and go inside of it as the guest programs
 * them. Guests may put BARs on top of each other or outside of every window: the BAR that came first answers, and what
 * no window covers is not decoded. So no guest can disturb the platform's own devices by moving a BAR.
 */
import type { AddressRange } from '../../bus/address-range.ts';
import type { AccessSize, BusDevice } from '../../bus/bus-device.ts';
import { noDevice } from './config-registers.ts';

interface Claim {
  readonly start: number;
  readonly end: number;
  readonly device: BusDevice;
}

/** One window; offsets are relative to its start. */
export class PciWindow implements BusDevice {
  readonly start: number;
  readonly size: number;
  /** In the order in which they were made. */
  #claims: readonly Claim[] = [];

  constructor(range: AddressRange) {
    this.start = range.start;
    this.size = range.size;
  }

  /** Puts `device` at an absolute address. False when the range is not wholly inside the window. */
  claim(start: number, size: number, device: BusDevice): boolean {
    if (start < this.start || start + size > this.start + this.size) return false;
    this.#claims = [...this.#claims, { start: start - this.start, end: start - this.start + size, device }];
    return true;
  }

  release(device: BusDevice): void {
    this.#claims = this.#claims.filter((claim) => claim.device !== device);
  }

  /** What answers a byte access at an absolute address. */
  deviceAt(address: number): BusDevice | undefined {
    return this.#find(address - this.start, 1)?.device;
  }

  read(offset: number, size: AccessSize): number {
    const claim = this.#find(offset, size);
    if (claim === undefined) return noDevice(size);
    return claim.device.read(offset - claim.start, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const claim = this.#find(offset, size);
    if (claim !== undefined) claim.device.write(offset - claim.start, size, value);
  }

  #find(offset: number, size: number): Claim | undefined {
    for (const claim of this.#claims) {
      if (offset >= claim.start && offset + size <= claim.end) return claim;
    }
    return undefined;
  }
}

/** The windows of one host bridge. */
export class PciAddressSpace {
  readonly memory32: PciWindow;
  readonly memory64: PciWindow;
  readonly io: PciWindow;

  constructor(ranges: { memory32: AddressRange; memory64: AddressRange; io: AddressRange }) {
    this.memory32 = new PciWindow(ranges.memory32);
    this.memory64 = new PciWindow(ranges.memory64);
    this.io = new PciWindow(ranges.io);
  }

  /** Decodes memory accesses at `address` to `device`. False when no window covers the range. */
  mapMemory(address: number, size: number, device: BusDevice): boolean {
    return this.memory32.claim(address, size, device) || this.memory64.claim(address, size, device);
  }

  mapIo(port: number, size: number, device: BusDevice): boolean {
    return this.io.claim(port, size, device);
  }

  /** What answers a memory access at `address`. */
  deviceAt(address: number): BusDevice | undefined {
    return this.memory32.deviceAt(address) ?? this.memory64.deviceAt(address);
  }

  unmap(device: BusDevice): void {
    for (const window of [this.memory32, this.memory64, this.io]) window.release(device);
  }
}
