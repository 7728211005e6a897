/** Brings output records into the form that is compared, and hashes them. */
import { ArithmeticFlags, Flag, Fx } from './case-state.ts';
import type { Batch, CaseInfo } from './generator.ts';
import { Fields, HighSize, OutputFields, RecordSize } from './harness-layout.ts';

export const NoFault = 0xffff;
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
  if (info.coarseCr2) record.setUint16(OutputFields.Cr2, record.getUint16(OutputFields.Cr2, true) & 0xf000, true);
  if (vector === NoFault) mask64(OutputFields.FaultRflags, 0);
  normalizeFx(record, info.ignoredStatus);
  if (info.mode !== 64) clearUpperHalves(record);
  if (!info.savesSegments) {
    for (let i: number = OutputFields.Selectors; i < Fields.Windows; i += 4) record.setUint32(i, 0, true);
  }
  // The processor may clear the lower bits of a null selector at any interrupt (SDM Vol. 2A "IRET", Operation).
  for (let i: number = OutputFields.Selectors; i < OutputFields.FsBase; i += 8) {
    if (record.getUint32(i, true) < 4) record.setUint32(i, 0, true);
  }
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

/** ST(0) and ST(1): where the results of functions are. */
export const ApproximateBytes = 20;

export interface BatchResult {
  /** Of each case. */
  readonly hashes: Uint32Array;
  /** Of functions that may be rounded differently: ST(0) and ST(1) of each case, which are not in the hash. */
  readonly approximate: Uint8Array | undefined;
}

/** Normalizes all records of a batch in place and hashes each. */
export function evaluate(batch: Batch, output: Uint8Array): BatchResult {
  const hashes = new Uint32Array(batch.cases.length);
  const approximate = batch.approximate ? new Uint8Array(hashes.length * ApproximateBytes) : undefined;
  batch.cases.forEach((info, slot) => {
    const start = slot * RecordSize;
    const record = new DataView(output.buffer, output.byteOffset + start, RecordSize);
    normalize(record, info);
    if (approximate !== undefined) {
      for (let i = 0; i < 2; i++) {
        const st = output.subarray(start + Fx.St + i * 16, start + Fx.St + i * 16 + 10);
        approximate.set(st, slot * ApproximateBytes + i * 10);
        st.fill(0);
      }
    }
    hashes[slot] = hashRecord(output, start, RecordSize);
    if (batch.high !== undefined) {
      const high = hashRecord(output, batch.cases.length * RecordSize + slot * HighSize, HighSize);
      hashes[slot] = Math.imul(hashes[slot]! ^ high, 0x01000193) >>> 0;
    }
  });
  return { hashes, approximate };
}

/** The output of each case: its record, and behind it the upper halves of vector registers. */
export function* recordsOf(batch: Batch, output: Uint8Array): Generator<Uint8Array> {
  const highs = batch.cases.length * RecordSize;
  for (let slot = 0; slot < batch.cases.length; slot++) {
    const record = output.subarray(slot * RecordSize, (slot + 1) * RecordSize);
    if (batch.high === undefined) yield record;
    else yield Uint8Array.of(...record, ...output.subarray(highs + slot * HighSize, highs + (slot + 1) * HighSize));
  }
}

/** True when the approximate results of a case (20 bytes) are as near as the functions' error allows. */
export function approximatelyEqual(a: Uint8Array, b: Uint8Array): boolean {
  return [0, 10].every((at) => distance(a.subarray(at, at + 10), b.subarray(at, at + 10)) <= AllowedUlps);
}

/** SDM Vol. 1 §8.3.10 "Transcendental Instruction Accuracy": each side is off by less than one unit. */
const AllowedUlps = 2n;

function distance(a: Uint8Array, b: Uint8Array): bigint {
  const [x, y] = [ordinal(a), ordinal(b)];
  return x > y ? x - y : y - x;
}

/** Extended values as integers in the order of their magnitude. */
function ordinal(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 10);
  const signExponent = view.getUint16(8, true);
  const magnitude = (BigInt(signExponent & 0x7fff) << 63n) + (view.getBigUint64(0, true) & ((1n << 63n) - 1n));
  return signExponent >= 0x8000 ? -magnitude : magnitude;
}
