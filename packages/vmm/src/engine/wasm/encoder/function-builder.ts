/** Builds the body of one wasm function: statements in order, structured control flow with labels, pooled locals. */
import { unsigned } from './leb128.ts';
import type { F32, F64, V128, Value } from './values.ts';
import {
  type Code,
  I32,
  I64,
  type I32Like,
  type I64Like,
  type Local,
  type ValueType,
  i32,
  i64,
  localGet,
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
  readonly bytes: number[];
  readonly hints: readonly { offset: number; likely: boolean }[];
}

export class FunctionBuilder {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly localTypes: ValueType[] = [];
  readonly code: number[] = [];
  /** Branch hints: offset of the `if` or `br_if` in `code`, and whether it is likely taken (Branch Hinting proposal). */
  readonly hints: { offset: number; likely: boolean }[] = [];
  #depth = 0;
  readonly #free: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  #scope: { type: ValueType; index: number }[] | undefined;

  constructor(params: readonly ValueType[], results: readonly ValueType[]) {
    this.params = params;
    this.results = results;
  }

  /** Of structured control flow around what is emitted next. */
  get depth(): number {
    return this.#depth;
  }

  /** A place in what was emitted so far, to come {@link backTo}. */
  mark(): { readonly code: number; readonly hints: number } {
    return { code: this.code.length, hints: this.hints.length };
  }
  /** Takes back what was emitted since, which must not have left a block open. */
  backTo({ code, hints }: { readonly code: number; readonly hints: number }): void {
    this.code.length = code;
    this.hints.length = hints;
  }

  /** Puts what `body` emits before everything emitted so far: outside of all blocks. */
  prepend(body: () => void): void {
    if (this.#depth !== 0) throw new Error('nothing can be put before an open block');
    const code = this.code.splice(0);
    const hints = this.hints.splice(0);
    body();
    const shift = this.code.length;
    this.emit(code);
    this.hints.push(...hints.map(({ offset, likely }) => ({ offset: offset + shift, likely })));
  }

  param<T extends ValueType>(type: T, index: number): Local<ValueOfType[T]> {
    if (this.params[index] !== type) throw new Error(`parameter ${index} is not ${type}`);
    return localGet(type, index) as Local<ValueOfType[T]>;
  }

  /** A fresh local; its value is whatever the pool left there until it is set. */
  local<T extends ValueType>(type: T): Local<ValueOfType[T]> {
    let index = this.#free[type].pop();
    if (index === undefined) {
      index = this.params.length + this.localTypes.length;
      this.localTypes.push(type);
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
    this.code.push(0x21);
    this.emit(unsigned(local.local));
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
    if (likely !== undefined) this.hints.push({ offset: this.code.length, likely });
    this.#structured([0x04, 0x40], (end) => {
      then(end);
      if (otherwise) {
        this.code.push(0x05);
        otherwise();
      }
    });
  }

  br(label: Label): void {
    this.code.push(0x0c);
    this.emit(unsigned(this.#depth - label.depth));
  }

  /** An `if` that is seldom true. */
  unlikely(condition: I32, then: (end: Label) => void): void {
    this.if(condition, then, undefined, false);
  }

  brIf(label: Label, condition: I32, likely?: boolean): void {
    this.emit(condition.code);
    if (likely !== undefined) this.hints.push({ offset: this.code.length, likely });
    this.code.push(0x0d);
    this.emit(unsigned(this.#depth - label.depth));
  }

  brTable(index: I32, labels: readonly Label[], otherwise: Label): void {
    const depths = [...labels, otherwise].flatMap((label) => unsigned(this.#depth - label.depth));
    this.emit([...index.code, 0x0e, ...unsigned(labels.length), ...depths]);
  }

  return(...values: Value[]): void {
    this.emit([...values.flatMap((value) => [...value.code]), 0x0f]);
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
    this.emit([...address.code, ...value.code, 0xfd, 0x0b, 0, ...unsigned(offset)]);
  }
  memoryCopy(to: I32, from: I32, length: I32): void {
    this.emit([...to.code, ...from.code, ...length.code, 0xfc, 0x0a, 0, 0]);
  }
  memoryFill(to: I32, byte: I32, length: I32): void {
    this.emit([...to.code, ...byte.code, ...length.code, 0xfc, 0x0b, 0]);
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
    const code = [...args.flatMap((arg) => [...arg.code]), ...tableSlot.code, 0x11, ...unsigned(typeIndex), 0];
    return this.let(new I32(code)) as Local<I32>;
  }

  /** Evaluates an expression for its effect. */
  drop(value: Value): void {
    this.emit([...value.code, 0x1a]);
  }

  emit(code: Code): void {
    for (let i = 0; i < code.length; i++) this.code.push(code[i]!);
  }

  /** The function's body as the code section wants it, without its size. */
  finish(): FinishedBody {
    const locals = [...unsigned(this.localTypes.length)];
    for (const type of this.localTypes) locals.push(1, valueTypeByte[type]);
    const hints = this.hints.map(({ offset, likely }) => ({ offset: offset + locals.length, likely }));
    return { bytes: locals.concat(this.code, [0x0b]), hints };
  }

  #structured(opening: Code, body: (label: Label) => void): void {
    this.emit(opening);
    this.#depth++;
    body({ depth: this.#depth });
    this.#depth--;
    this.code.push(0x0b);
  }

  #store(opcode: number, address: I32, offset: number, value: Value): void {
    this.emit(address.code);
    this.emit(value.code);
    this.code.push(opcode, 0);
    this.emit(unsigned(offset));
  }
}

function callCode(callee: FunctionRef, args: readonly Value[]): number[] {
  const code: number[] = [];
  let fits = args.length === callee.params.length;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    fits &&= arg.type === callee.params[i];
    for (let j = 0; j < arg.code.length; j++) code.push(arg.code[j]!);
  }
  if (!fits) {
    throw new Error(
      `${callee.name} takes (${callee.params.join(', ')}), got (${args.map((arg) => arg.type).join(', ')})`,
    );
  }
  code.push(0x10, ...unsigned(callee.index));
  return code;
}

/** A call of one result as an expression: evaluate it once. */
export function callExpression(callee: FunctionRef, args: readonly Value[]): Value {
  if (callee.results.length !== 1) throw new Error(`${callee.name} has no single result`);
  return valueOf(callee.results[0]!, callCode(callee, args));
}
