/**
 * The guest's registers in locals of a translated function. They are loaded when it is entered and stored when it is left;
 * which of them, is known when all of its code has been emitted.
 */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, type I64Like, type Local, type V128, i64 } from '../encoder/values.ts';
import type { Width } from '../../../x86/instructions/semantics/context.ts';
import { type FlagStorage, type FlagWord, FlagWords } from '../emit/lazy-flags.ts';
import { fieldName } from '../text/field-names.ts';
import { gprOffset, xmmOffset, ymmHighOffset } from '../interpreter/cpu-layout.ts';

/** What code does with registers: a bit of each, by {@link Cached.bit}. */
export interface RegisterUse {
  /** General registers and flag words. */
  readonly integers: number;
  readonly writtenIntegers: number;
  readonly vectors: number;
  readonly writtenVectors: number;
}

const GprCount = 16;
const XmmCount = 16;

interface Cached<T extends I64 | V128> {
  readonly local: Local<T>;
  readonly offset: number;
  readonly bit: number;
}

export class RegisterLocals implements FlagStorage {
  readonly #f: FunctionBuilder;
  readonly #cpu: I32;
  readonly #gprs: readonly Cached<I64>[];
  readonly #xmms: readonly Cached<V128>[];
  /** Bits 128 to 255. */
  readonly #highs: readonly Cached<V128>[];
  readonly #flags: ReadonlyMap<FlagWord, Cached<I64>>;
  #integers = 0;
  #writtenIntegers = 0;
  #vectors = 0;
  #writtenVectors = 0;

  constructor(f: FunctionBuilder, cpu: I32) {
    this.#f = f;
    this.#cpu = cpu;
    const integer = (offset: number, i: number): Cached<I64> => ({ local: f.local('i64'), offset, bit: 1 << i });
    const vector = (offset: number, i: number): Cached<V128> => ({ local: f.local('v128'), offset, bit: 1 << i });
    this.#gprs = Array.from({ length: GprCount }, (_, i) => integer(gprOffset(i), i));
    this.#xmms = Array.from({ length: XmmCount }, (_, i) => vector(xmmOffset(i), i));
    this.#highs = Array.from({ length: XmmCount }, (_, i) => vector(ymmHighOffset(i), XmmCount + i));
    this.#flags = new Map(FlagWords.map((word, i) => [word, integer(word, GprCount + i)]));
    if (f.notes)
      for (const { local, offset } of [...this.#allIntegers(), ...this.#allVectors()])
        f.noteName(local, fieldName(offset)!);
  }

  /** What all code so far does. */
  get use(): RegisterUse {
    return {
      integers: this.#integers,
      writtenIntegers: this.#writtenIntegers,
      vectors: this.#vectors,
      writtenVectors: this.#writtenVectors,
    };
  }
  /** What the code that `emit` emits does. */
  useOf(emit: () => void): RegisterUse {
    const before = this.use;
    this.#integers = this.#writtenIntegers = this.#vectors = this.#writtenVectors = 0;
    emit();
    const { use } = this;
    this.note(before);
    return use;
  }
  /** There is code that does this. */
  note({ integers, writtenIntegers, vectors, writtenVectors }: RegisterUse): void {
    this.#integers |= integers;
    this.#writtenIntegers |= writtenIntegers;
    this.#vectors |= vectors;
    this.#writtenVectors |= writtenVectors;
  }

  /** All 64 bits of a general register. */
  gpr(index: number): I64 {
    return this.#readInteger(this.#gprs[index]!);
  }

  /** Writes as instructions do: 32 bits clear the upper half, fewer keep the rest. `high`: bits 8 to 15 (AH, CH, DH, BH). */
  setGpr(index: number, width: Width, value: I64, high = false): void {
    const register = this.#gprs[index]!;
    if (width === 64) this.#setInteger(register, value);
    else if (width === 32) this.#setInteger(register, value.zeroExtend(32));
    else {
      const mask = width === 16 ? 0xffffn : high ? 0xff00n : 0xffn;
      const placed = high ? value.shl(8) : value;
      this.#setInteger(register, this.#readInteger(register).and(~mask).or(placed.and(mask)));
    }
  }

  xmm(index: number): V128 {
    return this.#readVector(this.#xmms[index]!);
  }
  setXmm(index: number, value: V128): void {
    this.#setVector(this.#xmms[index]!, value);
  }

  ymmHigh(index: number): V128 {
    return this.#readVector(this.#highs[index]!);
  }
  setYmmHigh(index: number, value: V128): void {
    this.#setVector(this.#highs[index]!, value);
  }

  get(word: FlagWord): I64 {
    return this.#readInteger(this.#flags.get(word)!);
  }
  set(word: FlagWord, value: I64Like): void {
    this.#setInteger(this.#flags.get(word)!, i64(value));
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
    const all = this.#allIntegers();
    for (const { bit, offset, local } of all) {
      this.#integers |= bit;
      this.#writtenIntegers |= bit;
      this.#f.store64(this.#cpu, offset, local);
    }
    const result = call();
    for (const register of all) this.#f.set(register.local, this.#cpu.load64(register.offset));
    return result;
  }

  /** Emits the loads of everything that was read or written. */
  load(): void {
    for (const { local, offset, bit } of this.#allIntegers()) {
      if (this.#integers & bit) this.#f.set(local, this.#cpu.load64(offset));
    }
    for (const { local, offset, bit } of this.#allVectors()) {
      if (this.#vectors & bit) this.#f.set(local, this.#cpu.loadV128(offset));
    }
  }

  /** Emits the stores of everything that was written. */
  store(): void {
    for (const { local, offset, bit } of this.#allIntegers()) {
      if (this.#writtenIntegers & bit) this.#f.store64(this.#cpu, offset, local);
    }
    for (const { local, offset, bit } of this.#allVectors()) {
      if (this.#writtenVectors & bit) this.#f.storeV128(this.#cpu, offset, local);
    }
  }

  #allVectors(): Cached<V128>[] {
    return [...this.#xmms, ...this.#highs];
  }

  #allIntegers(): Cached<I64>[] {
    return [...this.#gprs, ...this.#flags.values()];
  }

  #readInteger({ local, bit }: Cached<I64>): I64 {
    this.#integers |= bit;
    return local;
  }
  #readVector({ local, bit }: Cached<V128>): V128 {
    this.#vectors |= bit;
    return local;
  }

  // Loaded as well: not every path through the function writes it before it is stored

  #setInteger({ local, bit }: Cached<I64>, value: I64): void {
    this.#integers |= bit;
    this.#writtenIntegers |= bit;
    this.#f.set(local, value);
  }
  #setVector({ local, bit }: Cached<V128>, value: V128): void {
    this.#vectors |= bit;
    this.#writtenVectors |= bit;
    this.#f.set(local, value);
  }
}
