/** A plain Intel-syntax disassembler, for debugging and tests. */
import { OperandMethod } from '../instructions/table/operand-spec.ts';
import { OperandKind, RegisterClass } from './decoded-instruction.ts';
import type { DecodedInstruction, DecodedOperand } from './decoded-instruction.ts';

const Names64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const Names8 = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const HighNames = ['ah', 'ch', 'dh', 'bh'];
const SegmentNames = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const WidthNames: Readonly<Record<number, string>> = {
  1: 'byte',
  2: 'word',
  4: 'dword',
  6: 'fword',
  8: 'qword',
  10: 'tbyte',
  16: 'xmmword',
  32: 'ymmword',
};

/** Mnemonics that name their operand size (16, 32, 64 bits). */
const BySize: Readonly<Record<string, readonly [string, string, string]>> = {
  CBW: ['cbw', 'cwde', 'cdqe'],
  CWD: ['cwd', 'cdq', 'cqo'],
  IRET: ['iretw', 'iretd', 'iretq'],
  PUSHF: ['pushfw', 'pushfd', 'pushfq'],
  POPF: ['popfw', 'popfd', 'popfq'],
  PUSHA: ['pushaw', 'pushad', 'pushad'],
  POPA: ['popaw', 'popad', 'popad'],
};
const ByAddressSize = ['jcxz', 'jecxz', 'jrcxz'] as const;
const StringSuffix: Readonly<Record<number, string>> = { 8: 'b', 16: 'w', 32: 'd', 64: 'q' };

function bySize<T>(size: number, names: readonly [T, T, T]): T {
  return names[size === 64 ? 2 : size === 32 ? 1 : 0];
}

/** Name of a general register of `size` bytes. */
export function generalRegisterName(register: number, size: number, highByte = false): string {
  if (highByte) return HighNames[register] ?? '?';
  if (register >= 8) return `r${register}${{ 1: 'b', 2: 'w', 4: 'd' }[size] ?? ''}`;
  if (size === 1) return Names8[register] ?? '?';
  const name = Names64[register] ?? '?';
  return size === 8 ? name : size === 4 ? `e${name.slice(1)}` : name.slice(1);
}

function registerName(operand: DecodedOperand): string {
  switch (operand.registerClass) {
    case RegisterClass.Gpr:
      return generalRegisterName(operand.register, operand.size, operand.highByte);
    case RegisterClass.Segment:
      return SegmentNames[operand.register] ?? '?';
    case RegisterClass.Control:
      return `cr${operand.register}`;
    case RegisterClass.Debug:
      return `dr${operand.register}`;
    case RegisterClass.Mmx:
      return `mm${operand.register}`;
    case RegisterClass.Xmm:
      return `${operand.size === 32 ? 'ymm' : 'xmm'}${operand.register}`;
    default:
      return `st(${operand.register})`;
  }
}

/** A signed 64-bit number from its halves, cut to `size` bytes. */
function hex(low: number, high: number, size: number): string {
  const value = BigInt.asUintN(64, (BigInt(high) << 32n) | BigInt(low >>> 0));
  return `0x${BigInt.asUintN(size * 8, value).toString(16)}`;
}

function memoryText(instruction: DecodedInstruction, operand: DecodedOperand): string {
  const addressBytes = instruction.addressSize >> 3;
  const terms: string[] = [];
  if (operand.ripRelative) terms.push(instruction.addressSize === 64 ? 'rip' : 'eip');
  if (operand.base >= 0) terms.push(generalRegisterName(operand.base, addressBytes));
  if (operand.index >= 0) {
    const index = operand.vectorIndex ? `vector${operand.index}` : generalRegisterName(operand.index, addressBytes);
    terms.push(`${index}${operand.scale > 0 ? `*${1 << operand.scale}` : ''}`);
  }
  let text = terms.join('+');
  if (text === '') text = hex(operand.low, operand.high, addressBytes);
  else if (operand.low !== 0) text += `${operand.low < 0 ? '-' : '+'}0x${Math.abs(operand.low).toString(16)}`;
  const width = WidthNames[operand.size];
  return `${width === undefined ? '' : `${width} ptr `}${SegmentNames[operand.segment]}:[${text}]`;
}

function operandText(instruction: DecodedInstruction, operand: DecodedOperand, address: bigint): string {
  switch (operand.kind) {
    case OperandKind.Register:
      return registerName(operand);
    case OperandKind.Memory:
      return memoryText(instruction, operand);
    case OperandKind.Immediate:
      return hex(operand.low, operand.high, operand.size);
    case OperandKind.Relative: {
      const target = address + BigInt(instruction.length + operand.low);
      return `0x${BigInt.asUintN(instruction.operandSize, target).toString(16)}`;
    }
    case OperandKind.FarPointer:
      return `0x${operand.selector.toString(16)}:${hex(operand.low, 0, operand.size - 2)}`;
    default:
      return '?';
  }
}

/** The mnemonic with its size suffix where the manual gives each size a name of its own. */
export function mnemonicText(instruction: DecodedInstruction): string {
  const { row, operandSize, addressSize } = instruction;
  const names = BySize[row.mnemonic];
  if (names !== undefined) return bySize(operandSize, names);
  if (row.mnemonic === 'JCXZ') return bySize(addressSize, ByAddressSize);
  const name = row.mnemonic.toLowerCase();
  if (row.group !== 'string') return name;
  const width = row.mnemonic === 'INS' || row.mnemonic === 'OUTS' ? Math.min(operandSize, 32) : operandSize;
  return name + (StringSuffix[width] ?? '');
}

function repeatText(instruction: DecodedInstruction): string {
  if (instruction.rep === 0) return '';
  if (instruction.rep === 0xf2) return 'repne ';
  return ['CMPS', 'SCAS'].includes(instruction.row.mnemonic) ? 'repe ' : 'rep ';
}

/** One line of text; `address` is that of the instruction, for branch targets. */
export function formatInstruction(instruction: DecodedInstruction, address = 0n): string {
  const { row } = instruction;
  const prefixes = `${instruction.lock ? 'lock ' : ''}${repeatText(instruction)}`;
  const operands = instruction.operands
    .slice(0, instruction.operandCount)
    .filter((_, index) => row.operands[index]?.method !== OperandMethod.FixedXmm)
    .map((operand) => operandText(instruction, operand, address));
  return `${prefixes}${mnemonicText(instruction)}${operands.length === 0 ? '' : ' '}${operands.join(', ')}`;
}
