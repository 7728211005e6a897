/** F16C: conversions between half and single precision (notation: notation.ts). */
export const f16cRows: readonly string[] = [
  // To single, to half
  'VEX.128.66.0F38.W0 13 /r VCVTPH2PS Vdq, Udq/Mq; f16c',
  'VEX.256.66.0F38.W0 13 /r VCVTPH2PS Vqq, Wdq; f16c',
  'VEX.128.66.0F3A.W0 1D /r VCVTPS2PH Udq/Mq, Vdq, Ib; f16c',
  'VEX.256.66.0F3A.W0 1D /r VCVTPS2PH Wdq, Vqq, Ib; f16c',
];
