/**
 * Lazy arithmetic flags: five 64-bit words from which the six flags follow without knowing the operation.
 *
 *     result    ZF = (result == 0); PF = even parity of its low byte; SF = sign of (result ^ adjust)
 *     a, b      CF = (a <u b)
 *     overflow  OF = sign
 *     adjust    AF = bit 4; bit 8 inverts PF; the sign inverts SF (both 0 except after loading RFLAGS)
 *
 * All words hold values sign-extended from the operand width, which keeps unsigned order.
 */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, type I64Like, type Local, i32, i64 } from '../encoder/values.ts';
import type { FlagsWriter } from '../../../x86/instructions/semantics/context.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';

/** RFLAGS bits (SDM Vol. 1 "EFLAGS Register"). */
export const Rflag = {
  Carry: 1 << 0,
  Fixed: 1 << 1,
  Parity: 1 << 2,
  Adjust: 1 << 4,
  Zero: 1 << 6,
  Sign: 1 << 7,
  Trap: 1 << 8,
  Interrupt: 1 << 9,
  Direction: 1 << 10,
  Overflow: 1 << 11,
  IoPrivilege: 3 << 12,
  NestedTask: 1 << 14,
  Resume: 1 << 16,
  Virtual8086: 1 << 17,
  AlignmentCheck: 1 << 18,
  VirtualInterrupt: 1 << 19,
  VirtualInterruptPending: 1 << 20,
  Identification: 1 << 21,
} as const;
export const ArithmeticFlags = 0x8d5;

/** The five words, by the offsets of their fields in the state block. */
export const FlagWords = [Cpu.CcResult, Cpu.CcA, Cpu.CcB, Cpu.CcOverflow, Cpu.CcAdjust] as const;
export type FlagWord = (typeof FlagWords)[number];

/** Where the five words are while code runs: in the state block, or in locals of a function. */
export interface FlagStorage {
  get(word: FlagWord): I64;
  set(word: FlagWord, value: I64Like): void;
}

/** The words in the state block of the vCPU. */
export function flagsInMemory(f: FunctionBuilder, cpu: I32): FlagStorage {
  return { get: (word) => cpu.load64(word), set: (word, value) => f.store64(cpu, word, value) };
}

export class LazyFlags implements FlagsWriter {
  readonly #f: FunctionBuilder;
  readonly #words: FlagStorage;

  constructor(f: FunctionBuilder, storage: FlagStorage) {
    this.#f = f;
    this.#words = storage;
  }

  add(a: I64, b: I64, r: I64): void {
    const { a: x, b: y, r: z } = this.#named(a, b, r);
    this.#setAll(z, z, x, x.xor(z).and(y.xor(z)), x.xor(y).xor(z).and(16));
  }

  sub(a: I64, b: I64, r: I64): void {
    const { a: x, b: y, r: z } = this.#named(a, b, r);
    this.#setAll(z, x, y, x.xor(y).and(x.xor(z)), x.xor(y).xor(z).and(16));
  }

  logic(r: I64): void {
    this.#setAll(r, i64(0), i64(0), i64(0), i64(0));
  }

  increment(a: I64, r: I64): void {
    this.assign({ result: r, overflow: a.xor(-1).and(r).ltS(0), adjust: a.xor(r).shrU(4).toI32().and(1) });
  }

  decrement(a: I64, r: I64): void {
    this.assign({ result: r, overflow: a.and(r.xor(-1)).ltS(0), adjust: a.xor(r).shrU(4).toI32().and(1) });
  }

  assign(change: { result?: I64; carry?: I32; overflow?: I32; adjust?: I32 }): void {
    if (change.carry) {
      this.#words.set(Cpu.CcB, change.carry.toI64u());
      this.#words.set(Cpu.CcA, 0);
    }
    if (change.overflow) this.#words.set(Cpu.CcOverflow, change.overflow.toI64u().shl(63));
    if (change.result) {
      this.#words.set(Cpu.CcResult, change.result);
      this.#words.set(Cpu.CcAdjust, change.adjust ? change.adjust.toI64u().shl(4) : 0);
    } else if (change.adjust) {
      const others = this.#words.get(Cpu.CcAdjust).and(~16n);
      this.#words.set(Cpu.CcAdjust, others.or(change.adjust.toI64u().shl(4)));
    }
  }

  load(rflags: I32): void {
    const f = this.#f;
    const image = f.let(rflags);
    const bit = (mask: number): I32 => image.and(mask).ne(0);
    const zero = f.let(bit(Rflag.Zero));
    // A result of 0 has even parity, one of 1 has odd parity
    const parityInverted = zero.eq(bit(Rflag.Parity)).eqz();
    this.#words.set(Cpu.CcResult, zero.eqz().toI64u());
    this.#words.set(Cpu.CcA, 0);
    this.#words.set(Cpu.CcB, image.and(Rflag.Carry).toI64u());
    this.#words.set(Cpu.CcOverflow, bit(Rflag.Overflow).toI64u().shl(63));
    const adjust = image.and(Rflag.Adjust).toI64u();
    this.#words.set(Cpu.CcAdjust, adjust.or(parityInverted.toI64u().shl(8)).or(bit(Rflag.Sign).toI64u().shl(63)));
  }

  image(): Local<I32> {
    const adjust = this.#f.let(this.#words.get(Cpu.CcAdjust));
    return this.#f.let(
      this.carry()
        .or(this.parity().shl(2))
        .or(adjust.toI32().and(16))
        .or(this.zero().shl(6))
        .or(this.sign().shl(7))
        .or(this.overflow().shl(11)),
    );
  }

  carry(): I32 {
    return this.#words.get(Cpu.CcA).ltU(this.#words.get(Cpu.CcB));
  }

  zero(): I32 {
    return this.#words.get(Cpu.CcResult).eqz();
  }

  sign(): I32 {
    return this.#words.get(Cpu.CcResult).xor(this.#words.get(Cpu.CcAdjust)).ltS(0);
  }

  overflow(): I32 {
    return this.#words.get(Cpu.CcOverflow).ltS(0);
  }

  parity(): I32 {
    const low = this.#words.get(Cpu.CcResult).and(0xff).or(this.#words.get(Cpu.CcAdjust).and(0x100)).toI32();
    return low.popcnt().and(1).eqz();
  }

  condition(code: number): I32 {
    const less = (): I32 =>
      this.#words.get(Cpu.CcResult).xor(this.#words.get(Cpu.CcAdjust)).xor(this.#words.get(Cpu.CcOverflow)).ltS(0);
    const test = [
      () => this.overflow(),
      () => this.carry(),
      () => this.zero(),
      () => this.carry().or(this.zero()),
      () => this.sign(),
      () => this.parity(),
      less,
      () => less().or(this.zero()),
    ][code >> 1];
    if (!test) throw new Error(`no condition ${code}`);
    return code & 1 ? test().eqz() : test();
  }

  #named(a: I64, b: I64, r: I64): { a: I64; b: I64; r: I64 } {
    return { a: this.#f.let(a), b: this.#f.let(b), r: this.#f.let(r) };
  }

  /** Operands narrower than 64 bits come sign-extended, so bit 63 is their sign bit. */
  #setAll(result: I64, a: I64, b: I64, overflow: I64, adjust: I64): void {
    this.#words.set(Cpu.CcResult, result);
    this.#words.set(Cpu.CcA, a);
    this.#words.set(Cpu.CcB, b);
    this.#words.set(Cpu.CcOverflow, overflow);
    this.#words.set(Cpu.CcAdjust, adjust);
  }
}

/** Composes all of RFLAGS in JavaScript or wasm: the lazy image and the stored rest. */
export const composeRflags = (image: I32, cpu: I32): I32 => image.or(cpu.load32(Cpu.Rflags)).or(i32(Rflag.Fixed));
