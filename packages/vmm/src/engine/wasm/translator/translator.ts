/**
 * The translator on the vCPU's thread: notices which code is hot, has it compiled, puts the result in the place of the
 * interpreter's blocks, and takes it away again when its code is written.
 *
 * Hot code is found by sampling: a slice of the interpreter ends at the start of a block, after a certain number of
 * instructions. A block that many slices end at is where the time goes. That costs the interpreter nothing.
 */
import '../../../types/webassembly.ts';
import type { CoreExports } from '../interpreter/core-module.ts';
import { FixedHandler } from '../interpreter/core-module.ts';
import type { HandlerTable } from '../interpreter/handler-table.ts';
import type { Lowering } from '../interpreter/lowering.ts';
import {
  Cpu,
  JumpCacheEntries,
  JumpCacheEntry,
  JumpCacheEntrySize,
  JumpCacheOffset,
} from '../interpreter/cpu-layout.ts';
import { Record } from '../interpreter/record.ts';
import { BlockHeader, BlockHeaderSize, ModeKey } from '../softmmu/block-header.ts';
import type { TranslationCaches } from '../softmmu/translation-caches.ts';
import type { VmLayout } from '../softmmu/vm-layout.ts';
import { inPage, pageOf } from './region.ts';
import { regionName } from './region-module.ts';
import type { CodePiece, CompiledRegion, CompiledRegions, RegionCompiler } from './region-compiler.ts';

export interface TranslatorParts {
  readonly layout: VmLayout;
  readonly memory: WebAssembly.Memory;
  readonly core: CoreExports;
  readonly handlers: HandlerTable;
  readonly caches: TranslationCaches;
  readonly lowering: Lowering;
  readonly rare: (cpu: number, record: number, index: number) => number;
  readonly compiler: RegionCompiler;
  /** Samples of a block before it is translated; 0 translates every block when it is first met. */
  readonly threshold: number;
}

/** Most regions: then all are dropped. V8 ends the process somewhere above 50,000 modules (JIT-LIMITS.md). */
const MaxRegions = 8000;
/** Code of a page that was dropped so often in a row, soon after it was translated, is translated no more. */
const MaxDrops = 8;
/** Slices after which translated code was worth its while. */
const LongLife = 3000;
/** Most regions that wait to be compiled: a guest cannot make the list grow. */
const MaxPending = 64;
/** Most blocks that samples are kept of: then they start over. */
const MaxSampled = 20_000;
/** How many pages around its entry a region may use. */
const MaxDistance = 16_000;
const PageSize = 4096;

/** A place in guest-physical memory at which code of one mode starts, as a number. */
const placeOf = (physical: number, key: number): number => physical * 2 + (key & ModeKey.User ? 1 : 0);

interface Pending {
  readonly key: number;
  readonly place: number;
  /** Guest-physical addresses of the pages, by distance from the entry's. */
  readonly physical: ReadonlyMap<number, number>;
}

interface InstalledRegion {
  readonly key: number;
  readonly slot: number;
  readonly entries: readonly { readonly physical: number; readonly number: number }[];
  readonly pieces: readonly CodePiece[];
  /** RAM page indices. */
  readonly pages: ReadonlySet<number>;
  /** When it was installed, in slices. */
  readonly born: number;
}

export interface TranslatorStatistics {
  /** Regions that were compiled. */
  readonly regions: number;
  /** Guest instructions in them. */
  readonly instructions: number;
  /** Regions that were dropped because their code was written. */
  readonly dropped: number;
  /** Times that all were dropped because there were too many. */
  readonly evictions: number;
}

export class Translator {
  readonly #parts: TranslatorParts;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #helpers: Record<string, unknown> = {};
  /** By place. */
  readonly #samples = new Map<number, number>();
  /** Places that are being translated, are translated, or cannot be. */
  readonly #settled = new Set<number>();
  readonly #pending = new Map<number, Pending>();
  readonly #regions = new Set<InstalledRegion>();
  readonly #byPage = new Map<number, Set<InstalledRegion>>();
  /** By place. */
  readonly #entries = new Map<number, { region: InstalledRegion; number: number }>();
  /** How often code of a page was dropped. */
  readonly #drops = new Map<number, number>();
  /** RAM page whose code was dropped last. */
  #lastDrop = -1;
  #nextId = 1;
  /** Slices that ended at a block: the translator's clock. */
  #slices = 0;
  #statistics = { regions: 0, instructions: 0, dropped: 0, evictions: 0 };

  constructor(parts: TranslatorParts) {
    this.#parts = parts;
    this.#view = new DataView(parts.memory.buffer);
    this.#bytes = new Uint8Array(parts.memory.buffer);
  }

  get statistics(): TranslatorStatistics {
    return this.#statistics;
  }

  /** A slice ended at a block, whose linear address is given. Answers whether it is translated. */
  sample(vcpu: number, block: number, linear: bigint): boolean {
    this.#slices++;
    const header = block - BlockHeaderSize;
    if (this.#view.getUint16(block + Record.Handler, true) === FixedHandler.Translated) return true;
    const place = this.#placeOfBlock(header);
    if (place === undefined || this.#settled.has(place)) return false;
    const count = (this.#samples.get(place) ?? 0) + 1;
    if (this.#samples.size > MaxSampled) this.#samples.clear();
    this.#samples.set(place, count);
    const drops = this.#drops.get(this.#view.getUint32(header + BlockHeader.Page, true)) ?? 0;
    const isHot = count >= this.#parts.threshold << Math.min(drops, 6);
    if (isHot && this.#pending.size < MaxPending) this.#request(vcpu, header, place, linear);
    return false;
  }

  /** The interpreter has a new block: translated code may be there already. */
  onBlock(vcpu: number, block: number, linear: bigint): void {
    const header = block - BlockHeaderSize;
    const place = this.#placeOfBlock(header);
    if (place === undefined) return;
    const known = this.#entries.get(place);
    if (known) return this.#patch(block, known.region, known.number);
    if (this.#parts.threshold > 0 || this.#settled.has(place)) return;
    // Code that writes to its own page goes on in the interpreter: translated anew, it would be left at the same write
    if (this.#view.getUint32(header + BlockHeader.Page, true) === this.#lastDrop) this.#lastDrop = -1;
    else {
      this.#request(vcpu, header, place, linear);
      this.poll();
    }
  }

  /** Installs what has been compiled meanwhile. */
  poll(): void {
    for (let result = this.#parts.compiler.poll(); result; result = this.#parts.compiler.poll()) this.#install(result);
  }

  /** Code on a RAM page was written. Answers whether translated code was dropped. */
  dropPage(page: number): boolean {
    const regions = this.#byPage.get(page);
    if (!regions || regions.size === 0) return false;
    this.#lastDrop = page;
    const born = Math.max(...[...regions].map((region) => region.born));
    this.#drops.set(page, this.#slices - born > LongLife ? 1 : (this.#drops.get(page) ?? 0) + 1);
    this.#statistics.dropped += regions.size;
    for (const region of regions) this.#forget(region);
    return true;
  }

  /** The interpreter dropped all of its blocks, and the marks of what is code with them. */
  onFlush(): void {
    for (const region of this.#regions) this.#mark(region);
  }

  dropAll(): void {
    for (const region of this.#regions) this.#forget(region);
    this.#pending.clear();
    this.#settled.clear();
  }

  /** Undefined for code that is not translated: other modes, single steps, instructions over two pages. */
  #placeOfBlock(header: number): number | undefined {
    const key = this.#view.getUint32(header + BlockHeader.Key, true);
    if ((key & ~ModeKey.User) !== ModeKey.Code64) return undefined;
    if (this.#view.getUint32(header + BlockHeader.SecondPage, true) !== 0) return undefined;
    return placeOf(Number(this.#view.getBigUint64(header + BlockHeader.Physical, true)), key);
  }

  #request(vcpu: number, header: number, place: number, linear: bigint): void {
    this.#samples.delete(place);
    this.#settled.add(place);
    const view = this.#view;
    const page = view.getUint32(header + BlockHeader.Page, true);
    if (this.#parts.threshold > 0 && (this.#drops.get(page) ?? 0) > MaxDrops) return;
    const address = Number(view.getBigUint64(header + BlockHeader.Physical, true));
    const key = view.getUint32(header + BlockHeader.Key, true);
    const entry = address % PageSize;
    const around = this.#pagesAround(vcpu, linear, key);
    around.set(0, { page, physical: address - entry });
    const id = this.#nextId++;
    const physical = new Map([...around].map(([distance, one]) => [distance, one.physical]));
    this.#pending.set(id, { key, place, physical });
    const pages = [...around].map(([distance, one]) => ({
      distance,
      page: one.page,
      heads: this.#heads(vcpu, one.page, key),
    }));
    this.#parts.compiler.submit({ id, entry, user: (key & ModeKey.User) !== 0, pages });
  }

  /** Pages near a linear address that code was jumped to lately, by distance: what the jump cache tells of them. */
  #pagesAround(vcpu: number, linear: bigint, key: number): Map<number, { page: number; physical: number }> {
    const view = this.#view;
    const cpu = this.#parts.layout.cpuBlocks[vcpu]!;
    const stamp = ((view.getUint32(cpu + Cpu.JumpGeneration, true) << ModeKey.Bits) | key) >>> 0;
    const high = Number(BigInt.asIntN(32, linear >> 32n));
    const low = Number(BigInt.asUintN(32, linear)) >>> 12;
    const found = new Map<number, { page: number; physical: number }>();
    const start = cpu + JumpCacheOffset;
    for (let entry = start; entry < start + JumpCacheEntries * JumpCacheEntrySize; entry += JumpCacheEntrySize) {
      if (view.getUint32(entry + JumpCacheEntry.Stamp, true) !== stamp) continue;
      if (view.getInt32(entry + JumpCacheEntry.Tag + 4, true) !== high) continue;
      const distance = (view.getUint32(entry + JumpCacheEntry.Tag, true) >>> 12) - low;
      if (Math.abs(distance) > MaxDistance || found.has(distance)) continue;
      const block = view.getUint32(entry + JumpCacheEntry.Block, true);
      if (view.getUint16(block + Record.Handler, true) === FixedHandler.Resync) continue;
      const header = block - BlockHeaderSize;
      const physical = Number(view.getBigUint64(header + BlockHeader.Physical, true));
      found.set(distance, {
        page: view.getUint32(header + BlockHeader.Page, true),
        physical: physical - (physical % PageSize),
      });
    }
    return found;
  }

  /** Page offsets of the interpreter's blocks. */
  #heads(vcpu: number, page: number, key: number): number[] {
    const heads: number[] = [];
    const view = this.#view;
    let block = view.getUint32(this.#parts.layout.pageBlocks[vcpu]! + page * 4, true);
    while (block !== 0) {
      const header = block - BlockHeaderSize;
      const inSecond = view.getUint32(header + BlockHeader.SecondPage, true) === page + 1;
      if (!inSecond && view.getUint32(header + BlockHeader.Key, true) === key) {
        heads.push(view.getUint32(header + BlockHeader.Physical, true) & (PageSize - 1));
      }
      block = view.getUint32(header + (inSecond ? BlockHeader.NextInSecondPage : BlockHeader.NextInPage), true);
    }
    return heads;
  }

  #install({ helpers, module, regions, left }: CompiledRegions): void {
    const { memory, rare, core } = this.#parts;
    const imports = { env: { memory, rare }, core, helpers: this.#helpers } as unknown as WebAssembly.Imports;
    for (const helper of helpers) {
      this.#helpers[helper.name] = new WebAssembly.Instance(helper.module, imports).exports[helper.name]!;
    }
    for (const id of left) this.#pending.delete(id);
    if (!module || !regions.some(({ id }) => this.#pending.has(id))) return;
    const { exports } = new WebAssembly.Instance(module, imports);
    regions.forEach((region, i) => this.#installRegion(region, exports[regionName(i)]!));
  }

  #installRegion({ id, entries, pieces, instructions }: CompiledRegion, code: unknown): void {
    const pending = this.#pending.get(id);
    // All code was dropped meanwhile
    if (!pending) return;
    this.#pending.delete(id);
    if (!pieces.every((piece) => this.#isUnchanged(piece))) return void this.#settled.delete(pending.place);
    if (this.#regions.size >= MaxRegions) this.#evict();
    const { key, physical } = pending;
    const region: InstalledRegion = {
      key,
      pieces,
      pages: new Set(pieces.map(({ host }) => this.#pageOfHost(host))),
      entries: entries.map(({ offset, number }) => ({
        number,
        physical: physical.get(pageOf(offset))! + inPage(offset),
      })),
      born: this.#slices,
      slot: this.#parts.handlers.addFunction(code),
    };
    this.#regions.add(region);
    this.#statistics.regions++;
    this.#statistics.instructions += instructions;
    for (const page of region.pages) {
      const ofPage = this.#byPage.get(page);
      if (ofPage) ofPage.add(region);
      else this.#byPage.set(page, new Set([region]));
    }
    this.#mark(region);
    for (const entry of region.entries) {
      const place = placeOf(entry.physical, key);
      if (this.#entries.has(place) && place !== pending.place) continue;
      this.#entries.set(place, { region, number: entry.number });
      this.#settled.add(place);
      this.#parts.layout.cpuBlocks.forEach((_, vcpu) => {
        const block = this.#parts.caches.findBlock(vcpu, entry.physical, key);
        if (block !== 0) this.#patch(block, region, entry.number);
      });
    }
  }

  /** What other threads wrote is seen late: the bytes decide. */
  #isUnchanged({ host, bytes }: CodePiece): boolean {
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== this.#bytes[host + i]) return false;
    return true;
  }

  #pageOfHost(host: number): number {
    return (host - this.#parts.layout.ram) >>> 12;
  }

  #mark({ pieces }: InstalledRegion): void {
    for (const { host, bytes } of pieces) {
      const start = (host - this.#parts.layout.ram) % PageSize;
      this.#parts.lowering.markLines(this.#pageOfHost(host), start, start + bytes.length);
    }
  }

  #evict(): void {
    this.dropAll();
    this.#statistics.evictions++;
  }

  /** Makes the interpreter go into translated code where it would run the block. */
  #patch(block: number, region: InstalledRegion, number: number): void {
    const view = this.#view;
    const header = block - BlockHeaderSize;
    const handler = view.getUint16(block + Record.Handler, true);
    if (handler === FixedHandler.Resync) return;
    if (handler !== FixedHandler.Translated) {
      view.setUint32(header + BlockHeader.OwnHandler, handler, true);
      view.setUint16(block + Record.Handler, FixedHandler.Translated, true);
    }
    view.setUint32(header + BlockHeader.RegionSlot, region.slot, true);
    view.setUint32(header + BlockHeader.RegionEntry, number, true);
  }

  #unpatch(block: number): void {
    const view = this.#view;
    if (view.getUint16(block + Record.Handler, true) !== FixedHandler.Translated) return;
    view.setUint16(
      block + Record.Handler,
      view.getUint32(block - BlockHeaderSize + BlockHeader.OwnHandler, true),
      true,
    );
  }

  #forget(region: InstalledRegion): void {
    const { key, entries, pages, slot } = region;
    for (const { physical } of entries) {
      const place = placeOf(physical, key);
      if (this.#entries.get(place)?.region !== region) continue;
      this.#entries.delete(place);
      this.#settled.delete(place);
      this.#parts.layout.cpuBlocks.forEach((_, vcpu) => {
        const block = this.#parts.caches.findBlock(vcpu, physical, key);
        if (block !== 0) this.#unpatch(block);
      });
    }
    for (const page of pages) this.#byPage.get(page)?.delete(region);
    this.#parts.handlers.removeFunction(slot);
    this.#regions.delete(region);
  }
}
