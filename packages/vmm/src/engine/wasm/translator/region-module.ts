/** Modules of translated regions, and of the helper functions that their instructions call. */
import { FunctionBuilder, type FunctionRef } from '../encoder/function-builder.ts';
import { ModuleBuilder } from '../encoder/module-builder.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';
import { importCore } from '../emit/core-imports.ts';
import type { Region } from './region.ts';
import type { HostPage } from './region-function.ts';
import { type RegionEntry, emitRegion } from './region-function.ts';
import { RegionParams, RegionResults } from './region-signature.ts';

/** Exported name of the region at a position of its module. */
export const regionName = (position: number): string => `region${position}`;

export interface HelperModule {
  /** Of the one function that it exports. */
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface RegionModule {
  /** Helper functions that no module before needed, in the order in which they import each other. */
  readonly helpers: readonly HelperModule[];
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of each region: where it is entered. */
  readonly entries: readonly (readonly RegionEntry[])[];
}

export interface RegionModuleOptions extends Pick<CoreFunctions, 'rareIndex' | 'data'> {
  /** Wasm pages of the VM's memory. */
  readonly wasmPages: number;
  /** Ask for the optimizing tier at once. */
  readonly optimized: boolean;
  semantic(mnemonic: string): Semantic | undefined;
}

/** A module whose functions are being built. */
interface OpenModule {
  readonly module: ModuleBuilder;
  readonly core: CoreFunctions;
  /** Helper functions that it imports so far. */
  readonly imported: Map<string, FunctionRef>;
}

/**
 * Makes modules of regions. Helper functions are large and seldom run: each is made once, in a module of its own that the
 * others import from.
 */
export class RegionModuleMaker {
  readonly #options: RegionModuleOptions;
  readonly #known = new Set<string>();
  #made: HelperModule[] = [];
  /** While a helper function is built that another one needs, both of their modules are open: the last one is built. */
  readonly #open: OpenModule[] = [];

  constructor(options: RegionModuleOptions) {
    this.#options = options;
  }

  make(regions: readonly { readonly region: Region; readonly hostPage: HostPage }[]): RegionModule {
    this.#made = [];
    return this.#build(({ module, core }) => {
      if (this.#options.optimized) module.compileOptimized();
      const semantic = (mnemonic: string): Semantic => this.#options.semantic(mnemonic)!;
      const entries = regions.map(({ region, hostPage }, i) => {
        const f = new FunctionBuilder(RegionParams, RegionResults);
        const made = emitRegion(f, region, core, semantic, hostPage);
        return { f, made, name: regionName(i) };
      });
      for (const { f, name } of entries) module.export(name, module.adopt(name, f));
      return { helpers: this.#made, bytes: module.finish(), entries: entries.map(({ made }) => made) };
    });
  }

  #build<R>(body: (open: OpenModule) => R): R {
    const { wasmPages } = this.#options;
    const module = new ModuleBuilder();
    module.importMemory('env', 'memory', wasmPages, wasmPages);
    // All modules import the core alike, so that its functions have the same numbers in each
    const core = importCore(module, this.#options, (...request) => this.#helper(...request));
    const open = { module, core, imported: new Map<string, FunctionRef>() };
    this.#open.push(open);
    try {
      return body(open);
    } finally {
      this.#open.pop();
    }
  }

  readonly #helper: CoreFunctions['helper'] = (name, params, results, build) => {
    const { imported, module } = this.#open.at(-1)!;
    let ref = imported.get(name);
    if (!ref) {
      if (!this.#known.has(name)) this.#makeHelper(name, params, results, build);
      ref = module.importFunction('helpers', name, params, results);
      imported.set(name, ref);
    }
    return ref;
  };

  #makeHelper(...[name, params, results, build]: Parameters<CoreFunctions['helper']>): void {
    this.#known.add(name);
    const bytes = this.#build(({ module }) => {
      const f = new FunctionBuilder(params, results);
      build(f);
      module.export(name, module.adopt(name, f));
      return module.finish();
    });
    this.#made.push({ name, bytes });
  }
}
