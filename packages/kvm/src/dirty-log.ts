/**
 * Pages that the guest wrote, from a bitmap for each memory slot (KVM API documentation, 4.8 "KVM_GET_DIRTY_LOG").
 *
 * With KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 the bitmap is read first and its pages are protected again afterwards (4.117
 * "KVM_CLEAR_DIRTY_LOG"), with the kernel's lock held for short times only; without, KVM_GET_DIRTY_LOG does both.
 */
import { PageSize } from '@lodger/vmm/memory/address.js';
import type { MemoryRange } from '@lodger/vmm/memory/guest-memory.js';
import { KvmCapability } from './api/capabilities.ts';
import { ClearDirtyLog, DirtyLog as DirtyLogLayout, DirtyLogFlag, EnableCap } from './api/layouts.ts';
import { KvmRequest, kvmIoctl } from './api/requests.ts';
import { type DirtyTracker, takeRanges } from './dirty-tracker.ts';
import type { KvmGuestMemory } from './guest-memory.ts';
import { MapFlag, mmap, munmap, Prot, viewOf } from './linux/libc.ts';
import type { KvmSlot, MemorySlots } from './memory-slots.ts';
import { WrittenPages } from './written-pages.ts';

/** The kernel's bitmap has whole 64-bit words. */
const BitsPerWord = 64;

/** Memory for the bitmap of the largest slot: outside JavaScript's heap, because the kernel gets its address. */
interface Bitmap {
  readonly address: bigint;
  readonly buffer: ArrayBuffer;
}

export class DirtyLog implements DirtyTracker {
  readonly #vm: number;
  readonly #slots: MemorySlots;
  readonly #memory: KvmGuestMemory;
  readonly #written: WrittenPages;
  readonly #manualProtect: boolean;
  #bitmap: Bitmap | undefined;

  constructor(vm: number, slots: MemorySlots, memory: KvmGuestMemory) {
    this.#vm = vm;
    this.#slots = slots;
    this.#memory = memory;
    this.#written = new WrittenPages(memory.shared.written);
    this.#manualProtect = enableManualProtect(vm);
  }

  start(): void {
    if (this.#bitmap) return;
    this.#bitmap = allocateBitmap(Math.max(...this.#slots.ram.map(({ length }) => length)));
    this.#written.start();
    this.#slots.logDirty(true);
  }

  collect(): MemoryRange[] {
    if (!this.#bitmap) return [];
    for (const slot of this.#slots.ram) this.#collectSlot(slot, this.#bitmap);
    return takeRanges(this.#written, this.#memory.shared);
  }

  #collectSlot(slot: KvmSlot, { address, buffer }: Bitmap): void {
    const pages = slot.length / PageSize;
    const log = DirtyLogLayout.create({ slot: slot.number, padding2: address });
    kvmIoctl(this.#vm, KvmRequest.GetDirtyLog, log);
    const firstPage = Number(slot.address - this.#memory.shared.address) / PageSize;
    const words = new Uint32Array(buffer, 0, Math.ceil(pages / 32));
    const anyWritten = this.#written.markWords(firstPage, words);
    if (!this.#manualProtect || !anyWritten) return;
    const clear = ClearDirtyLog.create({ slot: slot.number, num_pages: pages, first_page: 0n, padding2: address });
    kvmIoctl(this.#vm, KvmRequest.ClearDirtyLog, clear);
  }

  stop(): void {
    if (!this.#bitmap) return;
    this.#slots.logDirty(false);
    this.#written.stop();
    munmap(this.#bitmap.address, this.#bitmap.buffer.byteLength);
    this.#bitmap = undefined;
  }
}

function allocateBitmap(longestSlot: number): Bitmap {
  const words = Math.ceil(longestSlot / PageSize / BitsPerWord);
  const size = Math.ceil((words * BigUint64Array.BYTES_PER_ELEMENT) / PageSize) * PageSize;
  const address = mmap(size, Prot.ReadWrite, MapFlag.Private | MapFlag.Anonymous);
  return { address, buffer: viewOf(address, size) };
}

/** False where the host's KVM has no KVM_CLEAR_DIRTY_LOG. */
function enableManualProtect(vm: number): boolean {
  const flags = kvmIoctl(vm, KvmRequest.CheckExtension, KvmCapability.ManualDirtyLogProtect2);
  if ((flags & DirtyLogFlag.ManualProtectEnable) === 0) return false;
  const args = [BigInt(DirtyLogFlag.ManualProtectEnable)];
  kvmIoctl(vm, KvmRequest.EnableCap, EnableCap.create({ cap: KvmCapability.ManualDirtyLogProtect2, args }));
  return true;
}
