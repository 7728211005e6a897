/** Compares a DecodedInstruction with what iced-x86 made of the same bytes. */
import { Mnemonic, MemorySizeExt, OpKind, Register } from 'iced-x86';
import type { Instruction } from 'iced-x86';
import { OperandKind, RegisterClass } from '@lodger/vmm/x86/decode/decoder.js';
import type { DecodedInstruction, DecodedOperand } from '@lodger/vmm/x86/decode/decoder.js';
import { generalRegisterName, mnemonicText } from '@lodger/vmm/x86/decode/format.js';
import { OperandMethod } from '@lodger/vmm/x86/instructions/table/operand-spec.js';

const SegmentNames = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

const registerNumbers = new Map<string, number>(
  Object.entries(Register).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
);

function icedRegister(name: string): number {
  return registerNumbers.get(name) ?? -1;
}

function addressRegister(number: number, size: number): number {
  if (number < 0) return Register.None;
  // iced-x86 writes R8L where the manuals have R8B; the wide names agree.
  return icedRegister(generalRegisterName(number, size).toUpperCase());
}

function registerOf(operand: DecodedOperand): number {
  const { register } = operand;
  switch (operand.registerClass) {
    case RegisterClass.Gpr: {
      const name = generalRegisterName(register, operand.size, operand.highByte).toUpperCase();
      return icedRegister(operand.size === 1 && register >= 8 ? `R${register}L` : name);
    }
    case RegisterClass.Segment:
      return icedRegister(SegmentNames[register]!);
    case RegisterClass.Control:
      return icedRegister(`CR${register}`);
    case RegisterClass.Debug:
      return icedRegister(`DR${register}`);
    case RegisterClass.Mmx:
      return icedRegister(`MM${register}`);
    case RegisterClass.Xmm:
      return icedRegister(`${operand.size === 32 ? 'YMM' : 'XMM'}${register}`);
    case RegisterClass.St:
      return icedRegister(`ST${register}`);
  }
}

/** Base register and address width of iced-x86's string operand kinds. */
const StringOperands = new Map<number, { base: number; bits: number; destination: boolean }>([
  [OpKind.MemorySegSI, { base: 6, bits: 16, destination: false }],
  [OpKind.MemorySegESI, { base: 6, bits: 32, destination: false }],
  [OpKind.MemorySegRSI, { base: 6, bits: 64, destination: false }],
  [OpKind.MemoryESDI, { base: 7, bits: 16, destination: true }],
  [OpKind.MemoryESEDI, { base: 7, bits: 32, destination: true }],
  [OpKind.MemoryESRDI, { base: 7, bits: 64, destination: true }],
]);

const ImmediateSizes = new Map<number, number>([
  [OpKind.Immediate8, 1],
  [OpKind.Immediate8_2nd, 1],
  [OpKind.Immediate16, 2],
  [OpKind.Immediate32, 4],
  [OpKind.Immediate64, 8],
  [OpKind.Immediate8to16, 2],
  [OpKind.Immediate8to32, 4],
  [OpKind.Immediate8to64, 8],
  [OpKind.Immediate32to64, 8],
]);

function value64(operand: DecodedOperand): bigint {
  return (BigInt(operand.high) << 32n) | BigInt(operand.low >>> 0);
}

/** iced-x86 names ES, CS, SS and DS overrides in 64-bit mode, where they have no effect on the address. */
function effectiveSegment(ours: DecodedInstruction, operand: DecodedOperand, iced: Instruction): number {
  const prefix = iced.segmentPrefix;
  if (ours.codeSize !== 64 || prefix === Register.None || prefix === Register.FS || prefix === Register.GS) {
    return iced.memorySegment;
  }
  return operand.base === 4 || operand.base === 5 ? Register.SS : Register.DS;
}

/** The vectors of indices are as wide as the table says. */
function sameIndex(ours: DecodedInstruction, operand: DecodedOperand, iced: Instruction): boolean {
  if (!operand.vectorIndex) return addressRegister(operand.index, ours.addressSize >> 3) === iced.memoryIndex;
  const bytes = ours.row.operands.find(({ method }) => method === OperandMethod.VectorMemory)?.registerSize;
  return icedRegister(`${bytes === 32 ? 'YMM' : 'XMM'}${operand.index}`) === iced.memoryIndex;
}

function compareMemory(
  ours: DecodedInstruction,
  operand: DecodedOperand,
  iced: Instruction,
  kind: OpKind,
): string | undefined {
  const { addressSize } = ours;
  const size = MemorySizeExt.size(iced.memorySize);
  // XSAVE areas vary in length; iced-x86 has no size for them, and none for LEA.
  if (operand.size !== size) return `memory size ${operand.size}, iced ${size}`;
  const text = StringOperands.get(kind);
  if (text !== undefined) {
    if (operand.base !== text.base || addressSize !== text.bits || operand.low !== 0) return 'string address';
    const segment = text.destination ? Register.ES : effectiveSegment(ours, operand, iced);
    return icedRegister(SegmentNames[operand.segment]!) === segment ? undefined : 'string segment';
  }
  if (kind !== OpKind.Memory) return `memory, iced kind ${OpKind[kind]}`;
  if (icedRegister(SegmentNames[operand.segment]!) !== effectiveSegment(ours, operand, iced)) return 'segment';
  if (operand.ripRelative !== iced.isIpRelMemoryOperand) return 'rip-relative';
  if (operand.ripRelative) {
    const target = BigInt.asUintN(addressSize, iced.ip + BigInt(ours.length) + value64(operand));
    return target === iced.ipRelMemoryAddress ? undefined : 'rip-relative target';
  }
  if (addressRegister(operand.base, addressSize >> 3) !== iced.memoryBase) return 'base';
  if (!sameIndex(ours, operand, iced)) return 'index';
  if (operand.index >= 0 && 1 << operand.scale !== iced.memoryIndexScale) return 'scale';
  const difference = BigInt.asUintN(addressSize, value64(operand) - iced.memoryDisplacement);
  return difference === 0n ? undefined : 'displacement';
}

function compareRelative(
  ours: DecodedInstruction,
  operand: DecodedOperand,
  iced: Instruction,
  kind: OpKind,
): string | undefined {
  const bits =
    kind === OpKind.NearBranch16 ? 16 : kind === OpKind.NearBranch32 ? 32 : kind === OpKind.NearBranch64 ? 64 : 0;
  if (bits !== operand.size * 8) return `branch of ${operand.size} bytes, iced kind ${OpKind[kind]}`;
  const target = BigInt.asUintN(bits, iced.ip + BigInt(ours.length) + value64(operand));
  return target === iced.nearBranchTarget ? undefined : 'branch target';
}

function compareFar(operand: DecodedOperand, iced: Instruction, kind: OpKind): string | undefined {
  if (kind !== (operand.size === 4 ? OpKind.FarBranch16 : OpKind.FarBranch32)) return 'far pointer size';
  const offset = operand.size === 4 ? iced.farBranch16 : iced.farBranch32;
  return offset === operand.low >>> 0 && iced.farBranchSelector === operand.selector ? undefined : 'far pointer';
}

/** Deliberate: these use 16 bits of their register whatever the operand size; iced-x86 names the register by size. */
const WordOnly = ['ARPL', 'LLDT', 'LTR', 'VERR', 'VERW', 'LMSW', 'MOV'];

function isWordOfWider(ours: DecodedInstruction, operand: DecodedOperand, icedNumber: number): boolean {
  if (ours.row.group === 'move' ? ours.opcode !== 0x8e : ours.row.group !== 'system') return false;
  if (operand.size !== 2 || operand.registerClass !== RegisterClass.Gpr) return false;
  if (!WordOnly.includes(ours.row.mnemonic)) return false;
  return [4, 8].some((size) => addressRegister(operand.register, size) === icedNumber);
}

function compareOperand(
  ours: DecodedInstruction,
  operand: DecodedOperand,
  iced: Instruction,
  index: number,
): string | undefined {
  const kind = iced.opKind(index);
  switch (operand.kind) {
    case OperandKind.Register:
      if (kind !== OpKind.Register) return `register, iced kind ${OpKind[kind]}`;
      if (isWordOfWider(ours, operand, iced.opRegister(index))) return undefined;
      return registerOf(operand) === iced.opRegister(index)
        ? undefined
        : `register, iced ${Register[iced.opRegister(index)]}`;
    case OperandKind.Memory:
      return compareMemory(ours, operand, iced, kind);
    case OperandKind.Immediate: {
      if (ImmediateSizes.get(kind) !== operand.size)
        return `immediate of ${operand.size} bytes, iced kind ${OpKind[kind]}`;
      const bits = operand.size * 8;
      const same = BigInt.asUintN(bits, value64(operand)) === BigInt.asUintN(bits, iced.immediate(index));
      return same ? undefined : 'immediate value';
    }
    case OperandKind.Relative:
      return compareRelative(ours, operand, iced, kind);
    case OperandKind.FarPointer:
      return compareFar(operand, iced, kind);
    default:
      return 'no operand';
  }
}

/** Names that iced-x86 spells differently, by our mnemonic text. */
const OtherNames: Readonly<Record<string, readonly string[]>> = {
  callf: ['call'],
  jmpf: ['jmp'],
  fwait: ['wait'],
  xlat: ['xlatb'],
  shl: ['sal'],
  movd: ['movq'],
  pextrd: ['pextrq'],
  pinsrd: ['pinsrq'],
  sysret: ['sysretq'],
  sysexit: ['sysexitq'],
  fxsave: ['fxsave64'],
  fxrstor: ['fxrstor64'],
  xsave: ['xsave64'],
  xrstor: ['xrstor64'],
  xsaveopt: ['xsaveopt64'],
  xsaves: ['xsaves64'],
  xrstors: ['xrstors64'],
  xsavec: ['xsavec64'],
  pushfw: ['pushf'],
  popfw: ['popf'],
  pushaw: ['pusha'],
  popaw: ['popa'],
  iretw: ['iret'],
  vmovd: ['vmovq'],
  vpextrd: ['vpextrq'],
  vpinsrd: ['vpinsrq'],
  vpcmpestrm: ['vpcmpestrm64'],
  vpcmpestri: ['vpcmpestri64'],
  pcmpestrm: ['pcmpestrm64'],
  pcmpestri: ['pcmpestri64'],
  // Without SEV-ES a guest's VMGEXIT is VMMCALL (APM Vol. 3 "VMGEXIT").
  vmmcall: ['vmgexit'],
  nop: ['reservednop'],
  // The reg field is a hint (APM Vol. 3 "PREFETCHlevel"): reserved values are PREFETCH.
  prefetch: ['prefetchwt1'],
};

const namesAgree = new Map<string, boolean>();

function compareNames(ours: DecodedInstruction, iced: Instruction): string | undefined {
  const name = mnemonicText(ours);
  const key = `${name}/${iced.mnemonic}`;
  let agree = namesAgree.get(key);
  if (agree === undefined) {
    const icedName = (Mnemonic[iced.mnemonic] ?? '').toLowerCase();
    agree = name === icedName || (OtherNames[name]?.includes(icedName) ?? false);
    namesAgree.set(key, agree);
  }
  return agree ? undefined : `mnemonic ${name}, iced ${Mnemonic[iced.mnemonic]}`;
}

/** Deliberate: no-operations until a feature gives them a meaning; iced-x86 takes CLDEMOTE, PREFETCHI and CET as present. */
const NopToUs: readonly number[] = [
  Mnemonic.Cldemote,
  Mnemonic.Prefetchit0,
  Mnemonic.Prefetchit1,
  Mnemonic.Rdsspd,
  Mnemonic.Rdsspq,
];

/** Operands that only iced-x86 lists: the implied memory operand of these. */
const ImpliedMemory = ['XLAT', 'MASKMOVQ', 'MASKMOVDQU', 'VMASKMOVDQU'];

/** What differs between two successful decodings of the same bytes, or undefined. */
export function compareDecoded(ours: DecodedInstruction, iced: Instruction): string | undefined {
  if (ours.length !== iced.length) return `length ${ours.length}, iced ${iced.length}`;
  if (ours.row.mnemonic === 'NOP' && NopToUs.includes(iced.mnemonic)) return undefined;
  const name = compareNames(ours, iced);
  if (name !== undefined) return name;
  if (ours.lock !== iced.hasLockPrefix) return 'lock';
  if (ours.row.rep) {
    const rep = iced.hasRepnePrefix ? 0xf2 : iced.hasRepPrefix ? 0xf3 : 0;
    if (rep !== ours.rep) return `rep ${ours.rep}, iced ${rep}`;
  }
  let icedIndex = ImpliedMemory.includes(ours.row.mnemonic) && iced.opCount > 0 ? 1 : 0;
  for (let i = 0; i < ours.operandCount; i++) {
    // Implied XMM0: not an operand in iced-x86.
    if (ours.row.operands[i]!.method === OperandMethod.FixedXmm) continue;
    if (icedIndex >= iced.opCount) return `operand count, iced ${iced.opCount}`;
    const difference = compareOperand(ours, ours.operands[i as 0], iced, icedIndex++);
    if (difference !== undefined) return `operand ${i}: ${difference}`;
  }
  // Reserved no-operations: iced-x86 lists the reg field too.
  if (iced.mnemonic === Mnemonic.Reservednop && icedIndex === 1) icedIndex++;
  return icedIndex === iced.opCount ? undefined : `operand count, iced ${iced.opCount}`;
}
