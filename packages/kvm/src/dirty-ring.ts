/**
 * Pages that the guest wrote, from a ring of each vCPU (KVM API documentation, 7.36 "KVM_CAP_DIRTY_LOG_RING"): the work is
 * as much as pages were written, not as much as the guest has memory.
 *
 * Rings are enabled before the first vCPU is made, and KVM_GET_DIRTY_LOG fails on such a VM. A vCPU whose ring is full
 * leaves KVM_RUN with KVM_EXIT_DIRTY_RING_FULL: its thread harvests (see {@link DirtyRings.harvest}) and goes on.
 *
 * A processor that logs pages by itself (Intel PML) hands them over when the vCPU leaves guest mode: for an answer that
 * misses nothing, all vCPUs must have been kicked out of KVM_RUN before. A back end that emulates guest code for longer
 * than the ring has room (kvm-pvm) overruns it and loses pages: use the dirty log there.
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { PageSize } from '@lodger/vmm/memory/address.js';
import type { MemoryRange } from '@lodger/vmm/memory/guest-memory.js';
import { KvmCapability } from './api/capabilities.ts';
import { DirtyGfn, DirtyGfnFlag, EnableCap, VcpuMapPage } from './api/layouts.ts';
import { KvmRequest, kvmIoctl, requestName } from './api/requests.ts';
import { type DirtyTracker, takeRanges } from './dirty-tracker.ts';
import type { SharedKvmMemory } from './host-memory.ts';
import { Errno, LinuxError, MapFlag, mmap, munmap, Prot, tryIoctl, viewOf } from './linux/libc.ts';
import type { MemorySlots } from './memory-slots.ts';
import { WrittenPages } from './written-pages.ts';

/** Bytes of each ring; the documentation recommends at least 64 KiB. */
export const DefaultRingSize = 1024 * 1024;

/** The rings of a VM as any thread of the process can use them: plain data. */
export interface SharedDirtyRings {
  readonly vmFd: number;
  readonly memory: SharedKvmMemory;
  /** Bytes of each. */
  readonly size: number;
  /** Word 0: the lock; then, by vCPU, the entry that is harvested next. */
  readonly positions: SharedArrayBuffer;
}

/** One vCPU's ring. */
export interface MappedDirtyRing {
  /** The vCPU's. */
  readonly id: number;
  readonly address: bigint;
}

/** Bytes of the largest ring that the host's KVM makes; 0 where it makes none. */
export function largestDirtyRing(fd: number): number {
  return kvmIoctl(fd, KvmRequest.CheckExtension, KvmCapability.DirtyLogRing);
}

/** Turns rings on, before the first vCPU is made. `size`: bytes of each, a power of two. */
export function enableDirtyRings(
  vmFd: number,
  memory: SharedKvmMemory,
  vcpus: number,
  size = DefaultRingSize,
): SharedDirtyRings {
  const largest = largestDirtyRing(vmFd);
  if (largest === 0) {
    throw new HostError(
      'InvalidArgument',
      'this host’s KVM has no dirty rings: track written pages with the dirty log',
    );
  }
  const enable = EnableCap.create({ cap: KvmCapability.DirtyLogRing, args: [BigInt(size)] });
  const result = tryIoctl(vmFd, KvmRequest.EnableCap, enable);
  if (result < 0) {
    const cause = new LinuxError(`${requestName(KvmRequest.EnableCap)} (KVM_CAP_DIRTY_LOG_RING)`, -result);
    const message = `KVM makes no dirty rings of ${size} bytes: give a power of two from ${PageSize} to ${largest}`;
    throw new HostError('InvalidArgument', message, { cause });
  }
  const words = FirstPosition + vcpus;
  return { vmFd, memory, size, positions: new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT) };
}

/** Maps the ring of a vCPU. {@link unmapDirtyRing} undoes it. */
export function mapDirtyRing(shared: SharedDirtyRings, id: number, vcpuFd: number): MappedDirtyRing {
  const offset = VcpuMapPage.DirtyLog * PageSize;
  return { id, address: mmap(shared.size, Prot.ReadWrite, MapFlag.Shared, vcpuFd, offset) };
}

export function unmapDirtyRing(shared: SharedDirtyRings, { address }: MappedDirtyRing): void {
  munmap(address, shared.size);
}

const LockWord = 0;
const FirstPosition = 1;
const Lock = { Free: 0, Taken: 1 } as const;

/** `slot` of an entry: the number of the slot in the low half, the address space in the high one. */
const SlotNumberMask = 0xffff;
/** In 32-bit words of an entry. */
const Entry = {
  Words: DirtyGfn.size / Int32Array.BYTES_PER_ELEMENT,
  Flags: DirtyGfn.offset.flags / Int32Array.BYTES_PER_ELEMENT,
  Slot: DirtyGfn.offset.slot / Int32Array.BYTES_PER_ELEMENT,
  OffsetLow: DirtyGfn.offset.offset / Int32Array.BYTES_PER_ELEMENT,
} as const;

/** Some or all rings of a VM, for one thread: a vCPU's thread has its own, who tracks pages has all. */
export class DirtyRings {
  readonly #shared: SharedDirtyRings;
  readonly #rings: readonly { readonly entries: Int32Array; readonly positionWord: number }[];
  readonly #positions: Int32Array;
  /** Entries of each ring. */
  readonly #length: number;
  readonly #written: WrittenPages;
  /** Page of the RAM mapping where each slot of RAM starts. */
  readonly #firstPages: readonly number[];

  constructor(shared: SharedDirtyRings, rings: readonly MappedDirtyRing[]) {
    const { memory, size } = shared;
    this.#shared = shared;
    this.#rings = rings.map(({ id, address }) => ({
      entries: new Int32Array(viewOf(address, size)),
      positionWord: FirstPosition + id,
    }));
    this.#positions = new Int32Array(shared.positions);
    this.#length = size / DirtyGfn.size;
    this.#written = new WrittenPages(memory.written);
    this.#firstPages = memory.ranges.map(({ address }) => Number(address - memory.address) / PageSize);
  }

  /** Notes what the rings have and makes room in them. From any thread. */
  harvest(): void {
    this.#lock();
    try {
      let harvested = 0;
      for (const { entries, positionWord } of this.#rings) harvested += this.#harvestRing(entries, positionWord);
      if (harvested > 0) this.#reset();
    } finally {
      this.#unlock();
    }
  }

  #harvestRing(ring: Int32Array, positionWord: number): number {
    let position = this.#positions[positionWord]!;
    let harvested = 0;
    while (harvested < this.#length) {
      const entry = position * Entry.Words;
      if (Atomics.load(ring, entry + Entry.Flags) !== DirtyGfnFlag.Dirty) break;
      const firstPage = this.#firstPages[ring[entry + Entry.Slot]! & SlotNumberMask];
      if (firstPage !== undefined) this.#written.markPage(firstPage + (ring[entry + Entry.OffsetLow]! >>> 0));
      Atomics.store(ring, entry + Entry.Flags, DirtyGfnFlag.Dirty | DirtyGfnFlag.Reset);
      position = (position + 1) % this.#length;
      harvested++;
    }
    this.#positions[positionWord] = position;
    return harvested;
  }

  /** The kernel protects the harvested pages again. */
  #reset(): void {
    let result: number;
    do result = tryIoctl(this.#shared.vmFd, KvmRequest.ResetDirtyRings);
    while (result === -Errno.EINTR);
    if (result < 0) throw new LinuxError(requestName(KvmRequest.ResetDirtyRings), -result);
  }

  #lock(): void {
    while (Atomics.compareExchange(this.#positions, LockWord, Lock.Free, Lock.Taken) !== Lock.Free) {
      Atomics.wait(this.#positions, LockWord, Lock.Taken);
    }
  }

  #unlock(): void {
    Atomics.store(this.#positions, LockWord, Lock.Free);
    Atomics.notify(this.#positions, LockWord, 1);
  }
}

/** All rings of a VM behind the interface that they share with the dirty log. */
export class DirtyRingTracker implements DirtyTracker {
  readonly #rings: DirtyRings;
  readonly #slots: MemorySlots;
  readonly #memory: SharedKvmMemory;
  readonly #written: WrittenPages;

  constructor(shared: SharedDirtyRings, rings: readonly MappedDirtyRing[], slots: MemorySlots) {
    this.#rings = new DirtyRings(shared, rings);
    this.#slots = slots;
    this.#memory = shared.memory;
    this.#written = new WrittenPages(shared.memory.written);
  }

  start(): void {
    // What an earlier tracking left
    this.#rings.harvest();
    this.#written.start();
    this.#slots.logDirty(true);
  }

  collect(): MemoryRange[] {
    this.#rings.harvest();
    return takeRanges(this.#written, this.#memory);
  }

  stop(): void {
    this.#slots.logDirty(false);
    this.#rings.harvest();
    this.#written.stop();
  }
}
