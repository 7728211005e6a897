/**
 * Reads what ModuleBuilder writes (WebAssembly Core Specification, "Binary Format: Modules"): signatures, imports, function
 * bodies, names and branch hints. Sections that say nothing of functions are passed over.
 */
import type { ValueType } from '../encoder/values.ts';

export interface Signature {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

export interface WasmFunction {
  readonly name: string;
  readonly signature: Signature;
  /** Undefined for imports. */
  readonly body: FunctionBody | undefined;
}

export interface FunctionBody {
  /** Types of the locals behind the parameters. */
  readonly locals: readonly ValueType[];
  /** Instructions, with the `end` of the function. */
  readonly code: Uint8Array;
  /** Whether the `if` or `br_if` at an offset of the code is likely to be taken (Branch Hinting proposal). */
  readonly hints: ReadonlyMap<number, boolean>;
}

export interface WasmModule {
  readonly types: readonly Signature[];
  /** By index: imports first. */
  readonly functions: readonly WasmFunction[];
}

const Types: Readonly<Record<number, ValueType>> = { 0x7f: 'i32', 0x7e: 'i64', 0x7d: 'f32', 0x7c: 'f64', 0x7b: 'v128' };
const SectionId = { Custom: 0, Type: 1, Import: 2, Function: 3, Code: 10 } as const;
const ImportKind = { Function: 0, Table: 1, Memory: 2 } as const;
/** Magic number and version. */
const HeaderSize = 8;

export function valueTypeOf(byte: number): ValueType {
  const type = Types[byte];
  if (!type) throw new Error(`no value type has the code 0x${byte.toString(16)}`);
  return type;
}

export function readModule(bytes: Uint8Array): WasmModule {
  const types: Signature[] = [];
  const imports: { name: string; type: number }[] = [];
  let own: number[] = [];
  let bodies: { locals: ValueType[]; code: Uint8Array; declarations: number }[] = [];
  const names = new Map<number, string>();
  const hints = new Map<number, [number, boolean][]>();
  const file = new WasmReader(bytes, HeaderSize);
  while (!file.atEnd) {
    const id = file.byte();
    const section = file.part(file.u32());
    if (id === SectionId.Type) types.push(...section.vector(() => readSignature(section)));
    else if (id === SectionId.Import) section.vector(() => readImport(section, imports));
    else if (id === SectionId.Function) own = section.vector(() => section.u32());
    else if (id === SectionId.Code) bodies = section.vector(() => readBody(section.part(section.u32())));
    else if (id === SectionId.Custom) readCustom(section, names, hints);
  }
  const functions = [
    ...imports.map(({ name, type }) => ({ name, signature: types[type]!, body: undefined })),
    ...own.map((type, i): WasmFunction => {
      const index = imports.length + i;
      const { locals, code, declarations } = bodies[i]!;
      // Hints count from the start of the body, whose locals come first
      const ofFunction = (hints.get(index) ?? []).map(([at, likely]) => [at - declarations, likely] as const);
      const body = { locals, code, hints: new Map(ofFunction) };
      return { name: names.get(index) ?? String(index), signature: types[type]!, body };
    }),
  ];
  return { types, functions };
}

function readSignature(section: WasmReader): Signature {
  section.byte();
  const params = section.vector(() => valueTypeOf(section.byte()));
  return { params, results: section.vector(() => valueTypeOf(section.byte())) };
}

function readImport(section: WasmReader, imports: { name: string; type: number }[]): void {
  section.text();
  const name = section.text();
  const kind = section.byte();
  if (kind === ImportKind.Function) imports.push({ name, type: section.u32() });
  else {
    if (kind === ImportKind.Table) section.byte();
    else if (kind !== ImportKind.Memory) throw new Error(`import ${name} is of a kind that nobody emits: ${kind}`);
    const hasMaximum = (section.byte() & 1) !== 0;
    section.u32();
    if (hasMaximum) section.u32();
  }
}

function readBody(body: WasmReader) {
  const locals = body
    .vector((): [number, ValueType] => [body.u32(), valueTypeOf(body.byte())])
    .flatMap(([count, type]) => Array.from({ length: count }, () => type));
  return { locals, declarations: body.position, code: body.rest() };
}

function readCustom(section: WasmReader, names: Map<number, string>, hints: Map<number, [number, boolean][]>): void {
  const kind = section.text();
  if (kind === 'name') {
    const FunctionNames = 1;
    while (!section.atEnd) {
      const id = section.byte();
      const part = section.part(section.u32());
      if (id === FunctionNames) part.vector(() => names.set(part.u32(), part.text()));
    }
  } else if (kind === 'metadata.code.branch_hint') {
    section.vector(() => {
      const index = section.u32();
      const ofFunction = section.vector((): [number, boolean] => {
        const at = section.u32();
        section.u32();
        return [at, section.byte() !== 0];
      });
      hints.set(index, ofFunction);
    });
  }
}

/** Bytes of a module, in order (WebAssembly Core Specification, "Binary Format: Values"). */
export class WasmReader {
  readonly #bytes: Uint8Array;
  position: number;

  constructor(bytes: Uint8Array, position = 0) {
    this.#bytes = bytes;
    this.position = position;
  }

  get atEnd(): boolean {
    return this.position >= this.#bytes.length;
  }

  byte(): number {
    const byte = this.#bytes[this.position++];
    if (byte === undefined) throw new Error(`the code ends in the middle of something, at ${this.position - 1}`);
    return byte;
  }

  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }

  part(length: number): WasmReader {
    return new WasmReader(this.take(length));
  }

  take(length: number): Uint8Array {
    const start = this.position;
    this.position += length;
    return this.#bytes.subarray(start, this.position);
  }

  rest(): Uint8Array {
    return this.#bytes.subarray(this.position);
  }

  text(): string {
    return new TextDecoder().decode(this.take(this.u32()));
  }

  vector<T>(item: () => T): T[] {
    const items: T[] = [];
    for (let count = this.u32(); count > 0; count--) items.push(item());
    return items;
  }
}
