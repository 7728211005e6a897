/** Runs batches on a target. */
import type { Batch } from './generator.ts';
import { Control, Low, Port, RecordSize } from './harness-layout.ts';
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
