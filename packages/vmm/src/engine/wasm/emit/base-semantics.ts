/** What the semantics of interpreter handlers and of translated code have in common: memory, stack, exceptions, helpers. */
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
  VectorPart,
  Width,
} from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, LoopExit, SegmentField, SegmentIndex, segmentOffset } from '../interpreter/cpu-layout.ts';
import type { MmuFunctions } from '../softmmu/mmu.ts';
import {
  emitBulkPointer,
  emitLoad,
  emitModify,
  emitModifyWrite,
  emitReadPointer,
  emitStore,
  emitWritePointer,
} from './memory-access.ts';
import type { OperandContext } from './operand.ts';

const Rsp = 4;

/** Functions of the engine that emitted instructions call. */
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

export abstract class BaseSemantics implements Semantics, OperandContext {
  readonly form: Form;
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  protected readonly core: CoreFunctions;
  abstract readonly flags: FlagsWriter;
  abstract operands: readonly Operand[];
  #part: VectorPart | undefined;

  constructor(f: FunctionBuilder, cpu: I32, core: CoreFunctions, form: Form) {
    this.f = f;
    this.cpu = cpu;
    this.core = core;
    this.form = form;
  }

  abstract userFlag(): I32;
  abstract tlb(): I32;
  abstract leave(status: I32): void;
  abstract jump(target: I64): void;
  abstract branch(): void;
  abstract branchTarget(): Local<I64>;
  abstract done(): void;
  abstract rip(): I64;
  abstract nextRip(): I64;
  abstract gpr(index: number, width: Width): I64;
  abstract setGpr(index: number, width: Width, value: I64): void;
  abstract xmm(index: number): Local<V128>;
  abstract setXmm(index: number, value: V128): void;
  abstract setYmmHigh(index: number, value: V128): void;
  abstract rare(name: string): void;

  get mmu(): MmuFunctions {
    return this.core.mmu;
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

  get part(): VectorPart | undefined {
    return this.#part;
  }
  withOperands(operands: readonly Operand[], part: VectorPart, body: () => void): void {
    const before = [this.operands, this.#part] as const;
    [this.operands, this.#part] = [operands, part];
    body();
    [this.operands, this.#part] = before;
  }

  let<T extends Value>(value: T): Local<T> {
    return this.f.let(value);
  }
  gprUnsigned(index: number, width: Width): I64 {
    return this.gpr(index, width).zeroExtend(width);
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
    this.f.call(this.core.mmu.raise, this.cpu, i32(vector), i32(errorCode));
    this.leave(i32(HandlerResult.Fault));
  }
  raiseIf(condition: I32, vector: number, errorCode: I32Like = 0): void {
    this.f.unlikely(condition, () => this.raise(vector, errorCode));
  }
  resync(): void {
    this.leave(i32(HandlerResult.Resync));
  }
  segmented(segment: number | I32, offset: I64, bytes: number, write: boolean): Local<I64> {
    if (this.form.codeSize === 64 && typeof segment === 'number') {
      const based = segment === SegmentIndex.Fs || segment === SegmentIndex.Gs;
      return this.f.let(based ? offset.add(this.cpu.load64(segmentOffset(segment) + SegmentField.Base)) : offset);
    }
    const linear = this.f.callValue(
      'i64',
      this.core.segmented,
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
    const result = this.f.callValue('i64', this.core.mmu.device, this.cpu, kind, port, i32(bytes), value);
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

  updateMode(): void {
    this.f.call(this.core.updateMode, this.cpu);
  }

  data(name: string, bytes: () => Uint8Array): I32 {
    return i32(this.core.data(name, bytes));
  }

  helper(
    name: string,
    params: readonly Value['type'][],
    results: readonly Value['type'][],
    build: (f: FunctionBuilder) => void,
    ...args: Value[]
  ): Value {
    const ref = this.core.helper(name, params, results, build);
    if (results.length > 0) return callExpression(ref, args);
    this.f.call(ref, ...args);
    return i32(0);
  }

  #operand(position: number): Operand {
    const operand = this.operands[position];
    if (!operand) throw new Error(`${this.form.mnemonic} has no operand ${position}`);
    return operand;
  }
}
