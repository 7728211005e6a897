/**
 * Handlers by form: numbers of inline handlers, and handlers in functions that are compiled when the decoder first meets
 * their form. A table slot is written once; only the core module imports the table (JIT-LIMITS rule 2).
 */
import '../../../types/webassembly.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import { ModuleBuilder } from '../encoder/module-builder.ts';
import type { FunctionRef } from '../encoder/function-builder.ts';
import { type I32, i32 } from '../encoder/values.ts';
import type { VmLayout } from '../softmmu/vm-layout.ts';
import { type AddressForm, addressKey, emitAddress } from './address-operations.ts';
import type { CoreExports } from './core-module.ts';
import { HandlerResult } from './cpu-layout.ts';
import type { InstructionForm } from '../emit/form.ts';
import { HandlerParams, HandlerResults, defineHandler } from './handler-functions.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';
import { helperRegistry, importCore } from '../emit/core-imports.ts';

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
  /** Slots of translated code that is gone. */
  readonly #free: number[] = [];

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

  /** Gives a function of translated code a table slot. */
  addFunction(code: unknown): number {
    const slot = this.#free.pop() ?? this.#nextSlot();
    this.#environment.table.set(slot, code);
    return slot;
  }
  removeFunction(slot: number): void {
    this.#environment.table.set(slot, null);
    this.#free.push(slot);
  }

  #nextSlot(): number {
    const { table } = this.#environment;
    const slot = this.#used++;
    if (slot >= table.length) table.grow(256);
    return slot;
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
    const core = importCore(module, this.#environment, helperRegistry(module));
    for (const [key, define] of definitions) module.export(key, define(module, core));
    const imports = { env: { memory, rare }, core: this.#core as unknown as WebAssembly.ModuleImports };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), imports);
    for (const key of definitions.keys()) {
      const slot = this.#nextSlot();
      table.set(slot, instance.exports[key]);
      this.#numbers.set(key, inlineCount + slot);
    }
  }
}
