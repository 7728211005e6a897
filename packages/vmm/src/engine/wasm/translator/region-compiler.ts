/** From hot addresses to compiled modules: on the vCPU's thread, or on a thread of its own. */
import '../../../types/webassembly.ts';
import type { CpuFeature } from '../../../x86/instructions/table/notation.ts';
import { type Decoder, createDecoder } from '../../../x86/decode/decoder.ts';
import { ModeKey } from '../softmmu/block-header.ts';
import { semantics } from '../semantics-table.ts';
import type { RegionListing } from '../text/listing-format.ts';
import { listRegion } from '../text/region-listing.ts';
import { type BlockPlaces, blockHeads } from './block-heads.ts';
import { type Region, type RegionPage, findRegion, inPage, pageOf } from './region.ts';
import type { HostPage, RegionEntry } from './region-function.ts';
import { type RegionModule, RegionModuleMaker } from './region-module.ts';

const PageSize = 4096;

/** What a compiler needs of the VM: plain data that can be sent to another thread. */
export interface CompilerSetup {
  readonly buffer: SharedArrayBuffer;
  /** Where RAM starts in it. */
  readonly ram: number;
  readonly wasmPages: number;
  readonly blocks: BlockPlaces;
  /** Names of the instructions that JavaScript does, by index. */
  readonly rareNames: readonly string[];
  /** Addresses between which constant data may be placed. */
  readonly data: { readonly start: number; readonly end: number };
  readonly features: readonly CpuFeature[];
  /** vCPUs run at the same time. */
  readonly atomics: boolean;
  /** Ask for the optimizing tier at once. */
  readonly optimized: boolean;
  /** Regions stop at any instruction (RegionEmission). */
  readonly stopsAnywhere?: boolean;
}

export interface RegionJob {
  readonly id: number;
  /** Of the hot address, in its page. */
  readonly entry: number;
  /** Whose blocks tell where code jumps to, and the mode (block-header.ts). */
  readonly vcpu: number;
  readonly key: number;
  /** Pages that the region may use, two numbers each: how many after the entry's it is, and its index in RAM. */
  readonly pages: Int32Array;
  /** Whoever wants to read the code of the region, if the instruction at `address` is in it. */
  readonly listing?:
    { readonly address: bigint; /** Linear address of the entry's page. */ readonly page: bigint } | undefined;
}

/** Code of a region, as it was when the region was translated. */
export interface CodePiece {
  /** Address in the engine's memory. */
  readonly host: number;
  readonly bytes: Uint8Array;
}

export interface CompiledRegion {
  readonly id: number;
  readonly entries: readonly RegionEntry[];
  readonly pieces: readonly CodePiece[];
  readonly instructions: number;
  /** If it was asked for and the instruction is there. */
  readonly listing?: RegionListing;
}

export interface CompiledRegions {
  readonly helpers: readonly { readonly name: string; readonly module: WebAssembly.Module }[];
  /** Exports a function for each region, by {@link regionName}; undefined when there are none. */
  readonly module: WebAssembly.Module | undefined;
  readonly regions: readonly CompiledRegion[];
  /** Jobs whose first instruction is the interpreter's. */
  readonly left: readonly number[];
  readonly cost: CompileCost;
}

/** What compiling took. */
export interface CompileCost {
  /** WebAssembly modules, those of helper functions included, and their bytes. */
  readonly modules: number;
  readonly bytes: number;
  /** Of the compiling thread. */
  readonly milliseconds: number;
}

/** Takes jobs and gives results in some later turn. */
export interface RegionCompiler {
  submit(job: RegionJob): void;
  /** A result, if there is one. */
  poll(): CompiledRegions | undefined;
}

export type CreateCompiler = (setup: CompilerSetup) => RegionCompiler;

/** How the runtime compiles a module of translated code. */
export type CompileModule = (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.Module;

const compileAsUsual: CompileModule = (bytes) => new WebAssembly.Module(bytes);

/** What the runtime around a pipeline does for it. */
export interface PipelineHost {
  readonly compile?: CompileModule;
  /** Milliseconds, of which differences count. */
  readonly now?: () => number;
}

/** Compiles jobs, several to a module. */
export class RegionPipeline {
  readonly #decoder: Decoder;
  readonly #maker: RegionModuleMaker;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #blocks: BlockPlaces;
  readonly #ram: number;
  readonly #compileModule: CompileModule;
  readonly #now: () => number;

  constructor(setup: CompilerSetup, { compile = compileAsUsual, now = Date.now }: PipelineHost = {}) {
    this.#compileModule = compile;
    this.#now = now;
    this.#bytes = new Uint8Array(setup.buffer);
    this.#view = new DataView(setup.buffer);
    this.#blocks = setup.blocks;
    this.#ram = setup.ram;
    this.#decoder = createDecoder({ features: new Set(setup.features) });
    const data = new DataPlacer(setup);
    this.#maker = new RegionModuleMaker({
      wasmPages: setup.wasmPages,
      optimized: setup.optimized,
      atomics: setup.atomics,
      stopsAnywhere: setup.stopsAnywhere ?? false,
      rareIndex: (name) => setup.rareNames.indexOf(name),
      data: (name, bytes) => data.place(name, bytes),
      semantic: (mnemonic) => semantics.get(mnemonic),
    });
  }

  compile(jobs: readonly RegionJob[]): CompiledRegions {
    const start = this.#now();
    const compiled = this.#compile(jobs);
    return { ...compiled, cost: { ...compiled.cost, milliseconds: this.#now() - start } };
  }

  #compile(jobs: readonly RegionJob[]): CompiledRegions {
    const found = jobs.map((job) => this.#find(job));
    const left = found.filter(({ region }) => region === undefined).map(({ id }) => id);
    const good = found.filter((one): one is Found & { region: Region } => one.region !== undefined);
    if (good.length === 0) return nothingCompiled(left);
    const made = this.#maker.make(good);
    const regions = good.map((one, i) => ({
      ...this.#describe(one, made.entries[i]!),
      ...(one.listing && { listing: listRegion(made, i, one.region, one.listing.page) }),
    }));
    return { ...this.#compileModules(made), left, regions, cost: costOf(made) };
  }

  /** Pages are copied when they are first looked at: the guest may write to its code meanwhile. */
  #find({ id, entry, vcpu, key, pages, listing }: RegionJob): Found {
    const known = new Map<number, number>();
    for (let i = 0; i < pages.length; i += 2) known.set(pages[i]!, pages[i + 1]!);
    const copies = new Map<number, RegionPage>();
    const page = (distance: number): RegionPage | undefined => {
      const page = known.get(distance);
      if (page === undefined) return undefined;
      let copy = copies.get(distance);
      if (!copy) {
        const host = this.#ram + page * PageSize;
        const heads = blockHeads(this.#view, this.#blocks, { vcpu, page, key });
        copy = { bytes: this.#bytes.slice(host, host + PageSize), heads };
        copies.set(distance, copy);
      }
      return copy;
    };
    const user = (key & ModeKey.User) !== 0;
    const region = findRegion({ entry, user, page }, this.#decoder, (name) => semantics.has(name));
    const noted =
      listing !== undefined &&
      region !== undefined &&
      hasInstruction(region, BigInt.asIntN(64, listing.address - listing.page));
    const found = { id, region, noted, page, hostPage: (distance: number) => known.get(distance)! };
    return noted ? { ...found, listing } : found;
  }

  #compileModules({ helpers, bytes }: RegionModule): Pick<CompiledRegions, 'helpers' | 'module'> {
    return {
      helpers: helpers.map(({ name, bytes }) => ({ name, module: this.#compileModule(bytes) })),
      module: this.#compileModule(bytes),
    };
  }

  #describe(
    { id, region, page, hostPage }: Found & { region: Region },
    entries: readonly RegionEntry[],
  ): CompiledRegion {
    const pieces = region.ranges.map(([start, end]): CodePiece => {
      const distance = pageOf(start);
      const at = inPage(start);
      const host = this.#ram + hostPage(distance) * PageSize + at;
      return { host, bytes: page(distance)!.bytes.slice(at, at + end - start) };
    });
    return { id, entries, pieces, instructions: region.instructions };
  }
}

interface Found {
  readonly id: number;
  readonly region: Region | undefined;
  readonly noted: boolean;
  readonly listing?: RegionJob['listing'];
  page(distance: number): RegionPage | undefined;
  readonly hostPage: HostPage;
}

/** The result when all jobs are left to the interpreter. */
export function nothingCompiled(left: readonly number[]): CompiledRegions {
  return { helpers: [], module: undefined, regions: [], left, cost: { modules: 0, bytes: 0, milliseconds: 0 } };
}

function costOf({ helpers, bytes }: RegionModule): CompileCost {
  const all = [...helpers.map((helper) => helper.bytes), bytes];
  return { modules: all.length, bytes: all.reduce((sum, { length }) => sum + length, 0), milliseconds: 0 };
}

function hasInstruction({ blocks }: Region, offset: bigint): boolean {
  return [...blocks.values()].some((block) => block.instructions.some((one) => BigInt(one.offset) === offset));
}

/** Constant data of semantics, placed once. */
class DataPlacer {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #places = new Map<string, number>();
  #next: number;

  constructor({ buffer, data }: CompilerSetup) {
    this.#bytes = new Uint8Array(buffer);
    this.#next = data.start;
    this.#end = data.end;
  }

  place(name: string, bytes: () => Uint8Array): number {
    const known = this.#places.get(name);
    if (known !== undefined) return known;
    const content = bytes();
    const at = this.#next;
    this.#next += Math.ceil(content.length / 16) * 16;
    if (this.#next > this.#end) throw new Error(`constant data of translated code is full at '${name}'`);
    this.#bytes.set(content, at);
    this.#places.set(name, at);
    return at;
  }
}

/** Compiles on the thread that asks. */
export function compileHere(setup: CompilerSetup): RegionCompiler {
  const pipeline = new RegionPipeline(setup);
  const results: CompiledRegions[] = [];
  return {
    submit: (job) => void results.push(pipeline.compile([job])),
    poll: () => results.shift(),
  };
}
