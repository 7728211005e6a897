/** From hot addresses to compiled modules: on the vCPU's thread, or on a thread of its own. */
import '../../../types/webassembly.ts';
import type { CpuFeature } from '../../../x86/instructions/table/notation.ts';
import { type Decoder, createDecoder } from '../../../x86/decode/decoder.ts';
import { semantics } from '../semantics-table.ts';
import { type Region, findRegion } from './region.ts';
import type { RegionEntry } from './region-function.ts';
import { type RegionModule, RegionModuleMaker } from './region-module.ts';

/** What a compiler needs of the VM: plain data that can be sent to another thread. */
export interface CompilerSetup {
  readonly buffer: SharedArrayBuffer;
  readonly wasmPages: number;
  /** Names of the instructions that JavaScript does, by index. */
  readonly rareNames: readonly string[];
  /** Addresses between which constant data may be placed. */
  readonly data: { readonly start: number; readonly end: number };
  readonly features: readonly CpuFeature[];
  /** Ask for the optimizing tier at once. */
  readonly optimized: boolean;
}

export interface RegionJob {
  readonly id: number;
  /** A copy of the page, and 16 bytes more. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Page offset of the hot address. */
  readonly entry: number;
  /** The code runs at CPL 3. */
  readonly user: boolean;
  /** Page offsets at which the interpreter has blocks. */
  readonly heads: readonly number[];
}

export interface CompiledRegion {
  readonly id: number;
  readonly entries: readonly RegionEntry[];
  readonly ranges: readonly (readonly [number, number])[];
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

  constructor(setup: CompilerSetup) {
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
    const found = jobs.map(({ id, bytes, entry, user, heads }) => ({
      id,
      region: findRegion({ bytes, entry, user, heads: new Set(heads) }, this.#decoder, (name) => semantics.has(name)),
    }));
    const left = found.filter(({ region }) => region === undefined).map(({ id }) => id);
    const good = found.filter((job): job is { id: number; region: Region } => job.region !== undefined);
    if (good.length === 0) return { helpers: [], module: undefined, regions: [], left };
    const made = this.#maker.make(good.map(({ region }) => region));
    return { ...compileModules(made), left, regions: good.map(({ id, region }, i) => describe(id, region, made.entries[i]!)) };
  }
}

function compileModules({ helpers, bytes }: RegionModule): Pick<CompiledRegions, 'helpers' | 'module'> {
  return {
    helpers: helpers.map(({ name, bytes }) => ({ name, module: new WebAssembly.Module(bytes) })),
    module: new WebAssembly.Module(bytes),
  };
}

function describe(id: number, { ranges, instructions }: Region, entries: readonly RegionEntry[]): CompiledRegion {
  return { id, entries, ranges, instructions };
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
