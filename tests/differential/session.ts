/** A target with the harness guest loaded: runs whole forms and compares them with expectations. */
import type { Expectation } from './expectations.ts';
import { formName } from './forms.ts';
import type { Form } from './forms.ts';
import { generateBatches } from './generator.ts';
import { loadHarness } from './harness-image.ts';
import type { HarnessKind } from './harness-guest.ts';
import { HighSize, RecordSize } from './harness-layout.ts';
import { ApproximateBytes, approximatelyEqual, evaluate, hashRecord, recordsOf } from './normalize.ts';
import { hashText } from './random.ts';
import { BrokenHarness, runBatch } from './run-batch.ts';
import type { OracleTarget } from './target.ts';

export type FormResult = Expectation;

export class OracleSession {
  readonly target: OracleTarget;
  /** Address in the guest where landing pads go to; part of every batch's code. */
  readonly exit: number;

  readonly #kind: HarnessKind;

  constructor(target: OracleTarget, kind: HarnessKind = 'legacy') {
    this.target = target;
    this.#kind = kind;
    this.exit = loadHarness(target, kind).exit;
  }

  run(form: Form): FormResult {
    const hashes: number[] = [];
    const approximate: number[] = [];
    let inputHash = 0;
    for (const batch of generateBatches(form, this.exit)) {
      const code =
        hashRecord(batch.code, 0, batch.code.length) ^ (batch.high ? hashRecord(batch.high, 0, batch.high.length) : 0);
      inputHash = Math.imul(inputHash ^ code ^ hashRecord(batch.input, 0, batch.input.length), 0x01000193) >>> 0;
      const result = evaluate(batch, this.#runBatch(batch));
      hashes.push(...result.hashes);
      if (result.approximate !== undefined) approximate.push(...result.approximate);
    }
    return {
      inputHash,
      hashes: Uint32Array.from(hashes),
      approximate: approximate.length === 0 ? undefined : Uint8Array.from(approximate),
    };
  }

  /** A broken driver state must not spoil later batches. */
  #runBatch(batch: Parameters<typeof runBatch>[1]): Uint8Array {
    try {
      return runBatch(this.target, batch);
    } catch (error) {
      if (error instanceof BrokenHarness) loadHarness(this.target, this.#kind);
      throw error;
    }
  }

  /** Normalized output records of all cases of a form. */
  records(form: Form): Uint8Array {
    const stride = RecordSize + (this.#kind === 'avx' ? HighSize : 0);
    const all = new Uint8Array(form.cases * stride);
    let at = 0;
    for (const batch of generateBatches(form, this.exit)) {
      const output = this.#runBatch(batch);
      evaluate({ ...batch, approximate: false }, output);
      for (const record of recordsOf(batch, output)) {
        all.set(record, at);
        at += stride;
      }
    }
    return all;
  }

  /** Indices of the cases that differ. */
  compare(form: Form, expected: Expectation): number[] {
    const result = this.run(form);
    if (result.inputHash !== expected.inputHash) {
      throw new Error(`expectations of '${formName(form)}' are of another generator: run oracle.js --regenerate`);
    }
    const failures: number[] = [];
    result.hashes.forEach((hash, index) => {
      const slice = (bytes: Uint8Array) => bytes.subarray(index * ApproximateBytes, (index + 1) * ApproximateBytes);
      const near =
        result.approximate === undefined ||
        expected.approximate === undefined ||
        approximatelyEqual(slice(result.approximate), slice(expected.approximate));
      if (hash !== expected.hashes[index] || !near) failures.push(index);
    });
    return failures;
  }

  compareExpected(form: Form, expectations: ReadonlyMap<number, Expectation>): number[] {
    const expected = expectations.get(hashText(formName(form)));
    if (expected === undefined) throw new Error(`no expectations for '${formName(form)}': run oracle.js --regenerate`);
    return this.compare(form, expected);
  }

  close(): void {
    this.target.close();
  }
}
