/**
 * The instruction decoder: code bytes to a DecodedInstruction, by tables that are built from the instruction table
 * (SDM Vol. 2A Chapter 2 "Instruction Format", AMD APM Vol. 3 Chapter 1 "Instruction Encoding").
 *
 * Nothing is allocated for an instruction. Where AMD and Intel differ (`vendor`, AMD by default):
 * - near branches in 64-bit mode: 66 makes the operand size 16 on AMD, and is ignored on Intel;
 * - LSS, LFS, LGS, far JMP and far CALL with REX.W: the offset has 64 bits on Intel, 32 on AMD.
 *
 * Left to the executor: VEX-encoded rows are #UD in real and virtual-8086 mode; so are rows that need a CR4 bit
 * (FSGSBASE, OSXSAVE, OSFXSR) and those that depend on CPL. EVEX and XOP do not exist here (#UD).
 */
import { OperandSizeRule, RowPrefix } from '../instructions/table/notation.ts';
import type { CpuFeature, InstructionRow } from '../instructions/table/notation.ts';
import { OperandMethod, SizeCode } from '../instructions/table/operand-spec.ts';
import type { OperandSpec } from '../instructions/table/operand-spec.ts';
import { allRows } from '../instructions/table/rows.ts';
import { OperandKind, RegisterClass, SegmentRegister } from './decoded-instruction.ts';
import type { CodeSize, DecodedInstruction, DecodedOperand } from './decoded-instruction.ts';
import { buildDispatchTables } from './dispatch.ts';
import { HeadDecoder, Rex } from './head-decoder.ts';
import type { DecodeStatus } from './head-decoder.ts';

export { createDecodedInstruction, OperandKind, RegisterClass, SegmentRegister } from './decoded-instruction.ts';
export type { CodeSize, DecodedInstruction, DecodedOperand } from './decoded-instruction.ts';
export { Rex } from './head-decoder.ts';
export type { DecodeStatus } from './head-decoder.ts';

export interface DecoderOptions {
  /** The features that exist; all when not given. */
  readonly features?: ReadonlySet<CpuFeature>;
  readonly vendor?: 'amd' | 'intel';
}

/** Base and index of 16-bit addressing by ModRM.rm (SDM Vol. 2A Table 2-1 "16-Bit Addressing Forms"). */
const Base16 = Int8Array.of(3, 3, 5, 5, 6, 7, 5, 3);
const Index16 = Int8Array.of(6, 7, 6, 7, -1, -1, -1, -1);

/** Control registers that exist: CR0, CR2, CR3, CR4, CR8. */
const ControlRegisters = 0b1_0001_1101;

export class Decoder extends HeadDecoder {
  readonly #intel: boolean;

  // Effective sizes in bits.
  #operandSize: 8 | 16 | 32 | 64 = 32;
  #addressSize: 16 | 32 | 64 = 32;

  // Memory operand by ModRM.
  #base = -1;
  #index = -1;
  #scale = 0;
  #displacement = 0;
  #ripRelative = false;
  /** The SIB byte's, whatever the index. */
  #vectorIndex = 0;
  #vectorScale = 0;

  constructor(options: DecoderOptions = {}) {
    const { features } = options;
    super(
      buildDispatchTables(allRows, ({ feature }) => {
        return features === undefined || feature === undefined || features.has(feature);
      }),
    );
    this.#intel = options.vendor === 'intel';
  }

  /** Decodes the instruction at `position`; bytes from `end` on are not available. */
  decode(bytes: Uint8Array, position: number, end: number, codeSize: CodeSize, out: DecodedInstruction): DecodeStatus {
    this.start(bytes, position, end, codeSize);
    const row = this.decodeRow();
    if (row === undefined) return this.status;
    this.#setSizes(row);
    const hasMemory = this.modrm >= 0 && this.modrm < 0xc0 && !row.anyMod;
    if (this.lock && !(row.lock && hasMemory)) return 'invalid';
    if (hasMemory) this.#decodeMemory();
    const specs = row.operands;
    for (let i = 0; i < specs.length; i++) this.#decodeOperand(specs[i]!, out.operands[i as 0], hasMemory);
    if (this.vexRegister > 0) return 'invalid';
    if (this.status !== 'ok') return this.status;
    out.row = row;
    out.length = this.position - position;
    out.operandSize = this.#operandSize;
    out.addressSize = this.#addressSize;
    out.codeSize = codeSize;
    out.lock = this.lock;
    out.rep = row.rep ? this.repeat : 0;
    out.segmentOverride = this.segment;
    out.rex = this.rex;
    out.vexL = this.vexL;
    out.opcode = this.opcode;
    out.modrm = this.modrm;
    out.operandCount = specs.length;
    return 'ok';
  }

  #setSizes(row: InstructionRow): void {
    const { operandSizeRule } = row;
    const prefix = this.operandPrefix && row.prefix !== RowPrefix.P66;
    if (this.codeSize === 64) {
      this.#addressSize = this.addressPrefix ? 32 : 64;
      if ((this.rex & Rex.W) !== 0) {
        this.#operandSize = operandSizeRule === OperandSizeRule.Wide32OnAmd && !this.#intel ? 32 : 64;
      } else if (operandSizeRule === OperandSizeRule.Forced64 && this.#intel) this.#operandSize = 64;
      else if (prefix) this.#operandSize = 16;
      else if (operandSizeRule === OperandSizeRule.Default64 || operandSizeRule === OperandSizeRule.Forced64) {
        this.#operandSize = 64;
      } else this.#operandSize = 32;
    } else {
      this.#addressSize = (this.codeSize === 16) !== this.addressPrefix ? 16 : 32;
      // Instructions with VEX have no 16-bit operands
      this.#operandSize = (this.codeSize === 16) !== prefix && !row.vex ? 16 : 32;
    }
    if (operandSizeRule === OperandSizeRule.Byte) this.#operandSize = 8;
  }

  #decodeMemory(): void {
    const modrm = this.modrm;
    const mod = modrm >> 6;
    const rm = modrm & 7;
    this.#ripRelative = false;
    this.#scale = 0;
    if (this.#addressSize === 16) return this.#decodeMemory16(mod, rm);
    this.#index = -1;
    let base = rm;
    if (rm === 4) {
      const sib = this.fetch();
      const index = ((sib >> 3) & 7) | ((this.rex & Rex.X) << 2);
      this.#vectorIndex = index;
      this.#vectorScale = sib >> 6;
      if (index !== 4) {
        this.#index = index;
        this.#scale = sib >> 6;
      }
      base = sib & 7;
    }
    if (mod === 0 && base === 5) {
      this.#base = -1;
      this.#ripRelative = rm === 5 && this.codeSize === 64;
      this.#displacement = this.fetch32();
      return;
    }
    this.#base = base | ((this.rex & Rex.B) << 3);
    this.#displacement = mod === 0 ? 0 : mod === 1 ? (this.fetch() << 24) >> 24 : this.fetch32();
  }

  #decodeMemory16(mod: number, rm: number): void {
    this.#base = Base16[rm]!;
    this.#index = Index16[rm]!;
    if (mod === 0 && rm === 6) {
      this.#base = -1;
      this.#displacement = this.fetch16();
    } else this.#displacement = mod === 0 ? 0 : mod === 1 ? (this.fetch() << 24) >> 24 : (this.fetch16() << 16) >> 16;
  }

  /** Bytes of a SizeCode. */
  #size(code: SizeCode): number {
    if (code >= 0) return code;
    const bytes = this.#operandSize >> 3;
    const long = this.codeSize === 64;
    switch (code) {
      case SizeCode.OperandSize:
        return bytes;
      case SizeCode.AtMostDword:
        return bytes === 2 ? 2 : 4;
      case SizeCode.AtLeastDword:
        return bytes === 8 ? 8 : 4;
      case SizeCode.Native:
        return long ? 8 : 4;
      case SizeCode.FarPointer:
        return 2 + bytes;
      case SizeCode.Pair:
        return 2 * bytes;
      case SizeCode.DescriptorTable:
        return long ? 10 : 6;
      case SizeCode.X87Environment:
        return bytes === 2 ? 14 : 28;
      case SizeCode.VectorLength:
        return this.vexL === 0 ? 16 : 32;
      default:
        return bytes === 2 ? 94 : 108;
    }
  }

  #decodeOperand(spec: OperandSpec, out: DecodedOperand, hasMemory: boolean): void {
    const rex = this.rex;
    switch (spec.method) {
      case OperandMethod.ModrmGpr:
        if (hasMemory) return this.#memory(spec, out);
        return this.#generalRegister(spec, out, (this.modrm & 7) | ((rex & Rex.B) << 3));
      case OperandMethod.RegGpr:
        return this.#generalRegister(spec, out, this.#reg());
      case OperandMethod.RmGpr:
        return this.#generalRegister(spec, out, (this.modrm & 7) | ((rex & Rex.B) << 3));
      case OperandMethod.OpcodeGpr:
        return this.#generalRegister(spec, out, (this.opcode & 7) | ((rex & Rex.B) << 3));
      case OperandMethod.VexGpr:
        return this.#generalRegister(spec, out, this.#takeVexRegister());
      case OperandMethod.Memory:
        return this.#memory(spec, out);
      case OperandMethod.VectorMemory:
        return this.#vectorMemory(spec, out);
      case OperandMethod.Immediate:
      case OperandMethod.SignedImmediate:
        return this.#immediate(spec, out);
      case OperandMethod.Relative:
        return this.#relative(spec, out);
      case OperandMethod.FarPointer:
        return this.#farPointer(out);
      case OperandMethod.Offset:
        return this.#offset(spec, out);
      case OperandMethod.StringSource:
        return this.#string(spec, out, 6, this.segment >= 0 ? this.segment : SegmentRegister.Ds);
      case OperandMethod.StringDestination:
        return this.#string(spec, out, 7, SegmentRegister.Es);
      case OperandMethod.ModrmMmx:
      case OperandMethod.ModrmXmm:
        if (hasMemory) return this.#memory(spec, out);
        return this.#register(spec, out);
      case OperandMethod.FixedGpr:
        out.kind = OperandKind.Register;
        out.registerClass = RegisterClass.Gpr;
        out.register = spec.fixed;
        out.highByte = false;
        out.size = this.#size(spec.registerSize);
        return;
      case OperandMethod.One:
        out.kind = OperandKind.Immediate;
        out.size = 1;
        out.low = 1;
        out.high = 0;
        return;
      default:
        return this.#register(spec, out);
    }
  }

  #reg(): number {
    return ((this.modrm >> 3) & 7) | ((this.rex & Rex.R) << 1);
  }

  #takeVexRegister(): number {
    const register = this.vexRegister;
    this.vexRegister = -1;
    // Outside of 64-bit mode its top bit is ignored, when it is used at all.
    return this.codeSize === 64 ? register : register & 7;
  }

  #generalRegister(spec: OperandSpec, out: DecodedOperand, register: number): void {
    const size = this.#size(spec.registerSize);
    const high = size === 1 && !this.rexPresent && register >= 4;
    out.kind = OperandKind.Register;
    out.registerClass = RegisterClass.Gpr;
    out.register = high ? register - 4 : register;
    out.highByte = high;
    out.size = size;
  }

  /** Registers that are not general ones. */
  #register(spec: OperandSpec, out: DecodedOperand): void {
    const reg = this.#reg();
    const rm = this.modrm & 7;
    let register = spec.fixed;
    let registerClass: RegisterClass = RegisterClass.Xmm;
    let valid = true;
    switch (spec.method) {
      case OperandMethod.Segment:
        register = reg & 7;
        registerClass = RegisterClass.Segment;
        // MOV to CS (8E /1) does not exist.
        valid = register <= SegmentRegister.Gs && !(this.opcode === 0x8e && register === SegmentRegister.Cs);
        break;
      case OperandMethod.FixedSegment:
        registerClass = RegisterClass.Segment;
        break;
      case OperandMethod.Control:
        register = reg;
        registerClass = RegisterClass.Control;
        valid = ((ControlRegisters >> reg) & 1) !== 0;
        break;
      case OperandMethod.Debug:
        register = reg;
        registerClass = RegisterClass.Debug;
        valid = reg < 8;
        break;
      case OperandMethod.RegMmx:
        register = reg & 7;
        registerClass = RegisterClass.Mmx;
        break;
      case OperandMethod.ModrmMmx:
      case OperandMethod.RmMmx:
        register = rm;
        registerClass = RegisterClass.Mmx;
        break;
      case OperandMethod.RegXmm:
        register = reg;
        break;
      case OperandMethod.ModrmXmm:
      case OperandMethod.RmXmm:
        register = rm | ((this.rex & Rex.B) << 3);
        break;
      case OperandMethod.VexXmm:
        register = this.#takeVexRegister();
        break;
      case OperandMethod.ImmediateXmm:
        register = (this.fetch() >> 4) & (this.codeSize === 64 ? 15 : 7);
        break;
      case OperandMethod.RmSt:
        register = rm;
        registerClass = RegisterClass.St;
        break;
      case OperandMethod.TopSt:
        registerClass = RegisterClass.St;
        break;
    }
    if (!valid && this.status === 'ok') this.status = 'invalid';
    out.kind = OperandKind.Register;
    out.registerClass = registerClass;
    out.register = register;
    out.highByte = false;
    out.size =
      registerClass === RegisterClass.Control || registerClass === RegisterClass.Debug
        ? this.#size(SizeCode.Native)
        : this.#size(spec.registerSize);
  }

  #memory(spec: OperandSpec, out: DecodedOperand): void {
    const base = this.#base;
    const stack = this.#addressSize === 16 ? base === 5 : base === 4 || base === 5;
    out.kind = OperandKind.Memory;
    out.size = this.#size(spec.memorySize);
    out.segment = (
      this.segment >= 0 ? this.segment : stack ? SegmentRegister.Ss : SegmentRegister.Ds
    ) as SegmentRegister;
    out.base = base;
    out.index = this.#index;
    out.vectorIndex = false;
    out.scale = this.#scale;
    out.ripRelative = this.#ripRelative;
    out.low = this.#displacement;
    out.high = this.#displacement >> 31;
  }

  /**
   * VSIB: a SIB byte must be there, all of whose indices are vector registers. Destination, index and mask are three
   * registers, or the instruction is #UD (SDM Vol. 2A §2.3.12.1, the instruction's page in Vol. 2C).
   */
  #vectorMemory(spec: OperandSpec, out: DecodedOperand): void {
    if (this.status !== 'ok') return;
    const index = this.#vectorIndex;
    const mask = this.codeSize === 64 ? this.vexRegister : this.vexRegister & 7;
    const destination = this.#reg();
    const valid = (this.modrm & 7) === 4 && this.#addressSize !== 16;
    if (!valid || index === mask || index === destination || mask === destination) this.status = 'invalid';
    this.#memory(spec, out);
    out.index = index;
    out.vectorIndex = true;
    out.scale = this.#vectorScale;
  }

  #string(spec: OperandSpec, out: DecodedOperand, base: number, segment: number): void {
    out.kind = OperandKind.Memory;
    out.size = this.#size(spec.memorySize);
    out.segment = segment as SegmentRegister;
    out.base = base;
    out.index = -1;
    out.vectorIndex = false;
    out.scale = 0;
    out.ripRelative = false;
    out.low = 0;
    out.high = 0;
  }

  /** moffs: as wide as the address. */
  #offset(spec: OperandSpec, out: DecodedOperand): void {
    this.#string(spec, out, -1, this.segment >= 0 ? this.segment : SegmentRegister.Ds);
    out.low = this.#addressSize === 16 ? this.fetch16() : this.fetch32();
    if (this.#addressSize === 64) out.high = this.fetch32();
  }

  #immediate(spec: OperandSpec, out: DecodedOperand): void {
    const size = this.#size(spec.registerSize);
    const signed = spec.method === OperandMethod.SignedImmediate;
    out.kind = OperandKind.Immediate;
    out.size = signed ? this.#operandSize >> 3 : size;
    let low: number;
    if (size === 1) low = this.fetch();
    else if (size === 2) low = this.fetch16();
    else low = this.fetch32();
    if (signed && size < 4) low = size === 1 ? (low << 24) >> 24 : (low << 16) >> 16;
    out.low = low;
    out.high = size === 8 ? this.fetch32() : low >> 31;
  }

  #relative(spec: OperandSpec, out: DecodedOperand): void {
    const size = this.#size(spec.registerSize);
    out.kind = OperandKind.Relative;
    out.size = this.#operandSize >> 3;
    if (size === 1) out.low = (this.fetch() << 24) >> 24;
    else out.low = size === 2 ? (this.fetch16() << 16) >> 16 : this.fetch32();
    out.high = out.low >> 31;
  }

  #farPointer(out: DecodedOperand): void {
    out.kind = OperandKind.FarPointer;
    out.size = 2 + (this.#operandSize >> 3);
    out.low = this.#operandSize === 16 ? this.fetch16() : this.fetch32();
    out.high = 0;
    out.selector = this.fetch16();
  }
}

/** A decoder for one CPU model. */
export function createDecoder(options: DecoderOptions = {}): Decoder {
  return new Decoder(options);
}
