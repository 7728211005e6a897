/**
 * The guest's registers in locals of a translated function. They are loaded when it is entered and stored when it is left;
 * which of them, is known when all of its code has been emitted.
 */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, type I64Like, type Local, type V128, i64 } from '../encoder/values.ts';
import type { Width } from '../../../x86/instructions/semantics/context.ts';
import { type FlagStorage, type FlagWord, FlagWords } from '../emit/lazy-flags.ts';
import { gprOffset, xmmOffset, ymmHighOffset } from '../interpreter/cpu-layout.ts';

const GprCount = 16;
const XmmCount = 16;

interface Cached<T extends I64 | V128> {
  readonly local: Local<T>;
  readonly offset: number;
  used: boolean;
  written: boolean;
}

export class RegisterLocals implements FlagStorage {
  readonly #f: FunctionBuilder;
  readonly #cpu: I32;
  readonly #gprs: readonly Cached<I64>[];
  readonly #xmms: readonly Cached<V128>[];
  /** Bits 128 to 255. */
  readonly #highs: readonly Cached<V128>[];
  readonly #flags: ReadonlyMap<FlagWord, Cached<I64>>;

  constructor(f: FunctionBuilder, cpu: I32) {
    this.#f = f;
    this.#cpu = cpu;
    const integer = (offset: number): Cached<I64> => ({ local: f.local('i64'), offset, used: false, written: false });
    const vector = (offset: number): Cached<V128> => ({ local: f.local('v128'), offset, used: false, written: false });
    this.#gprs = Array.from({ length: GprCount }, (_, i) => integer(gprOffset(i)));
    this.#xmms = Array.from({ length: XmmCount }, (_, i) => vector(xmmOffset(i)));
    this.#highs = Array.from({ length: XmmCount }, (_, i) => vector(ymmHighOffset(i)));
    this.#flags = new Map(FlagWords.map((word) => [word, integer(word)]));
  }

  /** All 64 bits of a general register. */
  gpr(index: number): I64 {
    return read(this.#gprs[index]!);
  }

  /** Writes as instructions do: 32 bits clear the upper half, fewer keep the rest. `high`: bits 8 to 15 (AH, CH, DH, BH). */
  setGpr(index: number, width: Width, value: I64, high = false): void {
    const register = this.#gprs[index]!;
    if (width === 64) this.#set(register, value);
    else if (width === 32) this.#set(register, value.zeroExtend(32));
    else {
      const mask = width === 16 ? 0xffffn : high ? 0xff00n : 0xffn;
      const placed = high ? value.shl(8) : value;
      this.#set(register, read(register).and(~mask).or(placed.and(mask)));
    }
  }

  xmm(index: number): V128 {
    return read(this.#xmms[index]!);
  }
  setXmm(index: number, value: V128): void {
    this.#set(this.#xmms[index]!, value);
  }

  ymmHigh(index: number): V128 {
    return read(this.#highs[index]!);
  }
  setYmmHigh(index: number, value: V128): void {
    this.#set(this.#highs[index]!, value);
  }

  get(word: FlagWord): I64 {
    return read(this.#flags.get(word)!);
  }
  set(word: FlagWord, value: I64Like): void {
    this.#set(this.#flags.get(word)!, i64(value));
  }

  /** The register's field in the state block, for code that takes a pointer; what it holds is current. */
  xmmInMemory(index: number): I32 {
    this.#f.storeV128(this.#cpu, xmmOffset(index), this.xmm(index));
    return this.#cpu.add(xmmOffset(index));
  }
  /** Takes what such code wrote. */
  reloadXmm(index: number): void {
    this.setXmm(index, this.#cpu.loadV128(xmmOffset(index)));
  }

  /** Emits a call of code that may read and write general registers and flags in the state block. */
  aroundCall<R>(call: () => R): R {
    const all = [...this.#gprs, ...this.#flags.values()];
    for (const register of all) {
      register.used = register.written = true;
      this.#f.store64(this.#cpu, register.offset, register.local);
    }
    const result = call();
    for (const register of all) this.#f.set(register.local, this.#cpu.load64(register.offset));
    return result;
  }

  /** Emits the loads of everything that was read or written. */
  load(): void {
    for (const { local, offset, used } of this.#integers()) {
      if (used) this.#f.set(local, this.#cpu.load64(offset));
    }
    for (const { local, offset, used } of this.#vectors()) {
      if (used) this.#f.set(local, this.#cpu.loadV128(offset));
    }
  }

  /** Emits the stores of everything that was written. */
  store(): void {
    for (const { local, offset, written } of this.#integers()) {
      if (written) this.#f.store64(this.#cpu, offset, local);
    }
    for (const { local, offset, written } of this.#vectors()) {
      if (written) this.#f.storeV128(this.#cpu, offset, local);
    }
  }

  #vectors(): Cached<V128>[] {
    return [...this.#xmms, ...this.#highs];
  }

  #integers(): Cached<I64>[] {
    return [...this.#gprs, ...this.#flags.values()];
  }

  #set<T extends I64 | V128>(register: Cached<T>, value: T): void {
    // Loaded as well: not every path through the function writes it before it is stored
    register.used = register.written = true;
    this.#f.set(register.local, value);
  }
}

function read<T extends I64 | V128>(register: Cached<T>): T {
  register.used = true;
  return register.local as unknown as T;
}
