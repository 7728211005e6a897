/** Dropping what was cached of translations: TLB entries, the jump cache, decoded blocks. On the vCPU thread. */
import {
  Cpu,
  FetchCacheEntries,
  FetchCacheEntrySize,
  FetchCacheOffset,
  JumpCacheOffset,
  LocalFills,
  TlbBanks,
  TlbBankSize,
  TlbEntries,
  TlbEntry,
  TlbEntrySize,
  TlbOffset,
  TlbTableSize,
} from '../interpreter/cpu-layout.ts';
import { FixedHandler, blockBucket } from '../interpreter/core-module.ts';
import { Record, RecordSize } from '../interpreter/record.ts';
import { BlockHeader, BlockHeaderSize, ModeKey } from './block-header.ts';
import { BlockHashBuckets, StaleRequest, VmBlock, VmField, type VmLayout } from './vm-layout.ts';

/** Bit 31 of TlbEntry.Page. */
const GlobalBit = 0x8000_0000 | 0;
/** A tag that never matches in slot 0: it belongs to slot 1. Elsewhere 0 does, which belongs to slot 0. */
const SlotZeroEmpty = 1 << 12;
/** Jump cache and fetch cache, one behind the other. */
const JumpCachesSize = FetchCacheOffset + FetchCacheEntries * FetchCacheEntrySize - JumpCacheOffset;
const LastGeneration = 0xffff_ffff >>> ModeKey.Bits;

export class TranslationCaches {
  readonly #layout: VmLayout;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  /** Blocks dropped because their code was written. */
  droppedBlocks = 0;
  /** Times that everything was dropped because an arena was full. */
  flushes = 0;

  constructor(buffer: SharedArrayBuffer, layout: VmLayout) {
    this.#layout = layout;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
  }

  /** Empties all TLB entries of a vCPU, or only those that are not global. */
  flushTlb(cpu: number, global: boolean): void {
    if (global) {
      this.#bytes.fill(0, cpu + TlbOffset, cpu + TlbOffset + TlbBanks * TlbBankSize);
      for (let table = 0; table < 2 * TlbBanks; table++) this.#emptySlotZero(cpu + TlbOffset + table * TlbTableSize);
    } else {
      this.#flushLocal(cpu);
    }
    this.#words[(cpu + LocalFills.Count) >> 2] = 0;
    this.forgetJumps(cpu);
  }

  #flushLocal(cpu: number): void {
    const words = this.#words;
    const count = words[(cpu + LocalFills.Count) >> 2]!;
    if (count > LocalFills.Capacity) {
      this.#flushLocalByLooking(cpu);
      return;
    }
    const list = (cpu + LocalFills.List) >> 2;
    for (let i = list; i < list + count; i++) {
      const entry = words[i]! >>> 2;
      // The slot may hold a global page's translation by now
      if ((words[entry + (TlbEntry.Page >> 2)]! & GlobalBit) === 0) this.#emptySlot(cpu, entry * 4);
    }
  }

  #flushLocalByLooking(cpu: number): void {
    const words = this.#words;
    const start = cpu + TlbOffset;
    for (let entry = start; entry < start + TlbBanks * TlbBankSize; entry += TlbEntrySize) {
      if ((words[(entry + TlbEntry.Page) >> 2]! & GlobalBit) === 0) this.#emptySlot(cpu, entry);
    }
  }

  #emptySlot(cpu: number, entry: number): void {
    const isSlotZero = ((entry - cpu - TlbOffset) & (TlbTableSize - 1)) === 0;
    this.#words[entry >> 2] = isSlotZero ? SlotZeroEmpty : 0;
    this.#words[(entry >> 2) + 1] = 0;
  }

  #emptySlotZero(table: number): void {
    this.#words[table >> 2] = SlotZeroEmpty;
    this.#words[(table >> 2) + 1] = 0;
    this.#words[(table + TlbEntry.Page) >> 2] = 0;
  }

  /** Empties the entries of one linear page, global or not. */
  flushPage(cpu: number, linear: bigint): void {
    const slot = Number((linear >> 12n) & BigInt(TlbEntries - 1));
    for (let table = 0; table < 2 * TlbBanks; table++) {
      const start = cpu + TlbOffset + table * TlbTableSize;
      const entry = start + slot * TlbEntrySize;
      this.#words[entry >> 2] = slot === 0 ? SlotZeroEmpty : 0;
      this.#words[(entry >> 2) + 1] = 0;
    }
    this.forgetJumps(cpu);
  }

  /** Linear addresses may mean other blocks now. */
  forgetJumps(cpu: number): void {
    const at = (cpu + Cpu.JumpGeneration) >> 2;
    const generation = (this.#words[at]! + 1) & LastGeneration;
    this.#words[at] = generation;
    const start = cpu + JumpCacheOffset;
    // Entries of the generations of long ago would count again
    if (generation === 0) this.#bytes.fill(0xff, start, start + JumpCachesSize);
  }

  /** Writes to a RAM page must take the slow path from now on: its cached write translations go. */
  protectPage(page: number): void {
    const words = this.#words;
    const hostPage = (this.#layout.ram >>> 12) + page;
    for (const cpu of this.#layout.cpuBlocks) {
      for (let bank = 0; bank < TlbBanks; bank++) {
        const table = cpu + TlbOffset + bank * TlbBankSize + TlbTableSize;
        for (let entry = table >> 2, slot = 0; slot < TlbEntries; slot++, entry += TlbEntrySize >> 2) {
          if ((words[entry]! + words[entry + (TlbEntry.Addend >> 2)]!) >>> 12 !== hostPage) continue;
          words[entry] = slot === 0 ? SlotZeroEmpty : 0;
          words[entry + 1] = 0;
        }
      }
    }
  }

  /** Told of pages whose code is dropped; answers whether translated code was. */
  onDrop: (page: number) => boolean = () => false;

  /** First record of the vCPU's block of a physical address and mode key, or 0. */
  findBlock(vcpu: number, physical: number, key: number): number {
    const view = this.#view;
    let block = view.getUint32(this.#layout.blockHash[vcpu]! + blockBucket(physical | 0, key), true);
    while (block !== 0) {
      const header = block - BlockHeaderSize;
      const same =
        view.getUint32(header + BlockHeader.Physical, true) === physical >>> 0 &&
        view.getUint32(header + BlockHeader.Physical + 4, true) === Math.floor(physical / 2 ** 32) &&
        view.getUint32(header + BlockHeader.Key, true) === key;
      if (same && view.getUint32(header + BlockHeader.SecondPage, true) === 0) return block;
      block = view.getUint32(header + BlockHeader.NextInBucket, true);
    }
    return 0;
  }

  /** Drops every block with code on a RAM page, of all vCPUs. Blocks that run are left at their next instruction. */
  dropCode(page: number): boolean {
    const view = this.#view;
    const lines = this.#layout.codeLines + page * 8;
    view.setUint32(lines, 0, true);
    view.setUint32(lines + 4, 0, true);
    this.#layout.pageBlocks.forEach((lists, vcpu) => {
      let block = view.getUint32(lists + page * 4, true);
      view.setUint32(lists + page * 4, 0, true);
      while (block !== 0) {
        const header = block - BlockHeaderSize;
        const inSecond = view.getUint32(header + BlockHeader.SecondPage, true) === page + 1;
        const next = view.getUint32(header + (inSecond ? BlockHeader.NextInSecondPage : BlockHeader.NextInPage), true);
        this.#dropBlock(vcpu, block, header);
        block = next;
      }
    });
    return this.onDrop(page);
  }

  #dropBlock(vcpu: number, block: number, header: number): void {
    const view = this.#view;
    this.droppedBlocks++;
    const records = view.getUint32(header + BlockHeader.Records, true);
    for (let i = 0; i < records; i++)
      view.setUint16(block + i * RecordSize + Record.Handler, FixedHandler.Resync, true);
    const physical = view.getUint32(header + BlockHeader.Physical, true) | 0;
    const key = view.getUint32(header + BlockHeader.Key, true);
    let link = this.#layout.blockHash[vcpu]! + blockBucket(physical, key);
    for (;;) {
      const candidate = view.getUint32(link, true);
      if (candidate === 0) return;
      const next = candidate - BlockHeaderSize + BlockHeader.NextInBucket;
      if (candidate === block) {
        view.setUint32(link, view.getUint32(next, true), true);
        return;
      }
      link = next;
    }
  }

  /** Pages that other threads wrote to (SharedGuestMemory). */
  dropStale(): void {
    const pending = (VmBlock + VmField.StalePending) >> 2;
    if (Atomics.load(this.#words, pending) === StaleRequest.None) return;
    Atomics.store(this.#words, pending, StaleRequest.Looking);
    const first = this.#layout.staleCode >> 2;
    const pages = this.#layout.ramSize / 4096;
    for (let page = 0; page < pages; page++) {
      if (this.#words[first + page] !== 0 && Atomics.exchange(this.#words, first + page, 0) !== 0) this.dropCode(page);
    }
    const before = Atomics.compareExchange(this.#words, pending, StaleRequest.Looking, StaleRequest.None);
    if (before === StaleRequest.Looking) Atomics.notify(this.#words, pending);
  }

  /** Forgets all blocks of all vCPUs: the arenas start over. */
  dropAll(): void {
    const { blockHash, pageBlocks, codeLines, ramSize, cpuBlocks } = this.#layout;
    const pages = ramSize / 4096;
    for (const hash of blockHash) this.#bytes.fill(0, hash, hash + BlockHashBuckets * 4);
    for (const lists of pageBlocks) this.#bytes.fill(0, lists, lists + pages * 4);
    this.#bytes.fill(0, codeLines, codeLines + pages * 8);
    for (const cpu of cpuBlocks) this.forgetJumps(cpu);
    this.flushes++;
  }
}
