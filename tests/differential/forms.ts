/** Which rows of the instruction table are tested, and the variants (sizes, operand kinds, prefixes) of each. */
import { allRows } from '@lodger/vmm/x86/instructions/table/rows.js';
import { ModrmForm, OperandSizeRule, RowPrefix } from '@lodger/vmm/x86/instructions/table/notation.js';
import type { CpuFeature, InstructionRow } from '@lodger/vmm/x86/instructions/table/notation.js';
import type { HarnessKind } from './harness-guest.ts';
import { OperandMethod, SizeCode } from '@lodger/vmm/x86/instructions/table/operand-spec.js';

/** Code size of the segment that a case runs in. */
export type Mode = 64 | 32 | 16;

export interface Variant {
  readonly operandSize: 8 | 16 | 32 | 64;
  /** 'none': no ModRM operand. */
  readonly rm: 'register' | 'memory' | 'none';
  readonly lock: boolean;
  readonly rep: 0 | 0xf2 | 0xf3;
}

export interface Form {
  readonly row: InstructionRow;
  readonly mode: Mode;
  readonly variants: readonly Variant[];
  readonly cases: number;
  /** With segments of test-segments.ts in place of flat ones; outside of 64-bit code. */
  readonly segmented: boolean;
}

/** x86-64-v3 and what the CPU model may advertise beside it. */
const Features: readonly CpuFeature[] = [
  'sse3', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'lzcnt', 'bmi1', 'bmi2', 'movbe', 'cx16', 'aes', 'pclmulqdq',
  'fsgsbase', 'avx', 'avx2', 'fma', 'f16c',
]; // prettier-ignore

/** Rows that ring 3 cannot be asked about, with the reason. */
const Excluded: readonly (readonly [reason: string, mnemonics: readonly string[]])[] = [
  ['the answer belongs to the processor or the moment', ['RDTSC', 'RDTSCP', 'RDPMC', 'RDPID', 'CPUID', 'RDRAND', 'RDSEED', 'XGETBV']],
  ['shows tables and registers of the host', ['SLDT', 'STR', 'SGDT', 'SIDT', 'SMSW']],
  ['leaves ring 3', ['SYSCALL', 'SYSENTER', 'SYSEXIT', 'SYSRET', 'VMCALL', 'VMMCALL']],
  ['depends on MSRs or features of the host', ['MONITOR', 'MWAIT', 'RSM', 'XSAVE', 'XRSTOR']],
  ['estimates are the processor\'s own, and the expectations of AVX are an Intel one\'s', ['VRCPPS', 'VRCPSS', 'VRSQRTPS', 'VRSQRTSS']],
  ['the back end of /dev/kvm reports the wrong RIP', ['INT1']],
]; // prettier-ignore

/** Why a row is not tested, or undefined. */
export function exclusion(row: InstructionRow, mode: Mode): string | undefined {
  if (mode === 64 ? !row.long : !row.legacy || row.rexW) return 'not in this mode';
  if (row.feature !== undefined && !Features.includes(row.feature)) return `needs ${row.feature}`;
  return Excluded.find(([, mnemonics]) => mnemonics.includes(row.mnemonic))?.[0];
}

/** Mnemonics without a sized operand in the row whose operand size matters. */
const ImplicitlySized = ['CBW', 'CWD', 'PUSHA', 'POPA', 'PUSHF', 'POPF', 'IRET', 'RETF', 'LEAVE', 'ENTER', 'RET'];
const Varying: readonly number[] = [
  SizeCode.OperandSize, SizeCode.AtMostDword, SizeCode.FarPointer, SizeCode.Pair, SizeCode.X87Environment,
  SizeCode.X87State,
]; // prettier-ignore

function sizes(row: InstructionRow, mode: Mode): readonly Variant['operandSize'][] {
  if (row.operandSizeRule === OperandSizeRule.Byte) return [8];
  const native = mode === 16 ? [16, 32] as const : [32, 16] as const; // prettier-ignore
  const has66 = row.prefix === RowPrefix.None || row.prefix === RowPrefix.P66 || row.vex;
  const varies =
    ImplicitlySized.includes(row.mnemonic) ||
    row.operands.some(({ registerSize, memorySize }) => Varying.includes(registerSize) || Varying.includes(memorySize));
  if (row.operandSizeRule === OperandSizeRule.Wide32OnAmd) return native;
  if (row.operandSizeRule !== OperandSizeRule.Normal) return mode === 64 ? [64, 64, 16] : native;
  if (mode !== 64) return varies && !has66 ? native : [mode];
  if (row.rexW) return [64];
  const wide = row.operands.some(({ registerSize }) => registerSize === SizeCode.AtLeastDword);
  if (varies && !has66) return [16, 32, 64];
  return varies || wide ? [32, 64] : [32];
}

const usesModrm = [
  OperandMethod.ModrmGpr, OperandMethod.ModrmMmx, OperandMethod.ModrmXmm, OperandMethod.Memory, OperandMethod.RmGpr,
  OperandMethod.RmMmx, OperandMethod.RmXmm, OperandMethod.VectorMemory,
] as readonly number[]; // prettier-ignore

function rmKinds(row: InstructionRow): readonly Variant['rm'][] {
  const both = row.modrm === ModrmForm.Any && row.operands.some(({ method }) => usesModrm.includes(method));
  if (row.modrm === ModrmForm.Any && row.anyMod) return ['register'];
  if (both) return ['register', 'memory'];
  if (row.modrm === ModrmForm.Memory) return ['memory'];
  return row.modrm === ModrmForm.None || row.modrmByte >= 0 ? ['none'] : ['register'];
}

function variantsOf(row: InstructionRow, mode: Mode): Variant[] {
  const variants: Variant[] = [];
  for (const operandSize of sizes(row, mode)) {
    for (const rm of rmKinds(row)) {
      variants.push({ operandSize, rm, lock: false, rep: 0 });
      if (row.lock && rm === 'memory') variants.push({ operandSize, rm, lock: true, rep: 0 });
      if (row.rep) variants.push({ operandSize, rm, lock: false, rep: 0xf3 });
      if (row.rep) variants.push({ operandSize, rm, lock: false, rep: 0xf2 });
    }
  }
  return variants;
}

/** Rows where every case takes a fault: a few show it. */
const AlwaysFault = [
  'UD0', 'UD1', 'UD2', 'HLT', 'CLI', 'STI', 'CLTS', 'INVD', 'WBINVD', 'WRMSR', 'RDMSR', 'IN', 'OUT', 'INS', 'OUTS',
  'LLDT', 'LTR', 'LGDT', 'LIDT', 'LMSW', 'INVLPG', 'SWAPGS', 'INT3', 'XSETBV', 'INT', 'INVPCID',
]; // prettier-ignore

function caseCount(row: InstructionRow, variants: number): number {
  if (AlwaysFault.includes(row.mnemonic)) return 12;
  if (row.operands.length === 0 && row.group !== 'x87' && row.group !== 'string') return 64;
  if (row.mnemonic === 'NOP' || row.mnemonic.startsWith('PREFETCH')) return 32;
  return Math.min(512, Math.max(224, variants * 48));
}

/** Groups whose instructions do not know what code they are in, beyond addressing. */
const Media = ['x87', 'mmx', 'sse', 'sse2', 'sse3', 'sse4', 'avx', 'avx2', 'fma', 'f16c'];

/** What the cases of a group need of the harness guest. */
export const harnessOf = (group: string): HarnessKind => (/^(avx|fma|f16c)/.test(group) ? 'avx' : 'legacy');

/** Outside of 64-bit code: fewer cases, and a look only at media instructions. */
function casesInMode(row: InstructionRow, mode: Mode, variants: number): number {
  const cases = caseCount(row, variants);
  if (mode === 64 || !row.long) return cases;
  if (Media.includes(row.group)) return mode === 32 ? 16 : 0;
  return Math.min(cases, mode === 32 ? 72 : 48);
}

/** Instructions that address memory without a ModRM operand. */
const Addressing = /^(PUSH|POP|ENTER|LEAVE|CALL|RET|IRET|JMP|J[A-Z]+|LOOP|XLAT|V?MASKMOVDQU|MASKMOV|BOUND)/;

/** Far loads of the segments that the harness needs. */
const Unsegmented = ['LGS', 'LSS'];

/** Cases with segments that have limits: for instructions that address memory, a few for each kind of access. */
function segmentedCases(row: InstructionRow, variants: readonly Variant[]): number {
  if (AlwaysFault.includes(row.mnemonic) || Unsegmented.includes(row.mnemonic)) return 0;
  if (row.operands.some(({ notation }) => notation === 'Sw')) return 0;
  const addresses = variants.some(({ rm }) => rm === 'memory') || row.operands.some(usesOffset);
  if (!addresses && row.group !== 'string' && !Addressing.test(row.mnemonic)) return 0;
  return Media.includes(row.group) || row.mnemonic === 'NOP' || row.mnemonic.startsWith('PREFETCH') ? 8 : 40;
}

const usesOffset = ({ method }: { readonly method: number }): boolean => method === OperandMethod.Offset;

/** Every form that is tested in `mode`. */
export function testedForms(mode: Mode): Form[] {
  const forms: Form[] = [];
  for (const row of allRows.filter((row) => exclusion(row, mode) === undefined)) {
    const variants = variantsOf(row, mode);
    forms.push({ row, mode, variants, cases: casesInMode(row, mode, variants.length), segmented: false });
    if (mode === 64) continue;
    const addressing = variants.filter(({ rm }) => rm !== 'register' || Addressing.test(row.mnemonic));
    forms.push({ row, mode, variants: addressing, cases: segmentedCases(row, addressing), segmented: true });
  }
  return forms.filter(({ cases }) => cases > 0);
}

/** The name of a form in expectations and messages. */
export const formName = (form: Form): string =>
  `${form.mode}${form.segmented ? ' segmented' : ''}: ${form.row.notation}`;
