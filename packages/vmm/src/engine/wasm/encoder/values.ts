/**
 * Typed wasm expressions. An expression holds the bytes that leave its value on the wasm stack (WebAssembly Core
 * Specification, "Binary Format: Instructions").
 *
 * An expression that is used twice is evaluated twice: give it a name with `FunctionBuilder.let` first. Integer literals
 * stand for constants wherever an operand is expected.
 */
import { signed, signed32, unsigned } from './leb128.ts';

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export const valueTypeByte: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};

export type I32Like = I32 | number;
export type I64Like = I64 | number | bigint;
export type Code = readonly number[];

export abstract class Value {
  abstract readonly type: ValueType;
  readonly code: Code;
  constructor(code: Code) {
    this.code = code;
  }
}

export function i32(value: I32Like): I32 {
  return typeof value === 'number' ? new I32([0x41, ...signed32(value | 0)]) : value;
}

export function i64(value: I64Like): I64 {
  if (value instanceof I64) return value;
  if (typeof value === 'number' && value === (value | 0)) return new I64([0x42, ...signed32(value)], () => i32(value));
  const bits = BigInt.asIntN(64, BigInt(value));
  return new I64([0x42, ...signed(bits)], () => i32(Number(BigInt.asIntN(32, bits))));
}

export function f64(value: number): F64 {
  return new F64([0x44, ...new Uint8Array(new Float64Array([value]).buffer)]);
}

export function f32(value: number): F32 {
  return new F32([0x43, ...new Uint8Array(new Float32Array([value]).buffer)]);
}

/** A v128 constant from its low and high 64 bits. */
export function v128(low: bigint, high: bigint): V128 {
  return new V128([
    0xfd,
    0x0c,
    ...new Uint8Array(new BigInt64Array([BigInt.asIntN(64, low), BigInt.asIntN(64, high)]).buffer),
  ]);
}

function simd(opcode: number): number[] {
  return [0xfd, ...unsigned(opcode)];
}

/** The natural alignment hint is never promised: guests misalign. */
function memarg(offset: number): number[] {
  return [0, ...unsigned(offset)];
}

export class I32 extends Value {
  readonly type = 'i32' as const;

  add(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x6a]);
  }
  sub(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x6b]);
  }
  mul(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x6c]);
  }
  divS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x6d]);
  }
  divU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x6e]);
  }
  remS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x6f]);
  }
  remU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x70]);
  }
  and(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x71]);
  }
  or(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x72]);
  }
  xor(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x73]);
  }
  shl(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x74]);
  }
  shrS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x75]);
  }
  shrU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x76]);
  }
  rotl(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x77]);
  }
  rotr(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x78]);
  }
  eq(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x46]);
  }
  ne(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x47]);
  }
  ltS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x48]);
  }
  ltU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x49]);
  }
  gtS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x4a]);
  }
  gtU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x4b]);
  }
  leS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x4c]);
  }
  leU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x4d]);
  }
  geS(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x4e]);
  }
  geU(b: I32Like): I32 {
    return new I32([...this.code, ...i32(b).code, 0x4f]);
  }
  eqz(): I32 {
    return new I32([...this.code, 0x45]);
  }
  clz(): I32 {
    return new I32([...this.code, 0x67]);
  }
  ctz(): I32 {
    return new I32([...this.code, 0x68]);
  }
  popcnt(): I32 {
    return new I32([...this.code, 0x69]);
  }
  extend8s(): I32 {
    return new I32([...this.code, 0xc0]);
  }
  extend16s(): I32 {
    return new I32([...this.code, 0xc1]);
  }
  toI64u(): I64 {
    return new I64([...this.code, 0xad], () => this);
  }
  toI64s(): I64 {
    return new I64([...this.code, 0xac], () => this);
  }
  toF64s(): F64 {
    return new F64([...this.code, 0xb7]);
  }
  toF64u(): F64 {
    return new F64([...this.code, 0xb8]);
  }
  toF32s(): F32 {
    return new F32([...this.code, 0xb2]);
  }
  toF32u(): F32 {
    return new F32([...this.code, 0xb3]);
  }
  asF32(): F32 {
    return new F32([...this.code, 0xbe]);
  }
  splat8(): V128 {
    return new V128([...this.code, 0xfd, 0xf]);
  }
  splat16(): V128 {
    return new V128([...this.code, 0xfd, 0x10]);
  }
  splat32(): V128 {
    return new V128([...this.code, 0xfd, 0x11]);
  }
  load32(offset = 0): I32 {
    return new I32([...this.code, 0x28, ...memarg(offset)]);
  }
  load8u(offset = 0): I32 {
    return new I32([...this.code, 0x2d, ...memarg(offset)]);
  }
  load8s(offset = 0): I32 {
    return new I32([...this.code, 0x2c, ...memarg(offset)]);
  }
  load16u(offset = 0): I32 {
    return new I32([...this.code, 0x2f, ...memarg(offset)]);
  }
  load16s(offset = 0): I32 {
    return new I32([...this.code, 0x2e, ...memarg(offset)]);
  }
  load64(offset = 0): I64 {
    return new I64([...this.code, 0x29, ...memarg(offset)]);
  }
  load64_8u(offset = 0): I64 {
    return new I64([...this.code, 0x31, ...memarg(offset)]);
  }
  load64_8s(offset = 0): I64 {
    return new I64([...this.code, 0x30, ...memarg(offset)]);
  }
  load64_16u(offset = 0): I64 {
    return new I64([...this.code, 0x33, ...memarg(offset)]);
  }
  load64_16s(offset = 0): I64 {
    return new I64([...this.code, 0x32, ...memarg(offset)]);
  }
  load64_32u(offset = 0): I64 {
    return new I64([...this.code, 0x35, ...memarg(offset)]);
  }
  load64_32s(offset = 0): I64 {
    return new I64([...this.code, 0x34, ...memarg(offset)]);
  }
  loadF32(offset = 0): F32 {
    return new F32([...this.code, 0x2a, ...memarg(offset)]);
  }
  loadF64(offset = 0): F64 {
    return new F64([...this.code, 0x2b, ...memarg(offset)]);
  }
  loadV128(offset = 0): V128 {
    return new V128([...this.code, ...simd(0), ...memarg(offset)]);
  }
  /** `this` non-zero picks `yes`. Both are evaluated. */
  select<T extends Value>(yes: T, no: T): T {
    const make = yes.constructor as new (code: Code) => T;
    return new make([...yes.code, ...no.code, ...this.code, 0x1b]);
  }
  /** `this` non-zero evaluates `yes`, otherwise `no`. */
  choose<T extends Value>(yes: T, no: T): T {
    const make = yes.constructor as new (code: Code) => T;
    return new make([...this.code, 0x04, valueTypeByte[yes.type], ...yes.code, 0x05, ...no.code, 0x0b]);
  }
  /** Short-circuit and: `b` is evaluated only when `this` is non-zero. Answers 0 or non-zero. */
  andAlso(b: I32): I32 {
    return this.choose(b, i32(0));
  }
  /** Short-circuit or. */
  orElse(b: I32): I32 {
    return this.choose(i32(1), b);
  }
}

/**
 * 64-bit integers. `low`, where there is one, makes an expression of the low 32 bits that is cheaper than cutting the whole
 * off: what follows from 32-bit operands by operations whose low bits depend on low bits only.
 */
export class I64 extends Value {
  readonly type = 'i64' as const;
  readonly low: (() => I32) | undefined;

  constructor(code: Code, low?: () => I32) {
    super(code);
    this.low = low;
  }

  add(b: I64Like): I64 {
    return this.#lowBits(i64(b), 0x7c, (x, y) => x.add(y));
  }
  sub(b: I64Like): I64 {
    return this.#lowBits(i64(b), 0x7d, (x, y) => x.sub(y));
  }
  mul(b: I64Like): I64 {
    return this.#lowBits(i64(b), 0x7e, (x, y) => x.mul(y));
  }
  divS(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x7f]);
  }
  divU(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x80]);
  }
  remS(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x81]);
  }
  remU(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x82]);
  }
  and(b: I64Like): I64 {
    return this.#lowBits(i64(b), 0x83, (x, y) => x.and(y));
  }
  or(b: I64Like): I64 {
    return this.#lowBits(i64(b), 0x84, (x, y) => x.or(y));
  }
  xor(b: I64Like): I64 {
    return this.#lowBits(i64(b), 0x85, (x, y) => x.xor(y));
  }
  shl(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x86]);
  }
  shrS(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x87]);
  }
  shrU(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x88]);
  }
  rotl(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x89]);
  }
  rotr(b: I64Like): I64 {
    return new I64([...this.code, ...i64(b).code, 0x8a]);
  }
  eq(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x51]);
  }
  ne(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x52]);
  }
  ltS(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x53]);
  }
  ltU(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x54]);
  }
  gtS(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x55]);
  }
  gtU(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x56]);
  }
  leS(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x57]);
  }
  leU(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x58]);
  }
  geS(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x59]);
  }
  geU(b: I64Like): I32 {
    return new I32([...this.code, ...i64(b).code, 0x5a]);
  }
  clz(): I64 {
    return new I64([...this.code, 0x79]);
  }
  ctz(): I64 {
    return new I64([...this.code, 0x7a]);
  }
  popcnt(): I64 {
    return new I64([...this.code, 0x7b]);
  }
  extend8s(): I64 {
    return new I64([...this.code, 0xc2]);
  }
  extend16s(): I64 {
    return new I64([...this.code, 0xc3]);
  }
  extend32s(): I64 {
    return new I64([...this.code, 0xc4]);
  }
  eqz(): I32 {
    return new I32([...this.code, 0x50]);
  }
  toI32(): I32 {
    return this.low?.() ?? new I32([...this.code, 0xa7]);
  }
  toF64s(): F64 {
    return new F64([...this.code, 0xb9]);
  }
  toF64u(): F64 {
    return new F64([...this.code, 0xba]);
  }
  toF32s(): F32 {
    return new F32([...this.code, 0xb4]);
  }
  toF32u(): F32 {
    return new F32([...this.code, 0xb5]);
  }
  asF64(): F64 {
    return new F64([...this.code, 0xbf]);
  }
  splat64(): V128 {
    return new V128([...this.code, 0xfd, 0x12]);
  }
  /** Sign-extends the low `width` bits. */
  signExtend(width: 8 | 16 | 32 | 64): I64 {
    if (width === 64) return this;
    return width === 32 ? this.toI32().toI64s() : width === 16 ? this.extend16s() : this.extend8s();
  }
  /** Zero-extends the low `width` bits. */
  zeroExtend(width: 8 | 16 | 32 | 64): I64 {
    if (width === 64) return this;
    return width === 32 ? this.toI32().toI64u() : this.and((1n << BigInt(width)) - 1n);
  }

  /** An operation whose low bits depend on the operands' low bits only. */
  #lowBits(b: I64, opcode: number, narrow: (x: I32, y: I32) => I32): I64 {
    const [x, y] = [this.low, b.low];
    return new I64([...this.code, ...b.code, opcode], x && y && (() => narrow(x(), y())));
  }
}

export class F32 extends Value {
  readonly type = 'f32' as const;

  abs(): F32 {
    return new F32([...this.code, 0x8b]);
  }
  neg(): F32 {
    return new F32([...this.code, 0x8c]);
  }
  ceil(): F32 {
    return new F32([...this.code, 0x8d]);
  }
  floor(): F32 {
    return new F32([...this.code, 0x8e]);
  }
  trunc(): F32 {
    return new F32([...this.code, 0x8f]);
  }
  nearest(): F32 {
    return new F32([...this.code, 0x90]);
  }
  sqrt(): F32 {
    return new F32([...this.code, 0x91]);
  }
  toF64(): F64 {
    return new F64([...this.code, 0xbb]);
  }
  asI32(): I32 {
    return new I32([...this.code, 0xbc]);
  }
  truncSatI32s(): I32 {
    return new I32([...this.code, 0xfc, 0x0]);
  }
  truncSatI64s(): I64 {
    return new I64([...this.code, 0xfc, 0x4]);
  }
  splat(): V128 {
    return new V128([...this.code, 0xfd, 0x13]);
  }
  add(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x92]);
  }
  sub(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x93]);
  }
  mul(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x94]);
  }
  div(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x95]);
  }
  min(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x96]);
  }
  max(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x97]);
  }
  copysign(b: F32): F32 {
    return new F32([...this.code, ...b.code, 0x98]);
  }
  eq(b: F32): I32 {
    return new I32([...this.code, ...b.code, 0x5b]);
  }
  ne(b: F32): I32 {
    return new I32([...this.code, ...b.code, 0x5c]);
  }
  lt(b: F32): I32 {
    return new I32([...this.code, ...b.code, 0x5d]);
  }
  gt(b: F32): I32 {
    return new I32([...this.code, ...b.code, 0x5e]);
  }
  le(b: F32): I32 {
    return new I32([...this.code, ...b.code, 0x5f]);
  }
  ge(b: F32): I32 {
    return new I32([...this.code, ...b.code, 0x60]);
  }
}

export class F64 extends Value {
  readonly type = 'f64' as const;

  abs(): F64 {
    return new F64([...this.code, 0x99]);
  }
  neg(): F64 {
    return new F64([...this.code, 0x9a]);
  }
  ceil(): F64 {
    return new F64([...this.code, 0x9b]);
  }
  floor(): F64 {
    return new F64([...this.code, 0x9c]);
  }
  trunc(): F64 {
    return new F64([...this.code, 0x9d]);
  }
  nearest(): F64 {
    return new F64([...this.code, 0x9e]);
  }
  sqrt(): F64 {
    return new F64([...this.code, 0x9f]);
  }
  toF32(): F32 {
    return new F32([...this.code, 0xb6]);
  }
  asI64(): I64 {
    return new I64([...this.code, 0xbd]);
  }
  truncSatI32s(): I32 {
    return new I32([...this.code, 0xfc, 0x2]);
  }
  truncSatI64s(): I64 {
    return new I64([...this.code, 0xfc, 0x6]);
  }
  truncSatI64u(): I64 {
    return new I64([...this.code, 0xfc, 0x7]);
  }
  splat(): V128 {
    return new V128([...this.code, 0xfd, 0x14]);
  }
  add(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa0]);
  }
  sub(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa1]);
  }
  mul(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa2]);
  }
  div(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa3]);
  }
  min(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa4]);
  }
  max(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa5]);
  }
  copysign(b: F64): F64 {
    return new F64([...this.code, ...b.code, 0xa6]);
  }
  eq(b: F64): I32 {
    return new I32([...this.code, ...b.code, 0x61]);
  }
  ne(b: F64): I32 {
    return new I32([...this.code, ...b.code, 0x62]);
  }
  lt(b: F64): I32 {
    return new I32([...this.code, ...b.code, 0x63]);
  }
  gt(b: F64): I32 {
    return new I32([...this.code, ...b.code, 0x64]);
  }
  le(b: F64): I32 {
    return new I32([...this.code, ...b.code, 0x65]);
  }
  ge(b: F64): I32 {
    return new I32([...this.code, ...b.code, 0x66]);
  }
}

export class V128 extends Value {
  readonly type = 'v128' as const;

  eq8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(35)]);
  }
  ne8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(36)]);
  }
  ltS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(37)]);
  }
  ltU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(38)]);
  }
  gtS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(39)]);
  }
  gtU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(40)]);
  }
  leS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(41)]);
  }
  leU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(42)]);
  }
  geS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(43)]);
  }
  geU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(44)]);
  }
  eq16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(45)]);
  }
  ne16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(46)]);
  }
  ltS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(47)]);
  }
  ltU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(48)]);
  }
  gtS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(49)]);
  }
  gtU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(50)]);
  }
  leS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(51)]);
  }
  leU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(52)]);
  }
  geS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(53)]);
  }
  geU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(54)]);
  }
  eq32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(55)]);
  }
  ne32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(56)]);
  }
  ltS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(57)]);
  }
  ltU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(58)]);
  }
  gtS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(59)]);
  }
  gtU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(60)]);
  }
  leS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(61)]);
  }
  leU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(62)]);
  }
  geS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(63)]);
  }
  geU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(64)]);
  }
  eqF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(65)]);
  }
  neF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(66)]);
  }
  ltF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(67)]);
  }
  gtF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(68)]);
  }
  leF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(69)]);
  }
  geF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(70)]);
  }
  eqF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(71)]);
  }
  neF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(72)]);
  }
  ltF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(73)]);
  }
  gtF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(74)]);
  }
  leF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(75)]);
  }
  geF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(76)]);
  }
  swizzle(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(14)]);
  }
  and(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(78)]);
  }
  andNot(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(79)]);
  }
  or(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(80)]);
  }
  xor(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(81)]);
  }
  narrowS16to8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(101)]);
  }
  narrowU16to8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(102)]);
  }
  add8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(110)]);
  }
  addSatS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(111)]);
  }
  addSatU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(112)]);
  }
  sub8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(113)]);
  }
  subSatS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(114)]);
  }
  subSatU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(115)]);
  }
  minS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(118)]);
  }
  minU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(119)]);
  }
  maxS8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(120)]);
  }
  maxU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(121)]);
  }
  avgrU8(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(123)]);
  }
  narrowS32to16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(133)]);
  }
  narrowU32to16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(134)]);
  }
  add16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(142)]);
  }
  addSatS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(143)]);
  }
  addSatU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(144)]);
  }
  sub16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(145)]);
  }
  subSatS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(146)]);
  }
  subSatU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(147)]);
  }
  mul16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(149)]);
  }
  minS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(150)]);
  }
  minU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(151)]);
  }
  maxS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(152)]);
  }
  maxU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(153)]);
  }
  avgrU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(155)]);
  }
  q15mulrSatS(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(130)]);
  }
  extmulLowS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(188)]);
  }
  extmulHighS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(189)]);
  }
  extmulLowU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(190)]);
  }
  extmulHighU16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(191)]);
  }
  add32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(174)]);
  }
  sub32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(177)]);
  }
  mul32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(181)]);
  }
  minS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(182)]);
  }
  minU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(183)]);
  }
  maxS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(184)]);
  }
  maxU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(185)]);
  }
  dotS16(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(186)]);
  }
  extmulLowS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(220)]);
  }
  extmulHighS32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(221)]);
  }
  extmulLowU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(222)]);
  }
  extmulHighU32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(223)]);
  }
  add64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(206)]);
  }
  sub64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(209)]);
  }
  mul64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(213)]);
  }
  eq64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(214)]);
  }
  ne64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(215)]);
  }
  ltS64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(216)]);
  }
  gtS64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(217)]);
  }
  leS64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(218)]);
  }
  geS64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(219)]);
  }
  addF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(228)]);
  }
  subF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(229)]);
  }
  mulF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(230)]);
  }
  divF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(231)]);
  }
  minF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(232)]);
  }
  maxF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(233)]);
  }
  pminF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(234)]);
  }
  pmaxF32(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(235)]);
  }
  addF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(240)]);
  }
  subF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(241)]);
  }
  mulF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(242)]);
  }
  divF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(243)]);
  }
  minF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(244)]);
  }
  maxF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(245)]);
  }
  pminF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(246)]);
  }
  pmaxF64(b: V128): V128 {
    return new V128([...this.code, ...b.code, ...simd(247)]);
  }
  not(): V128 {
    return new V128([...this.code, ...simd(77)]);
  }
  abs8(): V128 {
    return new V128([...this.code, ...simd(96)]);
  }
  neg8(): V128 {
    return new V128([...this.code, ...simd(97)]);
  }
  popcnt8(): V128 {
    return new V128([...this.code, ...simd(98)]);
  }
  abs16(): V128 {
    return new V128([...this.code, ...simd(128)]);
  }
  neg16(): V128 {
    return new V128([...this.code, ...simd(129)]);
  }
  extendLowS8(): V128 {
    return new V128([...this.code, ...simd(135)]);
  }
  extendHighS8(): V128 {
    return new V128([...this.code, ...simd(136)]);
  }
  extendLowU8(): V128 {
    return new V128([...this.code, ...simd(137)]);
  }
  extendHighU8(): V128 {
    return new V128([...this.code, ...simd(138)]);
  }
  abs32(): V128 {
    return new V128([...this.code, ...simd(160)]);
  }
  neg32(): V128 {
    return new V128([...this.code, ...simd(161)]);
  }
  extendLowS16(): V128 {
    return new V128([...this.code, ...simd(167)]);
  }
  extendHighS16(): V128 {
    return new V128([...this.code, ...simd(168)]);
  }
  extendLowU16(): V128 {
    return new V128([...this.code, ...simd(169)]);
  }
  extendHighU16(): V128 {
    return new V128([...this.code, ...simd(170)]);
  }
  abs64(): V128 {
    return new V128([...this.code, ...simd(192)]);
  }
  neg64(): V128 {
    return new V128([...this.code, ...simd(193)]);
  }
  extendLowS32(): V128 {
    return new V128([...this.code, ...simd(199)]);
  }
  extendHighS32(): V128 {
    return new V128([...this.code, ...simd(200)]);
  }
  extendLowU32(): V128 {
    return new V128([...this.code, ...simd(201)]);
  }
  extendHighU32(): V128 {
    return new V128([...this.code, ...simd(202)]);
  }
  absF32(): V128 {
    return new V128([...this.code, ...simd(224)]);
  }
  negF32(): V128 {
    return new V128([...this.code, ...simd(225)]);
  }
  sqrtF32(): V128 {
    return new V128([...this.code, ...simd(227)]);
  }
  absF64(): V128 {
    return new V128([...this.code, ...simd(236)]);
  }
  negF64(): V128 {
    return new V128([...this.code, ...simd(237)]);
  }
  sqrtF64(): V128 {
    return new V128([...this.code, ...simd(239)]);
  }
  ceilF32(): V128 {
    return new V128([...this.code, ...simd(103)]);
  }
  floorF32(): V128 {
    return new V128([...this.code, ...simd(104)]);
  }
  truncF32(): V128 {
    return new V128([...this.code, ...simd(105)]);
  }
  nearestF32(): V128 {
    return new V128([...this.code, ...simd(106)]);
  }
  ceilF64(): V128 {
    return new V128([...this.code, ...simd(116)]);
  }
  floorF64(): V128 {
    return new V128([...this.code, ...simd(117)]);
  }
  truncF64(): V128 {
    return new V128([...this.code, ...simd(122)]);
  }
  nearestF64(): V128 {
    return new V128([...this.code, ...simd(148)]);
  }
  demoteF64(): V128 {
    return new V128([...this.code, ...simd(94)]);
  }
  promoteLowF32(): V128 {
    return new V128([...this.code, ...simd(95)]);
  }
  truncSatS32F32(): V128 {
    return new V128([...this.code, ...simd(248)]);
  }
  truncSatU32F32(): V128 {
    return new V128([...this.code, ...simd(249)]);
  }
  convertS32F32(): V128 {
    return new V128([...this.code, ...simd(250)]);
  }
  convertU32F32(): V128 {
    return new V128([...this.code, ...simd(251)]);
  }
  truncSatS32F64(): V128 {
    return new V128([...this.code, ...simd(252)]);
  }
  convertLowS32F64(): V128 {
    return new V128([...this.code, ...simd(254)]);
  }
  convertLowU32F64(): V128 {
    return new V128([...this.code, ...simd(255)]);
  }
  shl8(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(107)]);
  }
  shrS8(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(108)]);
  }
  shrU8(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(109)]);
  }
  shl16(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(139)]);
  }
  shrS16(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(140)]);
  }
  shrU16(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(141)]);
  }
  shl32(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(171)]);
  }
  shrS32(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(172)]);
  }
  shrU32(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(173)]);
  }
  shl64(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(203)]);
  }
  shrS64(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(204)]);
  }
  shrU64(count: I32Like): V128 {
    return new V128([...this.code, ...i32(count).code, ...simd(205)]);
  }
  anyTrue(): I32 {
    return new I32([...this.code, ...simd(83)]);
  }
  allTrue8(): I32 {
    return new I32([...this.code, ...simd(99)]);
  }
  bitmask8(): I32 {
    return new I32([...this.code, ...simd(100)]);
  }
  allTrue16(): I32 {
    return new I32([...this.code, ...simd(131)]);
  }
  bitmask16(): I32 {
    return new I32([...this.code, ...simd(132)]);
  }
  allTrue32(): I32 {
    return new I32([...this.code, ...simd(163)]);
  }
  bitmask32(): I32 {
    return new I32([...this.code, ...simd(164)]);
  }
  allTrue64(): I32 {
    return new I32([...this.code, ...simd(195)]);
  }
  bitmask64(): I32 {
    return new I32([...this.code, ...simd(196)]);
  }
  /** Lanes 0 to 15 pick bytes of `this`, 16 to 31 of `b`. */
  shuffle(b: V128, lanes: readonly number[]): V128 {
    return new V128([...this.code, ...b.code, ...simd(13), ...lanes]);
  }
  /** Bits of `this` where `mask` is 1, of `b` where it is 0. */
  bitselect(b: V128, mask: V128): V128 {
    return new V128([...this.code, ...b.code, ...mask.code, ...simd(82)]);
  }
  lane8s(lane: number): I32 {
    return new I32([...this.code, ...simd(21), lane]);
  }
  lane8u(lane: number): I32 {
    return new I32([...this.code, ...simd(22), lane]);
  }
  lane16s(lane: number): I32 {
    return new I32([...this.code, ...simd(24), lane]);
  }
  lane16u(lane: number): I32 {
    return new I32([...this.code, ...simd(25), lane]);
  }
  lane32(lane: number): I32 {
    return new I32([...this.code, ...simd(27), lane]);
  }
  lane64(lane: number): I64 {
    return new I64([...this.code, ...simd(29), lane]);
  }
  laneF32(lane: number): F32 {
    return new F32([...this.code, ...simd(31), lane]);
  }
  laneF64(lane: number): F64 {
    return new F64([...this.code, ...simd(33), lane]);
  }
  withLane8(lane: number, value: I32): V128 {
    return new V128([...this.code, ...value.code, ...simd(23), lane]);
  }
  withLane16(lane: number, value: I32): V128 {
    return new V128([...this.code, ...value.code, ...simd(26), lane]);
  }
  withLane32(lane: number, value: I32): V128 {
    return new V128([...this.code, ...value.code, ...simd(28), lane]);
  }
  withLane64(lane: number, value: I64): V128 {
    return new V128([...this.code, ...value.code, ...simd(30), lane]);
  }
  withLaneF32(lane: number, value: F32): V128 {
    return new V128([...this.code, ...value.code, ...simd(32), lane]);
  }
  withLaneF64(lane: number, value: F64): V128 {
    return new V128([...this.code, ...value.code, ...simd(34), lane]);
  }
}

/** A wasm local: readable as an expression of its type. */
export type Local<T extends Value> = T & { readonly local: number };

/** A 64-bit local that was set to a value with {@link I64.low}. */
export function narrowLocal(index: number): Local<I64> {
  return (narrowLocals[index] ??= Object.assign(
    new I64(localGet('i64', index).code, () => new I32([...localGet('i64', index).code, 0xa7])),
    { local: index },
  ));
}

const narrowLocals: Local<I64>[] = [];
const locals: Record<ValueType, Value[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };

export function localGet(type: ValueType, index: number): Value {
  return (locals[type][index] ??= makeLocal(type, index));
}

function makeLocal(type: ValueType, index: number): Value {
  const code = [0x20, ...unsigned(index)];
  const value =
    type === 'i32'
      ? new I32(code)
      : type === 'i64'
        ? new I64(code)
        : type === 'f32'
          ? new F32(code)
          : type === 'f64'
            ? new F64(code)
            : new V128(code);
  return Object.assign(value, { local: index });
}

/** A call's result as an expression. It has effects: name it with `let` at once. */
export function valueOf(type: ValueType, code: Code): Value {
  return type === 'i32'
    ? new I32(code)
    : type === 'i64'
      ? new I64(code)
      : type === 'f32'
        ? new F32(code)
        : type === 'f64'
          ? new F64(code)
          : new V128(code);
}
