/**
 * Dropping what was cached of translations: TLB entries, the jump cache, decoded blocks. On the thread that runs the
 * vCPUs.
 *
 * Where each vCPU has a thread: a page whose first code this thread decodes is taken out of the other vCPUs' write
 * translations, but one of them may be between its look at its TLB and its store. So the page is copied before it is
 * decoded, and compared when each of the others has been between two instructions since: code that changed is dropped.
 */
import {
  CodePages,
  Cpu,
  FetchCacheEntries,
  FetchCacheEntrySize,
  FetchCacheOffset,
  JumpCacheOffset,
  LargePages,
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
import { BlockHashBuckets, StaleRequest, ThreadField, type VmLayout } from './vm-layout.ts';

/** Bit 31 of TlbEntry.Page. */
const GlobalBit = 0x8000_0000 | 0;
/** Bit 30. */
const LargeBit = 0x4000_0000;
/** A tag that never matches in slot 0: it belongs to slot 1. Elsewhere 0 does, which belongs to slot 0. */
const SlotZeroEmpty = 1 << 12;
/** Jump cache and fetch cache, one behind the other. */
const JumpCachesSize = FetchCacheOffset + FetchCacheEntries * FetchCacheEntrySize - JumpCacheOffset;
const PageSize = 4096;
const LineSize = 64;
/** Most pages that are kept to be compared: of more, the oldest are decoded again. */
const MaxUnconfirmed = 1024;
const LastGeneration = 0xffff_ffff >>> ModeKey.Bits;

/** A page whose first code was decoded while other vCPUs may have been writing to it. */
interface UnconfirmedPage {
  readonly page: number;
  /** As it was before it was decoded. */
  readonly bytes: Uint8Array;
  /** The vCPUs that may still be in the middle of a write. */
  readonly others: readonly { readonly thread: number; readonly epoch: number }[];
}

export class TranslationCaches {
  readonly #layout: VmLayout;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #tags: BigInt64Array;
  readonly #thread: number;
  /** The vCPUs that this thread runs. */
  readonly #vcpus: readonly number[];
  #unconfirmed: UnconfirmedPage[] = [];
  /** Blocks dropped because their code was written. */
  droppedBlocks = 0;
  /** Times that everything was dropped because an arena was full. */
  flushes = 0;

  constructor(buffer: SharedArrayBuffer, layout: VmLayout, thread = 0) {
    this.#layout = layout;
    this.#thread = thread;
    this.#vcpus = this.#isShared ? [thread] : layout.cpuBlocks.map((_, id) => id);
    this.#tags = new BigInt64Array(buffer);
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
  }

  /** Empties all TLB entries of a vCPU, or only those that are not global. */
  flushTlb(cpu: number, global: boolean): void {
    if (global) {
      this.#bytes.fill(0, cpu + TlbOffset, cpu + TlbOffset + TlbBanks * TlbBankSize);
      for (let table = 0; table < 2 * TlbBanks; table++) this.#emptySlotZero(cpu + TlbOffset + table * TlbTableSize);
      this.#bytes.fill(0, cpu + LargePages.Offset, cpu + LargePages.Offset + LargePages.Size);
    } else {
      this.#flushLocal(cpu);
    }
    this.#words[(cpu + LocalFills.Count) >> 2] = 0;
    if (global) this.forgetJumps(cpu);
    else this.#forgetLocalJumps(cpu);
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

  /** Empties the entries of the page that a linear address is in, global or not, however large it is. */
  flushPage(cpu: number, linear: bigint): void {
    const half = linear >> 63n ? 1 : 0;
    const large = Number((linear >> 21n) & BigInt(LargePages.OfHalf - 1)) + half * LargePages.OfHalf;
    if (this.#isSet(cpu + LargePages.Offset, large)) {
      this.#flushLarge(cpu, linear);
      this.#forgetHalf(cpu, half);
    }
    const slot = Number((linear >> 12n) & BigInt(TlbEntries - 1));
    for (let table = 0; table < 2 * TlbBanks; table++) {
      this.#emptySlot(cpu, cpu + TlbOffset + table * TlbTableSize + slot * TlbEntrySize);
    }
    const page = Number((linear >> 12n) & BigInt(CodePages.PagesOfHalf - 1)) + half * CodePages.PagesOfHalf;
    // All pages of the half, if there are jumps to this one: it is rare
    if (this.#isSet(cpu + CodePages.Offset, page)) this.#forgetHalf(cpu, half);
  }

  /** Empties what entries have of large pages in the same GiB: no page is larger. */
  #flushLarge(cpu: number, linear: bigint): void {
    const words = this.#words;
    const gibibyte = Number(BigInt.asIntN(32, linear >> 30n));
    const start = cpu + TlbOffset;
    for (let entry = start; entry < start + TlbBanks * TlbBankSize; entry += TlbEntrySize) {
      if ((words[(entry + TlbEntry.Page) >> 2]! & LargeBit) === 0) continue;
      const low = words[entry >> 2]!;
      const high = words[(entry >> 2) + 1]!;
      if (((high << 2) | (low >>> 30)) === gibibyte) this.#emptySlot(cpu, entry);
    }
  }

  #isSet(bits: number, number: number): boolean {
    return (this.#bytes[bits + (number >> 3)]! & (1 << (number & 7))) !== 0;
  }

  /** All linear addresses may mean other blocks now. */
  forgetJumps(cpu: number): void {
    for (const half of [0, 1] as const) this.#forgetHalf(cpu, half);
  }

  /** Those of pages that are not global. */
  #forgetLocalJumps(cpu: number): void {
    this.#nextGeneration(cpu, 0);
    if (this.#words[(cpu + Cpu.LocalUpperCode) >> 2] !== 0) this.#nextGeneration(cpu, 1);
  }

  #forgetHalf(cpu: number, half: 0 | 1): void {
    this.#nextGeneration(cpu, half);
    const start = cpu + CodePages.Offset + half * (CodePages.Size / 2);
    this.#bytes.fill(0, start, start + CodePages.Size / 2);
  }

  #nextGeneration(cpu: number, half: 0 | 1): void {
    const at = (cpu + Cpu.JumpGeneration) / 4 + half;
    const generation = (this.#words[at]! + 1) & LastGeneration;
    this.#words[at] = generation;
    if (half === 1) this.#words[(cpu + Cpu.LocalUpperCode) >> 2] = 0;
    const start = cpu + JumpCacheOffset;
    // Entries of the generations of long ago would count again
    if (generation === 0) this.#bytes.fill(0xff, start, start + JumpCachesSize);
  }

  /** Writes to a RAM page must take the slow path from now on: its cached write translations go. */
  protectPage(page: number): void {
    const words = this.#words;
    const hostPage = (this.#layout.ram >>> 12) + page;
    if (this.#isShared) {
      this.#protectFromAll(page, hostPage);
      return;
    }
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

  /** Each vCPU has a thread of its own. */
  get #isShared(): boolean {
    return this.#layout.threads.length > 1;
  }

  /** As {@link protectPage}; the other vCPUs may be running. A tag is emptied by one store, whatever it holds by then. */
  #protectFromAll(page: number, hostPage: number): void {
    const words = this.#words;
    // The marks are seen before entries are looked at: a vCPU that enters one later looks at the marks again
    Atomics.add(words, this.#epochWord(this.#thread), 0);
    for (const cpu of this.#layout.cpuBlocks) {
      for (let bank = 0; bank < TlbBanks; bank++) {
        const table = cpu + TlbOffset + bank * TlbBankSize + TlbTableSize;
        for (let entry = table >> 2, slot = 0; slot < TlbEntries; slot++, entry += TlbEntrySize >> 2) {
          if ((words[entry]! + words[entry + (TlbEntry.Addend >> 2)]!) >>> 12 !== hostPage) continue;
          Atomics.store(this.#tags, entry >> 1, slot === 0 ? BigInt(SlotZeroEmpty) : 0n);
        }
      }
    }
    const others = this.#layout.threads.flatMap((_, thread) =>
      thread === this.#thread ? [] : [{ thread, epoch: Atomics.load(words, this.#epochWord(thread)) }],
    );
    const host = this.#layout.ram + page * PageSize;
    if (this.#unconfirmed.length >= MaxUnconfirmed) this.dropCode(this.#unconfirmed.shift()!.page);
    this.#unconfirmed.push({ page, bytes: this.#bytes.slice(host, host + PageSize), others });
  }

  #epochWord(thread: number): number {
    return (this.#layout.threads[thread]! + ThreadField.Epoch) >> 2;
  }

  /** Compares the pages that no other vCPU can be in the middle of a write to any more. Between two instructions. */
  confirmCode(): void {
    if (this.#unconfirmed.length === 0) return;
    const left: UnconfirmedPage[] = [];
    const pages = this.#unconfirmed;
    this.#unconfirmed = left;
    for (const one of pages) {
      // An even epoch: outside of guest code
      const open = one.others.filter(
        ({ thread, epoch }) => (epoch & 1) !== 0 && Atomics.load(this.#words, this.#epochWord(thread)) === epoch,
      );
      if (open.length > 0) left.push({ ...one, others: open });
      else if (!this.#isUnchanged(one)) this.dropCode(one.page);
    }
  }

  /** Lines that this thread has code of. */
  #isUnchanged({ page, bytes }: UnconfirmedPage): boolean {
    const lines = this.#layout.codeLines[this.#thread]! + page * 8;
    const host = this.#layout.ram + page * PageSize;
    for (let line = 0; line < PageSize / LineSize; line++) {
      if ((this.#bytes[lines + (line >> 3)]! & (1 << (line & 7))) === 0) continue;
      for (let i = line * LineSize; i < (line + 1) * LineSize; i++) {
        if (bytes[i] !== this.#bytes[host + i]) return false;
      }
    }
    return true;
  }

  /** The thread is about to enter guest code. */
  enterGuest(): void {
    if (this.#isShared) Atomics.add(this.#words, this.#epochWord(this.#thread), 1);
  }
  /** It has left it. */
  leaveGuest(): void {
    if (this.#isShared) Atomics.add(this.#words, this.#epochWord(this.#thread), 1);
  }
  /** Writes of earlier instructions are done; `noWrite`: the running one writes nothing to memory. */
  serialize(noWrite: boolean): void {
    Atomics.add(this.#words, this.#epochWord(this.#thread), noWrite && this.#isShared ? 2 : 0);
  }
  /** Between two instructions. */
  passPoint(): void {
    if (!this.#isShared) return;
    Atomics.add(this.#words, this.#epochWord(this.#thread), 2);
    this.confirmCode();
  }

  /** Told of pages whose code is dropped, and what was written; answers whether translated code was. */
  onDrop: (page: number, start?: number, end?: number) => boolean = () => false;

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

  /**
   * Drops every block with code on a RAM page, of all vCPUs of this thread, and translated code on the lines between two
   * offsets in it. Blocks that run are left at their next instruction.
   */
  dropCode(page: number, start?: number, end?: number): boolean {
    const view = this.#view;
    const lines = this.#layout.codeLines[this.#thread]! + page * 8;
    view.setUint32(lines, 0, true);
    view.setUint32(lines + 4, 0, true);
    for (const vcpu of this.#vcpus) {
      const lists = this.#layout.pageBlocks[vcpu]!;
      let block = view.getUint32(lists + page * 4, true);
      view.setUint32(lists + page * 4, 0, true);
      while (block !== 0) {
        const header = block - BlockHeaderSize;
        const inSecond = view.getUint32(header + BlockHeader.SecondPage, true) === page + 1;
        const next = view.getUint32(header + (inSecond ? BlockHeader.NextInSecondPage : BlockHeader.NextInPage), true);
        this.#dropBlock(vcpu, block, header);
        block = next;
      }
    }
    return this.onDrop(page, start, end);
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
    const pending = (this.#layout.threads[this.#thread]! + ThreadField.StalePending) >> 2;
    if (Atomics.load(this.#words, pending) === StaleRequest.None) return;
    Atomics.store(this.#words, pending, StaleRequest.Looking);
    const first = this.#layout.staleCode[this.#thread]! >> 2;
    const words = Math.ceil(this.#layout.ramSize / PageSize / 32);
    for (let word = 0; word < words; word++) {
      if (this.#words[first + word] === 0) continue;
      const bits = Atomics.exchange(this.#words, first + word, 0);
      for (let bit = 0; bit < 32; bit++) if (bits & (1 << bit)) this.dropCode(word * 32 + bit);
    }
    const before = Atomics.compareExchange(this.#words, pending, StaleRequest.Looking, StaleRequest.None);
    if (before === StaleRequest.Looking) Atomics.notify(this.#words, pending);
  }

  /** Forgets all blocks of this thread's vCPUs: the arenas start over. */
  dropAll(): void {
    const { ramSize, cpuBlocks } = this.#layout;
    const pages = ramSize / PageSize;
    for (const vcpu of this.#vcpus) {
      const [hash, lists] = [this.#layout.blockHash[vcpu]!, this.#layout.pageBlocks[vcpu]!];
      this.#bytes.fill(0, hash, hash + BlockHashBuckets * 4);
      this.#bytes.fill(0, lists, lists + pages * 4);
      this.forgetJumps(cpuBlocks[vcpu]!);
    }
    const codeLines = this.#layout.codeLines[this.#thread]!;
    this.#bytes.fill(0, codeLines, codeLines + pages * 8);
    this.flushes++;
  }
}
