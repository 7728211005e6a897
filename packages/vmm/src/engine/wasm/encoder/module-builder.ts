/** Builds a wasm module (WebAssembly Core Specification, "Binary Format: Modules"). Imports come before functions. */
import { type FinishedBody, FunctionBuilder, type FunctionRef } from './function-builder.ts';
import { unsigned } from './leb128.ts';
import { type ValueType, valueTypeByte } from './values.ts';

/**
 * A function's byte of the "compilationHints" section (WebAssembly compilation hints proposal, as V8 reads it): eager
 * strategy, optimizing tier as baseline and top tier.
 */
const OptimizedEagerly = 2 | (2 << 2) | (2 << 4);

interface MemoryImport {
  readonly module: string;
  readonly name: string;
  readonly initialPages: number;
  readonly maximumPages: number;
}

export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #typeBytes: number[][] = [];
  readonly #imports: { module: string; name: string; typeIndex: number }[] = [];
  readonly #functions: { ref: FunctionRef; typeIndex: number; body: FinishedBody | undefined }[] = [];
  readonly #exports: { name: string; kind: number; index: number }[] = [];
  #memory: MemoryImport | undefined;
  #table: { module: string; name: string; minimum: number } | undefined;
  #elements: FunctionRef[] = [];
  #optimized = false;

  /** Imports the shared memory (sizes in 64 KiB pages). */
  importMemory(module: string, name: string, initialPages: number, maximumPages: number): void {
    this.#memory = { module, name, initialPages, maximumPages };
  }

  importFunction(
    module: string,
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
  ): FunctionRef {
    if (this.#functions.length > 0) throw new Error('imports come before functions');
    this.#imports.push({ module, name, typeIndex: this.typeIndex(params, results) });
    return { name, index: this.#imports.length - 1, params, results };
  }

  /** Imports table 0 of functions. */
  importTable(module: string, name: string, minimum: number): void {
    this.#table = { module, name, minimum };
  }

  /** Fills the imported or own table 0 from slot `0` with these functions at instantiation (own table only). */
  elements(functions: readonly FunctionRef[]): void {
    this.#elements = [...functions];
  }

  /** Asks for all functions to be compiled at once with the best tier, where the runtime takes hints. */
  compileOptimized(): void {
    this.#optimized = true;
  }

  declare(name: string, params: readonly ValueType[], results: readonly ValueType[]): FunctionRef {
    const ref = { name, index: this.#imports.length + this.#functions.length, params, results };
    this.#functions.push({ ref, typeIndex: this.typeIndex(params, results), body: undefined });
    return ref;
  }

  define(ref: FunctionRef, build: (f: FunctionBuilder) => void): void {
    const entry = this.#functions[ref.index - this.#imports.length];
    if (!entry || entry.body) throw new Error(`${ref.name} is not declared, or defined twice`);
    const f = new FunctionBuilder(ref.params, ref.results);
    build(f);
    entry.body = f.finish();
  }

  function(
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (f: FunctionBuilder) => void,
  ): FunctionRef {
    const ref = this.declare(name, params, results);
    this.define(ref, build);
    return ref;
  }

  /** Adds a function whose body was built by itself: imports may be declared while that is done. */
  adopt(name: string, f: FunctionBuilder): FunctionRef {
    const ref = this.declare(name, f.params, f.results);
    this.#functions.at(-1)!.body = f.finish();
    return ref;
  }

  export(name: string, ref: FunctionRef): void {
    this.#exports.push({ name, kind: 0, index: ref.index });
  }

  typeIndex(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params.join()}>${results.join()}`;
    const known = this.#types.indexOf(key);
    if (known >= 0) return known;
    this.#types.push(key);
    const list = (types: readonly ValueType[]) => [
      ...unsigned(types.length),
      ...types.map((type) => valueTypeByte[type]),
    ];
    this.#typeBytes.push([0x60, ...list(params), ...list(results)]);
    return this.#types.length - 1;
  }

  /** The module's bytes, with a name section for profilers. */
  finish(): Uint8Array<ArrayBuffer> {
    const out: number[][] = [[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]];
    out.push(section(1, vector(this.#typeBytes)));
    out.push(section(2, vector(this.#importEntries())));
    out.push(section(3, vector(this.#functions.map((entry) => unsigned(entry.typeIndex)))));
    if (!this.#table && this.#elements.length > 0)
      out.push(section(4, [1, 0x70, 0x00, ...unsigned(this.#elements.length)]));
    out.push(section(7, vector(this.#exports.map((e) => [...text(e.name), e.kind, ...unsigned(e.index)]))));
    if (this.#elements.length > 0) {
      const indices = vector(this.#elements.map((ref) => unsigned(ref.index)));
      out.push(section(9, [1, 0x00, 0x41, 0x00, 0x0b, ...indices]));
    }
    if (this.#optimized)
      out.push(section(0, [...text('compilationHints'), ...vector(this.#functions.map(() => [OptimizedEagerly]))]));
    const hinted = this.#functions.filter((entry) => entry.body && entry.body.hints.length > 0);
    if (hinted.length > 0)
      out.push(section(0, [...text('metadata.code.branch_hint'), ...vector(hinted.map(branchHints))]));
    out.push(section(10, vector(this.#functions.map((entry) => this.#body(entry.ref, entry.body)))));
    out.push(section(0, [...text('name'), ...this.#functionNames()]));
    return concatenate(out);
  }

  #body(ref: FunctionRef, body: FinishedBody | undefined): number[] {
    if (!body) throw new Error(`${ref.name} is declared but not defined`);
    return [...unsigned(body.bytes.length)].concat(body.bytes);
  }

  #importEntries(): number[][] {
    const entries = this.#imports.map((i) => [...text(i.module), ...text(i.name), 0x00, ...unsigned(i.typeIndex)]);
    const memory = this.#memory;
    if (memory) {
      const limits = [0x03, ...unsigned(memory.initialPages), ...unsigned(memory.maximumPages)];
      entries.push([...text(memory.module), ...text(memory.name), 0x02, ...limits]);
    }
    const table = this.#table;
    if (table) entries.push([...text(table.module), ...text(table.name), 0x01, 0x70, 0x00, ...unsigned(table.minimum)]);
    return entries;
  }

  #functionNames(): number[] {
    const names = this.#functions.map((entry) => [...unsigned(entry.ref.index), ...text(entry.ref.name)]);
    const body = vector(names);
    return [1, ...unsigned(body.length), ...body];
  }
}

/** Branch Hinting proposal, "Appendix: Changes to the binary format". */
function branchHints(entry: { ref: FunctionRef; body: FinishedBody | undefined }): number[] {
  const hints = entry.body?.hints ?? [];
  return [
    ...unsigned(entry.ref.index),
    ...vector(hints.map(({ offset, likely }) => [...unsigned(offset), 1, likely ? 1 : 0])),
  ];
}

function text(value: string): number[] {
  const bytes = new TextEncoder().encode(value);
  return [...unsigned(bytes.length), ...bytes];
}

function vector(items: readonly (readonly number[])[]): number[] {
  const out = [...unsigned(items.length)];
  for (const item of items) for (let i = 0; i < item.length; i++) out.push(item[i]!);
  return out;
}

function section(id: number, body: number[]): number[] {
  return [id, ...unsigned(body.length)].concat(body);
}

function concatenate(parts: readonly number[][]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
