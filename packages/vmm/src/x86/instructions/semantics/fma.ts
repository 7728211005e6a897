/**
 * VFMADD… and its relatives: one multiplication and one addition, rounded once.
 *
 * Where the result is ordinary and MXCSR rounds to nearest with PE set and masked, native operations give it, made exact by
 * error-free transformations and a rounding to odd (S. Boldo and G. Melquiond, "Emulation of a FMA and Correctly Rounded
 * Sums: Proved Algorithms Using Rounding to Odd", IEEE Transactions on Computers 57(4), 2008). The rest is
 * softfloat-fma.ts.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type Local, type V128, f64, v128 } from '../../../engine/wasm/encoder/values.ts';
import type { Operand, Semantic } from './context.ts';
import { raiseSimd, sharedFunction, splatConstant, zero128 } from './simd-support.ts';
import { laneCount } from './softfloat-arithmetic.ts';
import { Negate, exactFused } from './softfloat-fma.ts';
import { Double, type Format, Single } from './softfloat.ts';
import { lanesOf, plainMode } from './sse-arithmetic.ts';
import { vex } from './vex.ts';

const power = (exponent: number): V128 => f64(2 ** exponent).splat();

/** s = a + b rounded, and the error: s + error is a + b (Knuth's TwoSum). */
function twoSum(f: FunctionBuilder, a: V128, b: V128): { sum: Local<V128>; error: Local<V128> } {
  const sum = f.let(a.addF64(b));
  const b2 = f.let(sum.subF64(a));
  const error = f.let(a.subF64(sum.subF64(b2)).addF64(b.subF64(b2)));
  return { sum, error };
}

/** a + b rounded to odd: where it is inexact, the neighbour whose last bit is set. */
function sumToOdd(f: FunctionBuilder, a: V128, b: V128): Local<V128> {
  const { sum, error } = twoSum(f, a, b);
  const one = splatConstant(1, 64);
  const towards = error.xor(sum).shrS64(63).or(one);
  const even = sum.and(one).eq64(zero128);
  return f.let(sum.add64(towards.and(even).and(error.neF64(zero128))));
}

/** Dekker's and Veltkamp's: a * b rounded, and the error. */
function twoProduct(f: FunctionBuilder, a: V128, b: V128): { product: Local<V128>; error: Local<V128> } {
  const split = (x: V128) => {
    const scaled = f.let(x.mulF64(f64(2 ** 27 + 1).splat()));
    const high = f.let(scaled.subF64(scaled.subF64(x)));
    return { high, low: f.let(x.subF64(high)) };
  };
  const [x, y] = [split(a), split(b)];
  const product = f.let(a.mulF64(b));
  const first = x.high.mulF64(y.high).subF64(product);
  const error = first.addF64(x.high.mulF64(y.low)).addF64(x.low.mulF64(y.high)).addF64(x.low.mulF64(y.low));
  return { product, error: f.let(error) };
}

/** Lanes of a double that are zero or between 2^-limit and 2^limit. */
const moderate = (x: V128, limit: number): V128 =>
  x
    .absF64()
    .geF64(power(-limit))
    .and(x.absF64().leF64(power(limit)))
    .or(x.eqF64(zero128));

const Nan = v128(-1n, -1n);

/** Exponents that keep products and all errors from overflowing and from being inexact. */
const FactorLimit = 450;
const AddendLimit = 900;

/** (a, b, c) -> a * b + c, NaN in lanes where that is not ordinary. */
const quickDouble = sharedFunction<V128>('fma.quick.64', ['v128', 'v128', 'v128'], 'v128', (f) => {
  const [a, b, c] = [f.param('v128', 0), f.param('v128', 1), f.param('v128', 2)];
  const { product, error } = twoProduct(f, a, b);
  const t = twoSum(f, c, error);
  const v = twoSum(f, product, t.sum);
  const r = f.let(v.sum.addF64(sumToOdd(f, t.error, v.error)));
  const { leastResult, abs, lt } = lanesOf(Double);
  const ordinary = moderate(a, FactorLimit)
    .and(moderate(b, FactorLimit))
    .and(moderate(c, AddendLimit))
    .andNot(lt(abs(r), leastResult));
  f.return(r.bitselect(Nan, ordinary));
});

/** (a, b, c) -> a * b + c, NaN in lanes where that is not ordinary. Products are exact in doubles. */
const quickSingle = sharedFunction<V128>('fma.quick.32', ['v128', 'v128', 'v128'], 'v128', (f) => {
  const operands = [f.param('v128', 0), f.param('v128', 1), f.param('v128', 2)] as const;
  const upper = (x: V128): V128 => x.shuffle(x, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15]);
  const half = (pick: (x: V128) => V128): Local<V128> => {
    const [a, b, c] = operands.map((x): V128 => f.let(pick(x).promoteLowF32())) as [V128, V128, V128];
    return f.let(sumToOdd(f, f.let(a.mulF64(b)), c).demoteF64());
  };
  const low = half((x) => x);
  const high = half(upper);
  const r = f.let(low.shuffle(high, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]));
  const { zero, smallestNormal, leastResult, infinity, abs, lt, ne } = lanesOf(Single);
  const usual = (x: V128): V128 => lt(abs(x), infinity).andNot(lt(abs(x), smallestNormal).and(ne(x, zero)));
  const ordinary = operands
    .map(usual)
    .reduce((x, y) => x.and(y))
    .and(lt(abs(r), infinity))
    .andNot(lt(abs(r), leastResult));
  f.return(r.bitselect(Nan, ordinary));
});

/** Which operand is multiplicand, multiplier and addend. */
const Orders = { 132: [0, 2, 1], 213: [1, 0, 2], 231: [1, 2, 0] } as const;
type Order = keyof typeof Orders;

interface Kind {
  readonly order: Order;
  readonly format: Format;
  readonly scalar: boolean;
  /** Of even and of odd lanes. */
  readonly negate: readonly [number, number];
}

/** The sign bits of lanes where `bit` of `negate` is set. */
function signs({ format, negate }: Kind, bit: number): V128 {
  const of = (index: 0 | 1): bigint => (negate[index] & bit ? format.signBit : 0n);
  if (format === Double) return v128(of(0), of(1));
  const pair = of(0) | (of(1) << 32n);
  return v128(pair, pair);
}

function readOperand(operand: Operand, { format, scalar }: Kind): V128 {
  if (!scalar) return operand.readV128();
  return format === Double ? operand.readF64().splat() : operand.readF32().splat();
}

function fusedSemantic(kind: Kind): Semantic {
  const { order, format, scalar, negate } = kind;
  const exact = exactFused(format, scalar ? 1 : laneCount(format), negate);
  const quick = format === Double ? quickDouble : quickSingle;
  const [product, addend] = [signs(kind, Negate.Product), signs(kind, Negate.Addend)];
  return vex(
    (s) => {
      const third = s.let(readOperand(s.op2, kind));
      const all = [s.let(readOperand(s.op0, kind)), s.let(readOperand(s.op1, kind)), third];
      const [a, b, c] = Orders[order].map((index) => all[index]!) as [Local<V128>, Local<V128>, Local<V128>];
      const r = s.let(quick(s, a.xor(product), b, c.xor(addend)));
      const unusual = format === Double ? r.neF64(r) : r.neF32(r);
      s.f.unlikely(plainMode(s).eqz().or(unusual.anyTrue()), () => {
        s.f.set(r, exact(s, s.cpu, a, b, c));
        raiseSimd(s);
      });
      if (!scalar) s.op0.writeV128(r);
      else if (format === Double) s.op0.writeF64(r.laneF64(0));
      else s.op0.writeF32(r.laneF32(0));
    },
    { float: true },
  );
}

export const fmaSemantics: Record<string, Semantic> = {};

const { Product, Addend } = Negate;
const kinds: Readonly<Record<string, readonly [number, number]>> = {
  MADD: [0, 0],
  MSUB: [Addend, Addend],
  NMADD: [Product, Product],
  NMSUB: [Product | Addend, Product | Addend],
  MADDSUB: [Addend, 0],
  MSUBADD: [0, Addend],
};
for (const [name, negate] of Object.entries(kinds)) {
  for (const order of [132, 213, 231] as const) {
    for (const [letter, scalar] of [
      ['P', false],
      ['S', true],
    ] as const) {
      // prettier-ignore
      if (scalar && negate[0] !== negate[1]) continue;
      for (const [type, format] of [
        ['S', Single],
        ['D', Double],
      ] as const) {
        // prettier-ignore
        fmaSemantics[`VF${name}${order}${letter}${type}`] = fusedSemantic({ order, format, scalar, negate });
      }
    }
  }
}
