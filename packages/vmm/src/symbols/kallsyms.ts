/**
 * Linux's own symbol table, which is in the data of every kernel that can print a backtrace (scripts/kallsyms.c,
 * kernel/kallsyms.c). Nothing in a stripped file says where it is: it is found by its contents.
 *
 * Names are strings of bytes, each of which stands for a token. Tables, in this order: number of symbols, names (each with
 * its length before it), markers (where each 256th name is), tokens, where each token starts. Offsets from a base address lie
 * before the number (up to Linux 6.3) or behind all of these.
 *
 * Leaves out kernels before 4.20, whose markers are longs, and those whose offsets are absolute addresses.
 */
import { ByteReader } from '../boot/byte-reader.ts';
import { readPart } from '../boot/byte-source.ts';
import type { ElfFile } from '../boot/elf/elf-file.ts';
import type { GuestSymbol } from './symbol-table.ts';

const TokenCount = 256;
const NamesPerMarker = 256;
const Alignment = 8;
const DigitZero = 0x30;
/** Tokens of digits are digits: they are in use in names. */
const Digits = Uint8Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? DigitZero + i / 2 : 0));
const Plausible = { least: 256, most: 2_000_000 } as const;
/** Types of code, as nm has them. */
const Code = /^[tTwW]/;
/** Lowest address of Linux's image. */
const LowestBase = 0xffff_ffff_8000_0000n;

interface Tokens {
  readonly start: number;
  /** Behind the table of their starts. */
  readonly end: number;
  readonly texts: readonly string[];
}

interface Names {
  /** Where the number of symbols is. */
  readonly start: number;
  readonly texts: readonly string[];
}

/** Symbols of code, or undefined when there are none to be found. */
export function readKallsyms(elf: ElfFile): GuestSymbol[] | undefined {
  for (const { offset, fileSize } of elf.segments) {
    const segment = new ByteReader(readPart(elf.source, offset, fileSize));
    const tokens = findTokens(segment);
    const names = tokens && findNames(segment, tokens);
    const addresses = names && findAddresses(segment, tokens!, names);
    if (!addresses) continue;
    return names.texts
      .map((text, i) => ({ name: text.slice(1), address: addresses(i), size: 0, type: text }))
      .filter(({ type }) => Code.test(type))
      .map(({ type, ...symbol }) => ({ ...symbol, global: type.startsWith('T') }));
  }
  return undefined;
}

const align = (position: number): number => Math.ceil(position / Alignment) * Alignment;

function findTokens(segment: ByteReader): Tokens | undefined {
  const { bytes } = segment;
  for (let at = bytes.indexOf(DigitZero); at >= 0; at = bytes.indexOf(DigitZero, at + 1)) {
    if (!Digits.every((byte, i) => bytes[at + i] === byte)) continue;
    let end = at;
    for (let token = DigitZero; token < TokenCount && end > 0; token++) end = bytes.indexOf(0, end) + 1;
    const starts = align(end);
    const start = at - segment.u16(starts + DigitZero * 2);
    const offsets = Array.from({ length: TokenCount }, (_, token) => segment.u16(starts + token * 2));
    const isTable = end > 0 && start >= 0 && offsets.every((offset, i) => offset > (offsets[i - 1] ?? -1));
    if (!isTable || offsets[0] !== 0) continue;
    const decoder = new TextDecoder();
    const texts = offsets.map((offset) => {
      const from = start + offset;
      return decoder.decode(bytes.subarray(from, bytes.indexOf(0, from)));
    });
    return { start, end: starts + TokenCount * 2, texts };
  }
  return undefined;
}

/** Looks for a number behind which there are so many names, and markers that agree with them. */
function findNames(segment: ByteReader, tokens: Tokens): Names | undefined {
  for (let start = Math.floor(tokens.start / Alignment) * Alignment; start >= 0; start -= Alignment) {
    const count = segment.u32(start);
    if (count < Plausible.least || count > Plausible.most || segment.u32(start + 4) !== 0) continue;
    const texts = readNames(segment, start + Alignment, count, tokens);
    if (texts) return { start, texts };
  }
  return undefined;
}

function readNames(segment: ByteReader, start: number, count: number, tokens: Tokens): string[] | undefined {
  const { bytes } = segment;
  const starts: number[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    starts.push(at);
    at += nameLength(segment, at).whole;
    if (bytes[starts[i]!] === 0 || at > tokens.start) return undefined;
  }
  const markers = align(at);
  for (let i = 0; i < count; i += NamesPerMarker) {
    if (segment.u32(markers + (i / NamesPerMarker) * 4) !== starts[i]! - start) return undefined;
  }
  return starts.map((name) => {
    const { prefix, whole } = nameLength(segment, name);
    let text = '';
    for (let i = name + prefix; i < name + whole; i++) text += tokens.texts[bytes[i]!]!;
    return text;
  });
}

/** One byte, or two where the first has its highest bit set (Linux 6.1). `whole`: with these bytes. */
function nameLength(segment: ByteReader, at: number): { prefix: number; whole: number } {
  const first = segment.u8(at);
  if (first < 0x80) return { prefix: 1, whole: 1 + first };
  return { prefix: 2, whole: 2 + (first & 0x7f) + (segment.u8(at + 1) << 7) };
}

/** Answers the address of each symbol. */
function findAddresses(segment: ByteReader, tokens: Tokens, names: Names): ((index: number) => bigint) | undefined {
  const count = names.texts.length;
  const size = align(count * 4);
  const before = { base: names.start - 8, offsets: names.start - 8 - size };
  const behind = { base: align(tokens.end) + size, offsets: align(tokens.end) };
  const place = [before, behind].find(({ base }) => segment.u64(base) >= LowestBase);
  if (!place || place.offsets < 0) return undefined;
  const base = segment.u64(place.base);
  const offset = (index: number): number => segment.u32(place.offsets + index * 4) | 0;
  // With per-CPU variables at absolute addresses (up to Linux 6.14) all others count backwards
  const isBackwards = Array.from({ length: count }, (_, i) => offset(i)).some((one) => one < 0);
  return (index) => {
    const value = offset(index);
    if (!isBackwards) return base + BigInt(value >>> 0);
    return value >= 0 ? BigInt(value) : base - 1n - BigInt(value);
  };
}
