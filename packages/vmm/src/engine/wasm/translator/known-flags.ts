/**
 * Flags of translated code: the lazy words in locals, and the knowledge of what set them last, so that a branch after CMP
 * or TEST is one comparison.
 */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, i32 } from '../encoder/values.ts';
import { type FlagStorage, LazyFlags } from '../emit/lazy-flags.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';

/** What set all flags last, on every path to here. */
export type LastOperation = 'sub' | 'logic' | undefined;

export class KnownFlags extends LazyFlags {
  readonly #f: FunctionBuilder;
  readonly #words: FlagStorage;
  #last: { operation: LastOperation; depth: number } = { operation: undefined, depth: 0 };

  constructor(f: FunctionBuilder, words: FlagStorage) {
    super(f, words);
    this.#f = f;
    this.#words = words;
  }

  /** Other paths lead to what is emitted next. */
  forget(): void {
    this.#last = { operation: undefined, depth: 0 };
  }
  get last(): { operation: LastOperation; depth: number } {
    return this.#last;
  }
  /** Emission goes on where `last` held. */
  set last(last: { operation: LastOperation; depth: number }) {
    this.#last = last;
  }
  /** The instruction that was emitted set flags on one of its paths only, unless it did so where it began. */
  endInstruction(depth: number): void {
    if (this.#last.depth > depth) this.forget();
  }

  override add(a: I64, b: I64, r: I64): void {
    super.add(a, b, r);
    this.#note(undefined);
  }
  override sub(a: I64, b: I64, r: I64): void {
    super.sub(a, b, r);
    this.#note('sub');
  }
  override logic(r: I64): void {
    super.logic(r);
    this.#note('logic');
  }
  override assign(change: Parameters<LazyFlags['assign']>[0]): void {
    super.assign(change);
    this.#note(undefined);
  }
  override load(rflags: I32): void {
    super.load(rflags);
    this.#note(undefined);
  }

  override condition(code: number): I32 {
    const known = this.#known(code >> 1);
    if (!known) return super.condition(code);
    return code & 1 ? known.eqz() : known;
  }

  #known(test: number): I32 | undefined {
    const a = this.#words.get(Cpu.CcA);
    const b = this.#words.get(Cpu.CcB);
    const result = this.#words.get(Cpu.CcResult);
    if (this.#last.operation === 'sub') return [undefined, a.ltU(b), a.eq(b), a.leU(b), undefined, undefined, a.ltS(b), a.leS(b)][test];
    if (this.#last.operation !== 'logic') return undefined;
    return [i32(0), i32(0), result.eqz(), result.eqz(), result.ltS(0), undefined, result.ltS(0), result.leS(0)][test];
  }

  #note(operation: LastOperation): void {
    this.#last = { operation, depth: this.#f.depth };
  }
}
