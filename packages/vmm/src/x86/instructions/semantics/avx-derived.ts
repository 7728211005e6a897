/** The AVX and AVX2 instructions that do in each 128 bits what an SSE instruction of the same name does. */
import type { Semantic } from './context.ts';
import { fxsaveSemantics } from './fxsave.ts';
import { zero128 } from './simd-support.ts';
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
import { type VexShape, vex } from './vex.ts';

const sse: Readonly<Record<string, Semantic>> = {
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
};

const fold = { fold: true };
const float = { float: true };

/** SSE mnemonics by what VEX makes of them. */
const shapes: readonly (readonly [Partial<VexShape>, string])[] = [
  // The same operands
  [{}, 'MOVSLDUP MOVSHDUP MOVDDUP RSQRTPS RCPPS MOVD MOVQ MASKMOVDQU PEXTRB PEXTRW PEXTRD EXTRACTPS LDMXCSR STMXCSR'],
  [{}, 'PABSB PABSW PABSD PSHUFD PSHUFHW PSHUFLW PHMINPOSUW PCMPESTRI PCMPISTRI AESIMC AESKEYGENASSIST'],
  [float, 'CVTDQ2PS CVTPS2DQ CVTTPS2DQ ROUNDPS ROUNDPD SQRTPS SQRTPD UCOMISS UCOMISD COMISS COMISD'],
  [float, 'CVTSS2SI CVTTSS2SI CVTSD2SI CVTTSD2SI'],
  [{ widen: 2, float: true }, 'CVTPS2PD'],
  [{ widen: 2 }, 'CVTDQ2PD PMOVSXBW PMOVSXWD PMOVSXDQ PMOVZXBW PMOVZXWD PMOVZXDQ'],
  [{ widen: 4 }, 'PMOVSXBD PMOVSXWQ PMOVZXBD PMOVZXWQ'],
  [{ widen: 8 }, 'PMOVSXBQ PMOVZXBQ'],
  [{ narrow: true, float: true }, 'CVTPD2PS CVTPD2DQ CVTTPD2DQ'],
  // A first source of its own
  [fold, 'UNPCKLPS UNPCKHPS UNPCKLPD UNPCKHPD SHUFPS BLENDVPS BLENDVPD PBLENDVB INSERTPS MOVHLPS MOVLHPS'],
  [{ fold: true, immediateShift: 2 }, 'SHUFPD BLENDPD'],
  [{ fold: true, immediateShift: 3 }, 'MPSADBW'],
  [{ fold: true, immediateShift: 4 }, 'BLENDPS'],
  [fold, 'ANDPS ANDNPS ORPS XORPS ANDPD ANDNPD ORPD XORPD PAND PANDN POR PXOR RSQRTSS RCPSS PINSRB PINSRW PINSRD'],
  [fold, 'PUNPCKLBW PUNPCKLWD PUNPCKLDQ PUNPCKLQDQ PUNPCKHBW PUNPCKHWD PUNPCKHDQ PUNPCKHQDQ'],
  [fold, 'PACKSSWB PACKUSWB PACKSSDW PACKUSDW PCMPGTB PCMPGTW PCMPGTD PCMPGTQ PCMPEQB PCMPEQW PCMPEQD PCMPEQQ'],
  [fold, 'PADDB PADDW PADDD PADDQ PADDSB PADDSW PADDUSB PADDUSW PSUBB PSUBW PSUBD PSUBQ PSUBSB PSUBSW PSUBUSB PSUBUSW'],
  [fold, 'PMULLW PMULLD PMULHW PMULHUW PMULHRSW PMULUDQ PMULDQ PMADDWD PMADDUBSW PSADBW PAVGB PAVGW'],
  [fold, 'PMINUB PMINUW PMINUD PMINSB PMINSW PMINSD PMAXUB PMAXUW PMAXUD PMAXSB PMAXSW PMAXSD PSIGNB PSIGNW PSIGND'],
  [fold, 'PHADDW PHADDD PHADDSW PHSUBW PHSUBD PHSUBSW PSHUFB PBLENDW PALIGNR'],
  [fold, 'PSLLW PSLLD PSLLQ PSRLW PSRLD PSRLQ PSRAW PSRAD PSLLDQ PSRLDQ'],
  [fold, 'AESENC AESENCLAST AESDEC AESDECLAST PCLMULQDQ'],
  [{ fold: true, float: true }, 'CVTSI2SS CVTSI2SD CVTSS2SD CVTSD2SS ROUNDSS ROUNDSD SQRTSS SQRTSD DPPS DPPD'],
  [{ fold: true, float: true }, 'HADDPS HADDPD HSUBPS HSUBPD ADDSUBPS ADDSUBPD'],
];

export const avxDerivedSemantics: Record<string, Semantic> = {};

function derive(name: string, shape: Partial<VexShape>): void {
  const semantic = sse[name];
  if (!semantic) throw new Error(`no SSE instruction ${name}`);
  avxDerivedSemantics[`V${name}`] = vex(semantic, shape);
}

for (const [shape, names] of shapes) for (const name of names.split(' ')) derive(name, shape);
for (const name of ['ADD', 'SUB', 'MUL', 'DIV', 'MIN', 'MAX', 'CMP']) {
  for (const type of ['PS', 'PD', 'SS', 'SD']) derive(name + type, { fold: true, float: true });
}

/** Loads that keep a part of a register, and moves between registers, have a first source; stores have none. */
for (const name of ['MOVSS', 'MOVSD', 'MOVLPS', 'MOVLPD', 'MOVHPS', 'MOVHPD']) {
  const [merging, plain] = [vex(sse[name]!, fold), vex(sse[name]!)];
  avxDerivedSemantics[`V${name}`] = (s) => (s.operands.length === 3 ? merging : plain)(s);
}

/** The mask is written to XMM0. */
for (const name of ['PCMPESTRM', 'PCMPISTRM']) {
  const compare = vex(sse[name]!);
  avxDerivedSemantics[`V${name}`] = (s) => {
    compare(s);
    s.setYmmHigh(0, zero128);
  };
}
