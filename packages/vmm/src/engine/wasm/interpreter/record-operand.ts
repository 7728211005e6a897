/** Operands whose registers and addresses come from a decoded record. */
import { type F32, type F64, type I32, type I64, type Local, type V128 } from '../encoder/values.ts';
import type { Operand, StackAccess, V256, Width } from '../../../x86/instructions/semantics/context.ts';
import type { OperandForm } from '../emit/form.ts';
import { loadRaw, storeRaw } from '../emit/memory-access.ts';
import { BaseMemoryOperand, BaseOperand, type OperandContext, asWidth } from '../emit/operand.ts';
import { xmmOffset, ymmHighOffset } from './cpu-layout.ts';
import { Record, SegmentMask, SegmentShift, StackOperand } from './record.ts';

/** From a vector register's low half to its high one. */
const HighHalf = ymmHighOffset(0) - xmmOffset(0);

/** The surroundings of an operand of a handler. */
export interface RecordContext extends OperandContext {
  /** Pointer to the record. */
  readonly pc: I32;
}

export function createOperand(context: RecordContext, form: OperandForm, position: number): Operand {
  if (form.kind === 'vector-memory') return new VectorMemoryOperand(context, form);
  return form.kind === 'memory'
    ? new MemoryOperand(context, form)
    : form.kind === 'immediate' || form.kind === 'relative' || form.kind === 'far'
      ? new ImmediateOperand(context, form, position)
      : new RegisterOperand(context, form, position);
}

/** General, vector and MMX registers (and immediates at position 1): an absolute pointer in the record. */
class RegisterOperand extends BaseOperand {
  readonly #pc: I32;
  readonly #field: number;
  #pointer: Local<I32> | undefined;

  constructor(context: RecordContext, form: OperandForm, position: number) {
    super(context, form);
    this.#pc = context.pc;
    this.#field = [Record.Pointer1, Record.Pointer2, Record.Pointer3, Record.Pointer4][position]!;
  }

  #at(): Local<I32> {
    return (this.#pointer ??= this.f.let(this.#pc.load32(this.#field)));
  }

  read(width: Width = asWidth(this.bits)): Local<I64> {
    return this.f.let(loadRaw(this.#at(), width));
  }

  override readUnsigned(width: Width = asWidth(this.bits)): Local<I64> {
    const at = this.#at();
    const value =
      width === 64 ? at.load64() : width === 32 ? at.load64_32u() : width === 16 ? at.load64_16u() : at.load64_8u();
    return this.f.let(value);
  }

  override write(value: I64, width: Width = asWidth(this.bits)): void {
    if (width === 32 && this.kind === 'gpr') this.f.store64(this.#at(), 0, value.zeroExtend(32));
    else storeRaw(this.f, this.#at(), width, value);
  }

  override writeV128(value: V128): void {
    this.f.storeV128(this.#at(), 0, value);
  }

  override readV256(): V256 {
    const at = this.#at();
    return { low: this.f.let(at.loadV128()), high: this.f.let(at.loadV128(HighHalf)) };
  }

  override writeV256(low: V128, high: V128): void {
    const named = this.f.let(high);
    this.f.storeV128(this.#at(), 0, low);
    this.f.storeV128(this.#at(), HighHalf, named);
  }

  override writeF64(value: F64): void {
    this.f.storeF64(this.#at(), 0, value);
  }

  override writeF32(value: F32): void {
    this.f.storeF32(this.#at(), 0, value);
  }

  override writeLowZeroing(value: I64, width: 32 | 64): void {
    const named = this.f.let(value.zeroExtend(width));
    this.f.store64(this.#at(), 0, named);
    if (this.kind === 'xmm') this.f.store64(this.#at(), 8, 0);
  }

  override readPointer(): Local<I32> {
    return this.#at();
  }

  override writePointer(): { pointer: Local<I32>; commit(): void } {
    return { pointer: this.#at(), commit() {} };
  }
}

class ImmediateOperand extends BaseOperand {
  readonly #pc: I32;
  readonly #position: number;

  constructor(context: RecordContext, form: OperandForm, position: number) {
    super(context, form);
    this.#pc = context.pc;
    this.#position = position;
  }

  read(width: Width = 64): Local<I64> {
    const value = this.#position === 3 ? this.#pc.load64_32s(Record.Pointer4) : this.#pc.load64(Record.Immediate);
    return this.f.let(value.signExtend(width));
  }
}

class MemoryOperand extends BaseMemoryOperand {
  protected readonly pc: I32;

  constructor(context: RecordContext, form: OperandForm) {
    super(context, form);
    this.pc = context.pc;
  }

  override get stack(): StackAccess {
    return this.pc.load8u(Record.Length).and(StackOperand);
  }

  protected override address(): I64 {
    const { cpu } = this.context;
    const base = cpu.add(this.pc.load16u(Record.Base)).load64();
    const index = cpu.add(this.pc.load16u(Record.Index)).load64();
    const scaled = index.shl(this.pc.load8u(Record.Scale).toI64u());
    return base.add(scaled).add(this.pc.load32(Record.Displacement).toI64s());
  }

  protected override segment(): I32 {
    return this.pc.load8u(Record.Length).shrU(SegmentShift);
  }

  protected override segmentCache(): I32 {
    return this.context.cpu.add(this.pc.load8u(Record.Length).and(SegmentMask));
  }
}

/** The record's index is the state block's offset of a vector register. */
class VectorMemoryOperand extends MemoryOperand {
  protected override address(): I64 {
    const base = this.context.cpu.add(this.pc.load16u(Record.Base)).load64();
    return base.add(this.pc.load32(Record.Displacement).toI64s());
  }

  override indices(): V256 & { readonly scale: I64 } {
    const at = this.f.let(this.context.cpu.add(this.pc.load16u(Record.Index)));
    return {
      low: this.f.let(at.loadV128()),
      high: this.f.let(at.loadV128(HighHalf)),
      scale: this.f.let(this.pc.load8u(Record.Scale).toI64u()),
    };
  }
}
