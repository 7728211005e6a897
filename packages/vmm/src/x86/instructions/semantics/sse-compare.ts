/**
 * Comparisons of floating-point values: CMP, (U)COMI, MIN and MAX.
 *
 * Ordinary operands (no NaN, no denormal) change no flags and are compared natively, whatever MXCSR says.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import {
  type F32,
  type F64,
  type I32,
  type I64,
  type Local,
  type V128,
  i32,
  i64,
} from '../../../engine/wasm/encoder/values.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import {
  Mxcsr,
  type Shared,
  addFlags,
  immediate,
  maskOf,
  raiseSimd,
  readXmm,
  requireSse,
  sharedFunction,
  splatConstant,
} from './simd-support.ts';
import { lanesOf } from './sse-arithmetic.ts';
import { lane, laneCount, withFlags, withLane } from './softfloat-arithmetic.ts';
import {
  Double,
  type Format,
  Single,
  flushInput,
  isNan,
  isSignalling,
  loadMode,
  magnitude,
  noteDenormals,
} from './softfloat.ts';

/** Outcome of a comparison, one bit each. */
const Relation = { Less: 1, Equal: 2, Greater: 4, Unordered: 8 } as const;

/** Sign and magnitude as an ordered signed integer; both zeros are 0. */
function ordered(f: FunctionBuilder, x: I64, format: Format): Local<I64> {
  const size = f.let(magnitude(x, format));
  return f.let(x.eq(size).select<I64>(size, size.mul(-1)));
}

function buildRelation(f: FunctionBuilder, format: Format): void {
  const [cpu, a, b] = [f.param('i32', 0), f.param('i64', 1), f.param('i64', 2)];
  const quietIsInvalid = f.param('i32', 3);
  const mode = loadMode(f, cpu);
  flushInput(f, mode, a, format);
  flushInput(f, mode, b, format);
  f.if(isNan(a, format).or(isNan(b, format)), () => {
    const signalling = isSignalling(a, format).or(isSignalling(b, format));
    f.if(quietIsInvalid.or(signalling), () => addFlags(f, cpu, Mxcsr.Invalid));
    f.return(i32(Relation.Unordered));
  });
  noteDenormals(f, cpu, [a, b], format);
  const x = ordered(f, a, format);
  const y = ordered(f, b, format);
  const notLess = x.eq(y).select(i32(Relation.Equal), i32(Relation.Greater));
  f.return(x.ltS(y).select(i32(Relation.Less), notLess));
}

const relationSingle = sharedFunction<I32>('relation.32', ['i32', 'i64', 'i64', 'i32'], 'i32', (f) =>
  buildRelation(f, Single),
);
const relationDouble = sharedFunction<I32>('relation.64', ['i32', 'i64', 'i64', 'i32'], 'i32', (f) =>
  buildRelation(f, Double),
);
/** (cpu, a, b, quiet NaNs are invalid) -> Relation; flags go to Cpu.SimdFlags. */
const relation = (format: Format) => (format === Single ? relationSingle : relationDouble);

/** Lanes with a NaN or a denormal, as ones. */
function unusual(x: V128, format: Format): V128 {
  const { zero, smallestNormal, abs, lt, ne } = lanesOf(format);
  return ne(x, x).or(lt(abs(x), smallestNormal).and(ne(x, zero)));
}

/**
 * Relations that a predicate of CMP accepts, four bits each: EQ, LT, LE, UNORD, NEQ, NLT, NLE, ORD, and with VEX (SDM
 * Vol. 2A "CMPPD", Table "Comparison Predicate for CMPPD and CMPPS Instructions") EQ_UQ, NGE, NGT, FALSE, NEQ_OQ, GE, GT,
 * TRUE. Another 16 predicates are the same but for quiet NaNs.
 */
const AcceptedRelations = 0xf4650b9a7ced8312n;
/** Predicates for which a quiet NaN is invalid. */
const SignallingPredicates = 0x99996666;

const acceptedRelations = (predicate: I32): I32 =>
  i64(AcceptedRelations).shrU(predicate.and(15).shl(2).toI64u()).toI32().and(15);
const accepts = (relations: I32, predicate: I32): I32 => acceptedRelations(predicate).and(relations).ne(0);
const isSignallingPredicate = (predicate: I32): I32 =>
  i32(SignallingPredicates | 0)
    .shrU(predicate)
    .and(1);

function exactCompare(format: Format, lanes: number) {
  const name = `compare.${format.bits}.${lanes}`;
  return sharedFunction<V128>(name, ['i32', 'v128', 'v128', 'i32'], 'v128', (f, shared) => {
    const [cpu, a, b] = [f.param('i32', 0), f.param('v128', 1), f.param('v128', 2)];
    const predicate = f.param('i32', 3);
    const result = f.let<V128>(a);
    withFlags(f, shared, () => {
      for (let i = 0; i < lanes; i++) {
        const operands = [lane(a, i, format), lane(b, i, format)];
        const found = relation(format)(shared, cpu, ...operands, isSignallingPredicate(predicate));
        f.set(result, withLane(result, i, maskOf(accepts(found, predicate)), format));
      }
    });
    f.return(result);
  });
}

/** Native comparison of ordered lanes. */
function nativeCompare(s: Semantics, a: V128, b: V128, predicate: Local<I32>, { bits }: Format): V128 {
  const equal = s.let(bits === 64 ? a.eqF64(b) : a.eqF32(b));
  const less = s.let(bits === 64 ? a.ltF64(b) : a.ltF32(b));
  const accepted = s.let(acceptedRelations(predicate));
  const wants = (relation: number): V128 => maskOf(accepted.and(relation).ne(0)).splat64();
  const greater = wants(Relation.Greater).andNot(equal.or(less));
  return equal
    .and(wants(Relation.Equal))
    .or(less.and(wants(Relation.Less)))
    .or(greater);
}

/** Scalars as vectors whose other lanes are zero. */
function scalarVector(operand: Operand, { bits }: Format): V128 {
  return bits === 64
    ? splatConstant(0, 64).withLaneF64(0, operand.readF64())
    : splatConstant(0, 64).withLaneF32(0, operand.readF32());
}

function writeScalar(operand: Operand, value: V128, { bits }: Format): void {
  if (bits === 64) operand.writeF64(value.laneF64(0));
  else operand.writeF32(value.laneF32(0));
}

interface Shape {
  readonly format: Format;
  readonly scalar: boolean;
}
const shapes: Readonly<Record<string, Shape>> = {
  PS: { format: Single, scalar: false },
  PD: { format: Double, scalar: false },
  SS: { format: Single, scalar: true },
  SD: { format: Double, scalar: true },
};

/** Reads op1, then op0, as vectors. */
function readBoth(s: Semantics, { format, scalar }: Shape): { a: Local<V128>; b: Local<V128> } {
  requireSse(s);
  const b = scalar ? s.let(scalarVector(s.op1, format)) : readXmm(s.op1);
  const a = scalar ? s.let(scalarVector(s.op0, format)) : s.op0.readV128();
  return { a, b };
}

function writeResult(s: Semantics, result: V128, { format, scalar }: Shape): void {
  if (scalar) writeScalar(s.op0, result, format);
  else s.op0.writeV128(result);
}

function compare(shape: Shape): Semantic {
  const { format, scalar } = shape;
  const exact = exactCompare(format, scalar ? 1 : laneCount(format));
  return (s) => {
    const { a, b } = readBoth(s, shape);
    const predicate = s.let(immediate(s, s.op2).and(s.part ? 31 : 7));
    const r = s.let(nativeCompare(s, a, b, predicate, format));
    s.f.unlikely(unusual(a, format).or(unusual(b, format)).anyTrue(), () => {
      s.f.set(r, exact(s, s.cpu, a, b, predicate));
      raiseSimd(s);
    });
    writeResult(s, r, shape);
  };
}

/** The second operand unless the first is less (MIN) or greater (MAX). */
function exactExtreme(format: Format, lanes: number, wanted: number) {
  const name = `extreme.${format.bits}.${lanes}.${wanted}`;
  return sharedFunction<V128>(name, ['i32', 'v128', 'v128'], 'v128', (f, shared) => {
    const [cpu, a, b] = [f.param('i32', 0), f.param('v128', 1), f.param('v128', 2)];
    const result = f.let<V128>(a);
    const mode = loadMode(f, cpu);
    withFlags(f, shared, () => {
      for (let i = 0; i < lanes; i++) {
        const x = f.let(lane(a, i, format));
        const y = f.let(lane(b, i, format));
        const found = f.let(relation(format)(shared, cpu, x, y, i32(1)));
        flushInput(f, mode, x, format);
        flushInput(f, mode, y, format);
        f.set(result, withLane(result, i, found.eq(wanted).select<I64>(x, y), format));
      }
    });
    f.return(result);
  });
}

function extreme(shape: Shape, wanted: number): Semantic {
  const { format, scalar } = shape;
  const exact = exactExtreme(format, scalar ? 1 : laneCount(format), wanted);
  const native = (a: V128, b: V128): V128 => {
    // pmin(x, y) is y < x ? y : x, and pmax(x, y) is x < y ? y : x
    if (wanted === Relation.Less) return format.bits === 64 ? b.pminF64(a) : b.pminF32(a);
    return format.bits === 64 ? b.pmaxF64(a) : b.pmaxF32(a);
  };
  return (s) => {
    const { a, b } = readBoth(s, shape);
    const r = s.let(native(a, b));
    s.f.unlikely(unusual(a, format).or(unusual(b, format)).anyTrue(), () => {
      s.f.set(r, exact(s, s.cpu, a, b));
      raiseSimd(s);
    });
    writeResult(s, r, shape);
  };
}

/** RFLAGS images: ZF, PF, CF. */
const Unordered = 0x45;
const Equal = 0x40;

function exactCompareFlags(format: Format) {
  const types = ['i32', 'i64', 'i64', 'i32'] as const;
  return sharedFunction<I32>(`comi.${format.bits}`, types, 'i32', (f: FunctionBuilder, shared: Shared) => {
    const found = f.local('i32') as Local<I32>;
    withFlags(f, shared, () => {
      f.set(
        found,
        relation(format)(shared, f.param('i32', 0), f.param('i64', 1), f.param('i64', 2), f.param('i32', 3)),
      );
    });
    // CF alone: less.
    const ordered = found.eq(Relation.Equal).select(i32(Equal), found.eq(Relation.Less));
    f.return(found.eq(Relation.Unordered).select(i32(Unordered), ordered));
  });
}

const notDenormal64 = (x: F64): I32 =>
  x
    .asI64()
    .shl(1)
    .sub(1)
    .geU(2n * Double.smallestNormal - 1n);
const notDenormal32 = (x: F32): I32 =>
  x
    .asI32()
    .shl(1)
    .sub(1)
    .geU(Number(2n * Single.smallestNormal) - 1);

/** COMISx (quiet NaNs are invalid) and UCOMISx. */
function compareFlags(format: Format, quietIsInvalid: boolean): Semantic {
  const exact = exactCompareFlags(format);
  return (s) => {
    requireSse(s);
    const image = s.f.local('i32') as Local<I32>;
    const finish = (usual: I32, less: I32, equal: I32, a: I64, b: I64) => {
      s.f.set(image, equal.shl(6).or(less));
      s.f.unlikely(usual.eqz(), () => {
        s.f.set(image, exact(s, s.cpu, a, b, i32(quietIsInvalid ? 1 : 0)));
        raiseSimd(s);
      });
      s.flags.load(image);
    };
    if (format === Double) {
      const b = s.op1.readF64();
      const a = s.op0.readF64();
      const usual = notDenormal64(a).and(notDenormal64(b)).and(a.eq(a)).and(b.eq(b));
      finish(usual, a.lt(b), a.eq(b), a.asI64(), b.asI64());
    } else {
      const b = s.op1.readF32();
      const a = s.op0.readF32();
      const usual = notDenormal32(a).and(notDenormal32(b)).and(a.eq(a)).and(b.eq(b));
      finish(usual, a.lt(b), a.eq(b), a.asI32().toI64u(), b.asI32().toI64u());
    }
  };
}

export const sseCompareSemantics: Record<string, Semantic> = {
  COMISS: compareFlags(Single, true),
  COMISD: compareFlags(Double, true),
  UCOMISS: compareFlags(Single, false),
  UCOMISD: compareFlags(Double, false),
};
for (const [suffix, shape] of Object.entries(shapes)) {
  sseCompareSemantics[`CMP${suffix}`] = compare(shape);
  sseCompareSemantics[`MIN${suffix}`] = extreme(shape, Relation.Less);
  sseCompareSemantics[`MAX${suffix}`] = extreme(shape, Relation.Greater);
}
