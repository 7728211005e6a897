/**
 * The transcendental instructions, in JavaScript (SDM Vol. 1 §8.3.7 "Trigonometric Instructions", §8.3.9 "Logarithmic,
 * Exponential, and Scale", §8.3.10 "Transcendental Instruction Accuracy").
 *
 * Results are the exact value rounded once, by the rounding control. Silicon is off by up to one unit in the last place
 * (and sometimes does not honour the rounding control): equality of the last bit is not claimed for these.
 */
import { Cpu, HandlerResult, x87Offset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import {
  type Big,
  Pi,
  addBig,
  arcTangent,
  bitLength,
  exp2m1,
  log2,
  log2OnePlus,
  multiplyBig,
  sineCosine,
} from './x87-elementary.ts';

import { BeforeResult, Control, Ext, StackOverflow, StackUnderflow, Status } from './x87-state.ts';

/** What rare instructions need of the vCPU: its state block in the shared memory. */
export interface X87Cpu {
  readonly view: DataView;
  /** Offset of the state block. */
  readonly at: number;
}

/** An 80-bit value in parts. */
interface Value {
  readonly sign: 0 | 1;
  readonly exponent: number;
  readonly significand: bigint;
}

interface Result {
  readonly value: Value;
  readonly flags: number;
}

const Indefinite: Value = { sign: 1, exponent: Ext.MaxExponent, significand: Ext.IndefiniteSignificand };
const zero = (sign: 0 | 1): Value => ({ sign, exponent: 0, significand: 0n });
const infinity = (sign: 0 | 1): Value => ({ sign, exponent: Ext.MaxExponent, significand: Ext.IntegerBit });
const One: Value = { sign: 0, exponent: Ext.Bias, significand: Ext.IntegerBit };
const exactly = (value: Value, flags = 0): Result => ({ value, flags });

const isZero = (v: Value): boolean => v.exponent === 0 && v.significand === 0n;
const isNan = (v: Value): boolean => v.exponent === Ext.MaxExponent && BigInt.asUintN(63, v.significand) !== 0n;
const isInfinity = (v: Value): boolean => v.exponent === Ext.MaxExponent && v.significand === Ext.IntegerBit;
const isUnsupported = (v: Value): boolean => v.exponent !== 0 && v.significand < Ext.IntegerBit;
const isDenormal = (v: Value): boolean => v.exponent === 0 && v.significand !== 0n;
const isSignaling = (v: Value): boolean => isNan(v) && (v.significand & Ext.QuietBit) === 0n;

/** A finite value. */
function toBig({ sign, exponent, significand }: Value): Big {
  return { mantissa: sign ? -significand : significand, exponent: Math.max(exponent, 1) - Ext.Bias - 63 };
}

/** What the exponent of a result moves by on an unmasked overflow or underflow. */
const Adjustment = 24576;

/** Rounds `big` (never zero), of which bits below the last were cut off when `inexact`. */
function rounded(big: Big, control: number, inexact = true): Result {
  const sign = big.mantissa < 0n ? 1 : 0;
  let magnitude = sign ? -big.mantissa : big.mantissa;
  // 128 bits, the lowest one sticky.
  const excess = bitLength(magnitude) - 128;
  let sticky = inexact ? 1n : 0n;
  if (excess > 0) {
    if (BigInt.asUintN(excess, magnitude) !== 0n) sticky = 1n;
    magnitude >>= BigInt(excess);
  } else magnitude <<= BigInt(-excess);
  magnitude |= sticky;
  const exponent = big.exponent + excess + 127 + Ext.Bias;
  if (exponent >= 1) return pack(sign, exponent, magnitude, control);
  // Tiny is judged after rounding with an unbounded exponent
  const { value, flags: found } = pack(sign, exponent + Adjustment, magnitude, control);
  if (value.exponent > Adjustment) return { value: { ...value, exponent: value.exponent - Adjustment }, flags: found };
  if ((control & Status.Underflow) === 0) return { value, flags: found | Status.Underflow };
  const shift = BigInt(1 - exponent);
  const lost = BigInt.asUintN(Number(shift), magnitude) !== 0n ? 1n : 0n;
  const result = pack(sign, 0, (magnitude >> shift) | lost, control);
  const flags = result.flags & Status.Precision ? result.flags | Status.Underflow : result.flags;
  return { value: result.value, flags };
}

/** The upper half of 128 bits, rounded; an exponent of 0 becomes 1 when bit 127 is reached. */
function pack(sign: 0 | 1, exponent: number, magnitude: bigint, control: number): Result {
  let significand = magnitude >> 64n;
  const rest = BigInt.asUintN(64, magnitude);
  const mode = control & Control.Rounding;
  const nearest = rest > Ext.IntegerBit || (rest === Ext.IntegerBit && (significand & 1n) === 1n);
  const directed = rest !== 0n && mode === (sign ? Control.RoundDown : Control.RoundUp);
  const up = mode === 0 ? nearest : directed;
  if (up) significand++;
  let finalExponent = exponent;
  if (significand >> 64n) {
    significand >>= 1n;
    finalExponent++;
  }
  if (finalExponent === 0 && significand >= Ext.IntegerBit) finalExponent = 1;
  const flags = (rest ? Status.Precision : 0) | (up ? Status.C1 : 0);
  if (finalExponent < Ext.MaxExponent) return { value: { sign, exponent: finalExponent, significand }, flags };
  return overflowed({ sign, exponent: finalExponent, significand }, flags, control);
}

function overflowed(value: Value, flags: number, control: number): Result {
  if ((control & Status.Overflow) === 0) {
    return { value: { ...value, exponent: value.exponent - Adjustment }, flags: flags | Status.Overflow };
  }
  const mode = control & Control.Rounding;
  const finite = mode === Control.RoundToZero || mode === (value.sign ? Control.RoundUp : Control.RoundDown);
  if (finite) {
    const largest = { sign: value.sign, exponent: Ext.MaxExponent - 1, significand: (1n << 64n) - 1n };
    return { value: largest, flags: Status.Overflow | Status.Precision };
  }
  return { value: infinity(value.sign), flags: Status.Overflow | Status.Precision | Status.C1 };
}

/** The x87 state during one instruction. */
class Stack {
  readonly #cpu: X87Cpu;
  constructor(cpu: X87Cpu) {
    this.#cpu = cpu;
  }
  get control(): number {
    return this.#get(Cpu.FpuControl);
  }
  get top(): number {
    return this.#get(Cpu.FpuTop);
  }
  valid(index: number): boolean {
    return ((this.#get(Cpu.FpuTags) >>> ((this.top + index) & 7)) & 1) !== 0;
  }
  read(index: number): Value {
    const at = this.#register(index);
    const signExponent = this.#cpu.view.getUint16(at + Ext.SignExponent, true);
    const significand = this.#cpu.view.getBigUint64(at + Ext.Significand, true);
    return { sign: signExponent >>> 15 ? 1 : 0, exponent: signExponent & Ext.MaxExponent, significand };
  }
  write(index: number, { sign, exponent, significand }: Value): void {
    const at = this.#register(index);
    this.#cpu.view.setBigUint64(at + Ext.Significand, significand, true);
    this.#cpu.view.setUint16(at + Ext.SignExponent, (sign << 15) | exponent, true);
    this.#set(Cpu.FpuTags, this.#get(Cpu.FpuTags) | (1 << ((this.top + index) & 7)));
  }
  pop(): void {
    this.#set(Cpu.FpuTags, this.#get(Cpu.FpuTags) & ~(1 << this.top));
    this.#set(Cpu.FpuTop, (this.top + 1) & 7);
  }
  push(value: Value): void {
    this.#set(Cpu.FpuTop, (this.top - 1) & 7);
    this.write(0, value);
  }
  /** Adds exceptions to the status word, C1 and C2 being replaced; answers the unmasked ones of `flags`. */
  raise(flags: number, conditions: number = Status.C1): number {
    let status = (this.#get(Cpu.FpuStatus) & ~conditions) | flags;
    if (status & ~this.control & Status.Exceptions) status |= Status.ErrorSummary | Status.Busy;
    this.#set(Cpu.FpuStatus, status);
    return flags & ~this.control & Status.Exceptions;
  }
  #register(index: number): number {
    return this.#cpu.at + x87Offset((this.top + index) & 7);
  }
  #get(offset: number): number {
    return this.#cpu.view.getUint32(this.#cpu.at + offset, true);
  }
  #set(offset: number, value: number): void {
    this.#cpu.view.setUint32(this.#cpu.at + offset, value, true);
  }
}

/** The result that NaNs and unsupported operands give, if any is there (x87-operands.ts has the rules). */
function nanResult(a: Value, b?: Value): Result | undefined {
  const operands = b ? [a, b] : [a];
  if (operands.some(isUnsupported)) return exactly(Indefinite, Status.Invalid);
  const nans = operands.filter(isNan);
  if (nans.length === 0) return undefined;
  const flags = nans.some(isSignaling) ? Status.Invalid : 0;
  let chosen = nans[0]!;
  const other = nans[1];
  if (other) {
    const same = chosen.significand === other.significand;
    const prefer = same ? other.sign < chosen.sign : other.significand > chosen.significand;
    const mixed = isSignaling(chosen) !== isSignaling(other);
    if (mixed ? isSignaling(chosen) : prefer) chosen = other;
  }
  return exactly({ ...chosen, significand: chosen.significand | Ext.QuietBit }, flags);
}

function denormalFlag(...operands: readonly Value[]): number {
  return operands.some(isDenormal) ? Status.Denormal : 0;
}

/** Runs a function of ST(0) (and ST(1)) that leaves its result in place. */
function unary(cpu: X87Cpu, evaluate: (a: Value, control: number) => Result | 'out-of-range', clears = 0): number {
  const stack = new Stack(cpu);
  stack.raise(0, clears);
  if (!stack.valid(0)) {
    if (!stack.raise(StackUnderflow)) stack.write(0, Indefinite);
    return HandlerResult.Next;
  }
  const a = stack.read(0);
  const result = withDenormal(stack, denormalFlag(a), nanResult(a), () => evaluate(a, stack.control));
  if (result === 'out-of-range') stack.raise(Status.C2, Status.C1 | Status.C2);
  else if (result && !(stack.raise(result.flags) & BeforeResult)) stack.write(0, result.value);
  return HandlerResult.Next;
}

/** Runs a function of ST(1) and ST(0) whose result replaces ST(1), and pops. */
function binary(cpu: X87Cpu, evaluate: (top: Value, below: Value, control: number) => Result): number {
  const stack = new Stack(cpu);
  if (!stack.valid(0) || !stack.valid(1)) {
    if (stack.raise(StackUnderflow)) return HandlerResult.Next;
    stack.write(1, Indefinite);
    stack.pop();
    return HandlerResult.Next;
  }
  const [top, below] = [stack.read(0), stack.read(1)];
  const evaluated = (): Result => evaluate(top, below, stack.control);
  const result = withDenormal(stack, denormalFlag(top, below), nanResult(top, below), evaluated);
  if (!result) return HandlerResult.Next;
  if (stack.raise(result.flags) & BeforeResult) return HandlerResult.Next;
  stack.write(1, result.value);
  stack.pop();
  return HandlerResult.Next;
}

/** NaNs come first, then invalid operands and #Z (in `evaluate`), then #D: unmasked it stops the instruction. */
function withDenormal<R extends Result | 'out-of-range'>(
  stack: Stack,
  denormal: number,
  nan: Result | undefined,
  evaluate: () => R,
): R | Result | undefined {
  if (nan) return nan;
  const result = evaluate();
  if (!denormal || result === 'out-of-range') return result;
  if (result.flags & (Status.Invalid | Status.ZeroDivide)) return result;
  if (!(stack.control & Status.Denormal)) {
    stack.raise(denormal);
    return undefined;
  }
  return { value: result.value, flags: result.flags | denormal };
}

/** 2^ST(0) - 1; outside of -1 to 1 the result is undefined (here: the operand). */
function f2xm1(a: Value, control: number): Result {
  if (isZero(a)) return exactly(a);
  if (isInfinity(a)) return exactly(a.sign ? { ...One, sign: 1 } : a);
  if (a.exponent >= Ext.Bias) {
    if (a.exponent > Ext.Bias || a.significand !== Ext.IntegerBit) return exactly(a, Status.Precision);
    const result: Value = a.sign ? { sign: 1, exponent: Ext.Bias - 1, significand: Ext.IntegerBit } : a;
    return exactly(result, Status.Precision);
  }
  return rounded(exp2m1(toBig(a)), control);
}

/** y * log2(x), x in ST(0). */
function fyl2x(x: Value, y: Value, control: number): Result {
  const sign = (x.sign ^ y.sign) as 0 | 1;
  if (isZero(x)) {
    if (isZero(y)) return exactly(Indefinite, Status.Invalid);
    if (isInfinity(y)) return exactly(infinity(y.sign ? 0 : 1));
    return exactly(infinity(y.sign ? 0 : 1), Status.ZeroDivide);
  }
  if (x.sign) return exactly(Indefinite, Status.Invalid);
  const isOne = x.exponent === Ext.Bias && x.significand === Ext.IntegerBit;
  if (isInfinity(x)) return isZero(y) ? exactly(Indefinite, Status.Invalid) : exactly(infinity(y.sign));
  const below = x.exponent < Ext.Bias;
  if (isInfinity(y))
    return isOne ? exactly(Indefinite, Status.Invalid) : exactly(infinity(below ? (y.sign ? 0 : 1) : y.sign));
  if (isZero(y) || isOne) return exactly(zero(below ? (sign ? 0 : 1) : sign));
  return product(y, log2(toBig(x)), BigInt.asUintN(63, x.significand) === 0n, control);
}

/** #P is raised for exact logarithms too, as on silicon. */
function product(y: Value, logarithm: Big, exact: boolean, control: number): Result {
  const { value, flags } = rounded(multiplyBig(toBig(y), logarithm), control, !exact);
  return { value, flags: flags | Status.Precision };
}

/** y * log2(x + 1), x in ST(0) above -1 (documented for |x| < 1 - sqrt(1/2)). */
function fyl2xp1(x: Value, y: Value, control: number): Result {
  const sign = (x.sign ^ y.sign) as 0 | 1;
  if (isInfinity(x)) {
    return x.sign || isZero(y) ? exactly(Indefinite, Status.Invalid) : exactly(infinity(y.sign));
  }
  if (isInfinity(y)) return isZero(x) ? exactly(Indefinite, Status.Invalid) : exactly(infinity(sign));
  if (isZero(x) || isZero(y)) return exactly(zero(sign));
  if (x.sign && x.exponent >= Ext.Bias) return exactly(x, Status.Precision);
  const big = toBig(x);
  const large = x.exponent >= Ext.Bias - 1;
  const sum = addBig(big, { mantissa: 1n, exponent: 0 });
  const exact = (sum.mantissa & (sum.mantissa - 1n)) === 0n;
  return product(y, large ? log2(sum) : log2OnePlus(big), exact, control);
}

/** The angle of (ST(0), ST(1)). */
function fpatan(x: Value, y: Value, control: number): Result {
  const signed = (value: Big): Big => (y.sign ? { ...value, mantissa: -value.mantissa } : value);
  const fraction = (numerator: bigint, exponent: number): Result =>
    rounded(signed({ mantissa: Pi.mantissa * numerator, exponent: Pi.exponent + exponent }), control);
  if (isInfinity(y)) {
    if (!isInfinity(x)) return fraction(1n, -1);
    return x.sign ? fraction(3n, -2) : fraction(1n, -2);
  }
  if (isZero(y) || isInfinity(x)) return x.sign ? fraction(1n, 0) : exactly(zero(y.sign));
  if (isZero(x)) return fraction(1n, -1);
  const big = toBig(y);
  return rounded(signed(arcTangent(big.mantissa < 0n ? { ...big, mantissa: -big.mantissa } : big, toBig(x))), control);
}

/** Arguments of the trigonometric functions: below 2^63 in magnitude. */
const inRange = (a: Value): boolean => a.exponent < Ext.Bias + 63;

function fsin(a: Value, control: number): Result | 'out-of-range' {
  if (isInfinity(a)) return exactly(Indefinite, Status.Invalid);
  if (!inRange(a)) return 'out-of-range';
  return isZero(a) ? exactly(a) : rounded(sineCosine(toBig(a)).sine, control);
}

function fcos(a: Value, control: number): Result | 'out-of-range' {
  if (isInfinity(a)) return exactly(Indefinite, Status.Invalid);
  if (!inRange(a)) return 'out-of-range';
  return isZero(a) ? exactly(One) : rounded(sineCosine(toBig(a)).cosine, control);
}

interface Pair {
  /** Replaces ST(0). */
  readonly first: Result;
  /** Is pushed. */
  readonly second: Result;
}

function fsincos(a: Value, control: number): Pair {
  if (isZero(a)) return { first: exactly(a), second: exactly(One) };
  const { sine, cosine } = sineCosine(toBig(a));
  return { first: rounded(sine, control), second: rounded(cosine, control) };
}

function fptan(a: Value, control: number): Pair {
  if (isZero(a)) return { first: exactly(a), second: exactly(One) };
  return { first: rounded(sineCosine(toBig(a)).tangent, control), second: exactly(One) };
}

/** FSINCOS and FPTAN: two results, of which one is pushed. */
function pushing(cpu: X87Cpu, evaluate: (a: Value, control: number) => Pair): number {
  const stack = new Stack(cpu);
  stack.raise(0, Status.C2);
  const fault = !stack.valid(0) ? StackUnderflow : stack.valid(7) ? StackOverflow : 0;
  const both = (value: Value): void => {
    stack.write(0, value);
    stack.push(value);
  };
  if (fault) {
    if (!stack.raise(fault)) both(Indefinite);
    return HandlerResult.Next;
  }
  const a = stack.read(0);
  const special = nanResult(a) ?? (isInfinity(a) ? exactly(Indefinite, Status.Invalid) : undefined);
  if (special) {
    if (!(stack.raise(special.flags) & BeforeResult)) both(special.value);
    return HandlerResult.Next;
  }
  if (!inRange(a)) {
    stack.raise(Status.C2, Status.C1 | Status.C2);
    return HandlerResult.Next;
  }
  const denormal = denormalFlag(a);
  if (denormal & ~stack.control) {
    stack.raise(denormal);
    return HandlerResult.Next;
  }
  const { first, second } = evaluate(a, stack.control);
  // C1 tells of the first result alone.
  stack.raise(denormal | first.flags | (second.flags & ~Status.C1));
  stack.write(0, first.value);
  stack.push(second.value);
  return HandlerResult.Next;
}

/** By the names that semantics call them. */
export const x87Rare: Readonly<Record<string, (cpu: X87Cpu) => number>> = {
  'x87.F2XM1': (cpu) => unary(cpu, f2xm1),
  'x87.FSIN': (cpu) => unary(cpu, fsin, Status.C2),
  'x87.FCOS': (cpu) => unary(cpu, fcos, Status.C2),
  'x87.FYL2X': (cpu) => binary(cpu, fyl2x),
  'x87.FYL2XP1': (cpu) => binary(cpu, fyl2xp1),
  'x87.FPATAN': (cpu) => binary(cpu, fpatan),
  'x87.FSINCOS': (cpu) => pushing(cpu, fsincos),
  'x87.FPTAN': (cpu) => pushing(cpu, fptan),
};
