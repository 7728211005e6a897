/**
 * The notation of the instruction table, and its parser.
 *
 * A row is written as in the SDM's instruction pages and opcode maps (SDM Vol. 2A §3.1.1.1 "Opcode Column in the
 * Instruction Summary Table", Vol. 2D §A.2 "Key to Abbreviations"):
 *
 *     [prefix] opcode bytes [ModRM part] MNEMONIC [operands] [; attributes]
 *
 * Prefix: nothing (any prefixes, and the fall-back where an opcode also has prefixed rows); NP (none of 66, F2, F3);
 * NFx (no F2, F3); 66, F3 or F2 (mandatory); REX.W (in addition, REX.W set). `VEX[.L][.pp].map[.W]` stands for a VEX
 * prefix (SDM Vol. 2A §3.1.1.2): L is LZ or 128 (zero), 256 (one), LIG or nothing (either); W is W0, W1, WIG or nothing
 * (either).
 *
 * Opcode: the escape bytes 0F, 0F 38 or 0F 3A and the opcode byte; `50+r` has a register in its low three bits.
 *
 * ModRM: `/r` (reg field is an operand), `/0` to `/7` (reg field extends the opcode), a byte such as `C1` (the whole
 * ModRM byte), or `C0+i` (a ModRM byte whose rm field is an operand).
 *
 * Operands: a letter for the place and one for the width, see operand-spec.ts. Beyond the SDM: Z is a register in the
 * opcode byte; `Ibs` is an 8-bit immediate that is sign-extended; `n` is the width of the mode (8 bytes in 64-bit mode,
 * otherwise 4); `x` is the vector length of a VEX prefix; `Rv/Mw` is a register of one width or memory of another;
 * `vm32x/Md` is memory at a vector of 32-bit indices, in elements of doublewords. Operands that are implied and always the same
 * (rDX:rAX of MUL) are not listed unless the SDM lists them.
 *
 * Attributes:
 *   lock     LOCK is allowed when the first operand is memory
 *   i64      invalid in 64-bit mode         o64  only in 64-bit mode
 *   d64      operand size defaults to 64 bits in 64-bit mode; 32 is not available
 *   f64      operand size is 64 bits in 64-bit mode: always on Intel, by default on AMD (near branches)
 *   w32      REX.W makes the operand size 64 bits on Intel and 32 on AMD (far pointers in memory)
 *   rep      REP, REPE or REPNE repeat the instruction
 *   mem reg  only the memory or only the register form of ModRM.rm (implied by operands like M, R, U, N)
 *   anymod   ModRM.mod is ignored and taken as 3
 *   nob      REX.B must be clear
 *   any other word is a CPU feature without which the row does not exist (names: CpuFeature)
 */
import { OperandMethod, parseOperand } from './operand-spec.ts';
import type { OperandSpec } from './operand-spec.ts';

/** Features that the decoder can mask; rows without a feature are always there. */
export const CpuFeatures = [
  'sse3', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'lzcnt', 'bmi1', 'bmi2', 'adx', 'movbe', 'cx16', 'aes',
  'pclmulqdq', 'sha', 'fsgsbase', 'rdrand', 'rdseed', 'rdpid', 'rdtscp', 'xsave', 'xsaveopt', 'xsavec',
  'xsaves', 'invpcid', 'clflushopt', 'clwb', 'clzero', 'wbnoinvd',  'monitor', 'smap', 'svm', 'avx', 'avx2', 'fma',
  'f16c',
] as const; // prettier-ignore
export type CpuFeature = (typeof CpuFeatures)[number];

export const InstructionGroups = [
  'arithmetic', 'shift', 'move', 'control', 'string', 'system', 'misc', 'x87', 'mmx', 'sse', 'sse2', 'sse3', 'sse4',
  'avx', 'avx2', 'fma', 'f16c',
] as const; // prettier-ignore
export type InstructionGroup = (typeof InstructionGroups)[number];

/** Opcode maps; the legacy and VEX maps with the same number hold different rows. */
export const OpcodeMap = { OneByte: 0, TwoByte: 1, ThreeByte38: 2, ThreeByte3A: 3 } as const;
export type OpcodeMap = (typeof OpcodeMap)[keyof typeof OpcodeMap];

/** Mandatory prefix of a row; the first four are also the index of a prefix state in the dispatch tables. */
export const RowPrefix = { None: 0, P66: 1, PF3: 2, PF2: 3, Any: 4, NoRepeat: 5 } as const;
export type RowPrefix = (typeof RowPrefix)[keyof typeof RowPrefix];

/** Which ModRM bytes a row accepts. */
export const ModrmForm = { None: 0, Any: 1, Memory: 2, Register: 3 } as const;
export type ModrmForm = (typeof ModrmForm)[keyof typeof ModrmForm];

/** Rule for the effective operand size of a row. */
export const OperandSizeRule = {
  /** 16 or 32 by CS.D and 66, 64 by REX.W. */
  Normal: 0,
  /** Always 8 bits. */
  Byte: 1,
  /** d64. */
  Default64: 2,
  /** f64. */
  Forced64: 3,
  /** w32. */
  Wide32OnAmd: 4,
} as const;
export type OperandSizeRule = (typeof OperandSizeRule)[keyof typeof OperandSizeRule];

/** One row of the instruction table. */
export interface InstructionRow {
  /** Position in `allRows`; not stable between versions. */
  readonly index: number;
  /** The row as written. */
  readonly notation: string;
  readonly group: InstructionGroup;
  readonly mnemonic: string;
  readonly vex: boolean;
  /** VEX.L and VEX.W that the row needs; -1: either. */
  readonly vexL: -1 | 0 | 1;
  readonly vexW: -1 | 0 | 1;
  readonly map: OpcodeMap;
  readonly prefix: RowPrefix;
  /** Needs REX.W. */
  readonly rexW: boolean;
  readonly opcode: number;
  /** `+r`: the low three opcode bits are a register. */
  readonly opcodeRegister: boolean;
  readonly modrm: ModrmForm;
  /** `/0` to `/7`, or -1. */
  readonly digit: number;
  /** The whole ModRM byte of rows like `0F 01 C1`, or with rm zero of rows like `D8 C0+i`; otherwise -1. */
  readonly modrmByte: number;
  /** `+i`: the rm field of `modrmByte` is an operand. */
  readonly modrmRegister: boolean;
  readonly operands: readonly OperandSpec[];
  readonly operandSizeRule: OperandSizeRule;
  readonly lock: boolean;
  readonly rep: boolean;
  /** Exists in 64-bit mode, outside of it. */
  readonly long: boolean;
  readonly legacy: boolean;
  readonly anyMod: boolean;
  readonly noRexB: boolean;
  readonly feature: CpuFeature | undefined;
}

const Prefixes: Readonly<Record<string, RowPrefix>> = {
  NP: RowPrefix.None,
  '66': RowPrefix.P66,
  F3: RowPrefix.PF3,
  F2: RowPrefix.PF2,
  NFx: RowPrefix.NoRepeat,
};

const VexMaps: Readonly<Record<string, OpcodeMap>> = {
  '0F': OpcodeMap.TwoByte,
  '0F38': OpcodeMap.ThreeByte38,
  '0F3A': OpcodeMap.ThreeByte3A,
};

const EncodingToken = /^(NP|NFx|REX\.W|VEX\..*|[0-9A-F]{2}(\+[ri])?|\/[r0-7])$/;

const VexLengths: Readonly<Record<string, -1 | 0 | 1>> = { LZ: 0, '128': 0, '256': 1, LIG: -1 };
const VexWs: Readonly<Record<string, -1 | 0 | 1>> = { W0: 0, W1: 1, WIG: -1 };

interface Encoding {
  vex: boolean;
  vexL: -1 | 0 | 1;
  vexW: -1 | 0 | 1;
  map: OpcodeMap;
  prefix: RowPrefix;
  rexW: boolean;
  opcode: number;
  opcodeRegister: boolean;
  hasModrm: boolean;
  digit: number;
  modrmByte: number;
  modrmRegister: boolean;
}

function parseVex(token: string): Pick<Encoding, 'prefix' | 'map' | 'vexL' | 'vexW'> {
  const result = { prefix: RowPrefix.None as RowPrefix, map: OpcodeMap.OneByte as OpcodeMap, vexL: -1, vexW: -1 };
  for (const part of token.split('.').slice(1)) {
    const [map, prefix, l, w] = [VexMaps[part], Prefixes[part], VexLengths[part], VexWs[part]];
    if (map !== undefined) result.map = map;
    else if (prefix !== undefined) result.prefix = prefix;
    else if (l !== undefined) result.vexL = l;
    else if (w !== undefined) result.vexW = w;
    else throw new Error(`unsupported VEX form ${token}`);
  }
  if (result.map === OpcodeMap.OneByte) throw new Error(`${token} has no opcode map`);
  return result as Pick<Encoding, 'prefix' | 'map' | 'vexL' | 'vexW'>;
}

function parseEncoding(tokens: string[]): Encoding {
  const result: Encoding = {
    vex: false, vexL: -1, vexW: -1, map: OpcodeMap.OneByte, prefix: RowPrefix.Any, rexW: false, opcode: 0, opcodeRegister: false,
    hasModrm: false, digit: -1, modrmByte: -1, modrmRegister: false,
  }; // prettier-ignore
  const rest = [...tokens];
  if (rest[0] === 'REX.W') {
    result.rexW = true;
    rest.shift();
  }
  const first = rest[0] ?? '';
  if (first.startsWith('VEX.')) {
    Object.assign(result, parseVex(first), { vex: true });
    rest.shift();
  } else {
    const prefix = Prefixes[first];
    if (prefix !== undefined) {
      result.prefix = prefix;
      rest.shift();
    }
    if (rest[0] === '0F') {
      const escape = rest[1];
      result.map =
        escape === '38' ? OpcodeMap.ThreeByte38 : escape === '3A' ? OpcodeMap.ThreeByte3A : OpcodeMap.TwoByte;
      rest.splice(0, result.map === OpcodeMap.TwoByte ? 1 : 2);
    }
  }
  const opcode = rest.shift() ?? '';
  result.opcode = parseInt(opcode, 16);
  result.opcodeRegister = opcode.endsWith('+r');
  const modrm = rest.shift();
  if (modrm === undefined) return result;
  result.hasModrm = true;
  if (modrm.startsWith('/')) {
    if (modrm !== '/r') result.digit = Number(modrm[1]);
  } else {
    result.modrmByte = parseInt(modrm, 16);
    result.modrmRegister = modrm.endsWith('+i');
  }
  return result;
}

const RegisterOnly: readonly OperandMethod[] = [OperandMethod.RmGpr, OperandMethod.RmMmx, OperandMethod.RmXmm];

const MemoryOnly: readonly OperandMethod[] = [OperandMethod.Memory, OperandMethod.VectorMemory];

function modrmForm(encoding: Encoding, operands: readonly OperandSpec[], words: readonly string[]): ModrmForm {
  if (!encoding.hasModrm) return ModrmForm.None;
  if (words.includes('anymod')) return ModrmForm.Any;
  if (words.includes('mem') || operands.some(({ method }) => MemoryOnly.includes(method))) {
    return ModrmForm.Memory;
  }
  if (words.includes('reg') || encoding.modrmByte >= 0) return ModrmForm.Register;
  return operands.some((operand) => RegisterOnly.includes(operand.method)) ? ModrmForm.Register : ModrmForm.Any;
}

/** A row works on bytes when one of its operands is a byte and none varies with the operand size. */
function operandSizeRule(operands: readonly OperandSpec[], words: readonly string[]): OperandSizeRule {
  if (words.includes('d64')) return OperandSizeRule.Default64;
  if (words.includes('f64')) return OperandSizeRule.Forced64;
  if (words.includes('w32')) return OperandSizeRule.Wide32OnAmd;
  const places = operands.filter(
    ({ method }) =>
      method !== OperandMethod.Immediate && method !== OperandMethod.SignedImmediate && method !== OperandMethod.One,
  );
  const byte = places.some(({ notation }) => ['Eb', 'Gb', 'Zb', 'Ob', 'Xb', 'Yb', 'AL'].includes(notation));
  const varies = places.some(({ registerSize }) => registerSize < 0);
  return byte && !varies ? OperandSizeRule.Byte : OperandSizeRule.Normal;
}

const KnownWords = ['lock', 'i64', 'o64', 'd64', 'f64', 'w32', 'rep', 'mem', 'reg', 'anymod', 'nob'];

function featureOf(notation: string, words: readonly string[]): CpuFeature | undefined {
  const others = words.filter((word) => !KnownWords.includes(word));
  if (others.length > 1) throw new Error(`row '${notation}': more than one feature`);
  const feature = CpuFeatures.find((name) => name === others[0]);
  if (others.length === 1 && feature === undefined) throw new Error(`row '${notation}': unknown word ${others[0]}`);
  return feature;
}

/** Parses one row. Throws on a mistake in the table: it is found when the module loads. */
export function parseRow(notation: string, group: InstructionGroup, index: number): InstructionRow {
  const [body = '', attributes = ''] = notation.split(';');
  const words = attributes.split(' ').filter((word) => word !== '');
  const tokens = body.trim().split(' ');
  let encodingLength = 0;
  while (EncodingToken.test(tokens[encodingLength] ?? '')) encodingLength++;
  const mnemonic = tokens[encodingLength];
  if (mnemonic === undefined) throw new Error(`row '${notation}': no mnemonic`);
  const operandText = tokens.slice(encodingLength + 1).join('');
  const operands = operandText === '' ? [] : operandText.split(',').map(parseOperand);
  const { hasModrm, ...encoding } = parseEncoding(tokens.slice(0, encodingLength));
  return {
    index, notation, group, mnemonic, ...encoding,
    modrm: modrmForm({ hasModrm, ...encoding }, operands, words),
    operands,
    operandSizeRule: operandSizeRule(operands, words),
    lock: words.includes('lock'),
    rep: words.includes('rep'),
    long: !words.includes('i64'),
    legacy: !words.includes('o64'),
    anyMod: words.includes('anymod'),
    noRexB: words.includes('nob'),
    feature: featureOf(notation, words),
  }; // prettier-ignore
}
