/**
 * Flags of translated code: the lazy words in locals (lazy-flags.ts), of which the overflow and adjust words are not computed
 * before somebody asks. Which operation they follow from is known while emitting; where paths meet, it is in a local.
 *
 * After an operation that is not Generic the words hold:
 *
 *              result  a, b (CF = a <u b)   overflow        adjust
 *     Logic    r       0, 0                 -               -
 *     Sub      r       minuend, subtrahend  -               -
 *     Add      r       r, first operand     second operand  -
 *     Inc      r       as before            operand         -
 *     Dec      r       as before            operand         -
 */
import type { FunctionBuilder, Label } from '../encoder/function-builder.ts';
import { type I32, type I64, type Local, i32, i64 } from '../encoder/values.ts';
import { type FlagStorage, LazyFlags } from '../emit/lazy-flags.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';

export const FlagOperation = { Generic: 0, Logic: 1, Sub: 2, Add: 3, Inc: 4, Dec: 5 } as const;
export type FlagOperation = (typeof FlagOperation)[keyof typeof FlagOperation];
/** Not known while emitting: the local tells. */
export const UnknownOperation = 7;
type Operation = FlagOperation | typeof UnknownOperation;

export interface FlagKnowledge {
  readonly operation: Operation;
  readonly narrow: boolean;
}

/** Bits of the result that AF follows from. */
const AdjustBit = 16;

export class KnownFlags extends LazyFlags {
  readonly #f: FunctionBuilder;
  readonly #words: FlagStorage;
  /** The operation, where it is not known. */
  readonly #local: Local<I32>;
  #operation: Operation = UnknownOperation;
  /** Depth of control flow at which the current instruction begins. */
  #depth = 0;
  #onOnePath = false;
  #width = 64;
  /** The operands of Sub or the result of Logic have 32 significant bits. */
  #narrow = false;

  constructor(f: FunctionBuilder, words: FlagStorage) {
    super(f, words);
    this.#f = f;
    this.#words = words;
    this.#local = f.local('i32');
  }

  get operation(): Operation {
    return this.#operation;
  }
  /** Nothing is known of what other paths did. */
  forget(): void {
    this.#operation = UnknownOperation;
  }
  /** What is known, to go on with where emission comes back to a path. */
  get knowledge(): FlagKnowledge {
    return { operation: this.#operation, narrow: this.#narrow };
  }
  set knowledge({ operation, narrow }: FlagKnowledge) {
    this.#operation = operation;
    this.#narrow = narrow;
  }

  /** `width`: its operand size in bits. */
  beginInstruction(width: number): void {
    this.#width = width;
    this.#depth = this.#f.depth;
    this.#onOnePath = false;
  }
  /**
   * Whether the instruction set or completed the words on one of its paths only. Then it has to be emitted anew, after
   * {@link complete}: all paths end with complete words.
   */
  get onOnePath(): boolean {
    return this.#onOnePath;
  }

  /** Emits: the local tells the operation from here on, as for every other path to the same place. */
  settle(): void {
    if (this.#operation === UnknownOperation) return;
    this.#f.set(this.#local, i32(this.#operation));
    this.#operation = UnknownOperation;
  }
  /** Emits: the local tells this operation, a value that is known where it is emitted. */
  settleAs(operation: I32): void {
    this.#f.set(this.#local, operation);
  }

  /** Emits: all words are as without this class. */
  complete(): void {
    if (this.#operation === FlagOperation.Generic) return;
    if (this.#operation === UnknownOperation) this.#completeUnknown();
    else this.#completeKnown(this.#operation);
    this.#note(FlagOperation.Generic);
  }

  override add(a: I64, b: I64, r: I64): void {
    if (this.#isNested) return super.add(a, b, r);
    const [x, y, z] = [this.#f.let(a), this.#f.let(b), this.#f.let(r)];
    this.#set(z, z, x);
    this.#words.set(Cpu.CcOverflow, y);
    this.#note(FlagOperation.Add);
  }
  override sub(a: I64, b: I64, r: I64): void {
    if (this.#isNested) return super.sub(a, b, r);
    const [x, y, z] = [this.#f.let(a), this.#f.let(b), this.#f.let(r)];
    this.#set(z, x, y);
    this.#note(FlagOperation.Sub);
    this.#narrow = this.#width === 32;
  }
  override logic(r: I64): void {
    if (this.#isNested) return super.logic(r);
    this.#set(r, i64(0), i64(0));
    this.#note(FlagOperation.Logic);
    this.#narrow = this.#width === 32;
  }
  override increment(a: I64, r: I64): void {
    this.#step(FlagOperation.Inc, a, r);
  }
  override decrement(a: I64, r: I64): void {
    this.#step(FlagOperation.Dec, a, r);
  }
  override assign(change: Parameters<LazyFlags['assign']>[0]): void {
    if (!change.result || !change.overflow) this.complete();
    super.assign(change);
    this.#note(FlagOperation.Generic);
  }
  override load(rflags: I32): void {
    super.load(rflags);
    this.#note(FlagOperation.Generic);
  }

  override image(): Local<I32> {
    this.complete();
    return super.image();
  }
  override sign(): I32 {
    if (this.#isPlain) return this.#words.get(Cpu.CcResult).ltS(0);
    this.complete();
    return super.sign();
  }
  override overflow(): I32 {
    if (this.#operation === FlagOperation.Logic) return i32(0);
    this.complete();
    return super.overflow();
  }
  override parity(): I32 {
    if (this.#isPlain) return this.#words.get(Cpu.CcResult).toI32().and(0xff).popcnt().and(1).eqz();
    this.complete();
    return super.parity();
  }

  override condition(code: number): I32 {
    const test = code >> 1;
    const known = this.#operation === FlagOperation.Sub ? this.#afterSub(test) : this.#afterLogic(test);
    if (known) return code & 1 ? known.eqz() : known;
    if (test >= 6) this.complete();
    return super.condition(code);
  }

  #afterSub(test: number): I32 | undefined {
    const [a, b] = [this.#words.get(Cpu.CcA), this.#words.get(Cpu.CcB)];
    if (!this.#narrow) return [undefined, a.ltU(b), a.eq(b), a.leU(b), undefined, undefined, a.ltS(b), a.leS(b)][test];
    const [x, y] = [a.toI32(), b.toI32()];
    return [undefined, x.ltU(y), x.eq(y), x.leU(y), undefined, undefined, x.ltS(y), x.leS(y)][test];
  }

  #afterLogic(test: number): I32 | undefined {
    if (this.#operation !== FlagOperation.Logic) return undefined;
    const word = this.#words.get(Cpu.CcResult);
    const result = this.#narrow ? word.toI32() : word;
    const less = result.ltS(0);
    return [i32(0), i32(0), result.eqz(), result.eqz(), less, undefined, less, result.leS(0)][test];
  }

  #step(operation: FlagOperation, a: I64, r: I64): void {
    if (this.#isNested) {
      if (operation === FlagOperation.Inc) super.increment(a, r);
      else super.decrement(a, r);
      return;
    }
    this.#words.set(Cpu.CcOverflow, a);
    this.#words.set(Cpu.CcResult, r);
    this.#note(operation);
  }

  #set(result: I64, a: I64, b: I64): void {
    this.#words.set(Cpu.CcResult, result);
    this.#words.set(Cpu.CcA, a);
    this.#words.set(Cpu.CcB, b);
  }

  /** The adjust word is zero but for AF. */
  get #isPlain(): boolean {
    return this.#operation !== FlagOperation.Generic && this.#operation !== UnknownOperation;
  }

  /** On one path of the instruction only complete words are set. */
  get #isNested(): boolean {
    if (this.#f.depth === this.#depth) return false;
    if (this.#operation !== FlagOperation.Generic) this.#onOnePath = true;
    return true;
  }

  #note(operation: FlagOperation): void {
    if (this.#f.depth === this.#depth) this.#operation = operation;
    else if (this.#operation !== FlagOperation.Generic) this.#onOnePath = true;
  }

  #completeKnown(operation: FlagOperation): void {
    const words = this.#words;
    const result = words.get(Cpu.CcResult);
    const a = words.get(Cpu.CcA);
    const b = words.get(Cpu.CcB);
    const operand = words.get(Cpu.CcOverflow);
    switch (operation) {
      case FlagOperation.Generic:
        return;
      case FlagOperation.Logic:
        words.set(Cpu.CcOverflow, 0);
        words.set(Cpu.CcAdjust, 0);
        return;
      case FlagOperation.Sub:
        words.set(Cpu.CcOverflow, a.xor(b).and(a.xor(result)));
        words.set(Cpu.CcAdjust, a.xor(b).xor(result).and(AdjustBit));
        return;
      case FlagOperation.Add:
        words.set(Cpu.CcAdjust, b.xor(operand).xor(result).and(AdjustBit));
        words.set(Cpu.CcOverflow, b.xor(result).and(operand.xor(result)));
        return;
      case FlagOperation.Inc:
      case FlagOperation.Dec: {
        words.set(Cpu.CcAdjust, operand.xor(result).and(AdjustBit));
        const up = operation === FlagOperation.Inc;
        words.set(Cpu.CcOverflow, up ? operand.xor(-1).and(result) : operand.and(result.xor(-1)));
        return;
      }
      default:
        return operation satisfies never;
    }
  }

  /** A switch over what the local tells. */
  #completeUnknown(): void {
    const f = this.#f;
    const operations = [
      FlagOperation.Logic,
      FlagOperation.Sub,
      FlagOperation.Add,
      FlagOperation.Inc,
      FlagOperation.Dec,
    ];
    f.block((done) => {
      const nest = (rest: FlagOperation[], labels: Label[]): void => {
        const [first, ...others] = rest;
        if (first === undefined) return f.brTable(this.#local, [done, ...labels.reverse()], done);
        f.block((label) => nest(others, [...labels, label]));
        this.#completeKnown(first);
        f.br(done);
      };
      nest([...operations].reverse(), []);
    });
    f.set(this.#local, i32(FlagOperation.Generic));
  }
}
