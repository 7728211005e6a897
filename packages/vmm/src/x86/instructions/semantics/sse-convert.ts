/**
 * CVT… and ROUND…: conversions between integers, single and double precision.
 *
 * Native conversions count where no flag can change: exact ones, or inexact ones once PE is set and masked. The rest goes
 * through softfloat-convert.ts.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import {
  type F32,
  type F64,
  type I32,
  type I64,
  type Local,
  type V128,
  f32,
  f64,
  i32,
} from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import type { Operand, Semantic, Semantics } from './context.ts';
import {
  Mxcsr,
  type Shared,
  enterMmx,
  fromLow,
  immediate,
  raiseSimd,
  readMmx,
  readXmm,
  requireMmx,
  requireSse,
  sharedFunction,
  splatConstant,
  writeMmx,
  zero128,
} from './simd-support.ts';
import { isOrdinarySingle, lanesOf, plainMode } from './sse-arithmetic.ts';
import { lane, laneCount, withFlags, withLane } from './softfloat-arithmetic.ts';
import {
  RoundToZero,
  fromInteger,
  narrow,
  precisionSettled,
  roundIntegral,
  roundingControl,
  toInteger,
  toIntegral,
  widen,
} from './softfloat-convert.ts';
import { Double, type Format, Single } from './softfloat.ts';

/** One value of a conversion: bits in, bits out; `control` is the rounding control or immediate. */
type Convert = (shared: Shared, f: FunctionBuilder, cpu: I32, x: I64, control: I32) => I64;

/** The conversion of one value as an instruction's helper: (cpu, x, control). */
function scalarConversion(name: string, convert: Convert) {
  return sharedFunction<I64>(`cvt.${name}`, ['i32', 'i64', 'i32'], 'i64', (f, shared) => {
    const result = f.local('i64') as Local<I64>;
    withFlags(f, shared, () => {
      f.set(result, convert(shared, f, f.param('i32', 0), f.param('i64', 1), f.param('i32', 2)));
    });
    f.return(result);
  });
}

interface LaneWidths {
  readonly from: Format;
  readonly to: Format;
  readonly count: number;
}

/** The conversion of lanes, the rest of the result being zero: (cpu, vector, control). */
function packedConversion(name: string, { from, to, count }: LaneWidths, convert: Convert) {
  return sharedFunction<V128>(`cvt.packed.${name}`, ['i32', 'v128', 'i32'], 'v128', (f, shared) => {
    const [cpu, x, control] = [f.param('i32', 0), f.param('v128', 1), f.param('i32', 2)];
    const result = f.let<V128>(zero128);
    withFlags(f, shared, () => {
      for (let i = 0; i < count; i++) {
        const value = f.let(convert(shared, f, cpu, f.let(lane(x, i, from)), control));
        f.set(result, withLane(result, i, value, to));
      }
    });
    f.return(result);
  });
}

/** Rounding control of a conversion to integers. */
const controlOf = (s: Semantics, truncate: boolean): I32 =>
  truncate ? i32(RoundToZero) : s.state32(Cpu.Mxcsr).shrU(Mxcsr.RoundingShift).and(3);

/** An inexact conversion to integers changes no flag, and rounds to nearest unless it truncates. */
function integersSettled(s: Semantics, truncate: boolean): I32 {
  const settled = Mxcsr.Precision | Mxcsr.PrecisionMask;
  return truncate ? s.state32(Cpu.Mxcsr).and(settled).eq(settled) : plainMode(s);
}

function scalarToInteger(format: Format, truncate: boolean): Semantic {
  const exact = {
    32: scalarConversion(`int32.${format.bits}`, (shared, _f, ...args) => toInteger(format, 32)(shared, ...args)),
    64: scalarConversion(`int64.${format.bits}`, (shared, _f, ...args) => toInteger(format, 64)(shared, ...args)),
  };
  return (s) => {
    requireSse(s);
    const width = s.op0.bits === 64 ? 64 : 32;
    const x = s.let(format === Double ? s.op1.readF64() : s.op1.readF32().toF64());
    const bits = format === Double ? x.asI64() : x.toF32().asI32().toI64u();
    const result = s.let((truncate ? x : x.nearest()).truncSatI64s());
    // Rounding to nearest could reach the limit itself.
    const inside = x.abs().lt(f64(width === 64 ? 2 ** 63 : 2 ** 31 - 1));
    s.f.unlikely(integersSettled(s, truncate).and(inside).eqz(), () => {
      s.f.set(result, exact[width](s, s.cpu, bits, controlOf(s, truncate)));
      raiseSimd(s);
    });
    s.op0.write(result, width);
  };
}

function scalarFromInteger(format: Format): Semantic {
  const exact = scalarConversion(`from.${format.bits}`, (shared, _f, cpu, x) => fromInteger(format)(shared, cpu, x));
  return (s) => {
    requireSse(s);
    const x = s.op1.read();
    if (format === Double && s.op1.bits === 32) {
      s.op0.writeF64(x.toF64s());
      return;
    }
    const result = s.let(format === Double ? x.toF64s().asI64() : x.toF32s().asI32().toI64u());
    s.f.unlikely(plainMode(s).eqz(), () => {
      s.f.set(result, exact(s, s.cpu, x, i32(0)));
      raiseSimd(s);
    });
    if (format === Double) s.op0.writeF64(result.asF64());
    else s.op0.writeF32(result.toI32().asF32());
  };
}

const exactNarrow = scalarConversion('narrow', (shared, _f, cpu, x) => narrow(shared, cpu, x));
const exactWiden = scalarConversion('widen', (shared, _f, cpu, x) => widen(shared, cpu, x));

const narrowScalar: Semantic = (s) => {
  requireSse(s);
  const x = s.op1.readF64();
  const result = s.let(x.toF32());
  s.f.unlikely(plainMode(s).and(isOrdinarySingle(result.asI32())).eqz(), () => {
    s.f.set(
      result,
      s
        .let(exactNarrow(s, s.cpu, x.asI64(), i32(0)))
        .toI32()
        .asF32(),
    );
    raiseSimd(s);
  });
  s.op0.writeF32(result);
};

const widenScalar: Semantic = (s) => {
  requireSse(s);
  const x = s.op1.readF32();
  const result = s.let(x.toF64());
  const notDenormal = x
    .asI32()
    .shl(1)
    .sub(1)
    .geU(Number(2n * Single.smallestNormal) - 1);
  s.f.unlikely(notDenormal.and(x.eq(x)).eqz(), () => {
    s.f.set(result, s.let(exactWiden(s, s.cpu, x.asI32().toI64u(), i32(0))).asF64());
    raiseSimd(s);
  });
  s.op0.writeF64(result);
};

/** A packed conversion from `source`; native where `usual`. Answers the result. */
function convertPacked(s: Semantics, x: V128, native: V128, usual: I32, exact: PackedExact, control: I32): Local<V128> {
  const result = s.let(native);
  s.f.unlikely(usual.eqz(), () => {
    s.f.set(result, exact(s, s.cpu, x, control));
    raiseSimd(s);
  });
  return result;
}
type PackedExact = ReturnType<typeof packedConversion>;

const inside = (x: V128, limit: number, { bits }: Format): I32 =>
  bits === 64 ? x.absF64().ltF64(f64(limit).splat()).allTrue64() : x.absF32().ltF32(f32(limit).splat()).allTrue32();

/** Packed values to 32-bit integers; two of them leave the upper half zero. */
function emitToIntegers(s: Semantics, x: Local<V128>, from: Format, count: number, truncate: boolean): Local<V128> {
  const convert: Convert = (shared, _f, ...args) => toInteger(from, 32)(shared, ...args);
  const exact = packedConversion(`int.${from.bits}.${count}`, { from, to: Single, count }, convert);
  const rounded = truncate ? x : from === Double ? x.nearestF64() : x.nearestF32();
  const native = from === Double ? rounded.truncSatS32F64() : rounded.truncSatS32F32();
  const usual = integersSettled(s, truncate).and(inside(x, 2 ** 30, from));
  return convertPacked(s, x, native, usual, exact, controlOf(s, truncate));
}

function packedToIntegers(from: Format, truncate: boolean): Semantic {
  return (s) => {
    requireSse(s);
    const x = readXmm(s.op1);
    s.op0.writeV128(emitToIntegers(s, x, from, laneCount(from), truncate));
  };
}

/** CVT(T)PS2PI and CVT(T)PD2PI. */
function packedToMmx(from: Format, truncate: boolean): Semantic {
  return (s) => {
    requireSse(s);
    requireMmx(s);
    const x = readXmm(s.op1);
    // Also when the conversion faults.
    enterMmx(s);
    writeMmx(s, s.op0, emitToIntegers(s, x, from, 2, truncate).lane64(0));
  };
}

const integersToSingle: Convert = (shared, f, cpu, x) => fromInteger(Single)(shared, cpu, f.let(x.extend32s()));
const exactIntegersToSingle = (count: number) =>
  packedConversion(`from.${count}`, { from: Single, to: Single, count }, integersToSingle);

const packedIntegersToSingle: Semantic = (s) => {
  requireSse(s);
  const x = readXmm(s.op1);
  const exact = exactIntegersToSingle(4);
  s.op0.writeV128(convertPacked(s, x, x.convertS32F32(), plainMode(s), exact, i32(0)));
};

const packedIntegersToDouble: Semantic = (s) => {
  requireSse(s);
  s.op0.writeV128(readXmm(s.op1).convertLowS32F64());
};

/** The source of CVTPI2PS and CVTPI2PD: from memory, they have nothing to do with the x87 state. */
function readMmxSource(s: Semantics, operand: Operand): Local<V128> {
  const isRegister = operand.kind === 'mmx';
  if (isRegister) requireMmx(s);
  const x = s.let(fromLow(readMmx(operand)));
  if (isRegister) enterMmx(s);
  return x;
}

const mmxToSingle: Semantic = (s) => {
  requireSse(s);
  const x = readMmxSource(s, s.op1);
  const exact = exactIntegersToSingle(2);
  const low = convertPacked(s, x, x.convertS32F32(), plainMode(s), exact, i32(0));
  s.op0.writeV128(s.op0.readV128().withLane64(0, low.lane64(0)));
};

const mmxToDouble: Semantic = (s) => {
  requireSse(s);
  const x = readMmxSource(s, s.op1);
  s.op0.writeV128(x.convertLowS32F64());
};

const exactNarrowPacked = packedConversion('narrow', { from: Double, to: Single, count: 2 }, (shared, _f, cpu, x) =>
  narrow(shared, cpu, x),
);
const exactWidenPacked = packedConversion('widen', { from: Single, to: Double, count: 2 }, (shared, _f, cpu, x) =>
  widen(shared, cpu, x),
);

const narrowPacked: Semantic = (s) => {
  requireSse(s);
  const x = readXmm(s.op1);
  const size = s.let(x.absF64());
  const normal = size.geF64(f64(2 ** -125).splat()).and(size.ltF64(f64(2 ** 127).splat()));
  const usual = plainMode(s).and(normal.or(size.eqF64(splatConstant(0, 64))).allTrue64());
  s.op0.writeV128(convertPacked(s, x, x.demoteF64(), usual, exactNarrowPacked, i32(0)));
};

const widenPacked: Semantic = (s) => {
  requireSse(s);
  const x = s.let(readXmm(s.op1).and(fromLow(splatConstant(-1, 64).lane64(0))));
  const { zero, smallestNormal, abs, lt, ne } = lanesOf(Single);
  const unusual = ne(x, x).or(lt(abs(x), smallestNormal).and(ne(x, zero)));
  s.op0.writeV128(convertPacked(s, x, x.promoteLowF32(), unusual.anyTrue().eqz(), exactWidenPacked, i32(0)));
};

const exactRound = (format: Format) =>
  scalarConversion(`round.${format.bits}`, (shared, _f, ...args) => toIntegral(format)(shared, ...args));

function roundScalar(format: Format): Semantic {
  const exact = exactRound(format);
  return (s) => {
    requireSse(s);
    const x: Local<F64> | Local<F32> = format === Double ? s.op1.readF64() : s.op1.readF32();
    const control = immediate(s, s.op2);
    const bits = x.type === 'f64' ? x.asI64() : x.asI32().toI64u();
    const wide = s.let(x.type === 'f64' ? x : x.toF64());
    const mode = s.let(s.state32(Cpu.Mxcsr));
    const rounded = s.let(roundIntegral(wide, s.let(roundingControl(mode, control))));
    const result = s.let(format === Double ? rounded.asI64() : rounded.toF32().asI32().toI64u());
    const ordinary = wide
      .abs()
      .ge(f64(format === Double ? 2 ** -1022 : 2 ** -126))
      .or(wide.eq(f64(0)));
    s.f.unlikely(precisionSettled(mode, control).and(ordinary).eqz(), () => {
      s.f.set(result, exact(s, s.cpu, bits, control));
      raiseSimd(s);
    });
    if (format === Double) s.op0.writeF64(result.asF64());
    else s.op0.writeF32(result.toI32().asF32());
  };
}

function roundPacked(format: Format): Semantic {
  const shape = { from: format, to: format, count: laneCount(format) };
  const exact = packedConversion(`round.${format.bits}`, shape, (shared, _f, ...args) =>
    toIntegral(format)(shared, ...args),
  );
  const { zero, smallestNormal, infinity, abs, lt, ne } = lanesOf(format);
  const wide = format === Double;
  return (s) => {
    requireSse(s);
    const x = readXmm(s.op1);
    const control = immediate(s, s.op2);
    const mode = s.let(s.state32(Cpu.Mxcsr));
    const rounding = s.let(roundingControl(mode, control));
    const up = rounding.eq(2).choose<V128>(wide ? x.ceilF64() : x.ceilF32(), wide ? x.truncF64() : x.truncF32());
    const directed = rounding.eq(1).choose<V128>(wide ? x.floorF64() : x.floorF32(), up);
    const native = rounding.eqz().choose<V128>(wide ? x.nearestF64() : x.nearestF32(), directed);
    const unusual = lt(abs(x), infinity)
      .not()
      .or(lt(abs(x), smallestNormal).and(ne(x, zero)));
    const usual = precisionSettled(mode, control).and(unusual.anyTrue().eqz());
    s.op0.writeV128(convertPacked(s, x, native, usual, exact, control));
  };
}

export const sseConvertSemantics: Record<string, Semantic> = {
  CVTSI2SS: scalarFromInteger(Single),
  CVTSI2SD: scalarFromInteger(Double),
  CVTSS2SI: scalarToInteger(Single, false),
  CVTTSS2SI: scalarToInteger(Single, true),
  CVTSD2SI: scalarToInteger(Double, false),
  CVTTSD2SI: scalarToInteger(Double, true),
  CVTSD2SS: narrowScalar,
  CVTSS2SD: widenScalar,
  CVTPD2PS: narrowPacked,
  CVTPS2PD: widenPacked,
  CVTDQ2PS: packedIntegersToSingle,
  CVTDQ2PD: packedIntegersToDouble,
  CVTPS2DQ: packedToIntegers(Single, false),
  CVTTPS2DQ: packedToIntegers(Single, true),
  CVTPD2DQ: packedToIntegers(Double, false),
  CVTTPD2DQ: packedToIntegers(Double, true),
  CVTPI2PS: mmxToSingle,
  CVTPI2PD: mmxToDouble,
  CVTPS2PI: packedToMmx(Single, false),
  CVTTPS2PI: packedToMmx(Single, true),
  CVTPD2PI: packedToMmx(Double, false),
  CVTTPD2PI: packedToMmx(Double, true),
  ROUNDSS: roundScalar(Single),
  ROUNDSD: roundScalar(Double),
  ROUNDPS: roundPacked(Single),
  ROUNDPD: roundPacked(Double),
};
