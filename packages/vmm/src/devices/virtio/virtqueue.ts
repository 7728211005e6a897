/**
 * A split virtqueue, from the device's side.
 *
 * Spec: virtio 1.2 §2.7 "Split Virtqueues".
 *
 * The rings are in guest memory and the guest can write anything into them at any time. Whatever is wrong with them
 * becomes the queue's `fault`: a value, after which the queue gives out nothing any more until it is set up again.
 *
 * Left out: packed virtqueues, in-order use, notification data.
 */
import type { GuestPhysicalAddress } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain, Segment } from './descriptor-chain.ts';
import { Feature } from './features.ts';
import type { QueueActivation, QueuePosition } from './virtio-device.ts';

/** virtio 1.2 §2.7.5 "The Virtqueue Descriptor Table". */
const Descriptor = { Length: 8, Flags: 12, Next: 14, Bytes: 16 } as const;
const DescriptorFlag = { Next: 1, Write: 2, Indirect: 4 } as const;
/** §2.7.6 "The Virtqueue Available Ring"; the used event field follows the ring. */
const Available = { Flags: 0, Index: 2, Ring: 4, EntryBytes: 2 } as const;
const AvailableNoInterrupt = 1;
/** §2.7.8 "The Virtqueue Used Ring"; the available event field follows the ring. */
const Used = { Flags: 0, Index: 2, Ring: 4, EntryBytes: 8, EntryLength: 4 } as const;
const UsedNoNotify = 1;

/** §2.7 "Split Virtqueues": the largest queue, and the alignment of its parts. */
export const MaxQueueSize = 32768;
const Alignment = { descriptors: 16, driver: 2, device: 4 } as const;

/** An indirect table may be longer than the queue (drivers do that), but not without bound. */
export const MaxIndirectLength = 1024;
/** §2.7.4.1: a chain is at most 2^32 bytes long in total. */
const MaxChainBytes = 2 ** 32;
/** Addresses from here on are beyond any guest's memory; below, they are exact as numbers. */
const AddressLimit = 2 ** 52;

/** Everything that can be wrong with a queue. */
export const VirtqueueFault = {
  BadSize: 'the queue size is not a power of two up to 32768',
  BadAlignment: 'a part of the queue is not aligned',
  RingOutsideMemory: 'a part of the queue is not in guest memory',
  BadAvailableIndex: 'the available index is further ahead than the queue is long',
  BadDescriptorIndex: 'a descriptor index is beyond the descriptor table',
  DescriptorLoop: 'a descriptor chain is longer than its table',
  BufferOutsideMemory: 'a buffer is not in guest memory',
  ChainTooLong: 'the buffers of a chain are more than 2^32 bytes',
  ReadableAfterWritable: 'a device-readable buffer follows a device-writable one',
  BadIndirectTable: 'an indirect descriptor is nested, has a successor, was not negotiated or has a bad length',
} as const;
export type VirtqueueFault = keyof typeof VirtqueueFault;

interface Addresses {
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

/** A descriptor table: the queue's own, or an indirect one. */
interface Table {
  readonly address: number;
  readonly length: number;
}

export class Virtqueue {
  readonly size: number;
  readonly #memory: GuestMemory;
  readonly #addresses: Addresses;
  readonly #eventIndex: boolean;
  readonly #indirect: boolean;
  readonly #descriptor = new DataView(new ArrayBuffer(Descriptor.Bytes));
  readonly #descriptorBytes = new Uint8Array(this.#descriptor.buffer);
  #nextAvailable: number;
  #nextUsed: number;
  /** `nextUsed` when the need for an interrupt was last looked at. */
  #signalledUsed: number;
  #fault: VirtqueueFault | undefined;

  /** Takes the queue as it was set up; look at {@link fault} before using it. */
  constructor(memory: GuestMemory, setup: QueueActivation, features: bigint) {
    this.#memory = memory;
    this.size = setup.size;
    this.#eventIndex = (features & Feature.EventIndex) !== 0n;
    this.#indirect = (features & Feature.IndirectDescriptors) !== 0n;
    this.#nextAvailable = setup.nextAvailable & 0xffff;
    this.#nextUsed = setup.nextUsed & 0xffff;
    this.#signalledUsed = this.#nextUsed;
    this.#addresses = {
      descriptors: toNumber(setup.descriptors),
      driver: toNumber(setup.driver),
      device: toNumber(setup.device),
    };
    this.#fault = this.#checkSetup();
  }

  /** What is wrong with the queue, if anything. It stays that way. */
  get fault(): VirtqueueFault | undefined {
    return this.#fault;
  }

  get position(): QueuePosition {
    return { nextAvailable: this.#nextAvailable, nextUsed: this.#nextUsed };
  }

  /** Takes the next available chain, or undefined when there is none (or the queue has a fault). */
  pop(): DescriptorChain | undefined {
    if (this.#available() === 0) return undefined;
    fence();
    const { driver } = this.#addresses;
    const slot = this.#nextAvailable & (this.size - 1);
    const head = this.#read16(driver + Available.Ring + slot * Available.EntryBytes);
    const chain = this.#walk(head);
    if (chain !== undefined) this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    return chain;
  }

  /** Returns a chain to the driver, with the number of bytes written to the start of its writable part. */
  addUsed(head: number, written: number): void {
    const { device } = this.#addresses;
    const entry = device + Used.Ring + (this.#nextUsed & (this.size - 1)) * Used.EntryBytes;
    this.#write32(entry, head);
    this.#write32(entry + Used.EntryLength, written >>> 0);
    fence();
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#write16(device + Used.Index, this.#nextUsed);
  }

  /** True when the driver wants an interrupt for what was used since the last one. §2.7.7 "Used Buffer Notification Suppression". */
  takeInterrupt(): boolean {
    fence();
    const last = this.#signalledUsed;
    const now = this.#nextUsed;
    if (last === now || this.#fault !== undefined) return false;
    const { driver } = this.#addresses;
    let wanted: boolean;
    if (this.#eventIndex) {
      const event = this.#read16(driver + Available.Ring + this.size * Available.EntryBytes);
      // The index moved past `event` between `last` and `now`.
      wanted = ((now - event - 1) & 0xffff) < ((now - last) & 0xffff);
    } else {
      wanted = (this.#read16(driver + Available.Flags) & AvailableNoInterrupt) === 0;
    }
    this.#signalledUsed = now;
    return wanted;
  }

  /** Tells the driver that it need not notify: the device is looking anyway. §2.7.10 "Available Buffer Notification Suppression". */
  disableNotifications(): void {
    // With event indices, an index that stays behind is enough.
    if (!this.#eventIndex) this.#write16(this.#addresses.device + Used.Flags, UsedNoNotify);
  }

  /** Asks for a notification of the next available buffer. True when there is one already: look again. */
  enableNotifications(): boolean {
    const { device } = this.#addresses;
    if (this.#eventIndex) this.#write16(device + Used.Ring + this.size * Used.EntryBytes, this.#nextAvailable);
    else this.#write16(device + Used.Flags, 0);
    fence();
    return this.#available() !== 0;
  }

  /** How many chains are available. */
  #available(): number {
    if (this.#fault !== undefined) return 0;
    const count = (this.#read16(this.#addresses.driver + Available.Index) - this.#nextAvailable) & 0xffff;
    if (count <= this.size) return count;
    this.#fault = 'BadAvailableIndex';
    return 0;
  }

  /** Follows a chain from its head. §2.7.5.3 "Indirect Descriptors". */
  #walk(head: number): DescriptorChain | undefined {
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let table: Table = { address: this.#addresses.descriptors, length: this.size };
    let isIndirect = false;
    let index = head;
    let bytes = 0;
    // Each descriptor of a table can be visited once; the queue's own table leads into one indirect table at most.
    for (let left = this.size; left > 0; left--) {
      if (index >= table.length) return this.#fail('BadDescriptorIndex');
      const address = this.#readDescriptor(table, index);
      const length = this.#descriptor.getUint32(Descriptor.Length, true);
      const flags = this.#descriptor.getUint16(Descriptor.Flags, true);
      if ((flags & DescriptorFlag.Indirect) !== 0) {
        const illegal = isIndirect || (flags & DescriptorFlag.Next) !== 0;
        const indirect = illegal ? undefined : this.#indirectTable(address, length);
        if (indirect === undefined) return this.#fail('BadIndirectTable');
        table = indirect;
        isIndirect = true;
        index = 0;
        left = table.length + 1;
        continue;
      }
      bytes += length;
      const fault = addSegment(this.#memory, readable, writable, address, length, flags);
      if (fault !== undefined) return this.#fail(fault);
      if (bytes > MaxChainBytes) return this.#fail('ChainTooLong');
      if ((flags & DescriptorFlag.Next) === 0) return { head, readable, writable };
      index = this.#descriptor.getUint16(Descriptor.Next, true);
    }
    return this.#fail('DescriptorLoop');
  }

  /** Loads a descriptor (once: the guest may change it meanwhile) and returns the address in it. */
  #readDescriptor(table: Table, index: number): number {
    const at = table.address + index * Descriptor.Bytes;
    if (!this.#memory.read(at as GuestPhysicalAddress, this.#descriptorBytes)) this.#descriptorBytes.fill(0);
    return this.#descriptor.getUint32(4, true) * 2 ** 32 + this.#descriptor.getUint32(0, true);
  }

  #indirectTable(address: number, bytes: number): Table | undefined {
    const length = bytes / Descriptor.Bytes;
    const legal = this.#indirect && length >= 1 && Number.isInteger(length) && length <= MaxIndirectLength;
    return legal && isInMemory(this.#memory, address, bytes) ? { address, length } : undefined;
  }

  #checkSetup(): VirtqueueFault | undefined {
    const { size } = this;
    if (size < 1 || size > MaxQueueSize || !Number.isInteger(Math.log2(size))) return 'BadSize';
    const parts = [
      { at: this.#addresses.descriptors, alignment: Alignment.descriptors, bytes: size * Descriptor.Bytes },
      {
        at: this.#addresses.driver,
        alignment: Alignment.driver,
        bytes: Available.Ring + size * Available.EntryBytes + 2,
      },
      { at: this.#addresses.device, alignment: Alignment.device, bytes: Used.Ring + size * Used.EntryBytes + 2 },
    ];
    if (parts.some(({ at, alignment }) => at % alignment !== 0)) return 'BadAlignment';
    if (parts.some(({ at, bytes }) => !isInMemory(this.#memory, at, bytes))) return 'RingOutsideMemory';
    return undefined;
  }

  #fail(fault: VirtqueueFault): undefined {
    this.#fault = fault;
    return undefined;
  }

  // The rings were found inside guest memory at set-up, so these cannot miss.
  #read16(address: number): number {
    return this.#memory.readU16(address as GuestPhysicalAddress) ?? 0;
  }

  #write16(address: number, value: number): void {
    if (this.#fault === undefined) this.#memory.writeU16(address as GuestPhysicalAddress, value);
  }

  #write32(address: number, value: number): void {
    if (this.#fault === undefined) this.#memory.writeU32(address as GuestPhysicalAddress, value);
  }
}

/** Adds a descriptor's buffer to its chain. */
function addSegment(
  memory: GuestMemory,
  readable: Segment[],
  writable: Segment[],
  address: number,
  length: number,
  flags: number,
): VirtqueueFault | undefined {
  if (length > 0 && !isInMemory(memory, address, length)) return 'BufferOutsideMemory';
  const isWritable = (flags & DescriptorFlag.Write) !== 0;
  if (!isWritable && writable.length > 0) return 'ReadableAfterWritable';
  if (length > 0) (isWritable ? writable : readable).push({ address: address as GuestPhysicalAddress, length });
  return undefined;
}

/** True when the whole range is in one range of RAM. */
function isInMemory(memory: GuestMemory, address: number, length: number): boolean {
  for (const range of memory.ranges) {
    if (address >= range.start && address + length <= range.start + range.length) return true;
  }
  return false;
}

function toNumber(address: bigint): number {
  return address < BigInt(AddressLimit) ? Number(address) : AddressLimit;
}

const fenceWord = new Int32Array(new SharedArrayBuffer(4));

/** Orders the accesses before it before those after it, for all threads. §2.7.13 "Supplying Buffers to The Device". */
function fence(): void {
  Atomics.add(fenceWord, 0, 0);
}
