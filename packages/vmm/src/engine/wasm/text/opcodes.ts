/**
 * Names of WebAssembly's instructions (WebAssembly Core Specification, "Index of Instructions"). Control instructions, locals,
 * constants and calls are not here: they are read in function-text.ts.
 */

/** What follows an opcode. `offset`: alignment and offset of a memory access. */
export type Immediates = 'none' | 'offset' | 'lane' | 'lanes' | 'v128' | 'memory' | 'memories';

export interface Opcode {
  readonly name: string;
  /** Values that it takes from the stack. */
  readonly operands: number;
  readonly results: 0 | 1;
  readonly immediates: Immediates;
}

export const Prefix = { Saturating: 0xfc, Vector: 0xfd, Atomic: 0xfe } as const;

/** [first opcode, what names start with, names in order; "-" where there is none] */
type Row = readonly [number, string, string];

const Comparisons = 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u';
const FloatComparisons = 'eq ne lt gt le ge';
const Integer = 'clz ctz popcnt add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr';
const Float = 'abs neg ceil floor trunc nearest sqrt add sub mul div min max copysign';

const Plain: readonly Row[] = [
  [0x28, '', 'i32.load i64.load f32.load f64.load'],
  [0x2c, 'i32.', 'load8_s load8_u load16_s load16_u'],
  [0x30, 'i64.', 'load8_s load8_u load16_s load16_u load32_s load32_u'],
  [0x36, '', 'i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32'],
  [0x45, 'i32.', `eqz ${Comparisons}`],
  [0x50, 'i64.', `eqz ${Comparisons}`],
  [0x5b, 'f32.', FloatComparisons],
  [0x61, 'f64.', FloatComparisons],
  [0x67, 'i32.', Integer],
  [0x79, 'i64.', Integer],
  [0x8b, 'f32.', Float],
  [0x99, 'f64.', Float],
  [0xa7, 'i32.', 'wrap_i64 trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u'],
  [0xac, 'i64.', 'extend_i32_s extend_i32_u trunc_f32_s trunc_f32_u trunc_f64_s trunc_f64_u'],
  [0xb2, 'f32.', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u demote_f64'],
  [0xb7, 'f64.', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u promote_f32'],
  [0xbc, '', 'i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64'],
  [0xc0, '', 'i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s'],
];

const Saturating: readonly Row[] = [
  [0, 'i32.', 'trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u'],
  [4, 'i64.', 'trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u'],
  [10, 'memory.', 'copy fill'],
];

const Vector: readonly Row[] = [
  [0, 'v128.', 'load load8x8_s load8x8_u load16x4_s load16x4_u load32x2_s load32x2_u'],
  [7, 'v128.', 'load8_splat load16_splat load32_splat load64_splat store const'],
  [13, 'i8x16.', 'shuffle swizzle splat'],
  [16, '', 'i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat'],
  [21, 'i8x16.', 'extract_lane_s extract_lane_u replace_lane'],
  [24, 'i16x8.', 'extract_lane_s extract_lane_u replace_lane'],
  [27, 'i32x4.', 'extract_lane replace_lane'],
  [29, 'i64x2.', 'extract_lane replace_lane'],
  [31, 'f32x4.', 'extract_lane replace_lane'],
  [33, 'f64x2.', 'extract_lane replace_lane'],
  [35, 'i8x16.', Comparisons],
  [45, 'i16x8.', Comparisons],
  [55, 'i32x4.', Comparisons],
  [65, 'f32x4.', FloatComparisons],
  [71, 'f64x2.', FloatComparisons],
  [77, 'v128.', 'not and andnot or xor bitselect any_true'],
  [92, 'v128.', 'load32_zero load64_zero'],
  [94, '', 'f32x4.demote_f64x2_zero f64x2.promote_low_f32x4'],
  [96, 'i8x16.', 'abs neg popcnt all_true bitmask narrow_i16x8_s narrow_i16x8_u'],
  [103, 'f32x4.', 'ceil floor trunc nearest'],
  [107, 'i8x16.', 'shl shr_s shr_u add add_sat_s add_sat_u sub sub_sat_s sub_sat_u'],
  [116, 'f64x2.', 'ceil floor'],
  [118, 'i8x16.', 'min_s min_u max_s max_u'],
  [122, '', 'f64x2.trunc i8x16.avgr_u'],
  [124, 'i16x8.', 'extadd_pairwise_i8x16_s extadd_pairwise_i8x16_u'],
  [126, 'i32x4.', 'extadd_pairwise_i16x8_s extadd_pairwise_i16x8_u'],
  [128, 'i16x8.', 'abs neg q15mulr_sat_s all_true bitmask narrow_i32x4_s narrow_i32x4_u'],
  [135, 'i16x8.', 'extend_low_i8x16_s extend_high_i8x16_s extend_low_i8x16_u extend_high_i8x16_u'],
  [139, 'i16x8.', 'shl shr_s shr_u add add_sat_s add_sat_u sub sub_sat_s sub_sat_u'],
  [148, '', 'f64x2.nearest i16x8.mul'],
  [150, 'i16x8.', 'min_s min_u max_s max_u - avgr_u'],
  [156, 'i16x8.', 'extmul_low_i8x16_s extmul_high_i8x16_s extmul_low_i8x16_u extmul_high_i8x16_u'],
  [160, 'i32x4.', 'abs neg - all_true bitmask - -'],
  [167, 'i32x4.', 'extend_low_i16x8_s extend_high_i16x8_s extend_low_i16x8_u extend_high_i16x8_u'],
  [171, 'i32x4.', 'shl shr_s shr_u add - - sub - - - mul min_s min_u max_s max_u dot_i16x8_s'],
  [188, 'i32x4.', 'extmul_low_i16x8_s extmul_high_i16x8_s extmul_low_i16x8_u extmul_high_i16x8_u'],
  [192, 'i64x2.', 'abs neg - all_true bitmask - -'],
  [199, 'i64x2.', 'extend_low_i32x4_s extend_high_i32x4_s extend_low_i32x4_u extend_high_i32x4_u'],
  [203, 'i64x2.', 'shl shr_s shr_u add - - sub - - - mul eq ne lt_s gt_s le_s ge_s'],
  [220, 'i64x2.', 'extmul_low_i32x4_s extmul_high_i32x4_s extmul_low_i32x4_u extmul_high_i32x4_u'],
  [224, 'f32x4.', 'abs neg - sqrt add sub mul div min max pmin pmax'],
  [236, 'f64x2.', 'abs neg - sqrt add sub mul div min max pmin pmax'],
  [248, 'i32x4.', 'trunc_sat_f32x4_s trunc_sat_f32x4_u'],
  [250, 'f32x4.', 'convert_i32x4_s convert_i32x4_u'],
  [252, 'i32x4.', 'trunc_sat_f64x2_s_zero trunc_sat_f64x2_u_zero'],
  [254, 'f64x2.', 'convert_low_i32x4_s convert_low_i32x4_u'],
];

/** WebAssembly threads proposal: what translated code has of it. */
const Atomic: readonly Row[] = [
  [0x03, 'atomic.', 'fence'],
  [0x49, 'i64.atomic.', 'rmw.cmpxchg - - rmw8.cmpxchg_u rmw16.cmpxchg_u rmw32.cmpxchg_u'],
];

const Unary = new RegExp(
  '\\.(eqz|clz|ctz|popcnt|abs|neg|not|sqrt|ceil|floor|trunc|nearest|any_true|all_true|bitmask|splat)$|' +
    '\\.(wrap|trunc|extend|convert|demote|promote|reinterpret|extadd|extract|load)',
);
const Ternary = /bitselect|^memory\.|cmpxchg/;
const None = /^v128\.const$|fence$/;

function describe(name: string): Opcode {
  const results = /\.store|^memory\.|fence$/.test(name) ? 0 : 1;
  const operands = None.test(name) ? 0 : Unary.test(name) ? 1 : Ternary.test(name) ? 3 : 2;
  return { name, operands, results, immediates: immediatesOf(name) };
}

function immediatesOf(name: string): Immediates {
  if (/\.(load|store|atomic)/.test(name)) return 'offset';
  if (name === 'v128.const') return 'v128';
  if (name === 'i8x16.shuffle') return 'lanes';
  if (name === 'memory.fill' || name === 'atomic.fence') return 'memory';
  if (name === 'memory.copy') return 'memories';
  return /_lane/.test(name) ? 'lane' : 'none';
}

function table(rows: readonly Row[]): ReadonlyMap<number, Opcode> {
  const opcodes = new Map<number, Opcode>();
  for (const [first, prefix, names] of rows) {
    names.split(' ').forEach((name, i) => {
      if (name === '-') return;
      if (opcodes.has(first + i)) throw new Error(`two instructions have the opcode ${first + i}: ${name}`);
      opcodes.set(first + i, describe(prefix + name));
    });
  }
  return opcodes;
}

/** By the byte itself, and by the number that follows a prefix. */
export const plainOpcodes = table(Plain);
export const prefixedOpcodes: Readonly<Record<number, ReadonlyMap<number, Opcode>>> = {
  [Prefix.Saturating]: table(Saturating),
  [Prefix.Vector]: table(Vector),
  [Prefix.Atomic]: table(Atomic),
};
