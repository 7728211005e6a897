/**
 * A small virtio driver over real guest memory: it finds a device's structures as a guest does, sets up queues and adds
 * buffers to them. Tests of devices use it instead of mocks.
 */
import { gpa } from '../memory/address.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { PciBench } from './pci-bench.ts';

/** Offsets in the common configuration structure, written down once more on purpose: virtio 1.2 §4.1.4.3. */
export const Common = {
  DeviceFeatureSelect: 0x00,
  DeviceFeature: 0x04,
  DriverFeatureSelect: 0x08,
  DriverFeature: 0x0c,
  ConfigVector: 0x10,
  QueueCount: 0x12,
  Status: 0x14,
  Generation: 0x15,
  QueueSelect: 0x16,
  QueueSize: 0x18,
  QueueVector: 0x1a,
  QueueEnable: 0x1c,
  QueueNotifyOffset: 0x1e,
  QueueDescriptors: 0x20,
  QueueDriver: 0x28,
  QueueDevice: 0x30,
} as const;

const Status = { Acknowledge: 1, Driver: 2, DriverOk: 4, FeaturesOk: 8 } as const;
const Flag = { Next: 1, Write: 2, Indirect: 4 } as const;
const VendorCapability = 9;
const MsixCapability = 0x11;

/** Guest memory given out from an address on. */
export class Allocator {
  #next: number;

  constructor(start: number) {
    this.#next = start;
  }

  take(bytes: number, alignment = 16): number {
    const at = Math.ceil(this.#next / alignment) * alignment;
    this.#next = at + bytes;
    return at;
  }
}

export interface Request {
  readonly readable?: readonly Uint8Array[];
  /** Lengths of the device-writable buffers. */
  readonly writable?: readonly number[];
  /** Put the descriptors into an indirect table. */
  readonly indirect?: boolean;
}

export interface Completion {
  readonly head: number;
  /** The used length that the device reported. */
  readonly written: number;
  /** The contents of all device-writable buffers. */
  readonly data: Uint8Array;
}

export interface RawDescriptor {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

/** One split virtqueue, from the driver's side. */
export class DriverQueue {
  readonly memory: GuestMemory;
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
  readonly #allocator: Allocator;
  readonly #pending = new Map<number, { address: number; length: number }[]>();
  #nextDescriptor = 0;
  #availableIndex = 0;
  #usedIndex = 0;

  constructor(memory: GuestMemory, allocator: Allocator, size: number) {
    this.memory = memory;
    this.size = size;
    this.#allocator = allocator;
    this.descriptors = allocator.take(size * 16, 16);
    this.available = allocator.take(6 + size * 2, 2);
    this.used = allocator.take(6 + size * 8, 4);
    for (const [at, bytes] of [
      [this.descriptors, size * 16],
      [this.available, 6 + size * 2],
      [this.used, 6 + size * 8],
    ] as const) {
      memory.write(gpa(at), new Uint8Array(bytes));
    }
  }

  /** Makes a chain available, without notifying. Returns its head. */
  add({ readable = [], writable = [], indirect = false }: Request): number {
    const buffers = [
      ...readable.map((bytes) => ({ address: this.#place(bytes), length: bytes.length, flags: 0 })),
      ...writable.map((length) => ({ address: this.#allocator.take(length), length, flags: Flag.Write as number })),
    ];
    const head = this.#nextDescriptor;
    if (indirect) {
      const table = this.#allocator.take(buffers.length * 16);
      buffers.forEach((buffer, index) =>
        this.#writeChained(table, index, index + 1, buffer, index + 1 < buffers.length),
      );
      this.writeDescriptor(head, { address: table, length: buffers.length * 16, flags: Flag.Indirect, next: 0 });
      this.#nextDescriptor = (head + 1) % this.size;
    } else {
      buffers.forEach((buffer, index) => {
        const at = (head + index) % this.size;
        this.#writeChained(this.descriptors, at, (at + 1) % this.size, buffer, index + 1 < buffers.length);
      });
      this.#nextDescriptor = (head + buffers.length) % this.size;
    }
    this.#pending.set(
      head,
      buffers.filter(({ flags }) => flags === Flag.Write),
    );
    this.publish(head);
    return head;
  }

  /** Puts any descriptor into the queue's table. */
  writeDescriptor(index: number, descriptor: RawDescriptor, table = this.descriptors): void {
    const at = table + index * 16;
    this.memory.writeU64(gpa(at), BigInt(descriptor.address));
    this.memory.writeU32(gpa(at + 8), descriptor.length);
    this.memory.writeU16(gpa(at + 12), descriptor.flags);
    this.memory.writeU16(gpa(at + 14), descriptor.next);
  }

  /** Adds a head to the available ring. */
  publish(head: number): void {
    this.memory.writeU16(gpa(this.available + 4 + (this.#availableIndex % this.size) * 2), head);
    this.#availableIndex = (this.#availableIndex + 1) & 0xffff;
    this.memory.writeU16(gpa(this.available + 2), this.#availableIndex);
  }

  /** What the device has used since the last call. */
  takeUsed(): Completion[] {
    const completions: Completion[] = [];
    const index = this.memory.readU16(gpa(this.used + 2))!;
    for (; this.#usedIndex !== index; this.#usedIndex = (this.#usedIndex + 1) & 0xffff) {
      const entry = this.used + 4 + (this.#usedIndex % this.size) * 8;
      const head = this.memory.readU32(gpa(entry))!;
      const parts = (this.#pending.get(head) ?? []).map(({ address, length }) => {
        const bytes = new Uint8Array(length);
        this.memory.read(gpa(address), bytes);
        return bytes;
      });
      const data = Uint8Array.from(parts.flatMap((part) => [...part]));
      completions.push({ head, written: this.memory.readU32(gpa(entry + 4))!, data });
    }
    return completions;
  }

  /** The driver's event index: interrupt when the used index passes this. */
  setUsedEvent(index: number): void {
    this.memory.writeU16(gpa(this.available + 4 + this.size * 2), index);
  }

  /** The device's event index. */
  get availableEvent(): number {
    return this.memory.readU16(gpa(this.used + 4 + this.size * 8))!;
  }

  #place(bytes: Uint8Array): number {
    const address = this.#allocator.take(bytes.length);
    this.memory.write(gpa(address), bytes);
    return address;
  }

  #writeChained(
    table: number,
    index: number,
    next: number,
    buffer: { address: number; length: number; flags: number },
    chained: boolean,
  ): void {
    const flags = buffer.flags | (chained ? Flag.Next : 0);
    this.writeDescriptor(index, { address: buffer.address, length: buffer.length, flags, next }, table);
  }
}

export interface DriverOptions {
  readonly features: bigint;
  /** Queue sizes; by default the largest that the device offers. */
  readonly sizes?: readonly number[];
  /** Use MSI-X: vector 0 for configuration changes, 1 + n for queue n, with message data 0x40 + vector. */
  readonly msix?: boolean;
}

/** The driver of one device. */
export class VirtioDriver {
  readonly bench: PciBench;
  readonly slot: number;
  readonly memory: GuestMemory;
  readonly allocator: Allocator;
  readonly common: number;
  readonly notifyBase: number;
  readonly notifyMultiplier: number;
  readonly isr: number;
  readonly config: number;
  queues: DriverQueue[] = [];

  constructor(bench: PciBench, slot: number, memory: GuestMemory, allocator: Allocator) {
    this.bench = bench;
    this.slot = slot;
    this.memory = memory;
    this.allocator = allocator;
    const structures = bench
      .capabilities(slot)
      .filter(({ id }) => id === VendorCapability)
      .map(({ at }) => ({ at, type: bench.readConfig(slot, at + 3, 1) }));
    const locate = (type: number): { at: number; address: number } => {
      const at = structures.find((structure) => structure.type === type)?.at;
      if (at === undefined) return { at: 0, address: 0 };
      const bar = bench.readConfig(slot, at + 4, 1);
      return { at, address: bench.barAddress(slot, bar) + bench.readConfig(slot, at + 8, 4) };
    };
    this.common = locate(1).address;
    const notify = locate(2);
    this.notifyBase = notify.address;
    this.notifyMultiplier = bench.readConfig(slot, notify.at + 16, 4);
    this.isr = locate(3).address;
    this.config = locate(4).address;
  }

  get status(): number {
    return this.bench.read(this.common + Common.Status, 1);
  }

  set status(value: number) {
    this.bench.write(this.common + Common.Status, 1, value);
  }

  deviceFeatures(): bigint {
    const word = (select: number): bigint => {
      this.bench.write(this.common + Common.DeviceFeatureSelect, 4, select);
      return BigInt(this.bench.read(this.common + Common.DeviceFeature, 4));
    };
    return word(0) | (word(1) << 32n);
  }

  /** The whole of virtio 1.2 §3.1.1 "Driver Requirements: Device Initialization". */
  start(options: DriverOptions): void {
    this.status = 0;
    this.negotiate(options.features);
    if (options.msix === true) this.#enableMsix();
    const count = this.bench.read(this.common + Common.QueueCount, 2);
    this.queues = [];
    for (let index = 0; index < count; index++) this.#setUpQueue(index, options);
    this.status = this.status | Status.DriverOk;
  }

  negotiate(features: bigint): void {
    this.status = Status.Acknowledge;
    this.status = Status.Acknowledge | Status.Driver;
    for (const word of [0, 1]) {
      this.bench.write(this.common + Common.DriverFeatureSelect, 4, word);
      this.bench.write(this.common + Common.DriverFeature, 4, Number((features >> BigInt(word * 32)) & 0xffff_ffffn));
    }
    this.status = Status.Acknowledge | Status.Driver | Status.FeaturesOk;
  }

  notify(queue: number): void {
    this.bench.write(this.notifyBase + queue * this.notifyMultiplier, 2, queue);
  }

  /** Adds one request, notifies, and returns the completion that is there afterwards (if any). */
  request(queue: number, request: Request): Completion | undefined {
    this.queues[queue]!.add(request);
    this.notify(queue);
    return this.queues[queue]!.takeUsed().at(-1);
  }

  #setUpQueue(index: number, options: DriverOptions): void {
    const { bench, common } = this;
    bench.write(common + Common.QueueSelect, 2, index);
    const size = options.sizes?.[index] ?? bench.read(common + Common.QueueSize, 2);
    const queue = new DriverQueue(this.memory, this.allocator, size);
    bench.write(common + Common.QueueSize, 2, size);
    if (options.msix === true) bench.write(common + Common.QueueVector, 2, index + 1);
    for (const [offset, address] of [
      [Common.QueueDescriptors, queue.descriptors],
      [Common.QueueDriver, queue.available],
      [Common.QueueDevice, queue.used],
    ] as const) {
      bench.write(common + offset, 4, address % 2 ** 32);
      bench.write(common + offset + 4, 4, Math.floor(address / 2 ** 32));
    }
    bench.write(common + Common.QueueEnable, 2, 1);
    this.queues.push(queue);
  }

  #enableMsix(): void {
    const { bench, slot } = this;
    const capability = bench.capabilities(slot).find(({ id }) => id === MsixCapability)!;
    const control = bench.readConfig(slot, capability.at + 2, 2);
    const table = bench.readConfig(slot, capability.at + 4, 4);
    const base = bench.barAddress(slot, table & 7) + (table & ~7);
    for (let vector = 0; vector <= (control & 0x7ff); vector++) {
      const words = [0xfee0_0000, 0, 0x40 + vector, 0];
      words.forEach((word, index) => bench.write(base + vector * 16 + index * 4, 4, word));
    }
    bench.writeConfig(slot, capability.at + 2, 2, control | 0x8000);
    bench.write(this.common + Common.ConfigVector, 2, 0);
  }
}
