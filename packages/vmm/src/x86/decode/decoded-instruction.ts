/** The decoder's result: one mutable record that is reused for every instruction. */
import type { InstructionRow } from '../instructions/table/notation.ts';

export const OperandKind = { None: 0, Register: 1, Memory: 2, Immediate: 3, Relative: 4, FarPointer: 5 } as const;
export type OperandKind = (typeof OperandKind)[keyof typeof OperandKind];

export const RegisterClass = { Gpr: 0, Segment: 1, Control: 2, Debug: 3, Mmx: 4, Xmm: 5, St: 6 } as const;
export type RegisterClass = (typeof RegisterClass)[keyof typeof RegisterClass];

/** Segment registers by their encoding (SDM Vol. 2A Table 3-1, "Sreg"). */
export const SegmentRegister = { Es: 0, Cs: 1, Ss: 2, Ds: 3, Fs: 4, Gs: 5 } as const;
export type SegmentRegister = (typeof SegmentRegister)[keyof typeof SegmentRegister];

/** One operand. Only the fields named for its kind are meaningful; the others keep old values. */
export interface DecodedOperand {
  kind: OperandKind;
  /** Width in bytes, for every kind. 0: no access (LEA), or an area of variable length (XSAVE). */
  size: number;

  /** Register. */
  registerClass: RegisterClass;
  /** Register: its number. AH, CH, DH and BH are 0 to 3 with `highByte` set. */
  register: number;
  /** Register: bits 15 to 8 of a general register (AH, CH, DH, BH). */
  highByte: boolean;

  /** Memory: SegmentRegister that the address is relative to, override applied. */
  segment: SegmentRegister;
  /** Memory: general register, or -1. */
  base: number;
  index: number;
  /** Memory: the index is a vector register. */
  vectorIndex: boolean;
  /** Memory: the index is shifted left by 0 to 3. */
  scale: number;
  /** Memory: the displacement is relative to the address after the instruction (RIP, or EIP with address size 32). */
  ripRelative: boolean;

  /**
   * Memory: displacement; Immediate: value; Relative: displacement from the address after the instruction;
   * FarPointer: offset. A signed 64-bit number in two signed 32-bit halves. Immediates that the manual sign-extends to
   * the operand size are extended to all 64 bits; those that it does not extend (INT n, IN, RET n, shift counts) are
   * not negative.
   */
  low: number;
  high: number;
  /** FarPointer. */
  selector: number;
}

export interface DecodedInstruction {
  row: InstructionRow;
  /** Bytes, 1 to 15. */
  length: number;
  /** Effective operand size of the row in bits: 8, 16, 32 or 64. */
  operandSize: 8 | 16 | 32 | 64;
  addressSize: 16 | 32 | 64;
  /** Mode the instruction was decoded for. */
  codeSize: CodeSize;
  /** LOCK prefix; only on rows and operands that allow it. */
  lock: boolean;
  /** 0xF3 (REP, REPE), 0xF2 (REPNE) or 0; only on rows with the `rep` attribute. */
  rep: 0 | 0xf2 | 0xf3;
  /** Overriding SegmentRegister, or -1. Already applied in the operands. */
  segmentOverride: number;
  /** REX byte, or 0. For VEX-encoded rows, the W, R, X, B bits in the same places. */
  rex: number;
  /** VEX.L; 0 for instructions without it. */
  vexL: 0 | 1;
  /** Opcode byte of its map. */
  opcode: number;
  /** ModRM byte, or -1 on rows without one. */
  modrm: number;
  operandCount: number;
  /** Four operands, of which the first `operandCount` are meaningful. */
  readonly operands: readonly [DecodedOperand, DecodedOperand, DecodedOperand, DecodedOperand];
}

export type CodeSize = 16 | 32 | 64;

function createOperand(): DecodedOperand {
  return {
    kind: OperandKind.None, size: 0, registerClass: RegisterClass.Gpr, register: 0, highByte: false,
    segment: SegmentRegister.Ds, base: -1, index: -1, vectorIndex: false, scale: 0, ripRelative: false, low: 0, high: 0, selector: 0,
  }; // prettier-ignore
}

/** A record for `Decoder.decode` to fill. */
export function createDecodedInstruction(row: InstructionRow): DecodedInstruction {
  return {
    row, length: 0, operandSize: 32, addressSize: 32, codeSize: 32, lock: false, rep: 0, segmentOverride: -1, rex: 0,
    vexL: 0, opcode: 0, modrm: -1, operandCount: 0,
    operands: [createOperand(), createOperand(), createOperand(), createOperand()],
  }; // prettier-ignore
}
