/**
 * The arithmetic of SSE instructions out of line: one function for each operation and precision that is exact in every
 * mode, and functions over whole vectors that end with MXCSR and the vector of an unmasked exception.
 *
 * Most results are taken from the native operation, with the exactness worked out beside it; softfloat.ts does the rest.
 */
import type { FunctionBuilder } from '../../../engine/wasm/encoder/function-builder.ts';
import {
  type F64,
  type I32,
  type I64,
  type Local,
  type V128,
  type Value,
  f64,
  i64,
} from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Mxcsr, type Shared, addFlags, commitFlags, sharedFunction } from './simd-support.ts';
import {
  Double,
  type Format,
  Single,
  buildProduct,
  buildQuotient,
  buildSquareRoot,
  buildSum,
  flushInput,
  isDenormal,
  loadMode,
  magnitude,
  returnNan,
} from './softfloat.ts';

export type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
/** (cpu, a, b) -> result, all but cpu as bits. Square roots are of b. */
export type Core = (shared: Shared, ...args: Value[]) => I64;

const asSingle = (x: I64) => x.toI32().asF32();
const widen = (x: I64): F64 => asSingle(x).toF64();

export function nativeF64(operation: Operation, a: F64, b: F64): F64 {
  return operation === 'sqrt' ? b.sqrt() : a[operation](b);
}

function native(operation: Operation, a: I64, b: I64, format: Format): I64 {
  if (format === Double) return nativeF64(operation, a.asF64(), b.asF64()).asI64();
  const x = asSingle(a);
  const y = asSingle(b);
  const result = operation === 'sqrt' ? y.sqrt() : x[operation](y);
  return result.asI32().toI64u();
}

/** The rounding error of s = a + b is not zero. */
function sumInexact(f: FunctionBuilder, a: F64, b: F64, s: F64): I32 {
  const b2 = f.let(s.sub(a));
  const error = a.sub(s.sub(b2)).add(b.sub(b2));
  return error.ne(f64(0));
}

/** The product of two normal doubles does not fit 53 bits, `product` being its rounded value. */
function productInexact(f: FunctionBuilder, a: I64, b: I64, product: I64): I32 {
  const integerBit = Double.smallestNormal;
  const significand = (x: I64) => x.and(integerBit - 1n).or(integerBit);
  const exponent = (x: I64) => x.shrU(52).and(Double.maxExponent);
  const below2 = exponent(a).add(exponent(b)).sub(Double.bias).eq(exponent(product));
  const lost = f.let(significand(a).mul(significand(b)));
  return lost
    .and(integerBit - 1n)
    .or(lost.and(integerBit).and(i64(0).sub(below2.eqz().toI64u())))
    .ne(0);
}

/** Whether a normal result `r` of normal or zero operands is inexact. */
function inexact(f: FunctionBuilder, operation: Operation, a: I64, b: I64, r: I64, format: Format): I32 {
  const value = (x: I64) => f.let(format === Double ? x.asF64() : widen(x));
  const [x, y, z] = [value(a), value(b), value(r)];
  if (format === Single) {
    if (operation === 'mul') return x.mul(y).ne(z);
    if (operation === 'div') return z.mul(y).ne(x);
    if (operation === 'sqrt') return z.mul(z).ne(y);
    const sum = f.let(nativeF64(operation, x, y));
    return sum.ne(z).or(sumInexact(f, x, operation === 'sub' ? y.neg() : y, sum));
  }
  if (operation === 'mul') return productInexact(f, a, b, r);
  if (operation === 'div')
    return z
      .mul(y)
      .ne(x)
      .or(productInexact(f, r, b, a));
  if (operation === 'sqrt')
    return z
      .mul(z)
      .ne(y)
      .or(productInexact(f, r, r, b));
  return sumInexact(f, x, operation === 'sub' ? y.neg() : y, z);
}

/** Rounding to nearest of ordinary numbers: returns the native result. */
function quickResult(f: FunctionBuilder, operation: Operation, a: I64, b: I64, format: Format): void {
  const cpu = f.param('i32', 0);
  f.if(loadMode(f, cpu).and(Mxcsr.Rounding).eqz(), () => {
    const r = f.let(native(operation, a, b, format));
    const size = f.let(magnitude(r, format));
    const ordinary = size.gtU(format.smallestNormal).and(size.ltU(format.infinity));
    const denormal = operation === 'sqrt' ? isDenormal(b, format) : isDenormal(a, format).or(isDenormal(b, format));
    f.if(ordinary.and(denormal.eqz()), () => {
      f.if(inexact(f, operation, a, b, r, format), () => addFlags(f, cpu, Mxcsr.Precision));
      f.return(r);
    });
  });
}

function buildCore(f: FunctionBuilder, shared: Shared, operation: Operation, format: Format): void {
  const cpu = f.param('i32', 0);
  const a = f.param('i64', 1);
  const b = f.param('i64', 2);
  const unary = operation === 'sqrt';
  const mode = loadMode(f, cpu);
  if (!unary) flushInput(f, mode, a, format);
  flushInput(f, mode, b, format);
  returnNan(f, cpu, unary ? [b] : [a, b], format);
  quickResult(f, operation, a, b, format);
  if (operation === 'sub') f.set(b, b.xor(format.signBit));
  if (operation === 'add' || operation === 'sub') buildSum(f, shared, a, b, format);
  else if (operation === 'mul') buildProduct(f, shared, a, b, format);
  else if (operation === 'div') buildQuotient(f, shared, a, b, format);
  else buildSquareRoot(f, shared, b, format);
  f.unreachable();
}

const cores = new Map<string, Core>();

/** The operation on one pair of values; flags go to Cpu.SimdFlags. */
export function arithmeticCore(operation: Operation, format: Format): Core {
  const name = `${operation}.${format.bits}`;
  let core = cores.get(name);
  if (!core) {
    core = sharedFunction<I64>(name, ['i32', 'i64', 'i64'], 'i64', (f, shared) =>
      buildCore(f, shared, operation, format),
    );
    cores.set(name, core);
  }
  return core;
}

/** Lane `index` of a vector as bits. */
export function lane(v: V128, index: number, { bits }: Format): I64 {
  return bits === 64 ? v.lane64(index) : v.lane32(index).toI64u();
}

export function withLane(v: V128, index: number, value: I64, { bits }: Format): V128 {
  return bits === 64 ? v.withLane64(index, value) : v.withLane32(index, value.toI32());
}

export const laneCount = ({ bits }: Format): number => 128 / bits;

/** Starts and ends the floating-point part of a helper: flags are collected, then go to MXCSR. */
export function withFlags<T>(f: FunctionBuilder, shared: Shared, body: () => T): T {
  const cpu = f.param('i32', 0);
  f.store32(cpu, Cpu.SimdFlags, 0);
  const result = body();
  f.store32(cpu, Cpu.SimdVector, f.let(commitFlags(shared, cpu)));
  return result;
}

/** One operation per lane, the same or (ADDSUB) different ones. */
export function packedArithmetic(name: string, operations: readonly Operation[], format: Format) {
  return sharedFunction<V128>(`packed.${name}.${format.bits}`, ['i32', 'v128', 'v128'], 'v128', (f, shared) => {
    const cpu = f.param('i32', 0);
    const a = f.param('v128', 1);
    const b = f.param('v128', 2);
    const result = f.let<V128>(a);
    withFlags(f, shared, () => {
      for (let i = 0; i < laneCount(format); i++) {
        const core = arithmeticCore(operations[i % operations.length]!, format);
        const value = f.let(core(shared, cpu, lane(a, i, format), lane(b, i, format)));
        f.set(result, withLane(result, i, value, format));
      }
    });
    f.return(result);
  });
}

/** The operation on the low lanes, as bits. */
export function scalarArithmetic(operation: Operation, format: Format) {
  return sharedFunction<I64>(`scalar.${operation}.${format.bits}`, ['i32', 'i64', 'i64'], 'i64', (f, shared) => {
    const cpu = f.param('i32', 0);
    const result = f.local('i64') as Local<I64>;
    withFlags(f, shared, () => {
      f.set(result, arithmeticCore(operation, format)(shared, cpu, f.param('i64', 1), f.param('i64', 2)));
    });
    f.return(result);
  });
}
