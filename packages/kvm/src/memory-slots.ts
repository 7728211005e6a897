/**
 * Memory slots: which guest-physical ranges are which host memory (KVM API documentation, 4.35
 * "KVM_SET_USER_MEMORY_REGION").
 *
 * RAM has the first slot numbers; slots that are added later get numbers after them. A slot is changed by removing and
 * making it again, because KVM changes neither size nor protection of one that exists: other vCPUs must not run meanwhile.
 */
import type { MemorySlot } from '@lodger/vmm/engine/engine.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { PageSize } from '@lodger/vmm/memory/address.js';
import { MemoryFlag, UserspaceMemoryRegion } from './api/layouts.ts';
import { KvmRequest, requestName } from './api/requests.ts';
import { viewOfBytes } from './api/struct.ts';
import type { KvmGuestMemory } from './guest-memory.ts';
import { allocateSlotMemory, type HostRange } from './host-memory.ts';
import { Errno, LinuxError, munmap, tryIoctl } from './linux/libc.ts';

/** A slot as KVM has it. */
export interface KvmSlot extends HostRange {
  readonly number: number;
  readonly readOnly: boolean;
  readonly logDirty: boolean;
}

interface AddedSlot {
  slot: KvmSlot;
  /** The mapping, which is not shorter than the slot. */
  readonly address: bigint;
  readonly size: number;
}

export class MemorySlots {
  readonly #vm: number;
  readonly #memory: KvmGuestMemory;
  readonly #ram: KvmSlot[] = [];
  readonly #added = new Map<number, AddedSlot>();
  readonly #region = UserspaceMemoryRegion.create();
  readonly #view = viewOfBytes(this.#region);

  /** Gives the VM its RAM. */
  constructor(vm: number, memory: KvmGuestMemory) {
    this.#vm = vm;
    this.#memory = memory;
    for (const range of memory.shared.ranges) {
      const slot = { ...range, number: this.#ram.length, readOnly: false, logDirty: false };
      this.#apply(slot);
      this.#ram.push(slot);
    }
  }

  /** The slots of RAM, in ascending order of address. */
  get ram(): readonly KvmSlot[] {
    return this.#ram;
  }

  /**
   * Adds, replaces (same id) or, with size 0, removes a slot. A slot that is replaced by one that is not larger keeps its
   * content; else it starts with zeroes.
   */
  set(slot: MemorySlot): void {
    if (slot.start % PageSize !== 0 || slot.size % PageSize !== 0) {
      throw new HostError('InvalidArgument', 'memory slots are whole pages');
    }
    const old = this.#added.get(slot.id);
    if (old) this.#apply({ ...old.slot, length: 0 });
    this.#added.delete(slot.id);
    const keeps = old !== undefined && slot.size > 0 && slot.size <= old.size;
    if (old && !keeps) munmap(old.address, old.size);
    try {
      if (slot.size > 0) this.#add(slot, old?.slot.number ?? this.#freeNumber(), keeps ? old : undefined);
    } finally {
      this.#memory.setSlots([...this.#added.values()].map((added) => added.slot));
    }
  }

  #add(slot: MemorySlot, number: number, kept: AddedSlot | undefined): void {
    const { id, start, size: length, readOnly } = slot;
    const host = kept ?? { address: allocateSlotMemory(length), size: length };
    const made = { number, start, length, readOnly, logDirty: false, address: host.address };
    try {
      this.#apply(made);
    } catch (error) {
      munmap(host.address, host.size);
      throw error;
    }
    this.#added.set(id, { slot: made, address: host.address, size: host.size });
  }

  #freeNumber(): number {
    const used = new Set([...this.#added.values()].map(({ slot }) => slot.number));
    let number = this.#ram.length;
    while (used.has(number)) number++;
    return number;
  }

  /** Whether KVM logs the pages of RAM that the guest writes. The guest may run meanwhile. */
  logDirty(on: boolean): void {
    this.#ram.forEach((slot, index) => {
      if (slot.logDirty === on) return;
      const changed = { ...slot, logDirty: on };
      this.#apply(changed);
      this.#ram[index] = changed;
    });
  }

  /** Unmaps what was added, when the VM's file is closed and no thread uses the memory any more. */
  release(): void {
    for (const { address, size } of this.#added.values()) munmap(address, size);
    this.#added.clear();
    this.#memory.setSlots([]);
  }

  #apply({ number, start, length, address, readOnly, logDirty }: KvmSlot): void {
    const flags = (readOnly ? MemoryFlag.Readonly : 0) | (logDirty ? MemoryFlag.LogDirtyPages : 0);
    UserspaceMemoryRegion.update(this.#view, {
      slot: number,
      flags,
      guest_phys_addr: BigInt(start),
      memory_size: BigInt(length),
      userspace_addr: address,
    });
    const result = tryIoctl(this.#vm, KvmRequest.SetUserMemoryRegion, this.#region);
    if (result < 0) throw whyNoSlot(-result, start, length);
  }
}

function whyNoSlot(errno: number, start: number, length: number): Error {
  const cause = new LinuxError(requestName(KvmRequest.SetUserMemoryRegion), errno);
  const range = `${length} bytes of memory at guest address 0x${start.toString(16)}`;
  switch (errno) {
    case Errno.EEXIST:
      return new HostError('InvalidArgument', `${range} overlap other memory of the guest: choose another place`, {
        cause,
      });
    case Errno.ENOMEM:
      return new HostError(
        'MemoryTooLarge',
        `the host's kernel has no memory to keep ${range}: use a smaller --memory`,
        {
          cause,
        },
      );
    case Errno.EINVAL:
      return new HostError('InvalidArgument', `KVM takes no ${range}: too many slots, or no such address`, { cause });
    default:
      return cause;
  }
}
