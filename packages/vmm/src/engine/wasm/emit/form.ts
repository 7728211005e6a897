/**
 * Instruction forms: what a handler is specialised for. Two decoded instructions of one form key share a handler.
 */
import type { DecodedInstruction, DecodedOperand } from '../../../x86/decode/decoded-instruction.ts';
import { OperandKind as Decoded, RegisterClass } from '../../../x86/decode/decoded-instruction.ts';
import type { Form, OperandKind } from '../../../x86/instructions/semantics/context.ts';

/** An operand's static description. */
export interface OperandForm {
  readonly kind: OperandKind;
  readonly bits: number;
  /** Static index (segment, control, debug, st); -1 otherwise. */
  readonly index: number;
}

export interface InstructionForm {
  readonly key: string;
  readonly form: Form;
  readonly operands: readonly OperandForm[];
}

const Conditions = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'];
const ConditionPrefixes = ['J', 'SET', 'CMOV'];

/** Condition code of Jcc, SETcc and CMOVcc mnemonics, or -1. */
export function conditionOf(mnemonic: string): number {
  let code = conditionCodes.get(mnemonic);
  if (code === undefined) conditionCodes.set(mnemonic, (code = findCondition(mnemonic)));
  return code;
}

const conditionCodes = new Map<string, number>();

function findCondition(mnemonic: string): number {
  for (const prefix of ConditionPrefixes) {
    if (mnemonic.startsWith(prefix)) {
      const code = Conditions.indexOf(mnemonic.slice(prefix.length));
      if (code >= 0) return code;
    }
  }
  return -1;
}

/** Rows whose memory operands are implied by rSI, rDI: semantics address them through registers. */
export function isStringRow(instruction: DecodedInstruction): boolean {
  return instruction.row.group === 'string';
}

const StackMnemonics = /^(PUSH|POP|CALL|RET|ENTER|LEAVE|INT|IRET|J|LOOP)/;
/** Mnemonics with implied memory operands or addressing by registers: their form depends on address size and segment. */
const AddressedMnemonics = /^(XLAT|(VP?)?MASKMOV|VP?GATHER|LOOP|JCXZ|MONITOR|CLZERO)/;

/** Mnemonics that address parts of their memory operand, or what lies beside it, by `Operand.part`. */
const PartMnemonics = /^(POP|BT|BTS|BTR|BTC|ARPL|LES|LDS|LSS|LFS|LGS|CALLF|JMPF|BOUND|FXSAVE|FXRSTOR)$/;

const KindOfClass: Record<number, OperandKind> = {
  [RegisterClass.Gpr]: 'gpr',
  [RegisterClass.Segment]: 'segment',
  [RegisterClass.Control]: 'control',
  [RegisterClass.Debug]: 'debug',
  [RegisterClass.Mmx]: 'mmx',
  [RegisterClass.Xmm]: 'xmm',
  [RegisterClass.St]: 'st',
};
const StaticIndex: readonly OperandKind[] = ['segment', 'control', 'debug', 'st'];

/**
 * Their second operand's immediate is not one more source: BT Ev, Gv reaches beyond the operand, and IN's other port is DX.
 */
const OwnImmediate = /^(BT[SRC]?|IN)$/;

/** Shift counts have 8 bits as CL has; other immediate sources are as wide as the destination. */
const sourceBits = (group: string, destination: OperandForm, source: OperandForm): number =>
  group === 'shift' ? 8 : Math.max(destination.bits, source.bits);

function operandForm(operand: DecodedOperand): OperandForm {
  const bits = operand.size * 8;
  switch (operand.kind) {
    case Decoded.Register: {
      const kind = KindOfClass[operand.registerClass]!;
      return { kind, bits, index: StaticIndex.includes(kind) ? operand.register : -1 };
    }
    case Decoded.Memory:
      return { kind: operand.vectorIndex ? 'vector-memory' : 'memory', bits, index: -1 };
    case Decoded.Relative:
      return { kind: 'relative', bits, index: -1 };
    case Decoded.FarPointer:
      return { kind: 'far', bits, index: -1 };
    default:
      return { kind: 'immediate', bits, index: -1 };
  }
}

/** Describes the form; `stack32` is SS.B outside 64-bit mode. Immediates at position 1 take the width of operand 0. */
export function formOf(instruction: DecodedInstruction, stack32: boolean): InstructionForm {
  const { row, operandSize, codeSize } = instruction;
  const operands: OperandForm[] = [];
  if (!isStringRow(instruction)) {
    for (let i = 0; i < instruction.operandCount; i++) {
      const decoded = instruction.operands[i]!;
      const form = operandForm(decoded);
      const immediateSource = i === 1 && form.kind === 'immediate' && !OwnImmediate.test(row.mnemonic);
      operands.push(immediateSource ? { ...form, kind: 'gpr', bits: sourceBits(row.group, operands[0]!, form) } : form);
    }
  }
  const form: Form = {
    mnemonic: row.mnemonic,
    width: operandSize,
    addressWidth: instruction.addressSize,
    codeSize,
    stackWidth: codeSize === 64 ? 64 : stack32 ? 32 : 16,
    rep: instruction.rep,
    lock: instruction.lock,
    segment: instruction.segmentOverride >= 0 ? instruction.segmentOverride : 3,
    rexW: (instruction.rex & 8) !== 0,
    vexL: instruction.vexL !== 0,
    condition: conditionOf(row.mnemonic),
  };
  return {
    form,
    operands,
    get key() {
      return keyOf(row, form, operands);
    },
  };
}

function keyOf(row: DecodedInstruction['row'], form: Form, operands: readonly OperandForm[]): string {
  const { width, codeSize } = form;
  const stack = StackMnemonics.test(row.mnemonic);
  const addressed = row.group === 'string' || AddressedMnemonics.test(row.mnemonic);
  const wraps = codeSize !== 64 && PartMnemonics.test(row.mnemonic);
  const parts = [row.mnemonic, width, codeSize === 64 ? 'L' : `${codeSize}`];
  if (form.rexW) parts.push('W');
  if (form.vexL) parts.push('Y');
  if (form.rep) parts.push(`R${form.rep.toString(16)}`);
  if (addressed) parts.push(`A${form.addressWidth}`, `S${form.segment}`);
  if (wraps) parts.push(`A${form.addressWidth}`);
  if (stack && codeSize !== 64) parts.push(`K${form.stackWidth}`);
  const kinds = operands.map(({ kind, bits, index }) => `${kind}${bits}${index >= 0 ? `#${index}` : ''}`);
  return `${parts.join('.')}:${kinds.join(',')}`;
}

const sizeCode = (bits: number): number => (bits === 8 ? 0 : bits === 16 ? 1 : bits === 32 ? 2 : 3);
/** Register classes whose register is part of the form. */
const hasStaticIndex = (operand: DecodedOperand): boolean =>
  operand.kind === Decoded.Register &&
  (operand.registerClass === RegisterClass.Segment ||
    operand.registerClass === RegisterClass.Control ||
    operand.registerClass === RegisterClass.Debug ||
    operand.registerClass === RegisterClass.St);

/**
 * A number that decides the form: instructions with the same one have the same form. Cheaper than the form's key.
 */
export function formNumber(instruction: DecodedInstruction, stack32: boolean): number {
  const { row, operandCount, operands } = instruction;
  let memory = 0;
  let index = 0;
  for (let i = 0; i < operandCount; i++) {
    const operand = operands[i]!;
    if (operand.kind === Decoded.Memory) memory |= 1;
    else if (hasStaticIndex(operand)) index = index * 16 + operand.register;
  }
  const sizes = sizeCode(instruction.operandSize) | (sizeCode(instruction.addressSize) << 2);
  const mode = sizeCode(instruction.codeSize) | (stack32 ? 4 : 0);
  const prefixes =
    (instruction.rep === 0 ? 0 : instruction.rep === 0xf2 ? 1 : 2) |
    (instruction.lock ? 4 : 0) |
    (instruction.rex & 8) |
    ((instruction.segmentOverride + 1) << 4) |
    (instruction.vexL << 7);
  return ((((row.index * 256 + index) * 2 + memory) * 16 + sizes) * 8 + mode) * 256 + prefixes;
}
