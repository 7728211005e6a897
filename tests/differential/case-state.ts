/**
 * The input of one test case while it is being made: registers, flags, FXSAVE image and the two windows of memory, on top
 * of a record of the harness guest.
 */
import { Fields, HighAlias, Low, Window1, Window2 } from './harness-layout.ts';
import type { Random } from './random.ts';
import { fill, integer, writeFloat80 } from './values.ts';
import type { ValueType } from './values.ts';

/** Bits of RFLAGS. */
export const Flag = {
  CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, TF: 0x100, IF: 0x200, DF: 0x400, OF: 0x800, NT: 0x4000, RF: 0x1_0000,
  AC: 0x4_0000, ID: 0x20_0000,
} as const; // prettier-ignore
export const ArithmeticFlags = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;

/** Offsets in the FXSAVE image (SDM Vol. 1 Table 10-2 "Format of an FXSAVE Area"). */
export const Fx = {
  Control: 0,
  Status: 2,
  Tags: 4,
  Opcode: 6,
  Ip: 8,
  Dp: 16,
  Mxcsr: 24,
  MxcsrMask: 28,
  St: 32,
  Xmm: 160,
  Reserved: 416,
} as const;

export const Rcx = 1;
export const Rsp = 4;

/** Where in a record the byte at a linear address is kept, or undefined when it is in no window. */
export function recordOffset(address: bigint): number | undefined {
  const low = Number(BigInt.asUintN(64, address >= HighAlias ? address - HighAlias : address));
  if (low >= Window1.start && low < Window1.start + Window1.size) return Fields.Windows + low - Window1.start;
  if (low >= Window2.start && low < Window2.start + Window2.size) {
    return Fields.Windows + Window1.size + low - Window2.start;
  }
  return undefined;
}

export class CaseState {
  readonly random: Random;
  readonly view: DataView;
  readonly gpr = new BigUint64Array(16);
  rflags = 0;
  /** Upper halves of vector registers, 16 bytes each, of groups that use them. */
  readonly upper: DataView | undefined;

  constructor(random: Random, view: DataView, upper?: DataView) {
    this.random = random;
    this.view = view;
    this.upper = upper;
  }

  /** General registers: edges of `bits`-bit integers below random upper bits. */
  randomizeIntegers(bits: number): void {
    const random = this.random;
    const shared = random.chance(15) ? integer(random, bits) : undefined;
    for (let index = 0; index < 16; index++) {
      const low = shared !== undefined && random.chance(70) ? shared : integer(random, bits);
      this.gpr[index] =
        bits === 64 ? low : random.chance(30) ? low : low | ((random.u64() >> BigInt(bits)) << BigInt(bits));
    }
    this.rflags = (random.u32() & (ArithmeticFlags | Flag.DF)) | Flag.IF | 2;
  }

  /** Everything in the FXSAVE image, with random bits in the registers. */
  randomizeFx(unmaskedPercent: number): void {
    const { random, view } = this;
    for (let i = Fx.St; i < Fx.Reserved; i += 4) view.setUint32(i, random.u32(), true);
    for (let i = 0; i < 8; i++) view.setUint16(Fx.St + i * 16 + 10, 0, true);
    if (this.upper) for (let i = 0; i < this.upper.byteLength; i += 4) this.upper.setUint32(i, random.u32(), true);
    const precision = random.chance(70) ? 3 : random.pick([0, 2, 2, 2]);
    const masks = random.chance(unmaskedPercent) ? random.below(64) : 0x3f;
    const rounding = random.chance(50) ? 0 : random.below(4);
    view.setUint16(Fx.Control, masks | 0x40 | (precision << 8) | (rounding << 10), true);
    view.setUint16(Fx.Status, this.#status(masks), true);
    view.setUint8(Fx.Tags, random.chance(70) ? 0xff : random.u32() & 0xff);
    view.setUint32(Fx.Mxcsr, this.#mxcsr(unmaskedPercent), true);
  }

  /** Condition codes and TOP; seldom exceptions of before, with ES and B as the masks have it. */
  #status(masks: number): number {
    const { random } = this;
    const codes = random.u32() & 0x7f00;
    if (!random.chance(6)) return codes;
    const flags = random.below(64);
    const pending = (flags & ~masks) !== 0;
    const stackFault = flags & 1 ? random.u32() & 0x40 : 0;
    return codes | flags | stackFault | (pending ? 0x8080 : 0);
  }

  #mxcsr(unmaskedPercent: number): number {
    const { random } = this;
    const masks = random.chance(unmaskedPercent) ? random.below(64) : 0x3f;
    const rounding = random.chance(50) ? 0 : random.below(4);
    const daz = random.chance(12) ? 0x40 : 0;
    const flush = random.chance(12) ? 0x8000 : 0;
    const flags = random.chance(10) ? random.below(64) : 0;
    return flags | daz | (masks << 7) | (rounding << 13) | flush;
  }

  randomizeWindows(): void {
    for (let i = Fields.Windows; i < Fields.Windows + Window1.size + Window2.size; i += 4) {
      this.view.setUint32(i, this.random.u32(), true);
    }
  }

  fillXmm(index: number, type: ValueType): void {
    fill(this.random, this.view, Fx.Xmm + index * 16, 16, type);
    if (this.upper) fill(this.random, this.upper, index * 16, 16, type);
  }

  /** An element of a vector register, by its first byte. */
  setVectorElement(register: number, at: number, bytes: 4 | 8, value: bigint): void {
    const [view, offset] = at < 16 ? [this.view, Fx.Xmm] : [this.upper, -16];
    if (bytes === 4) view?.setInt32(offset + register * 16 + at, Number(BigInt.asIntN(32, value)), true);
    else view?.setBigInt64(offset + register * 16 + at, BigInt.asIntN(64, value), true);
  }

  fillMmx(index: number, type: ValueType): void {
    fill(this.random, this.view, Fx.St + ((index - this.top) & 7) * 16, 8, type);
  }

  fillX87(): void {
    for (let i = 0; i < 8; i++) writeFloat80(this.random, this.view, Fx.St + i * 16);
  }

  get top(): number {
    return (this.view.getUint16(Fx.Status, true) >> 11) & 7;
  }

  setGpr(index: number, value: bigint | number): void {
    this.gpr[index] = BigInt.asUintN(64, BigInt(value));
  }

  /** Replaces the low `bits` bits only. */
  setGprLow(index: number, bits: number, value: bigint | number): void {
    const keep = ((this.gpr[index] ?? 0n) >> BigInt(bits)) << BigInt(bits);
    this.gpr[index] = keep | BigInt.asUintN(bits, BigInt(value));
  }

  /** Fills memory of a window with values of a type; what lies outside of windows is left out. */
  fillMemory(address: bigint, size: number, type: ValueType): void {
    const scratch = new DataView(new ArrayBuffer(size));
    fill(this.random, scratch, 0, size, type);
    this.poke(address, new Uint8Array(scratch.buffer));
  }

  poke(address: bigint, bytes: Uint8Array | readonly number[]): void {
    for (let i = 0; i < bytes.length; i++) {
      const offset = recordOffset(address + BigInt(i));
      if (offset !== undefined) this.view.setUint8(offset, bytes[i] ?? 0);
    }
  }

  pokeValue(address: bigint, size: number, value: bigint | number): void {
    const bits = BigInt.asUintN(64, BigInt(value));
    this.poke(
      address,
      Array.from({ length: size }, (_, i) => (i < 8 ? Number((bits >> BigInt(8 * i)) & 0xffn) : 0)),
    );
  }

  /** The integer at an address; zeros outside of windows. */
  peekValue(address: bigint, size: number): bigint {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) {
      const offset = recordOffset(address + BigInt(i));
      value = (value << 8n) | BigInt(offset === undefined ? 0 : this.view.getUint8(offset));
    }
    return value;
  }

  /** Writes registers and flags to the record. */
  finish(): void {
    this.gpr.forEach((value, index) => this.view.setBigUint64(Fields.Gpr + index * 8, value, true));
    this.view.setBigUint64(Fields.Rflags, BigInt(this.rflags), true);
  }
}

/** A place for memory operands. */
export interface Place {
  readonly address: bigint;
  /** The whole operand is writable memory of ring 3. */
  readonly plain: boolean;
}

/**
 * Picks where an operand of `size` bytes lies. `reach`: bytes before and behind it that the instruction may touch too.
 * `high`: at the second mapping. With `faults`, one in about fourteen is a place that faults.
 */
export function pickPlace(
  random: Random,
  options: { size: number; align: number; reach?: number; high: boolean; faults: boolean },
): Place {
  const { size, align } = options;
  const reach = options.reach ?? 0;
  const alias = options.high ? HighAlias : 0n;
  const at = (low: number, plain: boolean): Place => ({ address: alias + BigInt(low), plain });
  const aligned = (low: number) => low - (low % align);
  if (options.faults && random.chance(7)) {
    switch (random.below(6)) {
      case 0:
        return at(Low.Hole - random.between(1, Math.max(1, size - 1)), false);
      case 1:
        return at(aligned(Low.Hole + random.below(0x800)), false);
      case 2:
        return at(aligned(Low.ReadOnly + random.below(0x800)), false);
      case 3:
        return at(aligned(Low.Supervisor + random.below(0x800)), false);
      case 4:
        return at(Low.Hole - size, true);
      default:
        return options.high
          ? { address: (1n << 47n) + BigInt(random.between(1 - size, 8)), plain: false }
          : at(aligned(Low.Hole + 0x800), false);
    }
  }
  const border = Window1.start + Window1.size / 2;
  if (size > 1 && size <= Window1.size / 4 && random.chance(12)) return at(border - random.between(1, size - 1), true);
  const low = random.between(Window1.start + reach, Window1.start + Window1.size - size - reach);
  return at(random.chance(align > 1 ? 96 : 40) ? Math.max(aligned(low), Window1.start) : low, true);
}
