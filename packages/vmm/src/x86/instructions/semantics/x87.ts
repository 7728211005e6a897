/**
 * x87 floating point, exact to the last bit of the 80-bit format but for the transcendental functions (x87-rare.ts).
 * Where processors differ, this follows AMD's: the last-instruction pointers are always kept.
 *
 * Left out: FERR# and IRQ 13 (with CR0.NE clear an exception stays pending and is not delivered); the data segment
 * selector of a memory operand whose default segment is SS is reported as that of DS.
 */
import type { Semantic } from './context.ts';
import { x87BasicSemantics } from './x87-basic.ts';
import { x87CompareSemantics } from './x87-compare.ts';
import { x87ControlSemantics } from './x87-control.ts';
import { begin, recordPointers } from './x87-execute.ts';
import { x87TransferSemantics } from './x87-transfer.ts';

/** An instruction on the stack alone that x87-rare.ts implements. */
const transcendental: Semantic = (s) => {
  begin(s);
  recordPointers(s);
  s.rare(`x87.${s.form.mnemonic}`);
  s.done();
};

export const x87Semantics: Readonly<Record<string, Semantic>> = {
  ...x87TransferSemantics,
  ...x87BasicSemantics,
  ...x87CompareSemantics,
  ...x87ControlSemantics,
  F2XM1: transcendental,
  FYL2X: transcendental,
  FYL2XP1: transcendental,
  FPTAN: transcendental,
  FPATAN: transcendental,
  FSIN: transcendental,
  FCOS: transcendental,
  FSINCOS: transcendental,
};
