/** Operands whose registers and addresses come from a decoded record. */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type F32, type F64, type I32, type I64, type I64Like, type Local, type V128, i64 } from '../encoder/values.ts';
import {
  type Form,
  type Operand,
  type OperandKind,
  type StackAccess,
  Vector,
  type Width,
} from '../../../x86/instructions/semantics/context.ts';
import type { OperandForm } from './form.ts';
import {
  type AccessContext,
  emitLoad,
  emitModify,
  emitModifyWrite,
  emitReadPointer,
  emitStore,
  emitWritePointer,
  loadRaw,
  storeRaw,
} from './memory-access.ts';
import { Record, StackOperand } from './record.ts';

/** The surroundings of an operand. */
export interface OperandContext extends AccessContext {
  /** Pointer to the record. */
  readonly pc: I32;
  readonly form: Form;
  segmented(segment: number | I32, offset: I64, bytes: number, write: boolean): Local<I64>;
  raiseIf(condition: I32, vector: number, errorCode?: number): void;
}

const asWidth = (bits: number): Width => {
  if (bits !== 8 && bits !== 16 && bits !== 32 && bits !== 64) throw new Error(`no integer of ${bits} bits`);
  return bits;
};

export function createOperand(context: OperandContext, form: OperandForm, position: number): Operand {
  return form.kind === 'memory'
    ? new MemoryOperand(context, form)
    : form.kind === 'immediate' || form.kind === 'relative' || form.kind === 'far'
      ? new ImmediateOperand(context, form)
      : new RegisterOperand(context, form, position);
}

abstract class BaseOperand implements Operand {
  readonly kind: OperandKind;
  readonly bits: number;
  readonly index: number;
  protected readonly context: OperandContext;
  protected readonly f: FunctionBuilder;

  constructor(context: OperandContext, form: OperandForm) {
    this.context = context;
    this.f = context.f;
    this.kind = form.kind;
    this.bits = form.bits;
    this.index = form.index;
  }

  abstract read(width?: Width): Local<I64>;
  readUnsigned(width: Width = asWidth(this.bits)): Local<I64> {
    return this.f.let(this.read(width).zeroExtend(width));
  }
  readModify(width?: Width): Local<I64> {
    return this.read(width);
  }
  write(_value: I64, _width?: Width): void {
    throw this.#cannot('be written');
  }
  readV128(): Local<V128> {
    const pointer = this.readPointer(16);
    return this.f.let(pointer.loadV128());
  }
  writeV128(_value: V128): void {
    throw this.#cannot('hold a vector');
  }
  readF64(): Local<F64> {
    return this.f.let(this.readPointer(8).loadF64());
  }
  readF32(): Local<F32> {
    return this.f.let(this.readPointer(4).loadF32());
  }
  writeF64(value: F64): void {
    this.write(value.asI64(), 64);
  }
  writeF32(value: F32): void {
    this.write(value.asI32().toI64u(), 32);
  }
  writeLowZeroing(value: I64, width: 32 | 64): void {
    this.write(value, width);
  }
  readPointer(_bytes: number): Local<I32> {
    throw this.#cannot('be pointed at');
  }
  writePointer(_bytes: number): { pointer: Local<I32>; commit(): void } {
    throw this.#cannot('be pointed at');
  }
  requireAligned(_bytes: number): void {}
  get stack(): StackAccess {
    return false;
  }
  linear(): Local<I64> {
    throw this.#cannot('have an address');
  }
  part(_offset: I64Like, _bytes: number, _write: boolean): Local<I64> {
    throw this.#cannot('have an address');
  }
  effective(): Local<I64> {
    throw this.#cannot('have an address');
  }

  #cannot(what: string): Error {
    return new Error(`operand of kind ${this.kind} cannot ${what}`);
  }
}

/** General, vector and MMX registers (and immediates at position 1): an absolute pointer in the record. */
class RegisterOperand extends BaseOperand {
  readonly #field: number;
  #pointer: Local<I32> | undefined;

  constructor(context: OperandContext, form: OperandForm, position: number) {
    super(context, form);
    this.#field = [Record.Pointer1, Record.Pointer2, Record.Pointer3][position]!;
  }

  #at(): Local<I32> {
    return (this.#pointer ??= this.f.let(this.context.pc.load32(this.#field)));
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
  read(width: Width = 64): Local<I64> {
    return this.f.let(this.context.pc.load64(Record.Immediate).signExtend(width));
  }
}

/** base + (index << scale) + displacement; segment bases and narrower addressing were folded in by the lowering. */
class MemoryOperand extends BaseOperand {
  #linear: Local<I64> | undefined;
  override get stack(): I32 {
    return this.context.pc.load8u(Record.Length).and(StackOperand);
  }
  #modifying: { host: Local<I32>; width: Width } | undefined;

  override linear(): Local<I64> {
    if (!this.#linear) {
      const { cpu, pc } = this.context;
      const base = cpu.add(pc.load16u(Record.Base)).load64();
      const index = cpu.add(pc.load16u(Record.Index)).load64();
      const scaled = index.shl(pc.load8u(Record.Scale).toI64u());
      this.#linear = this.f.let(base.add(scaled).add(pc.load32(Record.Displacement).toI64s()));
    }
    return this.#linear;
  }

  override effective(): Local<I64> {
    return this.linear();
  }

  override part(offset: I64Like, bytes: number, write: boolean): Local<I64> {
    const { codeSize, addressWidth } = this.context.form;
    const at = this.linear().add(offset);
    if (codeSize === 64) return this.f.let(at);
    const segment = this.context.pc.load8u(Record.Extra);
    return this.context.segmented(segment, this.f.let(at.zeroExtend(addressWidth)), bytes, write);
  }

  read(width: Width = asWidth(this.bits)): Local<I64> {
    return emitLoad(this.context, this.linear(), width, this.stack);
  }

  override readModify(width: Width = asWidth(this.bits)): Local<I64> {
    const { value, host } = emitModify(this.context, this.linear(), width, this.stack);
    this.#modifying = { host, width };
    return value;
  }

  override write(value: I64, width: Width = asWidth(this.bits)): void {
    const modifying = this.#modifying;
    if (modifying && modifying.width === width) {
      emitModifyWrite(this.context, this.linear(), modifying.host, width, value, this.stack);
    } else {
      emitStore(this.context, this.linear(), width, value, this.stack);
    }
  }

  override readV128(): Local<V128> {
    const bits = this.bits;
    if (bits >= 128) return this.f.let(emitReadPointer(this.context, this.linear(), 16, this.stack).loadV128());
    const low = emitLoad(this.context, this.linear(), asWidth(bits), this.stack).zeroExtend(asWidth(bits));
    return this.f.let(i64(0).splat64().withLane64(0, low));
  }

  override writeV128(value: V128): void {
    const named = this.f.let(value);
    if (this.bits < 128) {
      emitStore(this.context, this.linear(), asWidth(this.bits), named.lane64(0), this.stack);
      return;
    }
    const { pointer, commit } = emitWritePointer(this.context, this.linear(), 16, this.stack);
    this.f.storeV128(pointer, 0, named);
    commit();
  }

  override readPointer(bytes: number): Local<I32> {
    return emitReadPointer(this.context, this.linear(), bytes, this.stack);
  }

  override writePointer(bytes: number): { pointer: Local<I32>; commit(): void } {
    return emitWritePointer(this.context, this.linear(), bytes, this.stack);
  }

  override requireAligned(bytes: number): void {
    const misaligned = this.linear()
      .and(bytes - 1)
      .ne(0);
    this.context.raiseIf(misaligned, Vector.GeneralProtection, 0);
  }
}
