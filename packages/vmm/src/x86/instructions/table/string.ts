/** String instructions (notation: notation.ts). */
export const stringRows: readonly string[] = [
  'A4 MOVS Yb, Xb; rep',
  'A5 MOVS Yv, Xv; rep',
  'A6 CMPS Xb, Yb; rep',
  'A7 CMPS Xv, Yv; rep',
  'AA STOS Yb, AL; rep',
  'AB STOS Yv, rAX; rep',
  'AC LODS AL, Xb; rep',
  'AD LODS rAX, Xv; rep',
  'AE SCAS AL, Yb; rep',
  'AF SCAS rAX, Yv; rep',
  '6C INS Yb, DX; rep',
  '6D INS Yz, DX; rep',
  '6E OUTS DX, Xb; rep',
  '6F OUTS DX, Xz; rep',
];
