/** Test cases and results in words, for failures. */
import { createDecodedInstruction, createDecoder } from '@lodger/vmm/x86/decode/decoder.js';
import type { DecodedInstruction } from '@lodger/vmm/x86/decode/decoder.js';
import { formatInstruction } from '@lodger/vmm/x86/decode/format.js';
import { allRows } from '@lodger/vmm/x86/instructions/table/rows.js';
import { Fx } from './case-state.ts';
import type { Batch, CaseInfo } from './generator.ts';
import { Fields, HighSize, InputFields, OutputFields, RecordSize, Window1, Window2 } from './harness-layout.ts';
import { describeSelector } from './test-segments.ts';

const GprNames = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const hex = (value: bigint | number): string => value.toString(16);

const decoder = createDecoder();
const decoded = createDecodedInstruction(allRows[0]!);

/** What our decoder takes a case's bytes for, or undefined when they are no instruction to it. */
export function decode(info: CaseInfo): DecodedInstruction | undefined {
  return decoder.decode(info.code, 0, info.code.length, info.mode, decoded) === 'ok' ? decoded : undefined;
}

function disassemble(info: CaseInfo): string {
  const instruction = decode(info);
  return instruction === undefined ? '(invalid)' : formatInstruction(instruction, BigInt(info.address));
}

interface Field {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

const CommonFields: readonly Field[] = [
  ...GprNames.map((name, index) => ({ name, offset: Fields.Gpr + index * 8, bytes: 8 })),
  { name: 'rflags', offset: Fields.Rflags, bytes: 8 },
  { name: 'fcw', offset: Fx.Control, bytes: 2 },
  { name: 'fsw', offset: Fx.Status, bytes: 2 },
  { name: 'ftw', offset: Fx.Tags, bytes: 1 },
  { name: 'mxcsr', offset: Fx.Mxcsr, bytes: 4 },
  ...range(8).map((index) => ({ name: `st${index}`, offset: Fx.St + index * 16, bytes: 10 })),
  ...range(16).map((index) => ({ name: `xmm${index}`, offset: Fx.Xmm + index * 16, bytes: 16 })),
];
const UpperHalves: readonly Field[] = range(16).map((index) => {
  return { name: `ymm${index} high`, offset: RecordSize + index * 16, bytes: 16 };
});
const memoryFields = (start: number, size: number, record: number): Field[] =>
  range(size / 16).map((line) => ({ name: `[${hex(start + line * 16)}]`, offset: record + line * 16, bytes: 16 }));
const Memory: readonly Field[] = [
  ...memoryFields(Window1.start, Window1.size, Fields.Windows),
  ...memoryFields(Window2.start, Window2.size, Fields.Windows + Window1.size),
];
const Results: readonly Field[] = [
  { name: 'landing pad', offset: OutputFields.Marker, bytes: 8 },
  { name: 'vector', offset: OutputFields.Vector, bytes: 8 },
  { name: 'error code', offset: OutputFields.ErrorCode, bytes: 8 },
  { name: 'fault rip', offset: OutputFields.FaultRip, bytes: 8 },
  { name: 'cr2', offset: OutputFields.Cr2, bytes: 8 },
  { name: 'fault rflags', offset: OutputFields.FaultRflags, bytes: 8 },
  { name: 'fault cs', offset: OutputFields.FaultCs, bytes: 8 },
  ...['es', 'cs', 'ss', 'ds', 'fs', 'gs'].map((name, index) => ({
    name,
    offset: OutputFields.Selectors + index * 8,
    bytes: 8,
  })),
  { name: 'fs base', offset: OutputFields.FsBase, bytes: 8 },
  { name: 'gs base', offset: OutputFields.GsBase, bytes: 8 },
];

/** A field's value, most significant byte first, without leading zeros. */
function valueOf(record: Uint8Array, field: Field): string {
  let text = '';
  for (let i = field.bytes - 1; i >= 0; i--) text += (record[field.offset + i] ?? 0).toString(16).padStart(2, '0');
  return text.replace(/^0+(?=.)/, '');
}

/** A case's input record, and behind it the upper halves of vector registers. */
export function inputOf(batch: Batch, slot: number): Uint8Array {
  const record = batch.input.subarray(slot * RecordSize, (slot + 1) * RecordSize);
  const high = batch.high?.subarray(slot * HighSize, (slot + 1) * HighSize) ?? [];
  return Uint8Array.of(...record, ...high);
}

/** The input of a case: all registers, and memory at what the instruction may have changed or read. */
export function describeInput(batch: Batch, slot: number): string {
  const info = batch.cases[slot]!;
  const record = inputOf(batch, slot);
  const code = [...info.code].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const header = new DataView(record.buffer, record.byteOffset);
  const selectors = ['es', 'ss', 'ds', 'fs', 'gs'].map((name, index) => {
    return `${name}=${describeSelector(header.getUint16(InputFields.Selectors + index * 8, true))}`;
  });
  const segments = `    cs=${describeSelector(header.getUint16(InputFields.Target + 4, true))} ${selectors.join(' ')}`;
  const lines = [`case ${info.index} at ${hex(info.address)}: ${code}   ${disassemble(info)}`];
  if (batch.form.segmented) lines.push(segments);
  const shown = [...CommonFields, ...(batch.high === undefined ? [] : UpperHalves)];
  for (let i = 0; i < shown.length; i += 4) {
    const fields = shown.slice(i, i + 4);
    lines.push(`    ${fields.map((field) => `${field.name}=${valueOf(record, field)}`).join(' ')}`);
  }
  return lines.join('\n');
}

/** Fields that differ between two normalized records, with the value before. */
export function describeDifference(input: Uint8Array, expected: Uint8Array, got: Uint8Array): string {
  const lines: string[] = [];
  const upper = got.length > RecordSize ? UpperHalves : [];
  for (const field of [...Results, ...CommonFields, ...upper, ...Memory]) {
    const [want, have] = [valueOf(expected, field), valueOf(got, field)];
    const before = Results.includes(field) ? '' : ` (before: ${valueOf(input, field)})`;
    if (want !== have) lines.push(`    ${field.name}: expected ${want}, got ${have}${before}`);
  }
  return lines.join('\n');
}
