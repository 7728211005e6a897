/** Names of code in ELF files: kernels and programs (System V ABI, "Sections", "Symbol Table"). */
import { ByteReader } from '../boot/byte-reader.ts';
import { readPart } from '../boot/byte-source.ts';
import { type ElfFile, ElfType } from '../boot/elf/elf-file.ts';
import { readKallsyms } from './kallsyms.ts';
import { type AddressAlias, type GuestSymbol, SymbolTable } from './symbol-table.ts';

/** Field offsets, for both classes. */
const Layout = {
  32: {
    Header: { SectionOffset: 32, SectionEntrySize: 46, SectionCount: 48 },
    Section: { Size: 40, Type: 4, Offset: 16, Length: 20, Link: 24 },
    Symbol: { Size: 16, Name: 0, Value: 4, Length: 8, Info: 12, Section: 14 },
  },
  64: {
    Header: { SectionOffset: 40, SectionEntrySize: 58, SectionCount: 60 },
    Section: { Size: 64, Type: 4, Offset: 24, Length: 32, Link: 40 },
    Symbol: { Size: 24, Name: 0, Value: 8, Length: 16, Info: 4, Section: 6 },
  },
} as const;
const HeaderSize = 64;
const SectionType = { Symbols: 2, DynamicSymbols: 11 } as const;
/** Labels of assembly code have no type. */
const SymbolType = { None: 0, Function: 2, IndirectFunction: 10 } as const;
const Binding = { Global: 1 } as const;
const Undefined = 0;
const PageSize = 4096n;

/**
 * The symbols of a file that the guest has at the addresses it was linked for, or with its first page at `start`. A kernel
 * without a symbol table has Linux's own (kallsyms.ts), if it has any.
 */
export function readSymbols(elf: ElfFile, start?: bigint): SymbolTable {
  const lowest = elf.segments.reduce((low, { virtualAddress: at }) => (at < low ? at : low), (1n << 64n) - 1n);
  const moved = start === undefined ? 0n : start - (lowest - (lowest % PageSize));
  const end = elf.segments.reduce((high, segment) => {
    const last = segment.virtualAddress + BigInt(segment.memorySize);
    return last > high ? last : high;
  }, 0n);
  let symbols = sectionSymbols(elf);
  if (symbols.length === 0 && elf.type === ElfType.Executable) symbols = readKallsyms(elf) ?? [];
  const placed = symbols.map((symbol) => ({ ...symbol, address: BigInt.asUintN(64, symbol.address + moved) }));
  return new SymbolTable(placed, end + moved, moved === 0n ? physicalAliases(elf) : []);
}

/** Kernels start where they were loaded, before they turn to the addresses that they were linked for. */
function physicalAliases({ segments }: ElfFile): AddressAlias[] {
  return segments
    .filter(({ virtualAddress, physicalAddress }) => virtualAddress !== BigInt(physicalAddress))
    .map(({ virtualAddress, physicalAddress, memorySize }) => ({
      start: BigInt(physicalAddress),
      size: memorySize,
      distance: virtualAddress - BigInt(physicalAddress),
    }));
}

/** Of the full symbol table, or where it was stripped of the one for dynamic linking. */
function sectionSymbols(elf: ElfFile): GuestSymbol[] {
  const { Header, Section } = Layout[elf.bits];
  const header = new ByteReader(readPart(elf.source, 0, HeaderSize));
  const count = header.u16(Header.SectionCount);
  const entrySize = header.u16(Header.SectionEntrySize);
  if (count === 0 || entrySize < Section.Size) return [];
  const table = new ByteReader(readPart(elf.source, word(elf, header, Header.SectionOffset), count * entrySize));
  const part = (index: number): ByteReader => {
    const at = index * entrySize;
    const offset = word(elf, table, at + Section.Offset);
    return new ByteReader(readPart(elf.source, offset, word(elf, table, at + Section.Length)));
  };
  const all = Array.from({ length: Math.floor(table.length / entrySize) }, (_, index) => index);
  for (const type of [SectionType.Symbols, SectionType.DynamicSymbols]) {
    const index = all.find((one) => table.u32(one * entrySize + Section.Type) === type);
    if (index === undefined) continue;
    const symbols = readTable(elf, part(index), part(table.u32(index * entrySize + Section.Link)));
    if (symbols.length > 0) return symbols;
  }
  return [];
}

function readTable(elf: ElfFile, table: ByteReader, names: ByteReader): GuestSymbol[] {
  const { Symbol } = Layout[elf.bits];
  const symbols: GuestSymbol[] = [];
  for (let at = 0; at + Symbol.Size <= table.length; at += Symbol.Size) {
    const info = table.u8(at + Symbol.Info);
    const isCode = (Object.values(SymbolType) as number[]).includes(info & 15);
    const name = isCode && table.u16(at + Symbol.Section) !== Undefined ? text(names, table.u32(at + Symbol.Name)) : '';
    if (name === '') continue;
    const value = elf.bits === 64 ? table.u64(at + Symbol.Value) : BigInt(table.u32(at + Symbol.Value));
    const size = word(elf, table, at + Symbol.Length);
    symbols.push({ name, address: value, size, global: info >> 4 === Binding.Global });
  }
  return symbols;
}

const word = ({ bits }: ElfFile, reader: ByteReader, offset: number): number =>
  bits === 64 ? reader.number64(offset) : reader.u32(offset);

function text({ bytes }: ByteReader, start: number): string {
  const end = bytes.indexOf(0, start);
  return new TextDecoder().decode(bytes.subarray(start, end < 0 ? start : end));
}
