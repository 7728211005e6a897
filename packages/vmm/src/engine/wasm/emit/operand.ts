/** Operands of semantics: what interpreter handlers and translated code have in common. */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type F32, type F64, type I32, type I64, type I64Like, type Local, type V128, i64 } from '../encoder/values.ts';
import {
  type Form,
  type Operand,
  type OperandKind,
  type StackAccess,
  type V256,
  Vector,
  type Width,
} from '../../../x86/instructions/semantics/context.ts';
import { SegmentField, segmentOffset } from '../interpreter/cpu-layout.ts';
import type { OperandForm } from './form.ts';
import {
  type AccessContext,
  emitLoad,
  emitModify,
  emitModifyWrite,
  emitReadPointer,
  emitStore,
  emitWritePointer,
} from './memory-access.ts';

/** The surroundings of an operand. */
export interface OperandContext extends AccessContext {
  readonly form: Form;
  segmented(segment: number | I32, offset: I64, bytes: number, write: boolean): Local<I64>;
  raiseIf(condition: I32, vector: number, errorCode?: number): void;
}

export const asWidth = (bits: number): Width => {
  if (bits !== 8 && bits !== 16 && bits !== 32 && bits !== 64) throw new Error(`no integer of ${bits} bits`);
  return bits;
};

export abstract class BaseOperand implements Operand {
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
  readV256(): V256 {
    const pointer = this.readPointer(32);
    return { low: this.f.let(pointer.loadV128()), high: this.f.let(pointer.loadV128(16)) };
  }
  writeV256(_low: V128, _high: V128): void {
    throw this.#cannot('hold a vector');
  }
  indices(): V256 & { readonly scale: I64 } {
    throw this.#cannot('have indices');
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
  linear(_write = false): Local<I64> {
    throw this.#cannot('have an address');
  }
  uncheckedLinear(): Local<I64> {
    throw this.#cannot('have an address');
  }
  selector(): I32 {
    throw this.#cannot('have a segment');
  }
  part(_offset: I64Like, _bytes: number, _write: boolean, _wraps?: boolean): Local<I64> {
    throw this.#cannot('have an address');
  }
  effective(): Local<I64> {
    throw this.#cannot('have an address');
  }

  #cannot(what: string): Error {
    return new Error(`operand of kind ${this.kind} cannot ${what}`);
  }
}

/**
 * base + (index << scale) + displacement. In 64-bit code the base of FS or GS is part of it. In other code the segment is
 * applied when the operand is accessed, so that faults come in the instruction's own order.
 */
export abstract class BaseMemoryOperand extends BaseOperand {
  #offset: Local<I64> | undefined;
  #checked: { linear: Local<I64>; bytes: number; write: boolean } | undefined;
  #modifying: { host: Local<I32>; width: Width } | undefined;

  /** base + (index << scale) + displacement, and in 64-bit code the base of FS or GS. */
  protected abstract address(): I64;
  /** The operand's segment: a number where it is known. */
  protected abstract segment(): number | I32;
  /** Pointer by which fields of the segment's cache are loaded with the offsets of the first one. */
  protected abstract segmentCache(): I32;

  override effective(): Local<I64> {
    return (this.#offset ??= this.f.let(this.address()));
  }

  /** For an access of `bytes` bytes. */
  #at(bytes: number, write: boolean): Local<I64> {
    const offset = this.effective();
    if (this.context.form.codeSize === 64) return offset;
    const checked = this.#checked;
    if (checked && checked.bytes === bytes && (checked.write || !write)) return checked.linear;
    const linear = this.context.segmented(this.segment(), offset, bytes, write);
    this.#checked = { linear, bytes, write };
    return linear;
  }

  override linear(write = false): Local<I64> {
    return this.#at(Math.max(this.bits / 8, 1), write);
  }

  override uncheckedLinear(): Local<I64> {
    const offset = this.effective();
    if (this.context.form.codeSize === 64) return offset;
    const base = this.segmentCache().load64(segmentOffset(0) + SegmentField.Base);
    return this.f.let(base.add(offset).zeroExtend(32));
  }

  override selector(): I32 {
    return this.segmentCache().load32(segmentOffset(0) + SegmentField.Selector);
  }

  override part(offset: I64Like, bytes: number, write: boolean, wraps = true): Local<I64> {
    const { codeSize, addressWidth } = this.context.form;
    const at = this.effective().add(offset);
    if (codeSize === 64) return this.f.let(at);
    return this.context.segmented(this.segment(), this.f.let(at.zeroExtend(wraps ? addressWidth : 32)), bytes, write);
  }

  read(width: Width = asWidth(this.bits)): Local<I64> {
    return emitLoad(this.context, this.#at(width / 8, false), width, this.stack);
  }

  override readModify(width: Width = asWidth(this.bits)): Local<I64> {
    const { value, host } = emitModify(this.context, this.#at(width / 8, true), width, this.stack);
    this.#modifying = { host, width };
    return value;
  }

  override write(value: I64, width: Width = asWidth(this.bits)): void {
    const modifying = this.#modifying;
    const linear = this.#at(width / 8, true);
    if (modifying && modifying.width === width) {
      emitModifyWrite(this.context, linear, modifying.host, width, value, this.stack);
    } else {
      emitStore(this.context, linear, width, value, this.stack);
    }
  }

  override readV128(): Local<V128> {
    if (this.bits >= 128) return this.f.let(this.readPointer(16).loadV128());
    const width = asWidth(this.bits);
    return this.f.let(i64(0).splat64().withLane64(0, this.read(width).zeroExtend(width)));
  }

  override writeV128(value: V128): void {
    const named = this.f.let(value);
    if (this.bits < 128) {
      this.write(named.lane64(0));
      return;
    }
    const { pointer, commit } = this.writePointer(16);
    this.f.storeV128(pointer, 0, named);
    commit();
  }

  override writeV256(low: V128, high: V128): void {
    const named = [this.f.let(low), this.f.let(high)] as const;
    const { pointer, commit } = this.writePointer(32);
    this.f.storeV128(pointer, 0, named[0]);
    this.f.storeV128(pointer, 16, named[1]);
    commit();
  }

  override readPointer(bytes: number): Local<I32> {
    return emitReadPointer(this.context, this.#at(bytes, false), bytes, this.stack);
  }

  override writePointer(bytes: number): { pointer: Local<I32>; commit(): void } {
    return emitWritePointer(this.context, this.#at(bytes, true), bytes, this.stack);
  }

  override requireAligned(bytes: number): void {
    const misaligned = this.uncheckedLinear()
      .and(bytes - 1)
      .ne(0);
    this.context.raiseIf(misaligned, Vector.GeneralProtection, 0);
  }
}
