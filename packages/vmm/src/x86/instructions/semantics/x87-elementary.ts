/**
 * Elementary functions to about 100 bits more than the 80-bit format holds, in big integers.
 *
 * Numbers are fixed-point with {@link Bits} fraction bits, or floating ({@link Big}) where small results must keep their
 * relative precision. Sine, cosine and tangent reduce by the 66-bit pi of the processors (SDM Vol. 1 §8.3.8
 * "Approximation of Pi"), so that large arguments give the same periods as on silicon.
 */

/** Fraction bits of the fixed-point numbers. */
export const Bits = 192;
const bits = BigInt(Bits);
const one = 1n << bits;

/** mantissa * 2^exponent, mantissa signed. */
export interface Big {
  readonly mantissa: bigint;
  readonly exponent: number;
}

const zero: Big = { mantissa: 0n, exponent: 0 };

export function multiplyBig(a: Big, b: Big): Big {
  return { mantissa: a.mantissa * b.mantissa, exponent: a.exponent + b.exponent };
}

/** The quotient to at least {@link Bits} bits, the last one sticky. */
export function divideBig(a: Big, b: Big): Big {
  const shift = BigInt(Math.max(0, Bits + bitLength(b.mantissa) - bitLength(a.mantissa)));
  const numerator = a.mantissa << shift;
  const quotient = numerator / b.mantissa;
  const rest = quotient * b.mantissa === numerator ? 0n : quotient < 0n ? -1n : 1n;
  return { mantissa: 2n * quotient + rest, exponent: a.exponent - b.exponent - Number(shift) - 1 };
}

/** A value that is larger (1) or smaller (-1) in magnitude than `a` by less than any bit that counts. */
function withTrace(a: Big, direction: 1n | -1n): Big {
  const magnitude = a.mantissa < 0n ? -direction : direction;
  return { mantissa: (a.mantissa << 200n) + magnitude, exponent: a.exponent - 200 };
}

/** Arguments below this power of two differ from their sine, tangent and arc tangent by a trace. */
const TraceExponent = -90;
const isTiny = (a: Big): boolean => bitLength(a.mantissa) + a.exponent < TraceExponent;

export function bitLength(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  return magnitude === 0n
    ? 0
    : magnitude.toString(16).length * 4 - Math.clz32(parseInt(magnitude.toString(16)[0]!, 16)) + 28;
}

/** Fixed-point value of `a`, truncated. */
function toFixed(a: Big): bigint {
  const shift = a.exponent + Bits;
  return shift >= 0 ? a.mantissa << BigInt(shift) : a.mantissa >> BigInt(-shift);
}

function fromFixed(mantissa: bigint): Big {
  return { mantissa, exponent: -Bits };
}

const multiply = (a: bigint, b: bigint): bigint => (a * b) >> bits;

/** atanh(1 / n) or, alternating, atan(1 / n). */
function arcOfInverse(n: bigint, alternating: boolean): bigint {
  let power = one / n;
  let sum = power;
  const square = n * n;
  for (let k = 3n, sign = -1n; power !== 0n; k += 2n, sign = -sign) {
    power /= square;
    sum += (alternating ? sign : 1n) * (power / k);
  }
  return sum;
}

/** ln 2 = 18 atanh(1/26) - 2 atanh(1/4801) + 8 atanh(1/8749) */
const ln2 = 18n * arcOfInverse(26n, false) - 2n * arcOfInverse(4801n, false) + 8n * arcOfInverse(8749n, false);
/** Machin: pi / 4 = 4 atan(1/5) - atan(1/239) */
const pi = 4n * (4n * arcOfInverse(5n, true) - arcOfInverse(239n, true));

export const Ln2: Big = fromFixed(ln2);
export const Pi: Big = fromFixed(pi);
/** Half of the processors' pi. */
const HalfPi66: Big = { mantissa: 0x3243f6a8885a308d3n, exponent: -65 };

/** (e^x - 1) / x for |x| < 1. */
function expm1Ratio(x: bigint): bigint {
  let term = one;
  let sum = one;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = multiply(term, x) / k;
    sum += term;
  }
  return sum;
}

/** 2^x - 1 for |x| <= 1. */
export function exp2m1(x: Big): Big {
  const scaled = multiplyBig(x, Ln2);
  return multiplyBig(scaled, fromFixed(expm1Ratio(toFixed(scaled))));
}

/** 2 atanh(z) / z for |z| < 1/3. */
function logRatio(z: bigint): bigint {
  const square = multiply(z, z);
  let power = one;
  let sum = one;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = multiply(power, square);
    sum += power / k;
  }
  return 2n * sum;
}

/** log2(1 + x), 1/2 < 1 + x < 2: with z = x / (2 + x), ln(1 + x) = 2 atanh(z). */
export function log2OnePlus(x: Big): Big {
  if (x.mantissa === 0n) return zero;
  // Below 2^-300 the denominator is 2 to every bit that counts.
  const tiny = bitLength(x.mantissa) + x.exponent < -300;
  const denominator = tiny ? { mantissa: 2n, exponent: 0 } : addBig({ mantissa: 2n, exponent: 0 }, x);
  const z = divideBig(x, denominator);
  return divideBig(multiplyBig(z, fromFixed(logRatio(toFixed(z)))), Ln2);
}

/** log2(x), x > 0. */
export function log2(x: Big): Big {
  const length = bitLength(x.mantissa);
  const power = x.exponent + length - 1;
  // 1 <= m < 2, or 1/sqrt(2) < m < sqrt(2) by halving: near one nothing cancels.
  const m: Big = { mantissa: x.mantissa, exponent: 1 - length };
  const large = toFixed(m) > (one * 181n) / 128n;
  const reduced: Big = large ? { ...m, exponent: m.exponent - 1 } : m;
  const fraction = log2OnePlus(addBig(reduced, { mantissa: -1n, exponent: 0 }));
  return addBig(fraction, { mantissa: BigInt(power + (large ? 1 : 0)), exponent: 0 });
}

/** Exact sum. */
export function addBig(a: Big, b: Big): Big {
  const exponent = Math.min(a.exponent, b.exponent);
  const mantissa = (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent));
  return { mantissa, exponent };
}

/** sin(r) / r for |r| < 1. */
function sineRatio(r: bigint): bigint {
  const square = multiply(r, r);
  let term = one;
  let sum = one;
  for (let k = 2n; term !== 0n && term !== -1n; k += 2n) {
    term = -multiply(term, square) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}

function cosine(r: bigint): bigint {
  const square = multiply(r, r);
  let term = one;
  let sum = one;
  for (let k = 1n; term !== 0n && term !== -1n; k += 2n) {
    term = -multiply(term, square) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}

export interface SineCosine {
  readonly sine: Big;
  readonly cosine: Big;
  readonly tangent: Big;
}

/** |x| < 2^63. */
export function sineCosine(x: Big): SineCosine {
  if (isTiny(x)) {
    const cosine = withTrace({ mantissa: 1n, exponent: 0 }, -1n);
    return { sine: withTrace(x, -1n), cosine, tangent: withTrace(x, 1n) };
  }
  const { quotient, rest } = reduce(x);
  const r = toFixed(rest);
  const small = isTiny(rest);
  const sin = small ? withTrace(rest, -1n) : multiplyBig(rest, fromFixed(sineRatio(r)));
  const cos = small ? withTrace({ mantissa: 1n, exponent: 0 }, -1n) : fromFixed(cosine(r));
  const odd = (quotient & 1) !== 0;
  const tangent = odd ? negate(divideBig(cos, sin)) : small ? withTrace(rest, 1n) : divideBig(sin, cos);
  const [sine, cosineValue] = odd ? [cos, negate(sin)] : [sin, cos];
  const half = (quotient & 2) !== 0;
  return { sine: half ? negate(sine) : sine, cosine: half ? negate(cosineValue) : cosineValue, tangent };
}

function negate(value: Big): Big {
  return { ...value, mantissa: -value.mantissa };
}

/** x = quotient * pi/2 + rest, exactly, |rest| <= pi/4. */
function reduce(x: Big): { quotient: number; rest: Big } {
  const exponent = Math.min(x.exponent, HalfPi66.exponent);
  const value = x.mantissa << BigInt(x.exponent - exponent);
  const unit = HalfPi66.mantissa << BigInt(HalfPi66.exponent - exponent);
  let quotient = value / unit;
  let rest = value - quotient * unit;
  if (2n * rest > unit) {
    quotient++;
    rest -= unit;
  } else if (2n * rest < -unit) {
    quotient--;
    rest += unit;
  }
  return { quotient: Number(BigInt.asIntN(32, quotient)), rest: { mantissa: rest, exponent } };
}

/** atan(z) for 0 < z <= 1: halved twice by atan z = 2 atan(z / (1 + sqrt(1 + z²))), then the series. */
function arcTangentUnit(z: Big): Big {
  if (isTiny(z)) return withTrace(z, -1n);
  let ratio = z;
  for (let i = 0; i < 2; i++) {
    const fixed = toFixed(ratio);
    const root = squareRoot((one + multiply(fixed, fixed)) << bits);
    ratio = divideBig(ratio, fromFixed(one + root));
  }
  const square = multiply(toFixed(ratio), toFixed(ratio));
  let power = one;
  let sum = one;
  for (let k = 3n, sign = -1n; power !== 0n; k += 2n, sign = -sign) {
    power = multiply(power, square);
    sum += (sign * power) / k;
  }
  return multiplyBig({ ...ratio, exponent: ratio.exponent + 2 }, fromFixed(sum));
}

function squareRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

/** The angle of the point (x, y), y > 0 and x not zero. */
export function arcTangent(y: Big, x: Big): Big {
  const magnitude: Big = x.mantissa < 0n ? { ...x, mantissa: -x.mantissa } : x;
  const steep = compareBig(y, magnitude) > 0;
  const angle = arcTangentUnit(steep ? divideBig(magnitude, y) : divideBig(y, magnitude));
  const half: Big = { ...Pi, exponent: Pi.exponent - 1 };
  const negative: Big = { ...angle, mantissa: -angle.mantissa };
  if (steep) return addClose(half, x.mantissa < 0n ? angle : negative);
  return x.mantissa < 0n ? addClose(Pi, negative) : angle;
}

/** a + b where `b` may be too small to count: it is then kept as a trace below `a`. */
function addClose(a: Big, b: Big): Big {
  if (bitLength(b.mantissa) + b.exponent >= -300) return addBig(a, b);
  return { mantissa: (a.mantissa << 100n) + (b.mantissa < 0n ? -1n : 1n), exponent: a.exponent - 100 };
}

/** Sign of |a| - |b|, positive numbers. */
function compareBig(a: Big, b: Big): number {
  const top = bitLength(a.mantissa) + a.exponent - (bitLength(b.mantissa) + b.exponent);
  if (top !== 0) return top;
  const difference = addBig(a, { ...b, mantissa: -b.mantissa }).mantissa;
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
}
