/**
 * Runs single x87 semantics in a module of their own: a `Semantics` of the few members that they use, over flat memory.
 */
import { FunctionBuilder, type FunctionRef } from '../../../engine/wasm/encoder/function-builder.ts';
import { ModuleBuilder } from '../../../engine/wasm/encoder/module-builder.ts';
import {
  type I32,
  type I64,
  type Local,
  type Value,
  type ValueType,
  i32,
  i64,
  valueOf,
} from '../../../engine/wasm/encoder/values.ts';
import {
  Cpu,
  SegmentField,
  SegmentIndex,
  segmentOffset,
  x87Offset,
} from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { LazyFlags, flagsInMemory } from '../../../engine/wasm/emit/lazy-flags.ts';
import type { Operand, Semantics, Width } from './context.ts';
import { CaseLayout, InitialRax, ResultLayout, type X87Case } from './x87.test.cases.ts';
import { x87Semantics } from './x87.ts';

interface Wasm {
  Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => { buffer: SharedArrayBuffer };
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (module: object, imports: object) => { exports: Record<string, (cpu: number) => number> };
}
const { Memory, Module, Instance } = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;

const CpuAddress = 0x400;
const MemoryAddress = 0x8000;
/** What the oracle replaces addresses by. */
const Oracle = { Instruction: 0x1000n, Memory: 0x2000n, CodeSelector: 0x33 } as const;
const Raised = 0x100;

export class Harness {
  readonly memory = new Memory({ initial: 2, maximum: 2, shared: true });
  readonly bytes = new Uint8Array(this.memory.buffer);
  readonly view = new DataView(this.memory.buffer);
  readonly #handlers: Record<string, (cpu: number) => number>;

  constructor(cases: readonly X87Case[], rare: (name: string, harness: Harness) => number = () => 0) {
    const module = new ModuleBuilder();
    module.importMemory('e', 'memory', 2, 2);
    const names: string[] = [];
    const callRare = module.importFunction('e', 'rare', ['i32'], ['i32']);
    const helpers = new Map<string, FunctionRef>();
    for (const one of cases) {
      const key = keyOf(one);
      if (helpers.has(`handler:${key}`)) continue;
      const ref = module.function(key, ['i32'], ['i32'], (f) => {
        const s = new TestSemantics(f, module, helpers, one, callRare, names);
        x87Semantics[one.row.mnemonic]!(s as unknown as Semantics);
        f.unreachable();
      });
      helpers.set(`handler:${key}`, ref);
      module.export(key, ref);
    }
    const imports = { e: { memory: this.memory, rare: (index: number) => rare(names[index]!, this) } };
    this.#handlers = new Instance(new Module(module.finish()), imports).exports;
  }

  get cpu(): number {
    return CpuAddress;
  }

  /** Runs one case, its state block changed by `change` before; answers a result in oracle.c's layout, or the exception vector. */
  run(one: X87Case, change?: (state: DataView, at: number) => void): Uint8Array | number {
    this.#load(one.bytes);
    change?.(this.view, CpuAddress);
    const answer = this.#handlers[keyOf(one)]!(CpuAddress);
    return answer >= Raised ? answer - Raised : this.#result();
  }

  #load(bytes: Uint8Array): void {
    const { view } = this;
    const image = new DataView(bytes.buffer, bytes.byteOffset + CaseLayout.State);
    this.bytes.fill(0, CpuAddress, MemoryAddress);
    const at = (offset: number): number => CpuAddress + offset;
    const status = image.getUint16(4, true);
    const top = (status >>> 11) & 7;
    view.setUint32(at(Cpu.FpuControl), image.getUint16(0, true), true);
    view.setUint32(at(Cpu.FpuStatus), status & 0x477f, true);
    view.setUint32(at(Cpu.FpuTop), top, true);
    let tags = 0;
    for (let i = 0; i < 8; i++) if (((image.getUint16(8, true) >>> (2 * i)) & 3) !== 3) tags |= 1 << i;
    view.setUint32(at(Cpu.FpuTags), tags, true);
    view.setUint32(at(Cpu.FpuLastIp), image.getUint32(12, true), true);
    view.setUint32(at(Cpu.FpuLastCs), image.getUint16(16, true), true);
    view.setUint32(at(Cpu.FpuLastOpcode), image.getUint16(18, true) & 0x7ff, true);
    view.setUint32(at(Cpu.FpuLastDp), image.getUint32(20, true), true);
    view.setUint32(at(Cpu.FpuLastDs), image.getUint16(24, true), true);
    for (let i = 0; i < 8; i++) {
      const register = at(x87Offset((top + i) & 7));
      view.setBigUint64(register, image.getBigUint64(28 + 10 * i, true), true);
      view.setUint16(register + 8, image.getUint16(36 + 10 * i, true), true);
    }
    this.bytes.set(bytes.subarray(CaseLayout.Memory, CaseLayout.Memory + 128), MemoryAddress);
    view.setUint32(at(Cpu.Cr0), 0x21, true);
    view.setUint32(at(segmentOffset(SegmentIndex.Cs) + SegmentField.Selector), Oracle.CodeSelector, true);
    view.setBigUint64(at(0), BigInt(InitialRax), true);
    this.#loadFlags(new DataView(bytes.buffer, bytes.byteOffset).getUint32(CaseLayout.Rflags, true));
  }

  #loadFlags(rflags: number): void {
    const set = (offset: number, value: bigint): void => this.view.setBigInt64(CpuAddress + offset, value, true);
    const zero = (rflags & 0x40) !== 0;
    const invertedParity = zero !== ((rflags & 4) !== 0);
    set(Cpu.CcResult, zero ? 0n : 1n);
    set(Cpu.CcB, BigInt(rflags & 1));
    set(Cpu.CcOverflow, rflags & 0x800 ? -(1n << 63n) : 0n);
    set(Cpu.CcAdjust, BigInt(rflags & 0x10) | (invertedParity ? 0x100n : 0n) | (rflags & 0x80 ? -(1n << 63n) : 0n));
  }

  #flags(): number {
    const get = (offset: number): bigint => this.view.getBigInt64(CpuAddress + offset, true);
    const adjust = get(Cpu.CcAdjust);
    const result = get(Cpu.CcResult);
    let low = Number(result & 0xffn) | Number(adjust & 0x100n);
    let parity = 1;
    for (; low; low &= low - 1) parity ^= 1;
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

  /** The state as FNSAVE stores it, and the rest of oracle.c's result. */
  #result(): Uint8Array {
    const { view } = this;
    const out = new Uint8Array(ResultLayout.Size);
    const image = new DataView(out.buffer);
    const field = (offset: number): number => view.getUint32(CpuAddress + offset, true);
    const top = field(Cpu.FpuTop);
    image.setUint32(0, field(Cpu.FpuControl) | 0xffff0000, true);
    image.setUint32(4, field(Cpu.FpuStatus) | (top << 11) | 0xffff0000, true);
    let tags = 0;
    for (let i = 0; i < 8; i++) {
      const register = CpuAddress + x87Offset(i);
      const significand = view.getBigUint64(register, true);
      const exponent = view.getUint16(register + 8, true) & 0x7fff;
      const filled = (field(Cpu.FpuTags) >>> i) & 1;
      const normal = exponent !== 0 && exponent !== 0x7fff && significand >> 63n === 1n;
      tags |= (!filled ? 3 : normal ? 0 : exponent === 0 && significand === 0n ? 1 : 2) << (2 * i);
    }
    image.setUint32(8, tags | 0xffff0000, true);
    image.setUint32(12, field(Cpu.FpuLastIp), true);
    image.setUint32(16, field(Cpu.FpuLastCs) | (field(Cpu.FpuLastOpcode) << 16), true);
    image.setUint32(20, field(Cpu.FpuLastDp), true);
    image.setUint32(24, field(Cpu.FpuLastDs) | 0xffff0000, true);
    for (let i = 0; i < 8; i++) {
      const register = CpuAddress + x87Offset((top + i) & 7);
      out.set(this.bytes.subarray(register, register + 10), 28 + 10 * i);
    }
    out.set(this.bytes.subarray(MemoryAddress, MemoryAddress + 128), ResultLayout.Memory);
    image.setUint32(ResultLayout.Rflags, this.#flags(), true);
    image.setBigUint64(ResultLayout.Rax, view.getBigUint64(CpuAddress, true), true);
    return out;
  }
}

export function keyOf({ row, register, narrow }: X87Case): string {
  return `${row.notation}#${register}${narrow ? 'n' : ''}`;
}

/** The part of `Semantics` that x87 uses. */
class TestSemantics {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly form: { mnemonic: string; width: number; codeSize: number; segment: number };
  readonly flags: LazyFlags;
  readonly operands: readonly Operand[];
  readonly #module: ModuleBuilder;
  readonly #helpers: Map<string, FunctionRef>;
  readonly #case: X87Case;
  readonly #rare: FunctionRef;
  readonly #names: string[];

  constructor(
    f: FunctionBuilder,
    module: ModuleBuilder,
    helpers: Map<string, FunctionRef>,
    one: X87Case,
    rare: FunctionRef,
    names: string[],
  ) {
    this.f = f;
    this.cpu = f.param('i32', 0);
    this.#module = module;
    this.#helpers = helpers;
    this.#case = one;
    this.#rare = rare;
    this.#names = names;
    this.form = { mnemonic: one.row.mnemonic, width: one.narrow ? 16 : 32, codeSize: one.codeSize ?? 64, segment: 3 };
    this.flags = new LazyFlags(f, flagsInMemory(f, this.cpu));
    this.operands = one.row.operands.map(({ notation, memorySize }) => {
      if (notation === 'AX') return accumulator(f, this.cpu);
      if (notation.startsWith('ST'))
        return { kind: 'st', bits: 80, index: notation === 'ST0' ? 0 : one.register } as Operand;
      return memoryOperand(f, memorySize * 8);
    });
  }

  get op0(): Operand {
    return this.operands[0]!;
  }
  get op1(): Operand {
    return this.operands[1]!;
  }
  let<T extends Value>(value: T): Local<T> {
    return this.f.let(value);
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
  raiseIf(condition: I32, vector: number): void {
    this.f.if(condition, () => this.f.return(i32(Raised + vector)));
  }
  done(): void {
    this.f.return(i32(0));
  }
  rip(): I64 {
    return i64(Oracle.Instruction);
  }
  x87Opcode(): I32 {
    const { row, register } = this.#case;
    const modrm = row.modrmByte < 0 ? (row.digit << 3) | 2 : row.modrmByte | register;
    return i32(((row.opcode & 7) << 8) | modrm);
  }
  rare(name: string): void {
    this.#names.push(name);
    this.f.drop(this.f.callValue('i32', this.#rare, i32(this.#names.length - 1)));
  }
  helper(
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (f: FunctionBuilder) => void,
    ...args: Value[]
  ): Value {
    let ref = this.#helpers.get(name);
    if (!ref) {
      ref = this.#module.declare(name, params, results);
      this.#helpers.set(name, ref);
      this.#module.define(ref, (f) => {
        build(f);
        f.unreachable();
      });
    }
    const caller = new FunctionBuilder([], []);
    caller.call({ ...ref, results: [] }, ...args);
    return valueOf(results[0]!, caller.code);
  }
}

function accumulator(f: FunctionBuilder, cpu: I32): Operand {
  return { kind: 'gpr', bits: 16, index: -1, write: (value: I64) => f.store16(cpu, 0, value) } as unknown as Operand;
}

function memoryOperand(f: FunctionBuilder, bits: number): Operand {
  const at = i32(MemoryAddress);
  const read = (width: Width): Local<I64> => {
    const value = width === 16 ? at.load64_16s() : width === 32 ? at.load64_32s() : at.load64();
    return f.let(value);
  };
  const operand: Partial<Operand> & { kind: 'memory'; bits: number } = {
    kind: 'memory',
    bits,
    read: (width = bits as Width) => read(width),
    readUnsigned: (width = bits as Width) => f.let(read(width).zeroExtend(width)),
    write: (value: I64) => f.store16(at, 0, value),
    effective: () => f.let(i64(Oracle.Memory)),
    selector: () => i32(0),
    readPointer: () => f.let(at),
    writePointer: () => ({ pointer: f.let(at), commit: () => {} }),
  };
  return operand as Operand;
}
