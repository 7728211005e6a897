/** The instruction table: every row, in one list. Its notation is described in notation.ts. */
import { arithmeticRows } from './arithmetic.ts';
import { avxRows } from './avx.ts';
import { avx2Rows } from './avx2.ts';
import { controlRows } from './control.ts';
import { f16cRows } from './f16c.ts';
import { fmaRows } from './fma.ts';
import { miscRows } from './misc.ts';
import { mmxRows } from './mmx.ts';
import { moveRows } from './move.ts';
import { parseRow } from './notation.ts';
import type { InstructionGroup, InstructionRow } from './notation.ts';
import { shiftRows } from './shift.ts';
import { sse2Rows } from './sse2.ts';
import { sse3Rows } from './sse3.ts';
import { sse4Rows } from './sse4.ts';
import { sseRows } from './sse.ts';
import { stringRows } from './string.ts';
import { systemRows } from './system.ts';
import { x87Rows } from './x87.ts';

const sources: readonly (readonly [InstructionGroup, readonly string[]])[] = [
  ['arithmetic', arithmeticRows],
  ['shift', shiftRows],
  ['move', moveRows],
  ['control', controlRows],
  ['string', stringRows],
  ['system', systemRows],
  ['misc', miscRows],
  ['x87', x87Rows],
  ['mmx', mmxRows],
  ['sse', sseRows],
  ['sse2', sse2Rows],
  ['sse3', sse3Rows],
  ['sse4', sse4Rows],
  ['avx', avxRows],
  ['avx2', avx2Rows],
  ['fma', fmaRows],
  ['f16c', f16cRows],
];

function parseAll(): readonly InstructionRow[] {
  const rows: InstructionRow[] = [];
  for (const [group, notations] of sources) {
    for (const notation of notations) rows.push(parseRow(notation, group, rows.length));
  }
  return rows;
}

/** Every row of the table; `allRows[i].index === i`. */
export const allRows: readonly InstructionRow[] = parseAll();
