/**
 * What manuals leave undefined: left out of the comparison, with the source.
 *
 * Sources: SDM Vol. 2 and AMD APM Vol. 3, "Flags Affected" of each instruction. Where only one of them leaves a flag
 * undefined, the other one's meaning is checked.
 */
import type { InstructionRow } from '@lodger/vmm/x86/instructions/table/notation.js';
import { Flag } from './case-state.ts';

const { CF, PF, AF, ZF, SF, OF } = Flag;

const UndefinedFlags: readonly (readonly [flags: number, mnemonics: readonly string[]])[] = [
  // Logic: AF
  [AF, ['AND', 'OR', 'XOR', 'TEST']],
  // Shifts: AF; OF for counts other than 1 (by case, below)
  [AF, ['SHL', 'SHR', 'SAR', 'SHLD', 'SHRD']],
  [SF | ZF | AF | PF, ['MUL', 'IMUL']],
  [CF | OF | SF | ZF | AF | PF, ['DIV', 'IDIV']],
  [OF | SF | AF | PF, ['BT', 'BTS', 'BTR', 'BTC']],
  [CF | OF | SF | AF | PF, ['BSF', 'BSR']],
  [OF | SF | AF | PF, ['LZCNT', 'TZCNT']],
  [AF | PF, ['ANDN', 'BLSR', 'BLSMSK', 'BLSI', 'BZHI']],
  [AF | SF | PF, ['BEXTR']],
  [OF | SF | ZF | PF, ['AAA', 'AAS']],
  [OF, ['DAA', 'DAS']],
  [OF | AF | CF, ['AAM', 'AAD']],
];

const byMnemonic = new Map<string, number>();
for (const [flags, mnemonics] of UndefinedFlags) {
  for (const mnemonic of mnemonics) byMnemonic.set(mnemonic, flags);
}

const Shifts = ['SHL', 'SHR', 'SAR', 'SHLD', 'SHRD'];
const Rotates = ['ROL', 'ROR', 'RCL', 'RCR'];

/** Flags that are not compared. `count`: of a shift or rotate, as given. */
export function undefinedFlags(row: InstructionRow, bits: number, count: number | undefined): number {
  let flags = byMnemonic.get(row.mnemonic) ?? 0;
  if (count === undefined) return flags;
  const masked = count & (bits === 64 ? 63 : 31);
  if (masked === 0) return 0;
  if (Shifts.includes(row.mnemonic) || Rotates.includes(row.mnemonic)) {
    if (masked !== 1) flags |= OF;
    // SDM Vol. 2B "SAL/SAR/SHL/SHR": CF is undefined for SHL and SHR when the count reaches the operand's size.
    if ((row.mnemonic === 'SHL' || row.mnemonic === 'SHR') && masked >= bits) flags |= CF;
    // SDM Vol. 2B "SHLD", "SHRD": everything is undefined when the count exceeds the operand's size.
    if (row.mnemonic.length === 4 && row.mnemonic.startsWith('SH') && masked > bits) flags |= CF | PF | ZF | SF | OF;
  }
  return flags;
}

/** SHLD and SHRD of 16 bits by more than 16: the result is undefined. */
export function resultUndefined(row: InstructionRow, bits: number, count: number | undefined): boolean {
  return (row.mnemonic === 'SHLD' || row.mnemonic === 'SHRD') && count !== undefined && (count & 31) > bits;
}

/** Bits of the x87 status word that are undefined (SDM Vol. 2A, "FPU Flags Affected"). */
export function undefinedConditions(row: InstructionRow): number {
  const [c0, c1, c2, c3] = [0x100, 0x200, 0x400, 0x4000];
  if (row.group !== 'x87') return 0;
  if (CompareLike.test(row.mnemonic)) return 0;
  if (/^F(FREE|NOP|NSTCW|NSTSW|LDENV|RSTOR|NINIT|NSAVE|NENI|NDISI|NSETPM|WAIT)/.test(row.mnemonic)) return 0;
  if (row.mnemonic === 'FLDCW' || row.mnemonic === 'FNSTENV' || row.mnemonic === 'FNCLEX') return c0 | c1 | c2 | c3;
  // Whether a tiny result counts as an underflow depends on its rounding.
  const underflow = 0x10;
  if (/^F(SIN|COS|PTAN|SINCOS)$/.test(row.mnemonic)) return c0 | c1 | c3 | underflow;
  if (Approximate.includes(row.mnemonic)) return c0 | c1 | c2 | c3 | underflow;
  return c0 | c2 | c3;
}
const CompareLike = /^F(U?COM|ICOM|TST|XAM|PREM)/;

/** Results that two correct processors may round differently. */
export const Approximate = ['F2XM1', 'FYL2X', 'FYL2XP1', 'FPTAN', 'FPATAN', 'FSIN', 'FCOS', 'FSINCOS'];
