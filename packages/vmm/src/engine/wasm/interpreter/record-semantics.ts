/** The interpreter's `Semantics`: emits a handler whose operands come from the record at `pc`. */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128, i32 } from '../encoder/values.ts';
import type { FlagsWriter, Operand, Width } from '../../../x86/instructions/semantics/context.ts';
import { BaseSemantics, type CoreFunctions } from '../emit/base-semantics.ts';
import type { InstructionForm } from '../emit/form.ts';
import { LazyFlags, flagsInMemory } from '../emit/lazy-flags.ts';
import { loadRaw, storeRaw } from '../emit/memory-access.ts';
import { Cpu, gprOffset, xmmOffset, ymmHighOffset } from './cpu-layout.ts';
import { type RecordContext, createOperand } from './record-operand.ts';
import { Record } from './record.ts';

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

export class RecordSemantics extends BaseSemantics implements RecordContext {
  readonly pc: I32;
  override readonly flags: FlagsWriter;
  override operands: readonly Operand[];
  readonly #site: HandlerSite;

  constructor(site: HandlerSite, core: CoreFunctions, instruction: InstructionForm) {
    super(site.f, site.cpu, core, instruction.form);
    this.#site = site;
    this.pc = site.pc;
    this.flags = new LazyFlags(site.f, flagsInMemory(site.f, site.cpu));
    this.operands = instruction.operands.map((form, position) => createOperand(this, form, position));
  }

  userFlag(): I32 {
    return this.cpu.load32(Cpu.Cpl).eq(3).shl(1);
  }
  tlb(): I32 {
    return this.#site.tlb();
  }
  leave(status: I32): void {
    this.#site.leave(status);
  }

  gpr(index: number, width: Width): I64 {
    return loadRaw(this.#register(index), width);
  }
  setGpr(index: number, width: Width, value: I64): void {
    if (width === 32) this.f.store64(this.cpu, gprOffset(index), value.zeroExtend(32));
    else storeRaw(this.f, this.cpu, width, value, gprOffset(index));
  }

  xmm(index: number): Local<V128> {
    return this.f.let(this.cpu.loadV128(xmmOffset(index)));
  }
  setXmm(index: number, value: V128): void {
    this.f.storeV128(this.cpu, xmmOffset(index), value);
  }

  setYmmHigh(index: number, value: V128): void {
    this.f.storeV128(this.cpu, ymmHighOffset(index), value);
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

  rare(name: string): void {
    this.f.store64(this.cpu, Cpu.Rip, this.rip());
    const status = this.f.callValue('i32', this.core.rare, this.cpu, this.pc, i32(this.core.rareIndex(name)));
    this.f.if(status, () => this.leave(status));
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
