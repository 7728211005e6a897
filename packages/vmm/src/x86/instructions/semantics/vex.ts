/**
 * VEX-encoded vector instructions out of the semantics of SSE instructions: once for each 128 bits, with operands in place
 * that read parts of the instruction's own and keep what is written until all parts are done.
 *
 * What VEX changes (SDM Vol. 2A §2.3 "Intel Advanced Vector Extensions (Intel AVX)", §2.4 "Instruction Exception
 * Specification"): the first source may be a register of its own, memory needs no alignment, the destination's upper bits
 * are cleared, XCR0 decides what is available, and floating-point exceptions are those of all elements.
 */
import {
  type F32,
  type F64,
  type I32,
  type I64,
  type Local,
  type V128,
  i32,
} from '../../../engine/wasm/encoder/values.ts';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Operand, type Semantic, type Semantics, type V256, Vector, type Width } from './context.ts';
import { Mxcsr, commitFlags, raiseSimd, zero128 } from './simd-support.ts';

const RflagsVirtual8086 = 1 << 17;

/** #UD and #NM of VEX-encoded vector instructions. */
export function requireAvx(s: Semantics): void {
  const vector = s.let(s.state32(Cpu.AvxDisabled));
  s.f.unlikely(vector, () => {
    s.raiseIf(vector.eq(Vector.InvalidOpcode), Vector.InvalidOpcode);
    s.raise(Vector.DeviceNotAvailable);
  });
  if (s.form.codeSize === 16) s.raiseIf(s.state32(Cpu.Rflags).and(RflagsVirtual8086), Vector.InvalidOpcode);
}

function refuse(what: string): never {
  throw new Error(`a part of a vector operand cannot ${what}`);
}

/** What the operands that stand in for parts have in common. */
abstract class StandIn implements Operand {
  abstract readonly kind: Operand['kind'];
  abstract readonly bits: number;
  readonly index = -1;
  readonly stack = false;
  protected readonly s: Semantics;

  constructor(s: Semantics) {
    this.s = s;
  }

  abstract read(width?: Width): Local<I64>;
  abstract readUnsigned(width?: Width): Local<I64>;
  readModify = (): never => refuse('be modified');
  write(_value: I64, _width?: Width): void {
    refuse('be written');
  }
  readV128(): Local<V128> {
    return refuse('be read as a vector');
  }
  writeV128(_value: V128): void {
    refuse('hold a vector');
  }
  readV256 = (): never => refuse('be read as two');
  writeV256 = (): never => refuse('be written as two');
  indices = (): never => refuse('have indices');
  readF64(): Local<F64> {
    return refuse('be read as a number');
  }
  readF32(): Local<F32> {
    return refuse('be read as a number');
  }
  writeF64(_value: F64): void {
    refuse('hold a number');
  }
  writeF32(_value: F32): void {
    refuse('hold a number');
  }
  writeLowZeroing(_value: I64, _width: 32 | 64): void {
    refuse('be written');
  }
  readPointer = (): never => refuse('be pointed at');
  writePointer = (): never => refuse('be pointed at');
  requireAligned(): void {}
  part = (): never => refuse('have an address');
  linear = (): never => refuse('have an address');
  uncheckedLinear = (): never => refuse('have an address');
  selector = (): never => refuse('have a segment');
  effective = (): never => refuse('have an address');
}

/** 128 bits of a vector operand: what is written stays here. */
class PartOperand extends StandIn {
  override readonly kind = 'xmm';
  override readonly bits = 128;
  #value: Local<V128> | (() => Local<V128>);
  /** What was written, or undefined. */
  result: Local<V128> | undefined;

  constructor(s: Semantics, value: Local<V128> | (() => Local<V128>)) {
    super(s);
    this.#value = value;
  }

  override readV128(): Local<V128> {
    if (typeof this.#value === 'function') this.#value = this.#value();
    return this.#value;
  }
  override writeV128(value: V128): void {
    this.#value = this.result = this.s.let(value);
  }
  override read(width: Width = 64): Local<I64> {
    return this.s.let(this.readV128().lane64(0).signExtend(width));
  }
  override readUnsigned(width: Width = 64): Local<I64> {
    return this.s.let(this.readV128().lane64(0).zeroExtend(width));
  }
  override readF64(): Local<F64> {
    return this.s.let(this.readV128().laneF64(0));
  }
  override readF32(): Local<F32> {
    return this.s.let(this.readV128().laneF32(0));
  }
  override write(value: I64, width: Width = 64): void {
    if (width === 64) this.writeV128(this.readV128().withLane64(0, value));
    else if (width === 32) this.writeV128(this.readV128().withLane32(0, value.toI32()));
    else refuse(`be written in ${width} bits`);
  }
  override writeF64(value: F64): void {
    this.writeV128(this.readV128().withLaneF64(0, value));
  }
  override writeF32(value: F32): void {
    this.writeV128(this.readV128().withLaneF32(0, value));
  }
  override writeLowZeroing(value: I64, width: 32 | 64): void {
    this.writeV128(zero128.withLane64(0, value.zeroExtend(width)));
  }
}

/** An immediate whose bits from `shift` on are for this part. */
class ShiftedImmediate extends StandIn {
  override readonly kind = 'immediate';
  override readonly bits = 8;
  readonly #own: Operand;
  readonly #shift: number;

  constructor(s: Semantics, own: Operand, shift: number) {
    super(s);
    this.#own = own;
    this.#shift = shift;
  }
  override read(): Local<I64> {
    return this.readUnsigned();
  }
  override readUnsigned(): Local<I64> {
    return this.s.let(this.#own.readUnsigned(8).shrU(this.#shift));
  }
}

/** How a VEX instruction follows from its SSE counterpart. */
export interface VexShape {
  /** The first source is an operand of its own: the second, where the SSE instruction has the destination. */
  readonly fold: boolean;
  /** It can raise floating-point exceptions. */
  readonly float: boolean;
  /** Of 256 bits: a part of the result is made of a part of the source that is so many times smaller. */
  readonly widen: 1 | 2 | 4 | 8;
  /** Of 256 bits: each part gives 64 bits of the result. */
  readonly narrow: boolean;
  /** Bits of the immediate that are for the first 128 bits only, those above being for the others. */
  readonly immediateShift: number;
}

const DefaultShape: VexShape = { fold: false, float: false, widen: 1, narrow: false, immediateShift: 0 };

/** `times` times smaller parts of 128 bits: the second one. */
function secondPart(s: Semantics, low: Local<V128>, times: number): Local<V128> {
  const first = 16 / times;
  return s.let(
    low.shuffle(
      zero128,
      Array.from({ length: 16 }, (_, i) => Math.min(first + i, 16)),
    ),
  );
}

/** A source's operand for each part. */
function sourceParts(s: Semantics, operand: Operand, parts: number, shape: VexShape): Operand[] {
  const whole = (low: Local<V128>, high: Local<V128>): Operand[] => [new PartOperand(s, low), new PartOperand(s, high)];
  if (operand.bits === 256) {
    const { low, high } = operand.readV256();
    return whole(low, high);
  }
  if (operand.kind === 'immediate') {
    return [operand, shape.immediateShift > 0 ? new ShiftedImmediate(s, operand, shape.immediateShift) : operand];
  }
  if (parts > 1 && shape.widen > 1) {
    const low = operand.readV128();
    return whole(low, secondPart(s, low, shape.widen));
  }
  if (operand.kind === 'xmm' || (operand.kind === 'memory' && operand.bits === 128)) {
    const part = new PartOperand(s, operand.readV128());
    return [part, part];
  }
  return [operand, operand];
}

/** Takes the exceptions of several parts together: MXCSR is as before until `raise`. */
class Exceptions {
  readonly #s: Semantics;
  readonly #before: Local<I32>;
  readonly #flags: Local<I32>;

  constructor(s: Semantics) {
    this.#s = s;
    this.#before = s.let(s.state32(Cpu.Mxcsr));
    this.#flags = s.let(i32(0));
  }

  /** What a helper left: its last flags, and what it added to MXCSR before. */
  collect(): void {
    const { f } = this.#s;
    const added = this.#s.state32(Cpu.Mxcsr).xor(this.#before);
    f.set(this.#flags, this.#flags.or(this.#s.state32(Cpu.SimdFlags)).or(added));
  }

  raise(): void {
    const s = this.#s;
    s.f.unlikely(this.#flags, () => {
      s.setState32(Cpu.Mxcsr, this.#before);
      s.setState32(Cpu.SimdFlags, s.let(this.#flags.and(Mxcsr.Flags)));
      s.setState32(Cpu.SimdVector, s.let(commitFlags(s, s.cpu)));
      raiseSimd(s);
    });
  }
}

/** What a destination register holds, part by part: read only where the semantic does. */
function ownParts(destination: Operand, s: Semantics, wide: boolean): PartOperand[] {
  let halves: V256 | undefined;
  const both = (): V256 => (halves ??= destination.readV256());
  if (!wide) return [new PartOperand(s, () => destination.readV128())];
  return [new PartOperand(s, () => both().low), new PartOperand(s, () => both().high)];
}

/** The semantic of a VEX-encoded instruction whose parts do what `semantic` does. */
export function vex(semantic: Semantic, given: Partial<VexShape> = {}): Semantic {
  const shape = { ...DefaultShape, ...given };
  return (s) => {
    requireAvx(s);
    const [destination, ...others] = s.operands as [Operand, ...Operand[]];
    const parts = s.operands.some(({ bits }) => bits === 256) ? 2 : 1;
    // Memory is read before anything else; all that is read, is read before anything is written
    const sources = others.map((operand) => sourceParts(s, operand, parts, shape));
    const isVector = destination.kind === 'xmm';
    const first = shape.fold ? sources.shift() : undefined;
    const results: PartOperand[] = first
      ? first.map((part) => new PartOperand(s, () => part.readV128()))
      : isVector
        ? ownParts(destination, s, parts > 1 && destination.bits === 256)
        : [];
    const exceptions = shape.float && parts > 1 ? new Exceptions(s) : undefined;
    const part = exceptions ? { collect: () => exceptions.collect() } : {};
    for (let i = 0; i < parts; i++) {
      const result = isVector ? (results[i] ??= new PartOperand(s, zero(s))) : destination;
      s.withOperands([result, ...sources.map((each) => each[i]!)], part, () => semantic(s));
    }
    exceptions?.raise();
    if (isVector) writeParts(s, destination, results.slice(0, parts), shape.narrow);
  };
}

const zero = (s: Semantics): Local<V128> => s.let(zero128);

function writeParts(s: Semantics, destination: Operand, parts: readonly PartOperand[], narrow: boolean): void {
  const [low, high] = parts.map(({ result }) => result);
  if (!low) return;
  if (!high) writeCleared(destination, low);
  else if (narrow) writeCleared(destination, s.let(low.withLane64(1, high.lane64(0))));
  else destination.writeV256(low, high);
}

/** Writes 128 bits, those above being cleared where there are any. */
export function writeCleared(destination: Operand, value: V128): void {
  if (destination.kind === 'xmm') destination.writeV256(value, zero128);
  else destination.writeV128(value);
}

/** Both halves of a vector operand; of 128 bits, the upper one is zero. */
export function readHalves(s: Semantics, operand: Operand): V256 {
  return operand.bits === 256 ? operand.readV256() : { low: operand.readV128(), high: s.let<V128>(zero128) };
}

/** Writes as many bits as the instruction has, clearing those above. */
export function writeHalves(s: Semantics, destination: Operand, low: V128, high: V128): void {
  if (destination.bits === 256) destination.writeV256(low, high);
  else writeCleared(destination, s.let(low));
}
