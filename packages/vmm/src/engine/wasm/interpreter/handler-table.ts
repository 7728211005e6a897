/**
 * Handlers by form: numbers of inline handlers, and handlers in functions that are compiled when the decoder first meets
 * their form. A table slot is written once; only the core module imports the table (JIT-LIMITS rule 2).
 */
import '../../../types/webassembly.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import { ModuleBuilder } from '../encoder/module-builder.ts';
import type { FunctionRef } from '../encoder/function-builder.ts';
import { type I32, i32 } from '../encoder/values.ts';
import type { MmuFunctions } from '../softmmu/mmu.ts';
import type { VmLayout } from '../softmmu/vm-layout.ts';
import { type AddressForm, addressKey, emitAddress } from './address-operations.ts';
import { type CoreExports, helperRegistry } from './core-module.ts';
import { HandlerResult } from './cpu-layout.ts';
import type { InstructionForm } from '../emit/form.ts';
import { HandlerParams, HandlerResults, defineHandler } from './handler-functions.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';

/** Signatures of what handler modules import from the core and from JavaScript. */
const MmuSignatures: { readonly [K in keyof MmuFunctions]: Pick<FunctionRef, 'params' | 'results'> } = {
  raise: { params: ['i32', 'i32', 'i32'], results: [] },
  walk: { params: ['i32', 'i64', 'i32'], results: ['i64'] },
  hostOf: { params: ['i64'], results: ['i32'] },
  resolve: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i32'] },
  read: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] },
  modify: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i64'] },
  write: { params: ['i32', 'i64', 'i32', 'i32', 'i64'], results: [] },
  pointer: { params: ['i32', 'i64', 'i32', 'i32'], results: ['i32'] },
  commit: { params: ['i32', 'i64', 'i32'], results: [] },
  device: { params: ['i32', 'i32', 'i64', 'i32', 'i64'], results: ['i64'] },
};

export interface HandlerEnvironment extends Pick<CoreFunctions, 'rareIndex' | 'data'> {
  readonly layout: VmLayout;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly inlineNumbers: ReadonlyMap<string, number>;
  readonly inlineCount: number;
  readonly rare: (cpu: number, record: number, index: number) => number;
  semantic(mnemonic: string): Semantic | undefined;
}

/** Defines a handler's function in a module. */
type Definition = (module: ModuleBuilder, core: CoreFunctions) => FunctionRef;

export class HandlerTable {
  readonly #environment: HandlerEnvironment;
  readonly #core: CoreExports;
  readonly #numbers: Map<string, number>;
  #used = 0;

  constructor(environment: HandlerEnvironment, core: CoreExports) {
    this.#environment = environment;
    this.#core = core;
    this.#numbers = new Map(environment.inlineNumbers);
  }

  /** Handler numbers by form, inline ones included. */
  get numbers(): ReadonlyMap<string, number> {
    return this.#numbers;
  }
  get inlineCount(): number {
    return this.#environment.inlineCount;
  }

  /** The handler number of a form, or undefined when no semantic knows its mnemonic. */
  handlerOf(form: InstructionForm): number | undefined {
    const known = this.#numbers.get(form.key);
    if (known !== undefined) return known;
    const semantic = this.#environment.semantic(form.form.mnemonic);
    if (!semantic) return undefined;
    return this.#add(form.key, (module, core) => defineHandler(module, core, form, semantic));
  }

  addressHandler(form: AddressForm): number {
    const key = addressKey(form);
    return (
      this.#numbers.get(key) ??
      this.#add(key, (module) =>
        module.function(key, HandlerParams, HandlerResults, (f) => {
          const cpu = f.param('i32', 0);
          const unused = (): never => {
            throw new Error('an address operation does not jump');
          };
          const site = {
            f,
            cpu,
            pc: f.param('i32', 1),
            tlb: unused,
            leave: (status: I32) => f.return(status),
            next: unused,
            jump: unused,
            branch: unused,
          };
          emitAddress(site, form);
          f.return(i32(HandlerResult.Next));
        }),
      )
    );
  }

  /** Makes handlers of these forms in one module. */
  prepare(forms: readonly InstructionForm[]): void {
    const definitions = new Map<string, Definition>();
    for (const form of forms) {
      const semantic = this.#environment.semantic(form.form.mnemonic);
      if (!semantic || this.#numbers.has(form.key)) continue;
      definitions.set(form.key, (module, core) => defineHandler(module, core, form, semantic));
    }
    this.#instantiate(definitions);
  }

  #add(key: string, define: Definition): number {
    this.#instantiate(new Map([[key, define]]));
    return this.#numbers.get(key)!;
  }

  /** One module with a function for each definition; each gets the next table slot. */
  #instantiate(definitions: ReadonlyMap<string, Definition>): void {
    const { layout, memory, table, inlineCount, rare } = this.#environment;
    const module = new ModuleBuilder();
    module.importMemory('env', 'memory', layout.wasmPages, layout.wasmPages);
    const core = importCore(module, this.#environment);
    for (const [key, define] of definitions) module.export(key, define(module, core));
    const imports = { env: { memory, rare }, core: this.#core as unknown as WebAssembly.ModuleImports };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), imports);
    for (const key of definitions.keys()) {
      const slot = this.#used++;
      if (slot >= table.length) table.grow(256);
      table.set(slot, instance.exports[key]);
      this.#numbers.set(key, inlineCount + slot);
    }
  }
}

function importCore(module: ModuleBuilder, environment: HandlerEnvironment): CoreFunctions {
  const mmu = Object.fromEntries(
    Object.entries(MmuSignatures).map(([name, { params, results }]) => [
      name,
      module.importFunction('core', name, params, results),
    ]),
  ) as unknown as MmuFunctions;
  return {
    mmu,
    rare: module.importFunction('env', 'rare', ['i32', 'i32', 'i32'], ['i32']),
    segmented: module.importFunction('core', 'segmented', ['i32', 'i32', 'i64', 'i32', 'i32'], ['i64']),
    updateMode: module.importFunction('core', 'updateMode', ['i32'], []),
    rareIndex: environment.rareIndex,
    data: environment.data,
    helper: helperRegistry(module),
  };
}
