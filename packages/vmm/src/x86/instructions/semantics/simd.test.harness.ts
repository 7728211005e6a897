/**
 * Runs single SSE and MMX instructions: a module with one handler for each, over a flat memory with a state block, 64
 * bytes of guest memory at the address that stands for every memory operand, and constant data.
 */
import { FunctionBuilder, type FunctionRef } from '../../../engine/wasm/encoder/function-builder.ts';
import { ModuleBuilder } from '../../../engine/wasm/encoder/module-builder.ts';
import {
  type I32,
  type I64,
  type Local,
  type V128,
  type Value,
  type ValueType,
  i32,
  i64,
  valueOf,
} from '../../../engine/wasm/encoder/values.ts';
import { Cpu, gprOffset, x87Offset, xmmOffset, ymmHighOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { LazyFlags, flagsInMemory } from '../../../engine/wasm/emit/lazy-flags.ts';
import {
  type DecodedInstruction,
  type DecodedOperand,
  OperandKind,
  RegisterClass,
  createDecoder,
} from '../../decode/decoder.ts';
import { createDecodedInstruction } from '../../decode/decoded-instruction.ts';
import { allRows } from '../table/rows.ts';
import { type Operand, type Semantic, type Semantics, Vector, type VectorPart, type Width } from './context.ts';

export const CpuAddress = 0x1000;
export const MemoryAddress = 0x8000;
const DataAddress = 0x10000;
const MemoryPages = 16;
/** Added to the vector in a handler's answer. */
const Raised = 0x100;

const decoder = createDecoder();

export function decode(bytes: Uint8Array): DecodedInstruction {
  const instruction = createDecodedInstruction(allRows[0]!);
  const status = decoder.decode(bytes, 0, bytes.length, 64, instruction);
  if (status !== 'ok' || instruction.length !== bytes.length) throw new Error(`cannot decode ${bytes.join()}`);
  return instruction;
}

export class SimdHarness {
  readonly memory = new WebAssembly.Memory({ initial: MemoryPages, maximum: MemoryPages, shared: true });
  readonly bytes = new Uint8Array(this.memory.buffer);
  readonly view = new DataView(this.memory.buffer);
  readonly #handlers: Record<string, (cpu: number) => number>;
  #dataEnd = DataAddress;

  /** One handler for each instruction, given as code bytes. */
  constructor(codes: readonly Uint8Array[], semantics: Readonly<Record<string, Semantic>>) {
    const module = new ModuleBuilder();
    module.importMemory('e', 'memory', MemoryPages, MemoryPages);
    const shared = new SharedParts(module, (bytes) => this.#place(bytes));
    codes.forEach((code, index) => {
      const instruction = decode(code);
      const semantic = semantics[instruction.row.mnemonic];
      if (!semantic) throw new Error(`no semantic ${instruction.row.mnemonic}`);
      const ref = module.function(`${index}`, ['i32'], ['i32'], (f) => {
        semantic(new HarnessSemantics(f, shared, instruction) as unknown as Semantics);
        f.return(i32(0));
        f.unreachable();
      });
      module.export(`${index}`, ref);
    });
    const compiled = new WebAssembly.Module(module.finish());
    this.#handlers = new WebAssembly.Instance(compiled, { e: { memory: this.memory } }).exports as never;
  }

  /** Runs the instruction; answers the exception vector or -1. */
  run(index: number): number {
    const answer = this.#handlers[index]!(CpuAddress);
    return answer >= Raised ? answer - Raised : -1;
  }

  setFlags(rflags: number): void {
    const set = (offset: number, value: bigint): void => this.view.setBigInt64(CpuAddress + offset, value, true);
    const zero = (rflags & 0x40) !== 0;
    const invertedParity = zero !== ((rflags & 4) !== 0);
    set(Cpu.CcResult, zero ? 0n : 1n);
    set(Cpu.CcA, 0n);
    set(Cpu.CcB, BigInt(rflags & 1));
    set(Cpu.CcOverflow, rflags & 0x800 ? -(1n << 63n) : 0n);
    set(Cpu.CcAdjust, BigInt(rflags & 0x10) | (invertedParity ? 0x100n : 0n) | (rflags & 0x80 ? -(1n << 63n) : 0n));
  }

  flags(): number {
    const get = (offset: number): bigint => this.view.getBigInt64(CpuAddress + offset, true);
    const adjust = get(Cpu.CcAdjust);
    const result = get(Cpu.CcResult);
    let parity = 1;
    for (let low = Number(result & 0xffn) | Number(adjust & 0x100n); low; low &= low - 1) parity ^= 1;
    const carry = BigInt.asUintN(64, get(Cpu.CcA)) < BigInt.asUintN(64, get(Cpu.CcB)) ? 1 : 0;
    return (
      carry |
      (parity << 2) |
      Number(adjust & 16n) |
      (result === 0n ? 0x40 : 0) |
      ((result ^ adjust) < 0n ? 0x80 : 0) |
      (get(Cpu.CcOverflow) < 0n ? 0x800 : 0)
    );
  }

  #place(bytes: Uint8Array): number {
    const at = this.#dataEnd;
    this.bytes.set(bytes, at);
    this.#dataEnd += (bytes.length + 15) & ~15;
    return at;
  }
}

/** Helpers and data of one module. */
class SharedParts {
  readonly #module: ModuleBuilder;
  readonly #place: (bytes: Uint8Array) => number;
  readonly #helpers = new Map<string, FunctionRef>();
  readonly #data = new Map<string, number>();

  constructor(module: ModuleBuilder, place: (bytes: Uint8Array) => number) {
    this.#module = module;
    this.#place = place;
  }

  helper(
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (f: FunctionBuilder) => void,
  ) {
    let ref = this.#helpers.get(name);
    if (!ref) {
      ref = this.#module.declare(name, params, results);
      this.#helpers.set(name, ref);
      this.#module.define(ref, (f) => {
        build(f);
        f.unreachable();
      });
    }
    return ref;
  }

  data(name: string, bytes: () => Uint8Array): number {
    let at = this.#data.get(name);
    if (at === undefined) this.#data.set(name, (at = this.#place(bytes())));
    return at;
  }
}

/** The part of `Semantics` that SSE and MMX use. */
class HarnessSemantics {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly form: Partial<Semantics['form']>;
  readonly flags: LazyFlags;
  operands: readonly Operand[];
  part: VectorPart | undefined;
  readonly #shared: SharedParts;

  constructor(f: FunctionBuilder, shared: SharedParts, instruction: DecodedInstruction) {
    this.f = f;
    this.cpu = f.param('i32', 0);
    this.#shared = shared;
    const { row, operandSize, codeSize, addressSize, rex, vexL } = instruction;
    this.form = {
      mnemonic: row.mnemonic,
      width: operandSize,
      codeSize,
      addressWidth: addressSize,
      segment: 3,
      rexW: (rex & 8) !== 0,
      vexL: vexL !== 0,
    };
    this.flags = new LazyFlags(f, flagsInMemory(f, this.cpu));
    this.operands = instruction.operands
      .slice(0, instruction.operandCount)
      .map((operand) => createOperand(this as unknown as Semantics, operand));
  }

  get op0(): Operand {
    return this.operands[0]!;
  }
  get op1(): Operand {
    return this.operands[1]!;
  }
  get op2(): Operand {
    return this.operands[2]!;
  }
  withOperands(operands: readonly Operand[], part: VectorPart, body: () => void): void {
    const before = [this.operands, this.part] as const;
    [this.operands, this.part] = [operands, part];
    body();
    [this.operands, this.part] = before;
  }
  let<T extends Value>(value: T): Local<T> {
    return this.f.let(value);
  }
  setYmmHigh(index: number, value: V128): void {
    this.f.storeV128(this.cpu, ymmHighOffset(index), value);
  }
  gpr(index: number, width: Width): I64 {
    return this.cpu.load64(gprOffset(index)).signExtend(width);
  }
  xmm(index: number): Local<V128> {
    return this.f.let(this.cpu.loadV128(xmmOffset(index)));
  }
  setXmm(index: number, value: V128): void {
    this.f.storeV128(this.cpu, xmmOffset(index), value);
  }
  gprUnsigned(index: number, width: Width): I64 {
    return this.cpu.load64(gprOffset(index)).zeroExtend(width);
  }
  setGpr(index: number, _width: Width, value: I64): void {
    this.f.store64(this.cpu, gprOffset(index), value.zeroExtend(32));
  }
  state32(offset: number): I32 {
    return this.cpu.load32(offset);
  }
  state64(offset: number): I64 {
    return this.cpu.load64(offset);
  }
  setState32(offset: number, value: I32 | number): void {
    this.f.store32(this.cpu, offset, value);
  }
  setState64(offset: number, value: I64): void {
    this.f.store64(this.cpu, offset, value);
  }
  raise(vector: number): void {
    this.f.return(i32(Raised + vector));
  }
  raiseIf(condition: I32, vector: number): void {
    this.f.if(condition, () => this.raise(vector));
  }
  done(): void {
    this.f.return(i32(0));
  }
  /** Guest memory is where rDI points. */
  segmented(_segment: number, _offset: I64): Local<I64> {
    return this.f.let(i64(MemoryAddress));
  }
  loadPointer(linear: I64): Local<I32> {
    return this.f.let(linear.toI32());
  }
  storePointer(linear: I64): { pointer: Local<I32>; commit(): void } {
    return { pointer: this.f.let(linear.toI32()), commit() {} };
  }
  load(linear: I64, _width: 64): Local<I64> {
    return this.f.let(linear.toI32().load64());
  }
  store(linear: I64, width: Width, value: I64): void {
    if (width === 64) this.f.store64(linear.toI32(), 0, value);
    else this.f.store8(linear.toI32(), 0, value);
  }
  data(name: string, bytes: () => Uint8Array): I32 {
    return i32(this.#shared.data(name, bytes));
  }
  helper(
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (f: FunctionBuilder) => void,
    ...args: Value[]
  ): Value {
    const ref = this.#shared.helper(name, params, results, build);
    const caller = new FunctionBuilder([], []);
    caller.call({ ...ref, results: [] }, ...args);
    return valueOf(results[0]!, caller.code);
  }
}

const RegisterOffsets: Readonly<Record<number, (index: number) => number>> = {
  [RegisterClass.Gpr]: gprOffset,
  [RegisterClass.Xmm]: xmmOffset,
  [RegisterClass.Mmx]: x87Offset,
};
const RegisterKinds: Readonly<Record<number, Operand['kind']>> = {
  [RegisterClass.Gpr]: 'gpr',
  [RegisterClass.Xmm]: 'xmm',
  [RegisterClass.Mmx]: 'mmx',
};

function createOperand(s: Semantics, operand: DecodedOperand): Operand {
  if (operand.kind === OperandKind.Immediate) {
    const read = () => s.let(i64(operand.low));
    return { kind: 'immediate', bits: operand.size * 8, index: -1, read, readUnsigned: read } as unknown as Operand;
  }
  const memory = operand.kind === OperandKind.Memory;
  const offset = memory ? 0 : RegisterOffsets[operand.registerClass]!(operand.register);
  const at = memory ? i32(MemoryAddress + operand.low) : s.cpu.add(offset);
  return pointedOperand(s, at, memory ? 'memory' : RegisterKinds[operand.registerClass]!, operand.size * 8);
}

function pointedOperand(s: Semantics, at: I32, kind: Operand['kind'], bits: number): Operand {
  const { f } = s;
  const high = kind === 'memory' ? 16 : ymmHighOffset(0) - xmmOffset(0);
  const load = (width: number): I64 =>
    width === 64 ? at.load64() : width === 32 ? at.load64_32s() : width === 16 ? at.load64_16s() : at.load64_8s();
  const operand: Partial<Operand> & { kind: Operand['kind']; bits: number } = {
    kind,
    bits,
    index: -1,
    read: (width = bits as Width) => f.let(load(width)),
    readUnsigned: (width = bits as Width) => f.let(load(width).zeroExtend(width)),
    write: (value: I64, width = bits as Width) => {
      if (kind === 'gpr' && width === 32) f.store64(at, 0, value.zeroExtend(32));
      else if (width === 64) f.store64(at, 0, value);
      else if (width === 32) f.store32(at, 0, value);
      else if (width === 16) f.store16(at, 0, value);
      else f.store8(at, 0, value);
    },
    readV128: () =>
      f.let<V128>(
        kind === 'memory' && bits < 128
          ? i64(0)
              .splat64()
              .withLane64(0, load(bits).zeroExtend(bits as Width))
          : at.loadV128(),
      ),
    writeV128: (value: V128) => f.storeV128(at, 0, value),
    readV256: () => ({ low: f.let(at.loadV128()), high: f.let(at.loadV128(high)) }),
    writeV256: (low: V128, upper: V128) => {
      const named = f.let(upper);
      f.storeV128(at, 0, low);
      f.storeV128(at, high, named);
    },
    readF64: () => f.let(at.loadF64()),
    readF32: () => f.let(at.loadF32()),
    writeF64: (value) => f.storeF64(at, 0, value),
    writeF32: (value) => f.storeF32(at, 0, value),
    writeLowZeroing: (value: I64, width: 32 | 64) => {
      const named = f.let(value.zeroExtend(width));
      f.store64(at, 0, named);
      f.store64(at, 8, 0);
    },
    readPointer: () => f.let(at),
    writePointer: () => ({ pointer: f.let(at), commit() {} }),
    requireAligned: (bytes: number) => s.raiseIf(at.and(bytes - 1).ne(0), Vector.GeneralProtection),
    linear: () => f.let(at.toI64u()),
  };
  return operand as Operand;
}
