/** From hot addresses to compiled modules: on the vCPU's thread, or on a thread of its own. */
import '../../../types/webassembly.ts';
import type { CpuFeature } from '../../../x86/instructions/table/notation.ts';
import { type Decoder, createDecoder } from '../../../x86/decode/decoder.ts';
import { semantics } from '../semantics-table.ts';
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
  /** Names of the instructions that JavaScript does, by index. */
  readonly rareNames: readonly string[];
  /** Addresses between which constant data may be placed. */
  readonly data: { readonly start: number; readonly end: number };
  readonly features: readonly CpuFeature[];
  /** Ask for the optimizing tier at once. */
  readonly optimized: boolean;
}

/** A page that a region may use. */
export interface JobPage {
  /** Pages after the entry's. */
  readonly distance: number;
  /** RAM page index. */
  readonly page: number;
  /** Offsets in it at which the interpreter has blocks. */
  readonly heads: readonly number[];
}

export interface RegionJob {
  readonly id: number;
  /** Of the hot address, in its page. */
  readonly entry: number;
  /** The code runs at CPL 3. */
  readonly user: boolean;
  /** The entry's page first. */
  readonly pages: readonly JobPage[];
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
}

export interface CompiledRegions {
  readonly helpers: readonly { readonly name: string; readonly module: WebAssembly.Module }[];
  /** Exports a function for each region, by {@link regionName}; undefined when there are none. */
  readonly module: WebAssembly.Module | undefined;
  readonly regions: readonly CompiledRegion[];
  /** Jobs whose first instruction is the interpreter's. */
  readonly left: readonly number[];
}

/** Takes jobs and gives results in some later turn. */
export interface RegionCompiler {
  submit(job: RegionJob): void;
  /** A result, if there is one. */
  poll(): CompiledRegions | undefined;
}

export type CreateCompiler = (setup: CompilerSetup) => RegionCompiler;

/** Compiles jobs, several to a module. */
export class RegionPipeline {
  readonly #decoder: Decoder;
  readonly #maker: RegionModuleMaker;
  readonly #bytes: Uint8Array;
  readonly #ram: number;

  constructor(setup: CompilerSetup) {
    this.#bytes = new Uint8Array(setup.buffer);
    this.#ram = setup.ram;
    this.#decoder = createDecoder({ features: new Set(setup.features) });
    const data = new DataPlacer(setup);
    this.#maker = new RegionModuleMaker({
      wasmPages: setup.wasmPages,
      optimized: setup.optimized,
      rareIndex: (name) => setup.rareNames.indexOf(name),
      data: (name, bytes) => data.place(name, bytes),
      semantic: (mnemonic) => semantics.get(mnemonic),
    });
  }

  compile(jobs: readonly RegionJob[]): CompiledRegions {
    const found = jobs.map((job) => this.#find(job));
    const left = found.filter(({ region }) => region === undefined).map(({ id }) => id);
    const good = found.filter((one): one is Found & { region: Region } => one.region !== undefined);
    if (good.length === 0) return { helpers: [], module: undefined, regions: [], left };
    const made = this.#maker.make(good);
    return { ...compileModules(made), left, regions: good.map((one, i) => this.#describe(one, made.entries[i]!)) };
  }

  /** Pages are copied when they are first looked at: the guest may write to its code meanwhile. */
  #find({ id, entry, user, pages }: RegionJob): Found {
    const known = new Map(pages.map((page) => [page.distance, page]));
    const copies = new Map<number, RegionPage>();
    const page = (distance: number): RegionPage | undefined => {
      const from = known.get(distance);
      if (!from) return undefined;
      let copy = copies.get(distance);
      if (!copy) {
        const host = this.#ram + from.page * PageSize;
        copy = { bytes: this.#bytes.slice(host, host + PageSize), heads: new Set(from.heads) };
        copies.set(distance, copy);
      }
      return copy;
    };
    const region = findRegion({ entry, user, page }, this.#decoder, (name) => semantics.has(name));
    return { id, region, page, hostPage: (distance) => known.get(distance)!.page };
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
  page(distance: number): RegionPage | undefined;
  readonly hostPage: HostPage;
}

function compileModules({ helpers, bytes }: RegionModule): Pick<CompiledRegions, 'helpers' | 'module'> {
  return {
    helpers: helpers.map(({ name, bytes }) => ({ name, module: new WebAssembly.Module(bytes) })),
    module: new WebAssembly.Module(bytes),
  };
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
