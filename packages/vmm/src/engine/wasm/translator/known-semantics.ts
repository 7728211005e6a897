/** The translator's `Semantics`: an instruction whose operands and place are known, with registers in locals. */
import type { FunctionBuilder } from '../encoder/function-builder.ts';
import { type I32, type I64, type Local, type V128, i32 } from '../encoder/values.ts';
import type { FlagsWriter, Operand, Width } from '../../../x86/instructions/semantics/context.ts';
import { BaseSemantics, type CoreFunctions } from '../emit/base-semantics.ts';
import { formOf } from '../emit/form.ts';
import { isStringRow } from '../emit/form.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';
import { Access } from '../softmmu/access.ts';
import type { DecodedInstruction } from '../../../x86/decode/decoder.ts';
import { type KnownContext, createKnownOperand } from './known-operand.ts';
import type { RegionInstruction } from './region.ts';
import type { RegisterLocals } from './registers.ts';

/** What a translated instruction needs of the function that it is part of. */
export interface RegionSite {
  readonly f: FunctionBuilder;
  readonly cpu: I32;
  readonly core: CoreFunctions;
  readonly registers: RegisterLocals;
  readonly flags: FlagsWriter;
  /** RIP of the page's first byte. */
  readonly page: Local<I64>;
  readonly tlb: I32;
  /** The code runs at CPL 3. */
  readonly user: boolean;
  /** Emits: store what an exit record tells of the current instruction. */
  describe(): void;
  /** Emits: leave the function at the current instruction with a HandlerResult. */
  leave(status: I32): void;
  /** Emits: the current instruction is the last of its block, go on at its branch target. */
  branch(): void;
  /** Emits: the current instruction is the last of its block, go on at a computed RIP. */
  jump(target: I64): void;
  /** Emits: go on behind the current instruction. */
  done(): void;
}

export class KnownSemantics extends BaseSemantics implements KnownContext {
  readonly registers: RegisterLocals;
  readonly decoded: DecodedInstruction;
  override readonly flags: FlagsWriter;
  override operands: readonly Operand[];
  readonly #site: RegionSite;
  readonly #offset: number;

  constructor(site: RegionSite, { offset, decoded }: RegionInstruction) {
    const { form, operands } = formOf(decoded, true);
    super(site.f, site.cpu, site.core, form);
    this.#site = site;
    this.#offset = offset;
    this.registers = site.registers;
    this.decoded = decoded;
    this.flags = site.flags;
    this.operands = isStringRow(decoded)
      ? []
      : operands.map((operand, i) => createKnownOperand(this, operand, decoded.operands[i]!));
  }

  userFlag(): I32 {
    return i32(this.#site.user ? Access.User : 0);
  }
  tlb(): I32 {
    return this.#site.tlb;
  }
  leave(status: I32): void {
    this.#site.leave(status);
  }

  gpr(index: number, width: Width): I64 {
    return this.registers.gpr(index).signExtend(width);
  }
  override gprUnsigned(index: number, width: Width): I64 {
    return this.registers.gpr(index).zeroExtend(width);
  }
  setGpr(index: number, width: Width, value: I64): void {
    this.registers.setGpr(index, width, value);
  }
  xmm(index: number): Local<V128> {
    return this.f.let(this.registers.xmm(index));
  }
  setXmm(index: number, value: V128): void {
    this.registers.setXmm(index, value);
  }

  setYmmHigh(index: number, value: V128): void {
    this.registers.setYmmHigh(index, value);
  }

  jump(target: I64): void {
    this.#site.jump(target);
  }
  branch(): void {
    this.#site.branch();
  }
  branchTarget(): Local<I64> {
    return this.f.let(this.nextRip().add(this.decoded.operands[0].low));
  }
  done(): void {
    this.#site.done();
  }

  x87Opcode(): I32 {
    return i32(((this.decoded.opcode & 7) << 8) | this.decoded.modrm);
  }

  rip(): I64 {
    return this.#site.page.add(this.#offset);
  }
  nextRip(): I64 {
    return this.#site.page.add(this.#offset + this.decoded.length);
  }

  rare(name: string): void {
    this.f.store64(this.cpu, Cpu.Rip, this.rip());
    this.#site.describe();
    const { rare, rareIndex } = this.core;
    const record = this.cpu.add(Cpu.ExitRecord);
    const status = this.registers.aroundCall(() =>
      this.f.callValue('i32', rare, this.cpu, record, i32(rareIndex(name))),
    );
    this.f.unlikely(status, () => this.leave(status));
  }
}
