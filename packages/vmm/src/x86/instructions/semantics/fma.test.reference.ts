/** Floating-point operations in integers of any size: what fma.test.ts compares with. IEEE 754 as MXCSR has it. */

export interface Format {
  readonly bits: 16 | 32 | 64;
  readonly fractionBits: number;
  readonly exponentBits: number;
  readonly bias: number;
  readonly maxExponent: number;
}

const format = (bits: 16 | 32 | 64, fractionBits: number): Format => {
  const exponentBits = bits - 1 - fractionBits;
  return { bits, fractionBits, exponentBits, bias: 2 ** (exponentBits - 1) - 1, maxExponent: 2 ** exponentBits - 1 };
};
export const Half = format(16, 10);
export const Single = format(32, 23);
export const Double = format(64, 52);

/** MXCSR's flags. */
const Flag = { Invalid: 1, Denormal: 2, Overflow: 8, Underflow: 16, Precision: 32 } as const;

export interface Mode {
  /** 0 nearest, 1 down, 2 up, 3 to zero. */
  readonly rounding: number;
  readonly daz: boolean;
  readonly ftz: boolean;
}

export interface Reference {
  readonly bits: bigint;
  readonly flags: number;
}

interface Parts {
  readonly negative: boolean;
  readonly kind: 'zero' | 'denormal' | 'normal' | 'infinite' | 'nan';
  /** |value| is `significand` times 2 to the power of `exponent`. */
  readonly significand: bigint;
  readonly exponent: number;
}

function partsOf(x: bigint, { bits, fractionBits, bias, maxExponent }: Format): Parts {
  const fraction = x & ((1n << BigInt(fractionBits)) - 1n);
  const field = Number((x >> BigInt(fractionBits)) & BigInt(maxExponent));
  const negative = x >> BigInt(bits - 1) === 1n;
  if (field === maxExponent)
    return { negative, kind: fraction ? 'nan' : 'infinite', significand: fraction, exponent: 0 };
  const kind = field > 0 ? 'normal' : fraction ? 'denormal' : 'zero';
  const significand = field > 0 ? fraction | (1n << BigInt(fractionBits)) : fraction;
  return { negative, kind, significand, exponent: Math.max(field, 1) - bias - fractionBits };
}

const signBit = (negative: boolean, { bits }: Format): bigint => (negative ? 1n << BigInt(bits - 1) : 0n);
const infinity = ({ maxExponent, fractionBits }: Format): bigint => BigInt(maxExponent) << BigInt(fractionBits);
const quietBit = ({ fractionBits }: Format): bigint => 1n << BigInt(fractionBits - 1);
const lengthOf = (value: bigint): number => value.toString(2).length;

/** `significand` * 2^`exponent` with `digits` binary digits, or fewer where its exponent would be below `least`. */
function rounded(
  negative: boolean,
  significand: bigint,
  exponent: number,
  digits: number,
  least: number,
  rounding: number,
): { significand: bigint; exponent: number; exact: boolean } {
  const shift = Math.max(lengthOf(significand) - digits, least - exponent);
  if (shift <= 0) return { significand, exponent, exact: true };
  const kept = significand >> BigInt(shift);
  const rest = significand - (kept << BigInt(shift));
  const half = 1n << BigInt(shift - 1);
  const away =
    rounding === 0
      ? rest > half || (rest === half && (kept & 1n) === 1n)
      : rounding === (negative ? 1 : 2) && rest > 0n;
  return { significand: away ? kept + 1n : kept, exponent: exponent + shift, exact: rest === 0n };
}

/** Rounds and packs a number other than zero. */
function pack(negative: boolean, significand: bigint, exponent: number, to: Format, mode: Mode): Reference {
  const digits = to.fractionBits + 1;
  const least = 1 - to.bias - to.fractionBits;
  const sign = signBit(negative, to);
  const free = rounded(negative, significand, exponent, digits, -Infinity, mode.rounding);
  const magnitude = free.exponent + lengthOf(free.significand) - 1;
  if (magnitude > to.bias) {
    const infinite = mode.rounding === 0 || mode.rounding === (negative ? 1 : 2);
    return { bits: sign | (infinity(to) - (infinite ? 0n : 1n)), flags: Flag.Overflow | Flag.Precision };
  }
  const tiny = magnitude < 1 - to.bias;
  if (tiny && mode.ftz) return { bits: sign, flags: Flag.Underflow | Flag.Precision };
  const result = rounded(negative, significand, exponent, digits, least, mode.rounding);
  const flags = result.exact ? 0 : Flag.Precision | (tiny ? Flag.Underflow : 0);
  if (result.significand === 0n) return { bits: sign, flags };
  // In units of the last place of the result
  const up = BigInt(Math.max(0, digits - lengthOf(result.significand)));
  const aligned =
    result.exponent - Number(up) >= least
      ? result.significand << up
      : result.significand << BigInt(result.exponent - least);
  const place = Math.max(result.exponent - Number(up), least);
  const field = BigInt(place - least) + (aligned >> BigInt(to.fractionBits) ? 1n : 0n);
  const carried = aligned >> BigInt(digits) ? 1n : 0n;
  const fraction = (carried ? aligned >> 1n : aligned) & ((1n << BigInt(to.fractionBits)) - 1n);
  return { bits: sign | ((field + carried) << BigInt(to.fractionBits)) | fraction, flags };
}

function flushed(x: bigint, of: Format, { daz }: Mode): bigint {
  return daz && partsOf(x, of).kind === 'denormal' ? signBit(partsOf(x, of).negative, of) : x;
}

/** The first NaN, made quiet. */
function nanOf(values: readonly bigint[], of: Format): Reference | undefined {
  const nans = values.filter((x) => partsOf(x, of).kind === 'nan');
  if (nans.length === 0) return undefined;
  const signalling = nans.some((x) => (x & quietBit(of)) === 0n);
  return { bits: nans[0]! | quietBit(of), flags: signalling ? Flag.Invalid : 0 };
}

/** a * b + c. */
export function fusedReference(of: Format, given: readonly [bigint, bigint, bigint], mode: Mode): Reference {
  const values = given.map((x) => flushed(x, of, mode));
  const nan = nanOf(values, of);
  if (nan) return nan;
  const [a, b, c] = values.map((x) => partsOf(x, of)) as [Parts, Parts, Parts];
  const productNegative = a.negative !== b.negative;
  const infinite = a.kind === 'infinite' || b.kind === 'infinite';
  const invalid =
    (infinite && (a.kind === 'zero' || b.kind === 'zero')) ||
    (infinite && c.kind === 'infinite' && productNegative !== c.negative);
  if (invalid) return { bits: signBit(true, of) | infinity(of) | quietBit(of), flags: Flag.Invalid };
  const denormal = [a, b, c].some(({ kind }) => kind === 'denormal') ? Flag.Denormal : 0;
  if (infinite) return { bits: signBit(productNegative, of) | infinity(of), flags: denormal };
  if (c.kind === 'infinite') return { bits: signBit(c.negative, of) | infinity(of), flags: denormal };
  const productExponent = a.exponent + b.exponent;
  const exponent = Math.min(productExponent, c.exponent);
  const signed = (negative: boolean, value: bigint): bigint => (negative ? -value : value);
  const product = signed(productNegative, (a.significand * b.significand) << BigInt(productExponent - exponent));
  const sum = product + signed(c.negative, c.significand << BigInt(c.exponent - exponent));
  if (sum === 0n) {
    const exactZero = a.significand * b.significand === 0n && c.significand === 0n;
    const negative = exactZero && productNegative === c.negative ? c.negative : mode.rounding === 1;
    return { bits: signBit(negative, of), flags: denormal };
  }
  const { bits, flags } = pack(sum < 0n, sum < 0n ? -sum : sum, exponent, of, mode);
  return { bits, flags: flags | denormal };
}

/** A single as a half. FTZ does not apply. */
export function halfOf(given: bigint, mode: Mode): Reference {
  const x = flushed(given, Single, mode);
  const { negative, kind, significand, exponent } = partsOf(x, Single);
  const sign = signBit(negative, Half);
  if (kind === 'nan') {
    const { flags } = nanOf([x], Single)!;
    return { bits: sign | infinity(Half) | quietBit(Half) | (significand >> 13n), flags };
  }
  if (kind === 'infinite') return { bits: sign | infinity(Half), flags: 0 };
  if (kind === 'zero') return { bits: sign, flags: 0 };
  const { bits, flags } = pack(negative, significand, exponent, Half, { ...mode, ftz: false });
  return { bits, flags: flags | (kind === 'denormal' ? Flag.Denormal : 0) };
}

/** A half as a single: exact, and denormals raise nothing. */
export function widened(x: bigint): Reference {
  const { negative, kind, significand, exponent } = partsOf(x, Half);
  const sign = signBit(negative, Single);
  if (kind === 'nan') {
    return { bits: sign | infinity(Single) | quietBit(Single) | (significand << 13n), flags: nanOf([x], Half)!.flags };
  }
  if (kind === 'infinite') return { bits: sign | infinity(Single), flags: 0 };
  if (kind === 'zero') return { bits: sign, flags: 0 };
  return pack(negative, significand, exponent, Single, { rounding: 0, daz: false, ftz: false });
}
