/**
 * The 64 Ki I/O ports.
 *
 * Reads of ports without a device answer all ones and writes to them are dropped, as on a PC's ISA bus.
 *
 * A device can be attached for byte accesses only, above another one: a PC's chipset answers byte accesses to 0xCF9 with
 * the reset control register while wider ones at 0xCF8 belong to PCI configuration
 * (PCI Local Bus 3.0 §3.2.2.3.2 "Software Generation of Configuration Transactions").
 */
import type { AccessSize, BusDevice } from './bus-device.ts';
import { overlapError } from './address-range.ts';
import type { AddressRange, Attachment } from './address-range.ts';

export const PortCount = 0x1_0000;

export interface PioAttachOptions {
  /** Answers byte accesses only, and before a device that is attached for all sizes. */
  readonly byteOnly?: boolean;
}

interface Slot {
  readonly start: number;
  readonly end: number;
  readonly maxAccess: number;
  readonly device: BusDevice;
}

export class PioBus {
  /** Slot number by port, 0 for none. */
  readonly #ports = new Uint16Array(PortCount);
  /** The same for devices that answer byte accesses only. Made when the first one is attached. */
  #bytePorts: Uint16Array | undefined;
  readonly #slots: (Slot | undefined)[] = [undefined];

  /** Attaches a device. Throws HostError('Internal') when the range is taken or beyond the bus. */
  attach(range: AddressRange, device: BusDevice, options: PioAttachOptions = {}): Attachment {
    const attachment = this.tryAttach(range, device, options);
    if (!attachment) throw overlapError('port bus', range);
    return attachment;
  }

  /** Like {@link attach} for ranges that a guest chose: undefined when the range is taken or beyond the bus. */
  tryAttach(range: AddressRange, device: BusDevice, options: PioAttachOptions = {}): Attachment | undefined {
    const { start, size } = range;
    const end = start + size;
    if (start < 0 || size < 1 || end > PortCount) return undefined;
    const ports = options.byteOnly ? (this.#bytePorts ??= new Uint16Array(PortCount)) : this.#ports;
    if (ports.subarray(start, end).some((slot) => slot !== 0)) return undefined;

    const slot = this.#freeSlot();
    this.#slots[slot] = { start, end, maxAccess: device.maxAccess ?? 4, device };
    ports.fill(slot, start, end);
    let attached = true;
    return {
      range: { start, size },
      detach: () => {
        if (!attached) return;
        attached = false;
        ports.fill(0, start, end);
        this.#slots[slot] = undefined;
      },
    };
  }

  /** True when a device answers an access of `size` bytes that starts at `port`. */
  has(port: number, size: AccessSize): boolean {
    return this.#slotAt(port, size) !== undefined;
  }

  read(port: number, size: 1 | 2 | 4): number {
    const slot = this.#slotAt(port, size);
    if (slot && size <= slot.maxAccess && port + size <= slot.end) {
      const value = slot.device.read(port - slot.start, size);
      return size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
    }
    if (size === 1) return 0xff;
    const half = size === 4 ? 2 : 1;
    const low = this.read(port, half);
    const high = this.read(port + half, half);
    return (low | (high << (half * 8))) >>> 0;
  }

  write(port: number, size: 1 | 2 | 4, value: number): void {
    const slot = this.#slotAt(port, size);
    if (slot && size <= slot.maxAccess && port + size <= slot.end) {
      const masked = size === 4 ? value >>> 0 : value & (size === 2 ? 0xffff : 0xff);
      slot.device.write(port - slot.start, size, masked);
      return;
    }
    if (size === 1) return;
    const half = size === 4 ? 2 : 1;
    this.write(port, half, value);
    this.write(port + half, half, value >>> (half * 8));
  }

  #slotAt(port: number, size: AccessSize): Slot | undefined {
    if (size === 1 && this.#bytePorts !== undefined) {
      const byteSlot = this.#bytePorts[port];
      if (byteSlot) return this.#slots[byteSlot];
    }
    const slot = this.#ports[port];
    return slot ? this.#slots[slot] : undefined;
  }

  #freeSlot(): number {
    const free = this.#slots.indexOf(undefined, 1);
    return free === -1 ? this.#slots.length : free;
  }
}
