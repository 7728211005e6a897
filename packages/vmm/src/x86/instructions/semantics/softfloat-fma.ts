/**
 * Fused multiplication and addition, a * b + c with one rounding: exact in every mode, in integer operations of 128 bits
 * (AMD APM Vol. 1 §4.10 "SIMD Floating-Point Exceptions"; SDM Vol. 1 §14.5.2 "FMA Instruction Operand Order and Arithmetic
 * Behavior"). Values are bits as in softfloat.ts.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128, i32, i64 } from '../../../engine/wasm/encoder/values.ts';
import { type Shared, sharedFunction } from './simd-support.ts';
import { lane, withFlags, withLane } from './softfloat-arithmetic.ts';
import {
  Double,
  type Format,
  Single,
  type Unpacked,
  flushInput,
  loadMode,
  magnitude,
  multiplyHigh,
  normalise,
  noteDenormals,
  returnInvalid,
  returnNan,
  roundAndPack,
  shiftRightSticky,
  unpack,
  zeroSum,
} from './softfloat.ts';

/** What is negated before the addition. */
export const Negate = { Product: 1, Addend: 2 } as const;

/** A number of 128 bits without a sign, in locals. */
interface Wide {
  readonly high: Local<I64>;
  readonly low: Local<I64>;
}

/** `x` >> `count`, with what falls off or-ed into bit 0. */
function shiftWideRight(f: FunctionBuilder, { high, low }: Wide, count: I64): void {
  const left = f.let(count);
  f.if(left.geU(64), () => {
    f.set(low, high.or(low.ne(0).toI64u()));
    f.set(high, i64(0));
    f.set(left, left.sub(64));
  });
  f.if(left.ne(0), () => {
    const crossing = f.let(high.shl(i64(64).sub(left)));
    f.if(
      left.ltU(64),
      () => {
        f.set(low, shiftRightSticky(low, left).or(crossing));
        f.set(high, high.shrU(left));
      },
      () => f.set(low, low.ne(0).toI64u()),
    );
  });
}

/** x is less than y. */
const lessWide = (x: Wide, y: Wide): I32 => x.high.ltU(y.high).or(x.high.eq(y.high).and(x.low.ltU(y.low)));

/** Returns the rounded value of `sum`, whose bit 125 stands for `exponent`. */
function returnRounded(
  f: FunctionBuilder,
  shared: Shared,
  format: Format,
  sum: Wide & { readonly sign: I64; readonly exponent: Local<I64> },
): void {
  const cpu = f.param('i32', 0);
  const { high, low, sign, exponent } = sum;
  f.if(high.eqz(), () => {
    f.set(high, low);
    f.set(low, i64(0));
    f.set(exponent, exponent.sub(64));
  });
  const zeros = f.let(high.clz());
  const z = f.local('i64') as Local<I64>;
  f.if(
    zeros.eqz(),
    () => f.set(z, high.shrU(1).or(high.and(1)).or(low.ne(0).toI64u())),
    () => {
      const shift = f.let(zeros.sub(1));
      const crossing = low.shrU(1).shrU(i64(63).sub(shift));
      f.set(z, high.shl(shift).or(crossing).or(low.shl(shift).ne(0).toI64u()));
    },
  );
  f.return(f.let(roundAndPack(format)(shared, cpu, sign, exponent.add(2).sub(zeros), z)));
}

/** Returns the sum when the product or the addend is zero or infinite. */
function returnSimple(f: FunctionBuilder, format: Format, product: { a: I64; b: I64; sign: I64 }, c: Local<I64>): void {
  const cpu = f.param('i32', 0);
  const [ma, mb] = [f.let(magnitude(product.a, format)), f.let(magnitude(product.b, format))];
  const infinite = f.let(ma.eq(format.infinity).or(mb.eq(format.infinity)));
  const zero = f.let(ma.eqz().or(mb.eqz()));
  f.if(infinite.and(zero), () => returnInvalid(f, cpu, format));
  const addendInfinite = f.let(magnitude(c, format).eq(format.infinity));
  f.if(infinite.and(addendInfinite).and(product.sign.ne(c.and(format.signBit))), () => returnInvalid(f, cpu, format));
  noteDenormals(f, cpu, [product.a, product.b, c], format);
  f.if(infinite, () => f.return(product.sign.or(format.infinity)));
  f.if(addendInfinite, () => f.return(c));
  f.if(zero.and(magnitude(c, format).eqz()), () => {
    f.return(product.sign.eq(c).choose<I64>(c, zeroSum(loadMode(f, cpu), format)));
  });
}

/** The exact product: bit 125 stands for its exponent; zero has the addend's. */
function multiplyWide(f: FunctionBuilder, x: Unpacked, y: Unpacked, format: Format): Wide & { exponent: Local<I64> } {
  const p = f.let(x.significand.shl(10));
  const q = f.let(y.significand.shl(11));
  const exponent = f.let(x.exponent.add(y.exponent).sub(format.bias));
  return { high: multiplyHigh(f, p, q), low: f.let(p.mul(q)), exponent };
}

/** x + y or, the signs being different, the larger minus the smaller; answers the sum and its sign. */
function addWide(
  f: FunctionBuilder,
  shared: Shared,
  format: Format,
  x: Wide & { sign: Local<I64> },
  y: Wide & { sign: Local<I64> },
  exponent: Local<I64>,
): void {
  const [high, low, sign] = [f.let(x.high), f.let(x.low), f.let(x.sign)];
  f.if(
    x.sign.eq(y.sign),
    () => {
      f.set(low, x.low.add(y.low));
      f.set(high, x.high.add(y.high).add(low.ltU(x.low).toI64u()));
    },
    () => {
      f.if(
        lessWide(x, y),
        () => {
          f.set(sign, y.sign);
          f.set(low, y.low.sub(x.low));
          f.set(high, y.high.sub(x.high).sub(y.low.ltU(x.low).toI64u()));
        },
        () => {
          f.set(low, x.low.sub(y.low));
          f.set(high, x.high.sub(y.high).sub(x.low.ltU(y.low).toI64u()));
        },
      );
      f.if(high.or(low).eqz(), () => f.return(zeroSum(loadMode(f, f.param('i32', 0)), format)));
    },
  );
  returnRounded(f, shared, format, { high, low, sign, exponent });
}

function buildFused(f: FunctionBuilder, shared: Shared, format: Format): void {
  const cpu = f.param('i32', 0);
  const [a, b, c] = [f.param('i64', 1), f.param('i64', 2), f.param('i64', 3)];
  const negate = f.param('i32', 4);
  const mode = loadMode(f, cpu);
  for (const x of [a, b, c]) flushInput(f, mode, x, format);
  returnNan(f, cpu, [a, b, c], format);
  const signBit = (bit: number): I64 => negate.and(bit).ne(0).select<I64>(i64(format.signBit), i64(0));
  const productSign = f.let(a.xor(b).and(format.signBit).xor(signBit(Negate.Product)));
  f.set(c, c.xor(signBit(Negate.Addend)));
  returnSimple(f, format, { a, b, sign: productSign }, c);
  const [x, y, z] = [
    unpack(f, magnitude(a, format), format),
    unpack(f, magnitude(b, format), format),
    unpack(f, c, format),
  ];
  const isZero = (n: Unpacked): I32 => n.significand.eqz();
  const zeroProduct = f.let(isZero(x).or(isZero(y)));
  const zeroAddend = f.let(isZero(z));
  for (const n of [x, y, z]) f.if(isZero(n).eqz(), () => normalise(f, n));
  const product = { ...multiplyWide(f, x, y, format), sign: f.let(productSign.shrU(format.bits - 1)) };
  const addend = { high: f.let(z.significand.shl(9)), low: f.let(i64(0)), sign: z.sign };
  f.if(zeroProduct, () => f.set(product.exponent, z.exponent));
  f.if(zeroAddend, () => f.set(z.exponent, product.exponent));
  const exponent = f.let(product.exponent);
  const distance = f.let(product.exponent.sub(z.exponent));
  f.if(
    distance.geS(0),
    () => shiftWideRight(f, addend, distance),
    () => {
      f.set(exponent, z.exponent);
      shiftWideRight(f, product, i64(0).sub(distance));
    },
  );
  addWide(f, shared, format, product, addend, exponent);
  f.unreachable();
}

const types = ['i32', 'i64', 'i64', 'i64', 'i32'] as const;
const fusedSingle = sharedFunction<I64>('fused.32', types, 'i64', (f, shared) => buildFused(f, shared, Single));
const fusedDouble = sharedFunction<I64>('fused.64', types, 'i64', (f, shared) => buildFused(f, shared, Double));
/** (cpu, a, b, c, Negate) -> a * b + c; flags go to Cpu.SimdFlags. */
export const fused = (format: Format) => (format === Single ? fusedSingle : fusedDouble);

/** (cpu, a, b, c) on the first `lanes` lanes, with what `negate` says of even and of odd ones; the others are a's. */
export function exactFused(format: Format, lanes: number, negate: readonly [even: number, odd: number]) {
  const name = `fused.${format.bits}.${lanes}.${negate.join('.')}`;
  return sharedFunction<V128>(name, ['i32', 'v128', 'v128', 'v128'], 'v128', (f, shared) => {
    const cpu = f.param('i32', 0);
    const [a, b, c] = [f.param('v128', 1), f.param('v128', 2), f.param('v128', 3)];
    const result = f.let<V128>(a);
    withFlags(f, shared, () => {
      for (let i = 0; i < lanes; i++) {
        const operands = [lane(a, i, format), lane(b, i, format), lane(c, i, format)];
        const value = f.let(fused(format)(shared, cpu, ...operands, i32(negate[i % 2]!)));
        f.set(result, withLane(result, i, value, format));
      }
    });
    f.return(result);
  });
}
