/** All semantics on XMM and MMX registers and their state, by mnemonic. */
import { avxDerivedSemantics } from './avx-derived.ts';
import { avxMemorySemantics } from './avx-memory.ts';
import { avxMoveSemantics } from './avx-move.ts';
import { avxPermuteSemantics } from './avx-permute.ts';
import type { Semantic } from './context.ts';
import { f16cSemantics } from './f16c.ts';
import { fmaSemantics } from './fma.ts';
import { fxsaveSemantics } from './fxsave.ts';
import { mmxSemantics } from './mmx.ts';
import { sseArithmeticSemantics } from './sse-arithmetic.ts';
import { sseCompareSemantics } from './sse-compare.ts';
import { sseConvertSemantics } from './sse-convert.ts';
import { sseCryptoSemantics } from './sse-crypto.ts';
import { sseDotSemantics } from './sse-dot.ts';
import { sseEstimateSemantics } from './sse-estimate.ts';
import { sseIntegerSemantics } from './sse-integer.ts';
import { sseMoveSemantics } from './sse-move.ts';
import { sseShuffleSemantics } from './sse-shuffle.ts';
import { sseStringSemantics } from './sse-string.ts';
import { xsaveSemantics } from './xsave.ts';

export const simdSemantics: Readonly<Record<string, Semantic>> = {
  ...mmxSemantics,
  ...sseMoveSemantics,
  ...sseShuffleSemantics,
  ...sseIntegerSemantics,
  ...sseArithmeticSemantics,
  ...sseCompareSemantics,
  ...sseConvertSemantics,
  ...sseDotSemantics,
  ...sseEstimateSemantics,
  ...sseStringSemantics,
  ...sseCryptoSemantics,
  ...fxsaveSemantics,
  ...avxDerivedSemantics,
  ...avxMoveSemantics,
  ...avxPermuteSemantics,
  ...avxMemorySemantics,
  ...fmaSemantics,
  ...f16cSemantics,
  ...xsaveSemantics,
};
