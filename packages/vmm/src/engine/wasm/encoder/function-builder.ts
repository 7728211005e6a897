/** Builds the body of one wasm function: statements in order, structured control flow with labels, pooled locals. */
import { CodeBuffer } from './code-buffer.ts';
import { unsigned } from './leb128.ts';
import type { F32, F64, V128, Value } from './values.ts';
import {
  type Code,
  I32,
  I64,
  type I32Like,
  type I64Like,
  type Local,
  Symbol16,
  type ValueType,
  i32,
  i64,
  localGet,
  localIndex,
  narrowLocal,
  valueOf,
  valueTypeByte,
} from './values.ts';

export interface ValueOfType {
  i32: I32;
  i64: I64;
  f32: F32;
  f64: F64;
  v128: V128;
}

/** A function's signature and index in the module. */
export interface FunctionRef {
  readonly name: string;
  readonly index: number;
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** A branch target: a block (its end) or a loop (its start). */
export interface Label {
  readonly depth: number;
}

export interface FinishedBody {
  readonly bytes: Uint8Array;
  readonly hints: readonly { offset: number; likely: boolean }[];
}

/** i64.atomic.rmw*.cmpxchg(_u) (WebAssembly threads proposal, "Read-Modify-Write"). */
const CompareExchange = {
  8: { opcode: 0x4c, alignment: 0 },
  16: { opcode: 0x4d, alignment: 1 },
  32: { opcode: 0x4e, alignment: 2 },
  64: { opcode: 0x49, alignment: 3 },
} as const;

/** Code that was emitted once, to be put into functions many times ({@link FunctionBuilder.record}). */
export interface Template {
  /** Bytes, and numbers of {@link Symbol16}. */
  readonly code: Uint16Array;
  readonly locals: readonly ValueType[];
}

type FreeLocals = Record<ValueType, number[]>;
const noneFree = (): FreeLocals => ({ i32: [], i64: [], f32: [], f64: [], v128: [] });

/** What is kept of a function for people who read its text. */
export interface FunctionNotes {
  /** Of locals, by index. */
  readonly names: Map<number, string>;
  /**
   * In order: what the code from an offset on was emitted for; undefined for what belongs to nothing in particular. Offsets
   * are those in the function's code when it is finished.
   */
  readonly places: { offset: number; place: number | undefined }[];
}

export class FunctionBuilder {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
  #code = new CodeBuffer();
  /** What comes before {@link #code}. */
  #prologue = new CodeBuffer();
  /** Branch hints: offset of the `if` or `br_if` in `code`, and whether it is likely taken (Branch Hinting proposal). */
  #hints: { offset: number; likely: boolean }[] = [];
  #localTypes: ValueType[] = [];
  #firstLocal: number;
  /** Undefined unless somebody asks: then to be set before anything is emitted. */
  notes: FunctionNotes | undefined;
  #depth = 0;
  #free = noneFree();
  #scope: { type: ValueType; index: number }[] | undefined;
  /** While a template is recorded: the depth at its start, and the one label outside that it may branch to. */
  #recording: { readonly depth: number; readonly outside: Label } | undefined;

  constructor(params: readonly ValueType[], results: readonly ValueType[]) {
    this.params = params;
    this.results = results;
    this.#firstLocal = params.length;
  }

  /** Types of the locals beside the parameters. */
  get localTypes(): readonly ValueType[] {
    return this.#localTypes;
  }

  /** Of structured control flow around what is emitted next. */
  get depth(): number {
    return this.#depth;
  }

  /** A place in what was emitted so far, to come {@link backTo}. */
  mark(): { readonly code: number; readonly hints: number } {
    return { code: this.#code.length, hints: this.#hints.length };
  }
  /** Takes back what was emitted since, which must not have left a block open. */
  backTo({ code, hints }: { readonly code: number; readonly hints: number }): void {
    this.#code.truncate(code);
    this.#hints.length = hints;
    const places = this.notes?.places ?? [];
    while (places.length > 0 && places.at(-1)!.offset > code) places.pop();
  }

  /** Puts what `body` emits before everything emitted so far: outside of all blocks, once, without branch hints. */
  prepend(body: () => void): void {
    if (this.#depth !== 0) throw new Error('nothing can be put before an open block');
    const code = this.#code;
    const hints = this.#hints.length;
    this.#code = this.#prologue;
    body();
    this.#code = code;
    if (this.#hints.length !== hints) throw new Error('branch hints cannot be put before others');
  }

  /** Notes what is emitted from here on is for. */
  notePlace(place: number | undefined): void {
    this.notes?.places.push({ offset: this.#code.length, place });
  }
  /** Notes what a local is called in text. */
  noteName({ local }: Local<Value>, name: string): void {
    this.notes?.names.set(local, name);
  }

  param<T extends ValueType>(type: T, index: number): Local<ValueOfType[T]> {
    if (this.params[index] !== type) throw new Error(`parameter ${index} is not ${type}`);
    return localGet(type, index) as Local<ValueOfType[T]>;
  }

  /** A fresh local; its value is whatever the pool left there until it is set. */
  local<T extends ValueType>(type: T): Local<ValueOfType[T]> {
    let index = this.#free[type].pop();
    if (index === undefined) {
      index = this.#firstLocal + this.#localTypes.length;
      this.#localTypes.push(type);
    }
    this.#scope?.push({ type, index });
    return localGet(type, index) as Local<ValueOfType[T]>;
  }

  /** Evaluates an expression once and names it. */
  let<T extends Value>(value: T): Local<T> {
    const local = this.local(value.type) as unknown as Local<T>;
    this.set(local, value);
    // What it was made from is cut off again at no cost
    return value instanceof I64 && value.low ? (narrowLocal(local.local) as unknown as Local<T>) : local;
  }

  set<T extends Value>(local: Local<T>, value: T): void {
    this.emit(value.code);
    this.#code.push(0x21);
    this.emit(localIndex(local.local));
  }

  /**
   * Makes a template of what `body` emits, which is not emitted here. It may use locals from before, which must have the
   * same indices wherever the template is put; branch within itself and to `outside`; and hold slots (`Symbol16.Slot`).
   */
  record(outside: Label, body: () => void): Template {
    const code = this.#code;
    const before = [this.#localTypes, this.#firstLocal, this.#free, this.#scope] as const;
    this.#code = new CodeBuffer();
    [this.#localTypes, this.#firstLocal, this.#free, this.#scope] = [[], Symbol16.Local, noneFree(), undefined];
    this.#recording = { depth: this.#depth, outside };
    try {
      body();
      return { code: this.#code.view().slice(), locals: this.#localTypes };
    } finally {
      [this.#localTypes, this.#firstLocal, this.#free, this.#scope] = before;
      this.#code = code;
      this.#recording = undefined;
    }
  }

  /** Emits a template; `slot` answers what stands for a slot. */
  place({ code, locals }: Template, outside: Label, slot: (number: number) => Code): void {
    this.scope(() => {
      const indices = locals.map((type) => unsigned(this.local(type).local));
      const distance = this.#depth - outside.depth;
      for (let i = 0; i < code.length; i++) {
        const symbol = code[i]!;
        if (symbol < Symbol16.Local) this.#code.push(symbol);
        else if (symbol < Symbol16.Label) this.emit(indices[symbol - Symbol16.Local]!);
        else if (symbol < Symbol16.Hint) this.emit(unsigned(distance + symbol - Symbol16.Label));
        else if (symbol < Symbol16.Slot) this.#hint(symbol !== Symbol16.Hint);
        else this.emit(slot(symbol - Symbol16.Slot));
      }
    });
  }

  #hint(likely: boolean): void {
    if (this.#recording) this.#code.push(Symbol16.Hint + (likely ? 1 : 0));
    else this.#hints.push({ offset: this.#code.length, likely });
  }

  /** How many levels of control flow a label is outside. */
  #distance(label: Label): Code {
    const recording = this.#recording;
    if (!recording || label.depth > recording.depth) return unsigned(this.#depth - label.depth);
    if (label !== recording.outside) throw new Error('a template branches to a label that it does not know');
    return [Symbol16.Label + this.#depth - recording.depth];
  }

  /** Locals made inside `body` are free for reuse after it. */
  scope<R>(body: () => R): R {
    const outer = this.#scope;
    this.#scope = [];
    try {
      return body();
    } finally {
      for (const { type, index } of this.#scope) this.#free[type].push(index);
      this.#scope = outer;
    }
  }

  block(body: (end: Label) => void): void {
    this.#structured([0x02, 0x40], body);
  }

  loop(body: (start: Label) => void): void {
    this.#structured([0x03, 0x40], body);
  }

  if(condition: I32, then: (end: Label) => void, otherwise?: () => void, likely?: boolean): void {
    this.emit(condition.code);
    if (likely !== undefined) this.#hint(likely);
    this.#structured([0x04, 0x40], (end) => {
      then(end);
      if (otherwise) {
        this.#code.push(0x05);
        otherwise();
      }
    });
  }

  br(label: Label): void {
    this.#code.push(0x0c);
    this.emit(this.#distance(label));
  }

  /** An `if` that is seldom true. */
  unlikely(condition: I32, then: (end: Label) => void): void {
    this.if(condition, then, undefined, false);
  }

  brIf(label: Label, condition: I32, likely?: boolean): void {
    this.emit(condition.code);
    if (likely !== undefined) this.#hint(likely);
    this.#code.push(0x0d);
    this.emit(this.#distance(label));
  }

  brTable(index: I32, labels: readonly Label[], otherwise: Label): void {
    const depths = [...labels, otherwise].map((label) => this.#distance(label));
    this.emit([index.code, 0x0e, unsigned(labels.length), depths]);
  }

  return(...values: Value[]): void {
    this.emit([values.map((value) => value.code), 0x0f]);
  }

  unreachable(): void {
    this.emit([0x00]);
  }

  store8(address: I32, offset: number, value: I32 | I64): void {
    this.#store(value.type === 'i32' ? 0x3a : 0x3c, address, offset, value);
  }
  store16(address: I32, offset: number, value: I32 | I64): void {
    this.#store(value.type === 'i32' ? 0x3b : 0x3d, address, offset, value);
  }
  store32(address: I32, offset: number, value: I32Like | I64): void {
    const v = typeof value === 'number' ? i32(value) : value;
    this.#store(v.type === 'i32' ? 0x36 : 0x3e, address, offset, v);
  }
  store64(address: I32, offset: number, value: I64Like): void {
    this.#store(0x37, address, offset, i64(value));
  }
  storeF32(address: I32, offset: number, value: F32): void {
    this.#store(0x38, address, offset, value);
  }
  storeF64(address: I32, offset: number, value: F64): void {
    this.#store(0x39, address, offset, value);
  }
  storeV128(address: I32, offset: number, value: V128): void {
    this.emit([address.code, value.code, 0xfd, 0x0b, 0, unsigned(offset)]);
  }
  /**
   * Compares the `width` bits at a naturally aligned address with `expected` and, if they are equal, stores `value`: one
   * atomic access. Names what was there, zero-extended. `expected` must be zero-extended.
   */
  compareExchange(address: I32, width: 8 | 16 | 32 | 64, expected: I64, value: I64): Local<I64> {
    const { opcode, alignment } = CompareExchange[width];
    return this.let(new I64([address.code, expected.code, value.code, 0xfe, opcode, alignment, 0])) as Local<I64>;
  }
  /** Exchanges an aligned 32-bit word; names what was there. */
  exchange32(address: I32, offset: number, value: I32Like): Local<I32> {
    return this.let(new I32([address.code, i32(value).code, 0xfe, 0x41, 2, unsigned(offset)])) as Local<I32>;
  }
  /** Stores an aligned 32-bit word after everything before. */
  atomicStore32(address: I32, offset: number, value: I32Like): void {
    this.emit([address.code, i32(value).code, 0xfe, 0x17, 2, unsigned(offset)]);
  }
  /** Waits while the aligned 32-bit word is `expected`, until somebody notifies it or for so many nanoseconds. */
  wait32(address: I32, offset: number, expected: I32Like, nanoseconds: I64Like): void {
    this.emit([address.code, i32(expected).code, i64(nanoseconds).code, 0xfe, 0x01, 2, unsigned(offset)]);
    this.emit([0x1a]);
  }
  notify(address: I32, offset: number): void {
    this.emit([address.code, i32(1).code, 0xfe, 0x00, 2, unsigned(offset), 0x1a]);
  }
  /** No access moves over it. */
  fence(): void {
    this.emit([0xfe, 0x03, 0x00]);
  }
  memoryCopy(to: I32, from: I32, length: I32): void {
    this.emit([to.code, from.code, length.code, 0xfc, 0x0a, 0, 0]);
  }
  memoryFill(to: I32, byte: I32, length: I32): void {
    this.emit([to.code, byte.code, length.code, 0xfc, 0x0b, 0]);
  }

  /** Calls a function whose results are none. */
  call(callee: FunctionRef, ...args: Value[]): void {
    if (callee.results.length !== 0) throw new Error(`${callee.name} has a result: use callValue`);
    this.emit(callCode(callee, args));
  }

  /** Calls a function of one result and names the result. */
  callValue<T extends ValueType>(type: T, callee: FunctionRef, ...args: Value[]): Local<ValueOfType[T]> {
    if (callee.results.length !== 1 || callee.results[0] !== type)
      throw new Error(`${callee.name} does not give ${type}`);
    return this.let(valueOf(type, callCode(callee, args))) as unknown as Local<ValueOfType[T]>;
  }

  /** Calls through table 0 a function (type index `typeIndex`) of one i32 result. */
  callIndirect(typeIndex: number, tableSlot: I32, ...args: Value[]): Local<I32> {
    const code = [args.map((arg) => arg.code), tableSlot.code, 0x11, unsigned(typeIndex), 0];
    return this.let(new I32(code)) as Local<I32>;
  }

  /** Evaluates an expression for its effect. */
  drop(value: Value): void {
    this.emit([value.code, 0x1a]);
  }

  emit(code: Code): void {
    for (let i = 0; i < code.length; i++) {
      const part = code[i]!;
      if (typeof part === 'number') this.#code.push(part);
      else this.emit(part);
    }
  }

  /** The function's body as the code section wants it, without its size. */
  finish(): FinishedBody {
    const locals = [...unsigned(this.#localTypes.length)];
    for (const type of this.#localTypes) locals.push(1, valueTypeByte[type]);
    const start = locals.length + this.#prologue.length;
    const bytes = new Uint8Array(start + this.#code.length + 1);
    bytes.set(locals);
    bytes.set(this.#prologue.view(), locals.length);
    bytes.set(this.#code.view(), start);
    bytes[bytes.length - 1] = 0x0b;
    const hints = this.#hints.map(({ offset, likely }) => ({ offset: offset + start, likely }));
    for (const place of this.notes?.places ?? []) place.offset += this.#prologue.length;
    return { bytes, hints };
  }

  #structured(opening: Code, body: (label: Label) => void): void {
    this.emit(opening);
    this.#depth++;
    body({ depth: this.#depth });
    this.#depth--;
    this.#code.push(0x0b);
  }

  #store(opcode: number, address: I32, offset: number, value: Value): void {
    this.emit(address.code);
    this.emit(value.code);
    this.#code.push(opcode);
    this.#code.push(0);
    this.emit(unsigned(offset));
  }
}

function callCode(callee: FunctionRef, args: readonly Value[]): Code {
  const code: (number | Code)[] = [];
  let fits = args.length === callee.params.length;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    fits &&= arg.type === callee.params[i];
    code.push(arg.code);
  }
  if (!fits) {
    throw new Error(
      `${callee.name} takes (${callee.params.join(', ')}), got (${args.map((arg) => arg.type).join(', ')})`,
    );
  }
  code.push(0x10, unsigned(callee.index));
  return code;
}

/** A call of one result as an expression: evaluate it once. */
export function callExpression(callee: FunctionRef, args: readonly Value[]): Value {
  if (callee.results.length !== 1) throw new Error(`${callee.name} has no single result`);
  return valueOf(callee.results[0]!, callCode(callee, args));
}
