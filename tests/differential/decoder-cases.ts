/** Byte strings for the decoder tests: encodings of every row, and random bytes biased to what is interesting. */
import { ModrmForm, OpcodeMap, RowPrefix } from '@lodger/vmm/x86/instructions/table/notation.js';
import { OperandMethod } from '@lodger/vmm/x86/instructions/table/operand-spec.js';
import type { InstructionRow } from '@lodger/vmm/x86/instructions/table/notation.js';

/** xorshift32 (Marsaglia, "Xorshift RNGs"): the same strings on every run. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  below(limit: number): number {
    return this.next() % limit;
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

const LegacyPrefixes = [0x66, 0x67, 0xf2, 0xf3, 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const EscapeBytes = [0x0f, 0x0f, 0x0f, 0xc4, 0xc5, 0xd9, 0xdb, 0xdf];
const PrefixBytes: Readonly<Partial<Record<RowPrefix, number>>> = {
  [RowPrefix.P66]: 0x66,
  [RowPrefix.PF3]: 0xf3,
  [RowPrefix.PF2]: 0xf2,
};

function vexBytes(row: InstructionRow, random: Random): number[] {
  const pp = row.prefix === RowPrefix.PF3 ? 2 : row.prefix === RowPrefix.PF2 ? 3 : row.prefix;
  let last = (random.next() & 0xfc) | pp;
  if (row.vexW >= 0) last = (last & 0x7f) | (row.vexW << 7);
  // Now and then the other length, which is mostly #UD.
  if (row.vexL >= 0 && !random.chance(20)) last = (last & ~4) | (row.vexL << 2);
  // vvvv is 1111 where it is no operand.
  const usesRegister = row.operands.some(
    ({ method }) => method === OperandMethod.VexGpr || method === OperandMethod.VexXmm,
  );
  if (!usesRegister && !random.chance(20)) last |= 0x78;
  const short = row.map === OpcodeMap.TwoByte && row.vexW !== 1 && random.chance(3);
  if (short) return [0xc5, (random.next() & 0x80) | (last & 0x7f)];
  return [0xc4, (random.next() & 0xe0) | row.map, last];
}

function escapeBytes(map: OpcodeMap): number[] {
  if (map === OpcodeMap.OneByte) return [];
  if (map === OpcodeMap.TwoByte) return [0x0f];
  return [0x0f, map === OpcodeMap.ThreeByte38 ? 0x38 : 0x3a];
}

function modrmByte(row: InstructionRow, random: Random): number {
  if (row.modrmByte >= 0) return row.modrmByte | (row.modrmRegister ? random.below(8) : 0);
  let byte = random.below(256);
  if (row.modrm === ModrmForm.Register) byte |= 0xc0;
  else if (row.modrm === ModrmForm.Memory && byte >= 0xc0) byte -= 0x40;
  if (row.operands.some(({ method }) => method === OperandMethod.VectorMemory)) byte = (byte & 0xf8) | 4;
  return row.digit >= 0 ? (byte & 0xc7) | (row.digit << 3) : byte;
}

/** An encoding of `row`, mostly valid; what follows the ModRM byte is left as it is. */
export function encodeRow(row: InstructionRow, long: boolean, random: Random, out: Uint8Array): void {
  const bytes: number[] = [];
  if (row.vex) {
    if (random.chance(8)) bytes.push(random.pick([0x67, 0x64, 0x2e]));
    bytes.push(...vexBytes(row, random));
  } else {
    const mandatory = PrefixBytes[row.prefix];
    while (random.chance(3) && bytes.length < 4) bytes.push(random.pick(LegacyPrefixes));
    if (mandatory !== undefined) bytes.splice(random.below(bytes.length + 1), 0, mandatory);
    if (long && row.rexW) bytes.push(0x48 | random.below(8));
    else if (long && random.chance(2)) bytes.push(0x40 | random.below(16));
    bytes.push(...escapeBytes(row.map));
  }
  bytes.push(row.opcode | (row.opcodeRegister ? random.below(8) : 0));
  if (row.modrm !== ModrmForm.None) bytes.push(modrmByte(row, random));
  out.set(bytes);
}

/** Random bytes, often with prefixes, REX and escape bytes in front. */
export function biasBytes(long: boolean, random: Random, out: Uint8Array): void {
  let length = 0;
  while (random.chance(2) && length < 6) out[length++] = random.pick(LegacyPrefixes);
  if (long && random.chance(3)) out[length++] = 0x40 | random.below(16);
  if (random.chance(2)) {
    const escape = random.pick(EscapeBytes);
    out[length++] = escape;
    if (escape === 0x0f && random.chance(3)) out[length++] = random.pick([0x38, 0x3a, 0xae, 0xc7, 0x01]);
    if (escape === 0xc4) out[length] = random.below(8) * 32 + random.pick([1, 2, 2, 3]);
  }
}
