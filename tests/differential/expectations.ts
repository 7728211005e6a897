/**
 * Committed expectations: for each form a hash of its inputs (has the generator changed?) and one of each case's result.
 *
 * One file per group and mode; little-endian words: count of forms, then for each form the hash of its name, the hash of
 * its inputs, the number of cases, words of approximate results per case (0 or 5), the cases' hashes, and the
 * approximate results.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { formName } from './forms.ts';
import type { Form, Mode } from './forms.ts';
import { ApproximateBytes } from './normalize.ts';
import { hashText } from './random.ts';

export interface Expectation {
  readonly inputHash: number;
  readonly hashes: Uint32Array;
  /** ST(0) and ST(1) of each case (normalize.ts), for functions that may be rounded differently. */
  readonly approximate: Uint8Array | undefined;
}

/** Sources, not build results: the folder beside this file's source. */
const folder = fileURLToPath(new URL('../../differential/expected/', import.meta.url));

const fileOf = (group: string, mode: Mode): string => join(folder, `${group}-${mode}.bin`);

/** Expectations by hash of the form's name; empty when there is no file. */
export function readExpectations(group: string, mode: Mode): Map<number, Expectation> {
  const result = new Map<number, Expectation>();
  let bytes: Buffer;
  try {
    bytes = readFileSync(fileOf(group, mode));
  } catch {
    return result;
  }
  const words = new Uint32Array(new Uint8Array(bytes).buffer);
  for (let at = 1; at < words.length;) {
    const count = words[at + 2] ?? 0;
    const extra = (words[at + 3] ?? 0) * count;
    const end = at + 4 + count;
    result.set(words[at] ?? 0, {
      inputHash: words[at + 1] ?? 0,
      hashes: words.slice(at + 4, end),
      approximate: extra === 0 ? undefined : new Uint8Array(words.slice(end, end + extra).buffer),
    });
    at = end + extra;
  }
  return result;
}

export function writeExpectations(group: string, mode: Mode, forms: readonly (readonly [Form, Expectation])[]): void {
  const words: number[] = [forms.length];
  for (const [form, { inputHash, hashes, approximate }] of forms) {
    words.push(
      hashText(formName(form)),
      inputHash,
      hashes.length,
      approximate === undefined ? 0 : ApproximateBytes / 4,
    );
    words.push(...hashes);
    if (approximate !== undefined) words.push(...new Uint32Array(approximate.slice().buffer));
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(fileOf(group, mode), new Uint8Array(Uint32Array.from(words).buffer));
}
