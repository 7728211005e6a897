/** Seeded cases of every x87 instruction form, in the layout that tests/differential/x87/oracle.c reads. */
import { parseRow } from '../table/notation.ts';
import type { InstructionRow } from '../table/notation.ts';
import { x87Rows } from '../table/x87.ts';

/** Byte layout of a case and a result (structs of oracle.c). */
export const CaseLayout = { Length: 0, Code: 1, Rflags: 16, State: 24, Memory: 132, Size: 260 } as const;
export const ResultLayout = { State: 0, Memory: 108, Rflags: 236, Rax: 244, Size: 252 } as const;
/** What tests/differential/x87/update.js records. */
export const RecordedCases = { Seed: 80387, PerRow: 25 } as const;
export const InitialRax = 0x11223344;

export interface X87Case {
  readonly row: InstructionRow;
  /** i of ST(i), or 0. */
  readonly register: number;
  /** With the 66 prefix: 16-bit images. */
  readonly narrow: boolean;
  /** 64 when absent. */
  readonly codeSize?: 16 | 32;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Mulberry32: small, and good enough to pick operands. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }
  below(n: number): number {
    return this.u32() % n;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

const One63 = 1n << 63n;

/** Significand bits with long runs, so that results land near rounding boundaries. */
function significand(r: Random): bigint {
  switch (r.below(6)) {
    case 0:
      return r.u64();
    case 1:
      return (r.u64() >> BigInt(r.below(64))) << BigInt(r.below(64));
    case 2:
      return ~0n << BigInt(r.below(64));
    case 3:
      return (1n << BigInt(r.below(64))) | (1n << BigInt(r.below(64)));
    case 4:
      return (~0n << BigInt(r.below(64))) ^ (1n << BigInt(r.below(64)));
    default:
      return r.u64() & (~0n << BigInt(r.pick([10, 11, 12, 39, 40, 41])));
  }
}

/** An 80-bit operand: every class, exponents mostly close together. */
function extended(r: Random): [significand: bigint, signExponent: number] {
  const sign = r.below(2) << 15;
  const any = BigInt.asUintN(64, significand(r));
  switch (r.below(16)) {
    case 0:
      return [0n, sign];
    case 1:
      return [One63, sign | 0x7fff];
    case 2:
      return [any | (3n << 62n), sign | 0x7fff];
    case 3:
      return [BigInt.asUintN(62, any | 1n) | One63, sign | 0x7fff];
    case 4:
      return [BigInt.asUintN(63, any), sign];
    case 5:
      return [any | One63, sign | r.below(70)];
    case 6:
      return [any | One63, sign | (0x7ffe - r.below(70))];
    case 7:
      return r.chance(30) ? [any, sign | r.below(0x8000)] : [One63, sign | 0x3fff];
    case 8:
      return [any | One63, sign | (1 + r.below(0x7ffe))];
    case 9:
      return [any | One63, sign | (0x3fff + r.below(18))];
    default:
      return [any | One63, sign | (0x3fff - 66 + r.below(133))];
  }
}

function single(r: Random): number {
  const sign = (r.below(2) << 31) >>> 0;
  const fraction = r.u32() & 0x7fffff;
  const exponent = r.pick([0, 0xff, 1, 0xfe, 127, 127 - 30 + r.below(60), r.below(256)]);
  return (sign | (exponent << 23) | (r.chance(25) ? 0 : fraction)) >>> 0;
}

function double(r: Random): bigint {
  const sign = BigInt(r.below(2)) << 63n;
  const exponent = BigInt(r.pick([0, 0x7ff, 1, 0x7fe, 1023, 1023 - 66 + r.below(132), r.below(2048)]));
  return sign | (exponent << 52n) | (r.chance(25) ? 0n : BigInt.asUintN(52, significand(r)));
}

function writeExtended(view: DataView, at: number, [low, high]: [bigint, number]): void {
  view.setBigUint64(at, low, true);
  view.setUint16(at + 8, high, true);
}

/** An environment (and registers) that FRSTOR accepts without a pending exception, unless `pending`. */
function writeState(view: DataView, at: number, r: Random, pending = false): void {
  const masks = r.chance(65) ? 0x3f : r.below(64);
  const control = masks | 0x40 | (r.pick([0, 2, 3, 3, 3, 1]) << 8) | (r.below(4) << 10) | (r.below(2) << 12);
  const flags = pending ? r.below(0x80) : r.chance(20) ? r.below(0x80) & (masks | 0x40) : 0;
  view.setUint32(at, 0xffff0000 | control, true);
  view.setUint32(at + 4, 0xffff0000 | flags | (r.u32() & 0x7f00), true);
  let tags = 0;
  const fullness = r.pick([0, 5, 50]);
  for (let i = 0; i < 8; i++) tags |= (r.chance(fullness) ? 3 : 0) << (2 * i);
  if (r.chance(20)) tags |= 3 << (2 * r.below(8));
  else if (r.chance(70)) tags |= 3 << (2 * (((view.getUint32(at + 4, true) >>> 11) - 1) & 7));
  view.setUint32(at + 8, 0xffff0000 | tags, true);
  view.setUint32(at + 12, r.u32(), true);
  view.setUint32(at + 16, r.u32() & 0x07ffffff, true);
  view.setUint32(at + 20, r.u32(), true);
  view.setUint32(at + 24, 0xffff0000 | (r.u32() & 0xffff), true);
  for (let i = 0; i < 8; i++) writeExtended(view, at + 28 + 10 * i, extended(r));
}

function writeBcd(view: DataView, at: number, r: Random): void {
  const digits = r.below(19);
  for (let i = 0; i < 9; i++) {
    const low = 2 * i < digits ? r.below(10) : 0;
    const high = 2 * i + 1 < digits ? r.below(10) : 0;
    view.setUint8(at + i, (high << 4) | low);
  }
  view.setUint8(at + 9, r.below(256));
}

function writeMemory(view: DataView, at: number, row: InstructionRow, narrow: boolean, r: Random): void {
  for (let i = 0; i < 32; i++) view.setUint32(at + 4 * i, r.u32(), true);
  const integer = /^FI/.test(row.mnemonic);
  const kind = row.operands[0]?.notation;
  if (row.mnemonic === 'FLDENV' || row.mnemonic === 'FRSTOR') {
    if (!narrow) writeState(view, at, r, true);
  } else if (kind === 'Md')
    view.setUint32(at, integer ? r.pick([r.u32(), r.below(16), 0, 0x80000000]) : single(r), true);
  else if (kind === 'Mq') view.setBigUint64(at, integer ? r.pick([r.u64(), 0n, One63, 5n]) : double(r), true);
  else if (row.mnemonic === 'FBLD') writeBcd(view, at, r);
  else if (kind === 'Mt') writeExtended(view, at, extended(r));
}

/** ST(i) of a case: usually near the top. */
export function makeCase(row: InstructionRow, r: Random): X87Case {
  const bytes = new Uint8Array(CaseLayout.Size);
  const view = new DataView(bytes.buffer);
  const register = row.modrmRegister ? r.pick([0, 1, 1, 2, 3, 7]) : 0;
  const image = /^(FLDENV|FNSTENV|FRSTOR|FNSAVE)$/.test(row.mnemonic);
  const narrow = image && r.chance(50);
  const modrm = row.modrmByte >= 0 ? [row.modrmByte | register] : row.digit >= 0 ? [(row.digit << 3) | 2] : [];
  const code = [...(narrow ? [0x66] : []), row.opcode, ...modrm];
  bytes[CaseLayout.Length] = code.length;
  bytes.set(code, CaseLayout.Code);
  view.setBigUint64(CaseLayout.Rflags, BigInt(0x202 | (r.u32() & 0x8d5)), true);
  writeState(view, CaseLayout.State, r);
  writeMemory(view, CaseLayout.Memory, row, narrow, r);
  return { row, register, narrow, bytes };
}

export const caseRows: readonly InstructionRow[] = x87Rows.map((notation, i) => parseRow(notation, 'x87', i));

/** `count` cases of each of `rows`. */
export function makeCases(seed: number, count: number, rows: readonly InstructionRow[] = caseRows): X87Case[] {
  const r = new Random(seed);
  return rows.flatMap((row) => Array.from({ length: count }, () => makeCase(row, r)));
}

export function concatenateCases(cases: readonly X87Case[]): Uint8Array {
  const all = new Uint8Array(cases.length * CaseLayout.Size);
  cases.forEach((one, i) => all.set(one.bytes, i * CaseLayout.Size));
  return all;
}
