/** Dispatch tables: from opcode map, opcode, prefix state and ModRM byte to a row, in two array reads. */
import { ModrmForm, OpcodeMap, RowPrefix } from '../instructions/table/notation.ts';
import type { InstructionRow } from '../instructions/table/notation.ts';

/** Which rows exist depends on the mode and, for a few, on REX.W: one set of tables for each. */
export const TableSet = { Legacy: 0, Long: 1, LongRexW: 2 } as const;

/** Maps per set: four legacy ones, then for each VEX.L and VEX.W the VEX ones under the same numbers. */
const VexMapOffset = 4;
const MapsPerSet = 20;

export const vexMap = (map: number, l: number, w: number): number => VexMapOffset + (((l << 1) | w) << 2) + map;

/** The maps that hold a row. */
function mapsOf(row: InstructionRow): number[] {
  if (!row.vex) return [row.map];
  const values = (needed: number): number[] => (needed < 0 ? [0, 1] : [needed]);
  return values(row.vexL).flatMap((l) => values(row.vexW).map((w) => vexMap(row.map, l, w)));
}
const Sets = 3;
const PrefixStates = 4;
/** ModRM slots of a sub-table: memory by reg field, then registers by reg and rm field. */
export const RegisterSlots = 8;
const Slots = RegisterSlots + 64;

export interface DispatchTables {
  /** By set and map and opcode (`cellIndex`): 1 when a ModRM byte follows the opcode. */
  readonly hasModrm: Uint8Array;
  /** By cell and prefix state: 0 no row, n > 0 row n - 1, n < 0 sub-table -n - 1. */
  readonly leaves: Int16Array;
  /** By sub-table and slot: 0 no row, otherwise row + 1. */
  readonly slots: Int16Array;
  /** Row of 90+r, which takes the place of NOP and PAUSE when REX.B is set. */
  readonly exchange: InstructionRow | undefined;
}

export function cellIndex(set: number, map: number, opcode: number): number {
  return (set * MapsPerSet + map) * 256 + opcode;
}

export function leafIndex(cell: number, prefixState: number): number {
  return cell * PrefixStates + prefixState;
}

export function slotIndex(subTable: number, slot: number): number {
  return subTable * Slots + slot;
}

function existsIn(row: InstructionRow, set: number): boolean {
  if (set === TableSet.Legacy) return row.legacy && !row.rexW;
  return row.long && (set === TableSet.LongRexW || !row.rexW);
}

function acceptsPrefix(row: InstructionRow, state: number): boolean {
  if (row.prefix === RowPrefix.Any) return true;
  if (row.prefix === RowPrefix.NoRepeat) return state === RowPrefix.None || state === RowPrefix.P66;
  return row.prefix === state;
}

function acceptsSlot(row: InstructionRow, slot: number): boolean {
  const isRegister = slot >= RegisterSlots;
  if (row.modrm === ModrmForm.Memory && isRegister) return false;
  if (row.modrm === ModrmForm.Register && !isRegister) return false;
  const registerBits = slot - RegisterSlots;
  if (row.modrmByte >= 0) {
    const mask = row.modrmRegister ? 0x38 : 0x3f;
    return (row.modrmByte & mask) === (registerBits & mask);
  }
  return row.digit < 0 || row.digit === (isRegister ? registerBits >> 3 : slot);
}

/** The more specific row wins where several accept an encoding. */
function specificity(row: InstructionRow): number {
  let score = row.opcodeRegister ? 0 : 32;
  if (row.modrmByte >= 0) score += row.modrmRegister ? 12 : 16;
  if (row.rexW) score += 8;
  if (row.digit >= 0) score += 4;
  if (row.prefix === RowPrefix.NoRepeat) score += 1;
  else if (row.prefix !== RowPrefix.Any) score += 2;
  return score;
}

function best(rows: readonly InstructionRow[]): InstructionRow | undefined {
  let winner: InstructionRow | undefined;
  for (const row of rows) {
    if (winner === undefined || specificity(row) > specificity(winner)) winner = row;
    else if (specificity(row) === specificity(winner)) {
      throw new Error(`rows '${winner.notation}' and '${row.notation}' have the same encoding`);
    }
  }
  return winner;
}

/** Entries by ModRM slot of the rows that share an opcode and a prefix state. */
function slotTable(rows: readonly InstructionRow[], entry: (row: InstructionRow | undefined) => number): Int16Array {
  const table = new Int16Array(Slots);
  const scores = new Uint8Array(Slots);
  for (const row of rows) {
    const score = specificity(row) + 1;
    const value = entry(row);
    for (let slot = 0; slot < Slots; slot++) {
      if (score < scores[slot]! || !acceptsSlot(row, slot)) continue;
      if (score === scores[slot]) throw new Error(`row '${row.notation}': another one has its encoding`);
      scores[slot] = score;
      table[slot] = value;
    }
  }
  return table;
}

/** Rows by cell. */
function collect(rows: readonly InstructionRow[]): Map<number, InstructionRow[]> {
  const cells = new Map<number, InstructionRow[]>();
  for (const row of rows) {
    for (let set = 0; set < Sets; set++) {
      if (!existsIn(row, set)) continue;
      for (const map of mapsOf(row)) {
        for (let register = 0; register < (row.opcodeRegister ? 8 : 1); register++) {
          const cell = cellIndex(set, map, row.opcode + register);
          const list = cells.get(cell);
          if (list === undefined) cells.set(cell, [row]);
          else list.push(row);
        }
      }
    }
  }
  return cells;
}

/**
 * Builds the tables from the rows that `exists` accepts. The others leave their encodings to less specific rows (TZCNT to
 * BSF), except that a row with REX.W leaves none behind: without CMPXCHG16B its encoding is #UD, not CMPXCHG8B.
 */
export function buildDispatchTables(
  all: readonly InstructionRow[],
  exists: (row: InstructionRow) => boolean,
): DispatchTables {
  const rows = all.filter((row) => exists(row) || row.rexW);
  const entry = (row: InstructionRow | undefined): number => (row !== undefined && exists(row) ? row.index + 1 : 0);
  const hasModrm = new Uint8Array(Sets * MapsPerSet * 256);
  const leaves = new Int16Array(hasModrm.length * PrefixStates);
  const subTables: Int16Array[] = [];
  for (const [cell, candidates] of collect(rows)) {
    const modrm = candidates[0]?.modrm !== ModrmForm.None;
    if (candidates.some((row) => (row.modrm !== ModrmForm.None) !== modrm)) {
      throw new Error(`opcode of '${candidates[0]?.notation}': rows with and without ModRM`);
    }
    hasModrm[cell] = modrm ? 1 : 0;
    for (let state = 0; state < PrefixStates; state++) {
      const matching = candidates.filter((row) => acceptsPrefix(row, state));
      if (!modrm) {
        leaves[leafIndex(cell, state)] = entry(best(matching));
        continue;
      }
      const slots = slotTable(matching, entry);
      const first = slots[0] ?? 0;
      if (slots.every((value) => value === first)) leaves[leafIndex(cell, state)] = first;
      else leaves[leafIndex(cell, state)] = -subTables.push(slots);
    }
  }
  const slots = new Int16Array(subTables.length * Slots);
  subTables.forEach((table, index) => slots.set(table, index * Slots));
  const exchange = rows.find((row) => row.map === OpcodeMap.OneByte && row.opcode === 0x90 && row.opcodeRegister);
  return { hasModrm, leaves, slots, exchange };
}
