/**
 * ELF files as boot protocols need them: little-endian executables for x86, their segments and notes.
 *
 * System V ABI, "Object Files" chapter (ELF header, program header, note section). Leaves out sections, symbols and
 * relocations: kernels are loaded where they were linked to run.
 */
import { HostError } from '../../errors/host-error.ts';
import { ByteReader } from '../byte-reader.ts';
import { readPart } from '../byte-source.ts';
import type { ByteSource } from '../byte-source.ts';

const Identification = { Class: 4, Data: 5 } as const;
const ElfClass = { Bits32: 1, Bits64: 2 } as const;
const LittleEndian = 1;
export const ElfType = { Executable: 2, Shared: 3 } as const;
export const Machine = { I386: 3, X86_64: 62 } as const;
const SegmentKind = { Load: 1, Interpreter: 3, Note: 4 } as const;

/** Field offsets of the ELF header and of a program header, for both classes. */
const Layout = {
  32: {
    Header: { Size: 52, Entry: 24, ProgramOffset: 28, ProgramEntrySize: 42, ProgramCount: 44 },
    Program: { Size: 32, Kind: 0, Offset: 4, Virtual: 8, Physical: 12, FileSize: 16, MemorySize: 20 },
  },
  64: {
    Header: { Size: 64, Entry: 24, ProgramOffset: 32, ProgramEntrySize: 54, ProgramCount: 56 },
    Program: { Size: 56, Kind: 0, Offset: 8, Virtual: 16, Physical: 24, FileSize: 32, MemorySize: 40 },
  },
} as const;
const Common = { Type: 16, Machine: 18 } as const;

export interface ElfSegment {
  readonly offset: number;
  readonly virtualAddress: bigint;
  readonly physicalAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly description: Uint8Array;
}

export interface ElfFile {
  /** The file in messages. */
  readonly name: string;
  readonly source: ByteSource;
  readonly bits: 32 | 64;
  readonly type: number;
  readonly machine: number;
  readonly entry: bigint;
  /** PT_LOAD segments that occupy memory, in file order; all of them lie inside the file. */
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
  /** A program for user space: it names a dynamic linker. */
  readonly hasInterpreter: boolean;
}

export function isElf(bytes: Uint8Array): boolean {
  return new ByteReader(bytes).matches(0, '\x7fELF');
}

/** Reads headers, segments and notes; a file that is cut off or not for x86 is a HostError. */
export function parseElf(name: string, source: ByteSource): ElfFile {
  const file = new ByteReader(readPart(source, 0, Layout[64].Header.Size));
  const bits = file.u8(Identification.Class) === ElfClass.Bits64 ? 64 : 32;
  const { Header, Program } = Layout[bits];
  if (file.length < Header.Size) throw truncated(name, 'its ELF header');
  const machine = file.u16(Common.Machine);
  if (file.u8(Identification.Data) !== LittleEndian || (machine !== Machine.I386 && machine !== Machine.X86_64)) {
    throw new HostError(
      'KernelUnsupported',
      `${name} is an ELF file for ${machineName(machine)}, not for x86: pass a kernel for x86-64`,
    );
  }
  const word = (reader: ByteReader, offset: number) => (bits === 64 ? reader.number64(offset) : reader.u32(offset));
  const tableOffset = word(file, Header.ProgramOffset);
  const count = file.u16(Header.ProgramCount);
  const entrySize = file.u16(Header.ProgramEntrySize);
  if (count > 0 && entrySize < Program.Size) throw damaged(name, 'its program headers have an impossible size');
  if (tableOffset + count * entrySize > source.length) throw truncated(name, 'its program headers');
  const table = new ByteReader(readPart(source, tableOffset, count * entrySize));

  const segments: ElfSegment[] = [];
  const notes: ElfNote[] = [];
  let hasInterpreter = false;
  for (let i = 0; i < count; i++) {
    const at = i * entrySize;
    const kind = table.u32(at + Program.Kind);
    if (kind === SegmentKind.Interpreter) hasInterpreter = true;
    if (kind !== SegmentKind.Load && kind !== SegmentKind.Note) continue;
    const segment: ElfSegment = {
      offset: word(table, at + Program.Offset),
      virtualAddress: bits === 64 ? table.u64(at + Program.Virtual) : BigInt(table.u32(at + Program.Virtual)),
      physicalAddress: word(table, at + Program.Physical),
      fileSize: word(table, at + Program.FileSize),
      memorySize: word(table, at + Program.MemorySize),
    };
    if (segment.offset + segment.fileSize > source.length) throw truncated(name, `segment ${i}`);
    if (kind === SegmentKind.Note) notes.push(...readNotes(source, segment));
    else if (segment.fileSize > segment.memorySize) throw damaged(name, `segment ${i} is larger than its memory`);
    else if (segment.memorySize > 0) segments.push(segment);
  }
  const entry = bits === 64 ? file.u64(Header.Entry) : BigInt(file.u32(Header.Entry));
  return { name, source, bits, type: file.u16(Common.Type), machine, entry, segments, notes, hasInterpreter };
}

/** System V ABI, "Note Section": name and description, each padded to 4 bytes. */
function readNotes(source: ByteSource, segment: ElfSegment): ElfNote[] {
  const NoteHeader = { NameSize: 0, DescriptionSize: 4, Type: 8, Size: 12 } as const;
  const align = (value: number) => Math.ceil(value / 4) * 4;
  const notes: ElfNote[] = [];
  const file = new ByteReader(readPart(source, segment.offset, segment.fileSize));
  const end = file.length;
  let at = 0;
  while (at + NoteHeader.Size <= end) {
    const nameSize = file.u32(at + NoteHeader.NameSize);
    const descriptionSize = file.u32(at + NoteHeader.DescriptionSize);
    const nameStart = at + NoteHeader.Size;
    const descriptionStart = nameStart + align(nameSize);
    if (descriptionStart + descriptionSize > end) break;
    const owner = String.fromCharCode(...file.bytes.subarray(nameStart, nameStart + Math.min(nameSize, 64)));
    notes.push({
      owner: owner.replace(/\0.*$/s, ''),
      type: file.u32(at + NoteHeader.Type),
      description: file.bytes.subarray(descriptionStart, descriptionStart + descriptionSize),
    });
    at = descriptionStart + align(descriptionSize);
  }
  return notes;
}

const MachineNames: Readonly<Record<number, string>> = {
  2: 'SPARC',
  8: 'MIPS',
  20: 'PowerPC',
  21: '64-bit PowerPC',
  22: 'S/390',
  40: '32-bit ARM',
  43: '64-bit SPARC',
  50: 'IA-64',
  183: 'ARM64',
  243: 'RISC-V',
  258: 'LoongArch',
};

function machineName(machine: number): string {
  return MachineNames[machine] ?? `another machine (${machine})`;
}

function truncated(name: string, what: string): HostError {
  return new HostError('KernelTruncated', `${name} is truncated: ${what} lies beyond its end; fetch or copy it again`);
}

function damaged(name: string, what: string): HostError {
  return new HostError('KernelUnsupported', `${name} is damaged: ${what}; fetch or copy it again`);
}
