/**
 * ADD, SUB, MUL, DIV and SQRT of packed and scalar values, horizontal and alternating sums.
 *
 * The native operation counts when MXCSR rounds to nearest, has PE set and masked already, and operands and results are
 * ordinary: then no flag can change, and no DAZ or FTZ applies. Everything else goes through softfloat-arithmetic.ts.
 */
import { type I32, type I64, type Local, type V128, v128 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Semantic, Semantics } from './context.ts';
import { Mxcsr, raiseSimd, readXmm, requireSse, splatConstant } from './simd-support.ts';
import { type Operation, nativeF64, packedArithmetic, scalarArithmetic } from './softfloat-arithmetic.ts';
import { Double, type Format, Single } from './softfloat.ts';

/** MXCSR rounds to nearest and an inexact result changes nothing. */
export function plainMode(s: Semantics): I32 {
  const plain = Mxcsr.PrecisionMask | Mxcsr.Precision;
  return s
    .state32(Cpu.Mxcsr)
    .and(plain | Mxcsr.Rounding)
    .eq(plain);
}

/** Bits of a scalar without its sign, doubled. */
const doubled = (x: I64): I64 => x.shl(1);

/**
 * A result is ordinary above the smallest normal number: that one may have been rounded up from a tiny one, which is an
 * underflow.
 */
function ordinaryScalar(operation: Operation, a: I64, b: I64, r: I64): I32 {
  const least = 2n * Double.smallestNormal;
  const notDenormal = (x: I64) =>
    doubled(x)
      .sub(1)
      .geU(least - 1n);
  const above = least + 2n;
  const normal = doubled(r)
    .sub(above)
    .ltU(2n * Double.infinity - above);
  return operation === 'sqrt' ? normal.and(notDenormal(b)) : normal.and(notDenormal(a)).and(notDenormal(b));
}

function ordinarySingle(operation: Operation, a: I32, b: I32, r: I32): I32 {
  const least = Number(2n * Single.smallestNormal);
  const notDenormal = (x: I32) =>
    x
      .shl(1)
      .sub(1)
      .geU(least - 1);
  const normal = isOrdinarySingle(r);
  return operation === 'sqrt' ? normal.and(notDenormal(b)) : normal.and(notDenormal(a)).and(notDenormal(b));
}

/** Bits of a single that is an ordinary result. */
export function isOrdinarySingle(r: I32): I32 {
  const above = Number(2n * Single.smallestNormal) + 2;
  return r
    .shl(1)
    .sub(above)
    .ltU(Number(2n * Single.infinity) - above);
}

function scalarDouble(operation: Operation): Semantic {
  const exact = scalarArithmetic(operation, Double);
  return (s) => {
    requireSse(s);
    const b = s.op1.readF64();
    const a = s.op0.readF64();
    const r = s.let(nativeF64(operation, a, b));
    s.f.unlikely(
      plainMode(s)
        .and(ordinaryScalar(operation, a.asI64(), b.asI64(), r.asI64()))
        .eqz(),
      () => {
        s.f.set(r, s.let(exact(s, s.cpu, a.asI64(), b.asI64())).asF64());
        raiseSimd(s);
      },
    );
    s.op0.writeF64(r);
  };
}

function scalarSingle(operation: Operation): Semantic {
  const exact = scalarArithmetic(operation, Single);
  return (s) => {
    requireSse(s);
    const b = s.op1.readF32();
    const a = s.op0.readF32();
    const r = s.let(operation === 'sqrt' ? b.sqrt() : a[operation](b));
    s.f.unlikely(
      plainMode(s)
        .and(ordinarySingle(operation, a.asI32(), b.asI32(), r.asI32()))
        .eqz(),
      () => {
        const result = s.let(exact(s, s.cpu, a.asI32().toI64u(), b.asI32().toI64u()));
        s.f.set(r, result.toI32().asF32());
        raiseSimd(s);
      },
    );
    s.op0.writeF32(r);
  };
}

/** Lane-wise operations of a format. */
export interface Lanes {
  readonly zero: V128;
  readonly smallestNormal: V128;
  /** The number above the smallest normal one. */
  readonly leastResult: V128;
  readonly infinity: V128;
  abs(x: V128): V128;
  lt(a: V128, b: V128): V128;
  ne(a: V128, b: V128): V128;
}

export function lanesOf({ bits, smallestNormal, infinity }: Format): Lanes {
  const constants = {
    zero: splatConstant(0, 64),
    smallestNormal: splatConstant(smallestNormal, bits),
    leastResult: splatConstant(smallestNormal + 1n, bits),
    infinity: splatConstant(infinity, bits),
  };
  return bits === 64
    ? { ...constants, abs: (x) => x.absF64(), lt: (a, b) => a.ltF64(b), ne: (a, b) => a.neF64(b) }
    : { ...constants, abs: (x) => x.absF32(), lt: (a, b) => a.ltF32(b), ne: (a, b) => a.neF32(b) };
}

/** Lanes whose operands or result are not ordinary, as ones. */
function unusualLanes(operation: Operation, a: V128, b: V128, r: V128, format: Format): V128 {
  const { zero, smallestNormal, leastResult, infinity, abs, lt, ne } = lanesOf(format);
  const small = lt(abs(r), leastResult);
  const below = (x: V128) => lt(abs(x), smallestNormal);
  const denormal = (x: V128) => below(x).and(ne(x, zero));
  const notFinite = lt(abs(r), infinity).not();
  if (operation === 'sqrt') return denormal(b).or(notFinite);
  const operands = denormal(a).or(denormal(b)).or(notFinite);
  if (operation === 'div') return operands.or(below(b)).or(small.and(ne(a, zero)));
  if (operation === 'mul') return operands.or(small.and(ne(a, zero)).and(ne(b, zero)));
  return operands.or(denormal(r));
}

function nativePacked(operation: Operation, a: V128, b: V128, { bits }: Format): V128 {
  switch (operation) {
    case 'add':
      return bits === 64 ? a.addF64(b) : a.addF32(b);
    case 'sub':
      return bits === 64 ? a.subF64(b) : a.subF32(b);
    case 'mul':
      return bits === 64 ? a.mulF64(b) : a.mulF32(b);
    case 'div':
      return bits === 64 ? a.divF64(b) : a.divF32(b);
    case 'sqrt':
      return bits === 64 ? b.sqrtF64() : b.sqrtF32();
    default:
      return operation satisfies never;
  }
}

type Exact = ReturnType<typeof packedArithmetic>;

/** The packed operation on named vectors; the exact function also sees what was negated. */
function emitPacked(s: Semantics, operation: Operation, a: Local<V128>, b: Local<V128>, format: Format, exact: Exact) {
  const r = s.let(nativePacked(operation, a, b, format));
  s.f.unlikely(
    plainMode(s)
      .eqz()
      .or(unusualLanes(operation, a, b, r, format).anyTrue()),
    () => {
      s.f.set(r, exact(s, s.cpu, a, b));
      raiseSimd(s);
    },
  );
  return r;
}

function packed(operation: Operation, format: Format): Semantic {
  const exact = packedArithmetic(operation, [operation], format);
  return (s) => {
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    s.op0.writeV128(emitPacked(s, operation, a, b, format, exact));
  };
}

const bytesOfLanes = (lanes: readonly number[], size: number): number[] =>
  lanes.flatMap((index) => Array.from({ length: size }, (_, i) => index * size + i));

function horizontal(operation: 'add' | 'sub', format: Format): Semantic {
  const exact = packedArithmetic(operation, [operation], format);
  const count = 128 / format.bits;
  const pick = (first: number) =>
    bytesOfLanes(
      Array.from({ length: count }, (_, i) => first + 2 * i),
      format.bits / 8,
    );
  return (s) => {
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    const even = s.let(a.shuffle(b, pick(0)));
    const odd = s.let(a.shuffle(b, pick(1)));
    s.op0.writeV128(emitPacked(s, operation, even, odd, format, exact));
  };
}

/** Even lanes are differences, odd ones sums. */
function alternating(format: Format): Semantic {
  const exact = packedArithmetic('addsub', ['sub', 'add'], format);
  const evenSigns = format === Double ? v128(Double.signBit, 0n) : splatConstant(Single.signBit, 64);
  return (s) => {
    requireSse(s);
    const b = readXmm(s.op1);
    const a = s.op0.readV128();
    const negated = s.let(b.xor(evenSigns));
    const r = s.let(nativePacked('add', a, negated, format));
    s.f.unlikely(
      plainMode(s)
        .eqz()
        .or(unusualLanes('add', a, negated, r, format).anyTrue()),
      () => {
        s.f.set(r, exact(s, s.cpu, a, b));
        raiseSimd(s);
      },
    );
    s.op0.writeV128(r);
  };
}

export const sseArithmeticSemantics: Record<string, Semantic> = {
  HADDPS: horizontal('add', Single),
  HADDPD: horizontal('add', Double),
  HSUBPS: horizontal('sub', Single),
  HSUBPD: horizontal('sub', Double),
  ADDSUBPS: alternating(Single),
  ADDSUBPD: alternating(Double),
};
for (const operation of ['add', 'sub', 'mul', 'div', 'sqrt'] as const) {
  const name = operation.toUpperCase();
  sseArithmeticSemantics[`${name}PS`] = packed(operation, Single);
  sseArithmeticSemantics[`${name}PD`] = packed(operation, Double);
  sseArithmeticSemantics[`${name}SS`] = scalarSingle(operation);
  sseArithmeticSemantics[`${name}SD`] = scalarDouble(operation);
}
