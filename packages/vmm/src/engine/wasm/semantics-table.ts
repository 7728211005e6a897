/** Every instruction's semantic by mnemonic. */
import { arithmeticSemantics } from '../../x86/instructions/semantics/arithmetic.ts';
import type { Semantic } from '../../x86/instructions/semantics/context.ts';
import { controlSemantics } from '../../x86/instructions/semantics/control.ts';
import { moveSemantics } from '../../x86/instructions/semantics/move.ts';
import { shiftSemantics } from '../../x86/instructions/semantics/shift.ts';
import { simdSemantics } from '../../x86/instructions/semantics/simd.ts';
import { stringSemantics } from '../../x86/instructions/semantics/string.ts';
import { systemSemantics } from '../../x86/instructions/semantics/system.ts';
import { x87Semantics } from '../../x86/instructions/semantics/x87.ts';

export const semantics: ReadonlyMap<string, Semantic> = new Map(
  [
    arithmeticSemantics,
    controlSemantics,
    moveSemantics,
    shiftSemantics,
    simdSemantics,
    stringSemantics,
    systemSemantics,
    x87Semantics,
  ].flatMap((group) => Object.entries(group)),
);
