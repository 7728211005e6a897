/** The interpreter's `Semantics`: emits a handler whose operands come from the record at `pc`. */
import { type FunctionBuilder, callExpression } from '../encoder/function-builder.ts';
import type { FunctionRef } from '../encoder/function-builder.ts';
import {
  type I32,
  type I32Like,
  type I64,
  type I64Like,
  type Local,
  type V128,
  type Value,
  i32,
  i64,
} from '../encoder/values.ts';
import type {
  FlagsWriter,
  Form,
  Operand,
  Semantics,
  StackAccess,
  Width,
} from '../../../x86/instructions/semantics/context.ts';

import type { MmuFunctions } from '../softmmu/mmu.ts';
import { Cpu, HandlerResult, LoopExit, SegmentField, SegmentIndex, gprOffset, segmentOffset } from './cpu-layout.ts';
import type { InstructionForm } from './form.ts';
import { LazyFlags } from './lazy-flags.ts';
import {
  emitBulkPointer,
  emitLoad,
  emitModify,
  emitModifyWrite,
  emitReadPointer,
  emitStore,
  emitWritePointer,
  loadRaw,
  storeRaw,
} from './memory-access.ts';
import { type OperandContext, createOperand } from './record-operand.ts';
import { Record } from './record.ts';

const Rsp = 4;

/** Functions of the engine that handlers call. */
export interface CoreFunctions {
  readonly mmu: MmuFunctions;
  /** (cpu, record, rare index) -> HandlerResult, in JavaScript */
  readonly rare: FunctionRef;
  /** (cpu, segment, offset, bytes, write) -> linear address; SlowStatus when a check fails. Outside 64-bit code. */
  readonly segmented: FunctionRef;
  /** (cpu): privilege or code segment changed */
  readonly updateMode: FunctionRef;
  /** Index of a rare instruction's implementation. */
  rareIndex(name: string): number;
  /** Address of constant data, placed once. */
  data(name: string, bytes: () => Uint8Array): number;
  /** A helper function of this module, defined at first use. */
  helper(
    name: string,
    params: readonly Value['type'][],
    results: readonly Value['type'][],
    build: (f: FunctionBuilder) => void,
  ): FunctionRef;
}

/** Where a handler sits: inside the interpreter loop or in a function of its own. */
export interface HandlerSite {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly pc: I32;
  tlb(): I32;
  /** Emits: leave with this HandlerResult. */
  leave(status: I32): void;
  /** Emits: go on with the next record. */
  next(): void;
  /** Emits: near jump. */
  jump(target: I64): void;
  /** Emits: near jump to `target`, chained through the record's Pointer1 where the target is in the same page. */
  branch(target: I64): void;
}

export class RecordSemantics implements Semantics, OperandContext {
  readonly form: Form;
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly pc: I32;
  readonly flags: FlagsWriter;
  readonly operands: readonly Operand[];
  readonly #site: HandlerSite;
  readonly #core: CoreFunctions;

  constructor(site: HandlerSite, core: CoreFunctions, instruction: InstructionForm) {
    this.#site = site;
    this.#core = core;
    this.form = instruction.form;
    this.f = site.f;
    this.cpu = site.cpu;
    this.pc = site.pc;
    this.flags = new LazyFlags(site.f, site.cpu);
    this.operands = instruction.operands.map((form, position) => createOperand(this, form, position));
  }

  get mmu(): MmuFunctions {
    return this.#core.mmu;
  }
  get op0(): Operand {
    return this.#operand(0);
  }
  get op1(): Operand {
    return this.#operand(1);
  }
  get op2(): Operand {
    return this.#operand(2);
  }

  tlb(): I32 {
    return this.#site.tlb();
  }
  leave(status: I32): void {
    this.#site.leave(status);
  }
  let<T extends Value>(value: T): Local<T> {
    return this.f.let(value);
  }

  gpr(index: number, width: Width): I64 {
    return loadRaw(this.#register(index), width);
  }
  gprUnsigned(index: number, width: Width): I64 {
    return this.gpr(index, width).zeroExtend(width);
  }
  setGpr(index: number, width: Width, value: I64): void {
    if (width === 32) this.f.store64(this.cpu, gprOffset(index), value.zeroExtend(32));
    else storeRaw(this.f, this.cpu, width, value, gprOffset(index));
  }

  state32(offset: number): I32 {
    return this.cpu.load32(offset);
  }
  state64(offset: number): I64 {
    return this.cpu.load64(offset);
  }
  setState32(offset: number, value: I32Like): void {
    this.f.store32(this.cpu, offset, value);
  }
  setState64(offset: number, value: I64Like): void {
    this.f.store64(this.cpu, offset, value);
  }

  raise(vector: number, errorCode: I32Like = 0): void {
    this.f.call(this.#core.mmu.raise, this.cpu, i32(vector), i32(errorCode));
    this.leave(i32(HandlerResult.Fault));
  }
  raiseIf(condition: I32, vector: number, errorCode: I32Like = 0): void {
    this.f.unlikely(condition, () => this.raise(vector, errorCode));
  }
  resync(): void {
    this.leave(i32(HandlerResult.Resync));
  }
  jump(target: I64): void {
    this.#site.jump(target);
  }
  branchTarget(): Local<I64> {
    return this.f.let(this.#branchTarget());
  }
  branch(): void {
    this.#site.branch(this.#branchTarget());
  }
  done(): void {
    this.#site.next();
  }

  /** Lowering leaves it where an immediate would be. */
  x87Opcode(): I32 {
    return this.pc.load16u(Record.Immediate);
  }

  rip(): I64 {
    return this.#ripAt(this.pc.load16u(Record.Offset));
  }
  nextRip(): I64 {
    return this.#ripAt(this.pc.load16u(Record.Offset).add(this.pc.load8u(Record.Length).and(15)));
  }

  segmented(segment: number | I32, offset: I64, bytes: number, write: boolean): Local<I64> {
    if (this.form.codeSize === 64 && typeof segment === 'number') {
      const based = segment === SegmentIndex.Fs || segment === SegmentIndex.Gs;
      return this.f.let(based ? offset.add(this.cpu.load64(segmentOffset(segment) + SegmentField.Base)) : offset);
    }
    const linear = this.f.callValue(
      'i64',
      this.#core.segmented,
      this.cpu,
      typeof segment === 'number' ? i32(segment) : segment,
      offset,
      i32(bytes),
      i32(write ? 1 : 0),
    );
    const status = this.f.let(this.cpu.load32(Cpu.SlowStatus));
    this.f.unlikely(status, () => this.leave(status));
    return linear;
  }

  load(linear: I64, width: Width, stack: StackAccess = false): Local<I64> {
    return emitLoad(this, this.f.let(linear), width, stack);
  }
  store(linear: I64, width: Width, value: I64, stack: StackAccess = false): void {
    emitStore(this, this.f.let(linear), width, value, stack);
  }
  modify(linear: I64, width: Width, stack: StackAccess = false): { value: Local<I64>; write(value: I64): void } {
    const at = this.f.let(linear);
    const { value, host } = emitModify(this, at, width, stack);
    return { value, write: (result) => emitModifyWrite(this, at, host, width, result, stack) };
  }
  bulkPointer(linear: I64, write: boolean): Local<I32> {
    return emitBulkPointer(this, this.f.let(linear), write);
  }
  port(write: boolean, port: I64, bytes: number, value: I64): Local<I64> {
    const kind = i32(write ? LoopExit.PioWrite : LoopExit.PioRead);
    const result = this.f.callValue('i64', this.#core.mmu.device, this.cpu, kind, port, i32(bytes), value);
    const status = this.f.let(this.cpu.load32(Cpu.SlowStatus));
    this.f.if(status, () => this.leave(status));
    return result;
  }
  loadV128(linear: I64): Local<V128> {
    return this.f.let(this.loadPointer(linear, 16).loadV128());
  }
  loadPointer(linear: I64, bytes: number, stack: StackAccess = false): Local<I32> {
    return emitReadPointer(this, this.f.let(linear), bytes, stack);
  }
  storePointer(linear: I64, bytes: number, stack: StackAccess = false): { pointer: Local<I32>; commit(): void } {
    return emitWritePointer(this, this.f.let(linear), bytes, stack);
  }

  push(width: Width, value: I64): void {
    const named = this.f.let(value);
    const { stackWidth } = this.form;
    const top = this.f.let(
      this.gprUnsigned(Rsp, stackWidth)
        .sub(width / 8)
        .zeroExtend(stackWidth),
    );
    emitStore(this, this.segmented(SegmentIndex.Ss, top, width / 8, true), width, named, true);
    this.setGpr(Rsp, stackWidth, top);
  }
  peek(width: Width, offset: number): Local<I64> {
    const { stackWidth } = this.form;
    const at = this.gprUnsigned(Rsp, stackWidth).add(offset).zeroExtend(stackWidth);
    return emitLoad(this, this.segmented(SegmentIndex.Ss, this.f.let(at), width / 8, false), width, true);
  }
  dropStack(bytes: I64Like): void {
    const { stackWidth } = this.form;
    this.setGpr(Rsp, stackWidth, this.gprUnsigned(Rsp, stackWidth).add(i64(bytes)));
  }

  rare(name: string): void {
    this.f.store64(this.cpu, Cpu.Rip, this.rip());
    const status = this.f.callValue('i32', this.#core.rare, this.cpu, this.pc, i32(this.#core.rareIndex(name)));
    this.f.if(status, () => this.leave(status));
  }

  updateMode(): void {
    this.f.call(this.#core.updateMode, this.cpu);
  }

  data(name: string, bytes: () => Uint8Array): I32 {
    return i32(this.#core.data(name, bytes));
  }

  helper(
    name: string,
    params: readonly Value['type'][],
    results: readonly Value['type'][],
    build: (f: FunctionBuilder) => void,
    ...args: Value[]
  ): Value {
    const ref = this.#core.helper(name, params, results, build);
    if (results.length > 0) return callExpression(ref, args);
    this.f.call(ref, ...args);
    return i32(0);
  }

  #operand(position: number): Operand {
    const operand = this.operands[position];
    if (!operand) throw new Error(`${this.form.mnemonic} has no operand ${position}`);
    return operand;
  }

  #branchTarget(): I64 {
    const target = this.cpu.load64(Cpu.RipPage).add(this.pc.load64(Record.Immediate));
    const { codeSize, width } = this.form;
    return codeSize === 64 ? target : target.zeroExtend(width === 16 ? 16 : 32);
  }

  /** EIP wraps at 4 GiB outside 64-bit code. */
  #ripAt(offset: I32): I64 {
    const rip = this.cpu.load64(Cpu.RipPage).add(offset.toI64u());
    return this.form.codeSize === 64 ? rip : rip.zeroExtend(32);
  }

  #register(index: number): I32 {
    return index === 0 ? this.cpu : this.cpu.add(gprOffset(index));
  }
}
