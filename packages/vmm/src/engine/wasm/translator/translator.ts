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
import { Record } from '../interpreter/record.ts';
import { BlockHeader, BlockHeaderSize, ModeKey } from '../softmmu/block-header.ts';
import type { TranslationCaches } from '../softmmu/translation-caches.ts';
import type { VmLayout } from '../softmmu/vm-layout.ts';
import type { RegionEntry } from './region-function.ts';
import { regionName } from './region-module.ts';
import type { CompiledRegion, CompiledRegions, RegionCompiler } from './region-compiler.ts';

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
/** Code that was dropped so often is translated no more. */
const MaxDrops = 8;
/** Most blocks that samples are kept of: then they start over. */
const MaxSampled = 20_000;
const PageSize = 4096;

/** A place in guest-physical memory at which code of one mode starts, as a number. */
const placeOf = (physical: number, key: number): number => physical * 2 + (key & ModeKey.User ? 1 : 0);

interface Pending {
  readonly page: number;
  /** Guest-physical address of the page. */
  readonly physical: number;
  readonly key: number;
  readonly entry: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface InstalledRegion extends Omit<Pending, 'bytes' | 'entry'> {
  readonly slot: number;
  readonly entries: readonly RegionEntry[];
  readonly ranges: readonly (readonly [number, number])[];
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
  readonly #byPage = new Map<number, InstalledRegion[]>();
  /** By place. */
  readonly #entries = new Map<number, { region: InstalledRegion; number: number }>();
  /** How often code of a page was dropped. */
  readonly #drops = new Map<number, number>();
  /** RAM page whose code was dropped last. */
  #lastDrop = -1;
  #regions = 0;
  #nextId = 1;
  #statistics = { regions: 0, instructions: 0, dropped: 0, evictions: 0 };

  constructor(parts: TranslatorParts) {
    this.#parts = parts;
    this.#view = new DataView(parts.memory.buffer);
    this.#bytes = new Uint8Array(parts.memory.buffer);
  }

  get statistics(): TranslatorStatistics {
    return this.#statistics;
  }

  /** A slice ended at a block. Answers whether it is translated. */
  sample(vcpu: number, block: number): boolean {
    const header = block - BlockHeaderSize;
    if (this.#view.getUint16(block + Record.Handler, true) === FixedHandler.Translated) return true;
    const place = this.#placeOfBlock(header);
    if (place === undefined || this.#settled.has(place)) return false;
    const count = (this.#samples.get(place) ?? 0) + 1;
    if (this.#samples.size > MaxSampled) this.#samples.clear();
    this.#samples.set(place, count);
    const drops = this.#drops.get(this.#pageOfBlock(vcpu, header)) ?? 0;
    if (count >= this.#parts.threshold << Math.min(drops, 6)) this.#request(vcpu, header, place);
    return false;
  }

  /** The interpreter has a new block: translated code may be there already. */
  onBlock(vcpu: number, block: number, page: number): void {
    const header = block - BlockHeaderSize;
    const place = this.#placeOfBlock(header);
    if (place === undefined) return;
    const known = this.#entries.get(place);
    if (known) return this.#patch(block, known.region, known.number);
    if (this.#parts.threshold > 0 || this.#settled.has(place)) return;
    // Code that writes to its own page goes on in the interpreter: translated anew, it would be left at the same write
    if (page === this.#lastDrop) this.#lastDrop = -1;
    else {
      this.#request(vcpu, header, place, page);
      this.poll();
    }
  }

  /** Installs what has been compiled meanwhile. */
  poll(): void {
    for (let result = this.#parts.compiler.poll(); result; result = this.#parts.compiler.poll()) this.#install(result);
  }

  /** Code on a RAM page was written. Answers whether translated code was dropped. */
  dropPage(page: number): boolean {
    for (const [id, pending] of this.#pending) {
      if (pending.page !== page) continue;
      this.#pending.delete(id);
      this.#settled.delete(placeOf(pending.physical + pending.entry, pending.key));
    }
    const regions = this.#byPage.get(page);
    if (!regions) return false;
    this.#lastDrop = page;
    this.#drops.set(page, (this.#drops.get(page) ?? 0) + 1);
    for (const region of regions) this.#forget(region);
    this.#byPage.delete(page);
    this.#statistics.dropped += regions.length;
    return true;
  }

  /** The interpreter dropped all of its blocks, and the marks of what is code with them. */
  onFlush(): void {
    for (const regions of this.#byPage.values()) for (const region of regions) this.#mark(region);
  }

  dropAll(): void {
    for (const regions of this.#byPage.values()) for (const region of regions) this.#forget(region);
    this.#byPage.clear();
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

  #pageOfBlock(_vcpu: number, header: number): number {
    return this.#view.getUint32(header + BlockHeader.Page, true);
  }

  #request(vcpu: number, header: number, place: number, page = this.#pageOfBlock(vcpu, header)): void {
    this.#samples.delete(place);
    this.#settled.add(place);
    if (this.#parts.threshold > 0 && (this.#drops.get(page) ?? 0) > MaxDrops) return;
    const address = Number(this.#view.getBigUint64(header + BlockHeader.Physical, true));
    const key = this.#view.getUint32(header + BlockHeader.Key, true);
    const host = this.#parts.layout.ram + page * PageSize;
    const bytes = new Uint8Array(PageSize + 16);
    bytes.set(this.#bytes.subarray(host, host + PageSize));
    const entry = address % PageSize;
    const pending = { page, physical: address - entry, key, entry, bytes };
    const id = this.#nextId++;
    this.#pending.set(id, pending);
    this.#parts.compiler.submit({ id, bytes, entry, user: (key & ModeKey.User) !== 0, heads: this.#heads(vcpu, page, key) });
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

  #installRegion({ id, entries, ranges, instructions }: CompiledRegion, code: unknown): void {
    const pending = this.#pending.get(id);
    // Its code was written meanwhile
    if (!pending) return;
    this.#pending.delete(id);
    if (!this.#isUnchanged(pending, ranges)) {
      this.#settled.delete(placeOf(pending.physical + pending.entry, pending.key));
      return;
    }
    if (this.#regions >= MaxRegions) this.#evict();
    const { page, physical, key } = pending;
    const region = { page, physical, key, entries, ranges, slot: this.#parts.handlers.addFunction(code) };
    this.#regions++;
    this.#statistics.regions++;
    this.#statistics.instructions += instructions;
    const ofPage = this.#byPage.get(page);
    if (ofPage) ofPage.push(region);
    else this.#byPage.set(page, [region]);
    this.#mark(region);
    for (const { offset, number } of entries) {
      const place = placeOf(physical + offset, key);
      if (this.#entries.has(place) && offset !== pending.entry) continue;
      this.#entries.set(place, { region, number });
      this.#settled.add(place);
      this.#parts.layout.cpuBlocks.forEach((_, vcpu) => {
        const block = this.#parts.caches.findBlock(vcpu, physical + offset, key);
        if (block !== 0) this.#patch(block, region, number);
      });
    }
  }

  /** What other threads wrote is seen late: the bytes decide. */
  #isUnchanged({ page, bytes }: Pending, ranges: InstalledRegion['ranges']): boolean {
    const host = this.#parts.layout.ram + page * PageSize;
    return ranges.every(([start, end]) => {
      for (let i = start; i < end; i++) if (bytes[i] !== this.#bytes[host + i]) return false;
      return true;
    });
  }

  #mark({ page, ranges }: InstalledRegion): void {
    for (const [start, end] of ranges) this.#parts.lowering.markLines(page, start, end);
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
    view.setUint16(block + Record.Handler, view.getUint32(block - BlockHeaderSize + BlockHeader.OwnHandler, true), true);
  }

  #forget(region: InstalledRegion): void {
    const { physical, key, entries, slot } = region;
    for (const { offset } of entries) {
      const place = placeOf(physical + offset, key);
      if (this.#entries.get(place)?.region !== region) continue;
      this.#entries.delete(place);
      this.#settled.delete(place);
      this.#parts.layout.cpuBlocks.forEach((_, vcpu) => {
        const block = this.#parts.caches.findBlock(vcpu, physical + offset, key);
        if (block !== 0) this.#unpatch(block);
      });
    }
    this.#parts.handlers.removeFunction(slot);
    this.#regions--;
  }
}
