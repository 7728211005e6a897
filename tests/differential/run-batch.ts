/** Runs batches on a target and brings the output records into the form that is compared. */
import { ArithmeticFlags, Flag, Fx } from './case-state.ts';
import type { Batch, CaseInfo } from './generator.ts';
import { Control, Fields, Low, OutputFields, Port, RecordSize } from './harness-layout.ts';
import type { OracleTarget } from './target.ts';

/** Runs a batch. Answers its output records. */
export function runBatch(target: OracleTarget, batch: Batch): Uint8Array {
  const count = new Uint8Array(8);
  count[0] = batch.cases.length & 0xff;
  count[1] = batch.cases.length >> 8;
  target.write(Low.Slots, batch.code);
  target.write(Low.Input, batch.input);
  target.write(Control.Count, count);
  const port = target.runUntilPortWrite();
  const output = new Uint8Array(batch.cases.length * RecordSize);
  target.read(Low.Output, output);
  if (port !== Port.BatchDone) throw new BrokenHarness(target, batch, output);
  return output;
}

/** The driver itself took a fault: an engine that gets the simplest things wrong, or a case that broke out. */
export class BrokenHarness extends Error {
  constructor(target: OracleTarget, batch: Batch, output: Uint8Array) {
    const read = (address: number): bigint => {
      const bytes = new Uint8Array(8);
      target.read(address, bytes);
      return new DataView(bytes.buffer).getBigUint64(0, true);
    };
    const done = batch.cases.length - 1 - Number(read(Control.Remaining));
    const code = Buffer.from(batch.cases[done]?.code ?? output.subarray(0, 0)).toString('hex');
    super(
      `${target.name}: the harness guest broke at case ${done} of '${batch.form.row.notation}' (${code}): ` +
        `vector ${read(Control.Vector)}, RIP ${read(Control.FaultRip).toString(16)}, CR2 ${read(Control.Cr2).toString(16)}`,
    );
  }
}

const NoFault = 0xffff;
export const PageFault = 14;

/** RFLAGS bits that are compared; IF and IOPL belong to the host where it runs ring 3 itself. */
const ComparedFlags = ArithmeticFlags | Flag.DF | Flag.NT | Flag.AC | Flag.ID;

/** Clears in an output record what is not compared. */
export function normalize(record: DataView, info: CaseInfo): void {
  const flags = ComparedFlags & ~info.ignoredFlags;
  const mask64 = (offset: number, mask: number) => {
    record.setUint32(offset, record.getUint32(offset, true) & mask, true);
    record.setUint32(offset + 4, 0, true);
  };
  mask64(Fields.Rflags, flags);
  mask64(OutputFields.FaultRflags, flags | Flag.RF);
  const vector = record.getUint32(OutputFields.Vector, true);
  if (vector !== PageFault) mask64(OutputFields.Cr2, 0);
  if (vector === NoFault) mask64(OutputFields.FaultRflags, 0);
  normalizeFx(record, info.ignoredStatus);
  if (info.mode !== 64) clearUpperHalves(record);
  for (const { offset, length } of info.ignored) {
    for (let i = 0; i < length; i++) record.setUint8(offset + i, 0);
  }
}

/** Instruction and data pointers, reserved bytes and the implementation's MXCSR mask. */
function normalizeFx(record: DataView, ignoredStatus: number): void {
  record.setUint16(Fx.Status, record.getUint16(Fx.Status, true) & ~ignoredStatus, true);
  record.setUint16(Fx.Opcode, 0, true);
  for (let i = Fx.Ip; i < Fx.Mxcsr; i += 4) record.setUint32(i, 0, true);
  record.setUint32(Fx.MxcsrMask, 0, true);
  for (let i = 0; i < 8; i++) {
    record.setUint16(Fx.St + i * 16 + 10, 0, true);
    record.setUint32(Fx.St + i * 16 + 12, 0, true);
  }
  for (let i: number = Fx.Reserved; i < Fields.Gpr; i += 4) record.setUint32(i, 0, true);
}

/** Compatibility mode leaves upper halves of registers undefined. */
function clearUpperHalves(record: DataView): void {
  for (let i = 0; i < 8; i++) record.setUint32(Fields.Gpr + i * 8 + 4, 0, true);
}

/** A 32-bit hash of a record (multiply and rotate over its words). */
export function hashRecord(bytes: Uint8Array, start: number, length: number): number {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + start, length >> 2);
  let hash = 0x9747b28c;
  for (let i = 0; i < words.length; i++) {
    hash = Math.imul(hash ^ Math.imul(words[i]!, 0xcc9e2d51 | 0), 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** Normalizes all records of a batch in place and hashes each. */
export function hashBatch(batch: Batch, output: Uint8Array): Uint32Array {
  const hashes = new Uint32Array(batch.cases.length);
  batch.cases.forEach((info, slot) => {
    const record = new DataView(output.buffer, output.byteOffset + slot * RecordSize, RecordSize);
    normalize(record, info);
    hashes[slot] = hashRecord(output, slot * RecordSize, RecordSize);
  });
  return hashes;
}
