/**
 * Which pages of RAM were written: for snapshots and for moving a running machine to another host.
 *
 * Pages that the guest writes come from KVM (dirty-log.ts, dirty-ring.ts), those that devices write from
 * written-pages.ts. Memory slots that were added to RAM are not tracked. KVM may name a page more: one that the guest read
 * for the first time and that it gave write access to at once.
 */
import { gpa, PageSize } from '@lodger/vmm/memory/address.js';
import type { MemoryRange } from '@lodger/vmm/memory/guest-memory.js';
import type { SharedKvmMemory } from './host-memory.ts';
import type { WrittenPages } from './written-pages.ts';

export interface DirtyTracker {
  /** From here on written pages are noted. The guest may run. */
  start(): void;
  /**
   * The pages written since the start or the last call, as ranges in ascending order without neighbours. A page that is
   * written while this runs is in this answer or in the next one. Read their contents after the call.
   */
  collect(): MemoryRange[];
  stop(): void;
}

/** Takes the marked pages of the RAM mapping as guest-physical ranges. */
export function takeRanges(written: WrittenPages, memory: SharedKvmMemory): MemoryRange[] {
  const parts = memory.ranges.map(({ start, length, address }) => ({
    start,
    length,
    offset: Number(address - memory.address),
  }));
  const ranges: MemoryRange[] = [];
  written.take((firstPage, count) => {
    const from = firstPage * PageSize;
    const to = from + count * PageSize;
    // Where RAM has a hole the mapping has none: one run of pages can be two ranges of the guest
    for (const { start, length, offset } of parts) {
      const low = Math.max(from, offset);
      const high = Math.min(to, offset + length);
      if (low < high) ranges.push({ start: gpa(start + low - offset), length: high - low });
    }
  });
  return ranges;
}
