/** Operands of translated instructions: registers in locals, addresses and immediates that are known. */
import { type F32, type F64, type I32, type I64, type Local, type V128, i64, v128 } from '../encoder/values.ts';
import type { DecodedInstruction, DecodedOperand } from '../../../x86/decode/decoder.ts';
import { OperandKind, RegisterClass, SegmentRegister } from '../../../x86/decode/decoder.ts';
import type { Operand, V256, Width } from '../../../x86/instructions/semantics/context.ts';
import type { OperandForm } from '../emit/form.ts';
import { loadRaw, storeRaw } from '../emit/memory-access.ts';
import { BaseMemoryOperand, BaseOperand, type OperandContext, asWidth } from '../emit/operand.ts';
import { SegmentField, segmentOffset, x87Offset } from '../interpreter/cpu-layout.ts';
import type { RegisterLocals } from './registers.ts';

/** The surroundings of an operand of translated code. */
export interface KnownContext extends OperandContext {
  readonly registers: RegisterLocals;
  readonly decoded: DecodedInstruction;
  nextRip(): I64;
}

export function createKnownOperand(context: KnownContext, form: OperandForm, operand: DecodedOperand): Operand {
  switch (operand.kind) {
    case OperandKind.Memory:
      return new KnownMemory(context, form, operand);
    case OperandKind.Register:
      if (operand.registerClass === RegisterClass.Gpr) return new KnownGpr(context, form, operand);
      if (operand.registerClass === RegisterClass.Xmm) return new KnownXmm(context, form, operand);
      return new InStateBlock(context, form, operand);
    default:
      return new KnownImmediate(context, form, operand);
  }
}

class KnownGpr extends BaseOperand {
  readonly #registers: RegisterLocals;
  readonly #index: number;
  readonly #high: boolean;

  constructor(context: KnownContext, form: OperandForm, { register, highByte }: DecodedOperand) {
    super(context, form);
    this.#registers = context.registers;
    this.#index = register;
    this.#high = highByte;
  }

  #value(): I64 {
    const all = this.#registers.gpr(this.#index);
    return this.#high ? all.shrU(8) : all;
  }

  read(width: Width = asWidth(this.bits)): Local<I64> {
    return this.f.let(this.#value().signExtend(width));
  }
  override readUnsigned(width: Width = asWidth(this.bits)): Local<I64> {
    return this.f.let(this.#value().zeroExtend(width));
  }
  override write(value: I64, width: Width = asWidth(this.bits)): void {
    this.#registers.setGpr(this.#index, width, value, this.#high);
  }
}

const Zero128 = v128(0n, 0n);

class KnownXmm extends BaseOperand {
  readonly #registers: RegisterLocals;
  readonly #index: number;

  constructor(context: KnownContext, form: OperandForm, { register }: DecodedOperand) {
    super(context, form);
    this.#registers = context.registers;
    this.#index = register;
  }

  read(width: Width = 64): Local<I64> {
    return this.f.let(this.#registers.xmm(this.#index).lane64(0).signExtend(width));
  }
  override write(value: I64, width: Width = 64): void {
    const old = this.#registers.xmm(this.#index);
    if (width === 64) this.#registers.setXmm(this.#index, old.withLane64(0, value));
    else if (width === 32) this.#registers.setXmm(this.#index, old.withLane32(0, value.toI32()));
    else throw new Error(`no write of ${width} bits to a vector register`);
  }
  override readV128(): Local<V128> {
    return this.f.let(this.#registers.xmm(this.#index));
  }
  override writeV128(value: V128): void {
    this.#registers.setXmm(this.#index, value);
  }
  override readV256(): V256 {
    return { low: this.readV128(), high: this.f.let(this.#registers.ymmHigh(this.#index)) };
  }
  override writeV256(low: V128, high: V128): void {
    const named = this.f.let(high);
    this.#registers.setXmm(this.#index, low);
    this.#registers.setYmmHigh(this.#index, named);
  }
  override readF64(): Local<F64> {
    return this.f.let(this.#registers.xmm(this.#index).laneF64(0));
  }
  override readF32(): Local<F32> {
    return this.f.let(this.#registers.xmm(this.#index).laneF32(0));
  }
  override writeF64(value: F64): void {
    this.#registers.setXmm(this.#index, this.#registers.xmm(this.#index).withLaneF64(0, value));
  }
  override writeF32(value: F32): void {
    this.#registers.setXmm(this.#index, this.#registers.xmm(this.#index).withLaneF32(0, value));
  }
  override writeLowZeroing(value: I64, width: 32 | 64): void {
    this.#registers.setXmm(this.#index, Zero128.withLane64(0, value.zeroExtend(width)));
  }
  override readPointer(): Local<I32> {
    return this.f.let(this.#registers.xmmInMemory(this.#index));
  }
  override writePointer(): { pointer: Local<I32>; commit(): void } {
    return { pointer: this.readPointer(), commit: () => this.#registers.reloadXmm(this.#index) };
  }
}

/** MMX registers, and operands whose register is part of the form: they stay in the state block. */
class InStateBlock extends BaseOperand {
  readonly #offset: number;

  constructor(context: KnownContext, form: OperandForm, { register }: DecodedOperand) {
    super(context, form);
    this.#offset = x87Offset(register);
  }

  #pointer(): Local<I32> {
    return this.f.let(this.context.cpu.add(this.#offset));
  }

  read(width: Width = 64): Local<I64> {
    return this.f.let(loadRaw(this.#pointer(), width));
  }
  override write(value: I64, width: Width = 64): void {
    storeRaw(this.f, this.#pointer(), width, value);
  }
  override readPointer(): Local<I32> {
    return this.#pointer();
  }
  override writePointer(): { pointer: Local<I32>; commit(): void } {
    return { pointer: this.#pointer(), commit() {} };
  }
}

class KnownImmediate extends BaseOperand {
  readonly #value: bigint;

  constructor(context: KnownContext, form: OperandForm, { low, high }: DecodedOperand) {
    super(context, form);
    this.#value = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low >>> 0));
  }

  get constant(): bigint {
    return this.#value;
  }

  read(width: Width = 64): Local<I64> {
    return this.f.let(i64(BigInt.asIntN(width, this.#value)));
  }
  override readUnsigned(width: Width = 64): Local<I64> {
    return this.f.let(i64(BigInt.asUintN(width, this.#value)));
  }
}

class KnownMemory extends BaseMemoryOperand {
  readonly #known: KnownContext;
  readonly #operand: DecodedOperand;

  constructor(context: KnownContext, form: OperandForm, operand: DecodedOperand) {
    super(context, form);
    this.#known = context;
    this.#operand = operand;
  }

  override get stack(): boolean {
    return this.#operand.segment === SegmentRegister.Ss;
  }

  protected override address(): I64 {
    const { base, index, vectorIndex, scale, ripRelative, low, high, segment } = this.#operand;
    const { registers, decoded, cpu } = this.#known;
    const displacement = (BigInt(high) << 32n) | BigInt(low >>> 0);
    let sum: I64 | undefined = ripRelative ? this.#known.nextRip() : base >= 0 ? registers.gpr(base) : undefined;
    if (index >= 0 && !vectorIndex) {
      const scaled = scale === 0 ? registers.gpr(index) : registers.gpr(index).shl(scale);
      sum = sum ? sum.add(scaled) : scaled;
    }
    if (!sum) sum = i64(displacement);
    else if (displacement !== 0n) sum = sum.add(displacement);
    if (decoded.addressSize !== 64) sum = sum.zeroExtend(decoded.addressSize);
    const based = segment >= SegmentRegister.Fs && decoded.row.mnemonic !== 'LEA' && !vectorIndex;
    return based ? sum.add(cpu.load64(segmentOffset(segment) + SegmentField.Base)) : sum;
  }

  override indices(): V256 & { readonly scale: I64 } {
    const { index, scale } = this.#operand;
    const { registers } = this.#known;
    return { low: this.f.let(registers.xmm(index)), high: this.f.let(registers.ymmHigh(index)), scale: i64(scale) };
  }

  protected override segment(): number {
    return this.#operand.segment;
  }
  protected override segmentCache(): I32 {
    return this.context.cpu.add(segmentOffset(this.#operand.segment) - segmentOffset(0));
  }
}
