/** Runs batches on a target. */
import type { Batch, CaseInfo } from './generator.ts';
import { Control, Low, Port, RecordSize } from './harness-layout.ts';
import type { OracleTarget } from './target.ts';

/** Runs a batch. Answers its output records. */
export function runBatch(target: OracleTarget, batch: Batch): Uint8Array {
  return runPrograms(target, { ...batch, name: batch.form.row.notation });
}

/** Code for the slots, input records, and the cases that they are. */
export interface Programs {
  readonly name?: string;
  readonly cases: readonly CaseInfo[];
  readonly input: Uint8Array;
  readonly code: Uint8Array;
  /** Upper halves of vector registers; they are behind the records in the output then. */
  readonly high?: Uint8Array | undefined;
}

/** Runs code of any kind for each input record. Answers the output records. */
export function runPrograms(target: OracleTarget, programs: Programs): Uint8Array {
  const count = new Uint8Array(8);
  count[0] = programs.cases.length & 0xff;
  count[1] = programs.cases.length >> 8;
  target.write(Low.Slots, programs.code);
  target.write(Low.Input, programs.input);
  target.write(Control.Count, count);
  if (programs.high !== undefined) target.write(Low.HighInput, programs.high);
  const port = target.runUntilPortWrite();
  const records = programs.cases.length * RecordSize;
  const output = new Uint8Array(records + (programs.high?.length ?? 0));
  target.read(Low.Output, output.subarray(0, records));
  if (programs.high !== undefined) target.read(Low.HighOutput, output.subarray(records));
  if (port !== Port.BatchDone) throw new BrokenHarness(target, programs, output);
  return output;
}

/** The driver itself took a fault: an engine that gets the simplest things wrong, or a case that broke out. */
export class BrokenHarness extends Error {
  constructor(target: OracleTarget, batch: Programs, output: Uint8Array) {
    const read = (address: number): bigint => {
      const bytes = new Uint8Array(8);
      target.read(address, bytes);
      return new DataView(bytes.buffer).getBigUint64(0, true);
    };
    const done = batch.cases.length - 1 - Number(read(Control.Remaining));
    const code = Buffer.from(batch.cases[done]?.code ?? output.subarray(0, 0)).toString('hex');
    super(
      `${target.name}: the harness guest broke at case ${done} of '${batch.name ?? 'programs'}' (${code}): ` +
        `vector ${read(Control.Vector)}, RIP ${read(Control.FaultRip).toString(16)}, CR2 ${read(Control.Cr2).toString(16)}`,
    );
  }
}
