/**
 * Operand specifications: the SDM's operand codes (SDM Vol. 2D §A.2 "Key to Abbreviations") as records.
 */

/** Where an operand comes from. Values are dense: the decoder switches on them. */
export const OperandMethod = {
  /** E: general register or memory by ModRM.rm. */
  ModrmGpr: 0,
  /** G: general register by ModRM.reg. */
  RegGpr: 1,
  /** R: general register by ModRM.rm, never memory. */
  RmGpr: 2,
  /** Z: general register by the low three bits of the opcode. */
  OpcodeGpr: 3,
  /** B: general register by VEX.vvvv. */
  VexGpr: 4,
  /** M: memory by ModRM.rm, never a register. */
  Memory: 5,
  /** I: immediate, zero-extended. */
  Immediate: 6,
  /** I…s, Iz, Iv: immediate, sign-extended to the operand size. */
  SignedImmediate: 7,
  /** J: relative branch target. */
  Relative: 8,
  /** A: far pointer in the instruction. */
  FarPointer: 9,
  /** O: memory by an absolute offset in the instruction, of the address size. */
  Offset: 10,
  /** S: segment register by ModRM.reg. */
  Segment: 11,
  /** C: control register by ModRM.reg. */
  Control: 12,
  /** D: debug register by ModRM.reg. */
  Debug: 13,
  /** P: MMX register by ModRM.reg. */
  RegMmx: 14,
  /** Q: MMX register or memory by ModRM.rm. */
  ModrmMmx: 15,
  /** N: MMX register by ModRM.rm. */
  RmMmx: 16,
  /** V: XMM register by ModRM.reg. */
  RegXmm: 17,
  /** W: XMM register or memory by ModRM.rm. */
  ModrmXmm: 18,
  /** U: XMM register by ModRM.rm. */
  RmXmm: 19,
  /** H: XMM register by VEX.vvvv. */
  VexXmm: 20,
  /** X: memory at segment:rSI, DS unless overridden. */
  StringSource: 21,
  /** Y: memory at ES:rDI. */
  StringDestination: 22,
  /** A general register named in the row (AL, CL, DX, rAX, eAX). */
  FixedGpr: 23,
  /** A segment register named in the row. */
  FixedSegment: 24,
  /** The constant 1. */
  One: 25,
  /** STi: x87 stack register by ModRM.rm. */
  RmSt: 26,
  /** ST0: top of the x87 stack. */
  TopSt: 27,
  /** XMM0, implied. */
  FixedXmm: 28,
  /** L: XMM or YMM register by the upper four bits of an 8-bit immediate. */
  ImmediateXmm: 29,
  /** vm32x, vm32y, vm64x, vm64y: memory by ModRM.rm with a vector of indices (SDM Vol. 2A §2.3.12 "VSIB"). */
  VectorMemory: 30,
} as const;
export type OperandMethod = (typeof OperandMethod)[keyof typeof OperandMethod];

/** Operand widths that depend on operand size or mode. Fixed widths are positive numbers of bytes. */
export const SizeCode = {
  /** v: 2, 4 or 8 bytes, the operand size. */
  OperandSize: -1,
  /** z: 2 bytes with operand size 16, otherwise 4. */
  AtMostDword: -2,
  /** y: 8 bytes with operand size 64, otherwise 4. */
  AtLeastDword: -3,
  /** n: 8 bytes in 64-bit mode, otherwise 4. */
  Native: -4,
  /** p: far pointer, a selector above an offset of the operand size: 4, 6 or 10 bytes. */
  FarPointer: -5,
  /** a: two of the operand size (BOUND). */
  Pair: -6,
  /** s: limit and base of a descriptor table: 10 bytes in 64-bit mode, otherwise 6. */
  DescriptorTable: -7,
  /** e: x87 environment, 14 bytes with operand size 16, otherwise 28. */
  X87Environment: -8,
  /** f: x87 state, 94 bytes with operand size 16, otherwise 108. */
  X87State: -9,
  /** x: 16 bytes, or 32 with VEX.L. */
  VectorLength: -10,
} as const;
export type SizeCode = number;

export interface OperandSpec {
  /** As written in the row, for example 'Ev' or 'Rv/Mw'. */
  readonly notation: string;
  readonly method: OperandMethod;
  /** Width in bytes, or a negative SizeCode, of the register form (or of the only form). */
  readonly registerSize: SizeCode;
  /** Same for the memory form. */
  readonly memorySize: SizeCode;
  /** The register of the Fixed… methods. */
  readonly fixed: number;
}

const Sizes: Readonly<Record<string, SizeCode>> = {
  b: 1, w: 2, d: 4, q: 8, dq: 16, qq: 32, t: 10, fx: 512, x: SizeCode.VectorLength,
  ss: 4, sd: 8, ps: 16, pd: 16, pi: 8, qi: 8, si: 4,
  v: SizeCode.OperandSize, z: SizeCode.AtMostDword, y: SizeCode.AtLeastDword, n: SizeCode.Native,
  p: SizeCode.FarPointer, a: SizeCode.Pair, s: SizeCode.DescriptorTable,
  e: SizeCode.X87Environment, f: SizeCode.X87State,
  // xs: XSAVE area, its length depends on the state components. M (LEA, INVLPG) has no access at all.
  xs: 0,
  '': 0,
}; // prettier-ignore

const Methods: Readonly<Record<string, OperandMethod>> = {
  E: OperandMethod.ModrmGpr,
  G: OperandMethod.RegGpr,
  R: OperandMethod.RmGpr,
  Z: OperandMethod.OpcodeGpr,
  B: OperandMethod.VexGpr,
  M: OperandMethod.Memory,
  I: OperandMethod.Immediate,
  J: OperandMethod.Relative,
  A: OperandMethod.FarPointer,
  O: OperandMethod.Offset,
  S: OperandMethod.Segment,
  C: OperandMethod.Control,
  D: OperandMethod.Debug,
  P: OperandMethod.RegMmx,
  Q: OperandMethod.ModrmMmx,
  N: OperandMethod.RmMmx,
  V: OperandMethod.RegXmm,
  W: OperandMethod.ModrmXmm,
  U: OperandMethod.RmXmm,
  H: OperandMethod.VexXmm,
  L: OperandMethod.ImmediateXmm,
  X: OperandMethod.StringSource,
  Y: OperandMethod.StringDestination,
};

const fixed = (method: OperandMethod, size: SizeCode, register: number): Omit<OperandSpec, 'notation'> => ({
  method,
  registerSize: size,
  memorySize: size,
  fixed: register,
});

const FixedOperands: Readonly<Record<string, Omit<OperandSpec, 'notation'>>> = {
  AL: fixed(OperandMethod.FixedGpr, 1, 0),
  CL: fixed(OperandMethod.FixedGpr, 1, 1),
  AX: fixed(OperandMethod.FixedGpr, 2, 0),
  DX: fixed(OperandMethod.FixedGpr, 2, 2),
  rAX: fixed(OperandMethod.FixedGpr, SizeCode.OperandSize, 0),
  eAX: fixed(OperandMethod.FixedGpr, SizeCode.AtMostDword, 0),
  ES: fixed(OperandMethod.FixedSegment, 2, 0),
  CS: fixed(OperandMethod.FixedSegment, 2, 1),
  SS: fixed(OperandMethod.FixedSegment, 2, 2),
  DS: fixed(OperandMethod.FixedSegment, 2, 3),
  FS: fixed(OperandMethod.FixedSegment, 2, 4),
  GS: fixed(OperandMethod.FixedSegment, 2, 5),
  '1': fixed(OperandMethod.One, 1, 0),
  STi: fixed(OperandMethod.RmSt, 10, 0),
  ST0: fixed(OperandMethod.TopSt, 10, 0),
  XMM0: fixed(OperandMethod.FixedXmm, 16, 0),
};

/** The forms of 'Rx/My': the register method widens to the one that also allows memory. */
const WithMemory: Readonly<Record<string, OperandMethod>> = {
  R: OperandMethod.ModrmGpr,
  N: OperandMethod.ModrmMmx,
  U: OperandMethod.ModrmXmm,
};

function sizeOf(notation: string, name: string): SizeCode {
  const size = Sizes[name];
  if (size === undefined) throw new Error(`operand ${notation}: unknown size '${name}'`);
  return size;
}

function methodOf(notation: string, letter: string, methods: Readonly<Record<string, OperandMethod>>): OperandMethod {
  const method = methods[letter];
  if (method === undefined) throw new Error(`operand ${notation}: unknown method '${letter}'`);
  return method;
}

/** Index vectors: width of the vector and, after the slash, of the elements that they address. */
const VectorMemories: Readonly<Record<string, SizeCode>> = { vm32x: 16, vm32y: 32, vm64x: 16, vm64y: 32 };

/** Vector and x87 registers are always whole, whatever part of them an instruction uses. */
function wholeRegister(method: OperandMethod, size: SizeCode): SizeCode {
  const vector = method >= OperandMethod.RegXmm && method <= OperandMethod.VexXmm;
  if (vector || method === OperandMethod.ImmediateXmm) return size === SizeCode.VectorLength || size === 32 ? size : 16;
  if (method >= OperandMethod.RegMmx && method <= OperandMethod.RmMmx) return 8;
  return size;
}

/** Parses one operand code. Throws on a mistake in the table: it is found when the module loads. */
export function parseOperand(notation: string): OperandSpec {
  const named = FixedOperands[notation];
  if (named !== undefined) return { notation, ...named };
  const [first = '', second] = notation.split('/');
  const indices = VectorMemories[first];
  if (indices !== undefined && second !== undefined) {
    const memorySize = sizeOf(notation, second.slice(1));
    return { notation, method: OperandMethod.VectorMemory, registerSize: indices, memorySize, fixed: 0 };
  }
  if (second !== undefined) {
    const method = methodOf(notation, first[0] ?? '', WithMemory);
    const registerSize = wholeRegister(method, sizeOf(notation, first.slice(1)));
    return { notation, method, registerSize, memorySize: sizeOf(notation, second.slice(1)), fixed: 0 };
  }
  const letter = notation[0] ?? '';
  let sizeName = notation.slice(1);
  let method = methodOf(notation, letter, Methods);
  if (method === OperandMethod.Immediate) {
    if (sizeName === 'bs') sizeName = 'b';
    if (notation === 'Ibs' || sizeName === 'z' || sizeName === 'v') method = OperandMethod.SignedImmediate;
  }
  const size = sizeOf(notation, sizeName);
  if (letter === 'S') return { notation, method, registerSize: 2, memorySize: 2, fixed: 0 };
  return { notation, method, registerSize: wholeRegister(method, size), memorySize: size, fixed: 0 };
}
