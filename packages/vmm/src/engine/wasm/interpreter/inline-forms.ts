/**
 * The instruction forms whose handlers sit inside the interpreter loop, named by an example of each: chosen by counting
 * what a Debian boot and common programs execute (benchmarks/forms.ts).
 */
import { createDecodedInstruction, createDecoder } from '../../../x86/decode/decoder.ts';
import { allRows } from '../../../x86/instructions/table/rows.ts';
import { semantics } from '../semantics-table.ts';
import { type InlineHandler, inlineHandler } from './core-module.ts';
import { formOf } from './form.ts';

/** 64-bit code, as hexadecimal bytes. */
const Examples = `
  4889d8 89d8 488b03 8b03 488903 8903 8a03 8803 668903 48c7c001000000 b801000000 48c70301000000 c70301000000 c60301
  88d8 6689d8 66c7030100
  0fb603 0fb6c3 0fb703 0fb7c3 480fb6c3 480fb7c3 480fb603 4863c3 486303 0fbec3 0fbe03 480fbe03
  488d03 8d03
  4801d8 01d8 480303 0303 480103 0103
  4829d8 29d8 482b03 2b03 482903 2903
  4821d8 21d8 482303 2303 2103 482103 20d8 2203
  4809d8 09d8 480b03 0b03 0903 480903 08d8
  4831d8 31d8 483303 3303
  4839d8 39d8 483b03 3b03 483903 3903 38d8 3803 3a03 6639d8 803b01 66833b01
  4885d8 85d8 84d8 8503 f60301 f70301000000 488503
  48ffc0 ffc0 48ff03 ff03 48ffc8 ffc8 48ff0b ff0b
  48f7d8 f7d8 48f7d0 f7d0
  48c1e003 c1e003 48c1e803 c1e803 48c1f803 c1f803 48d3e0 d3e0 48d3e8 d3e8 48d1e0 d1e0
  48c1c003 c1c003
  480fafc3 0fafc3 486bc303 6bc303
  50 58 5b 6a01 ff33
  e800000000 c3 ffd0 ffe0 eb00 e900000000 ff23 ff13
  7000 7100 7200 7300 7400 7500 7600 7700 7800 7900 7a00 7b00 7c00 7d00 7e00 7f00
  0f92c0 0f94c0 0f95c0 0f97c0
  480f42c3 480f43c3 480f44c3 480f45c3 480f46c3 480f47c3 0f42c3 0f44c3 0f45c3 0f46c3 0f47c3 480f48c3 0f49c3
  90 0f1f00 f390 c9
  480fbae003 480fa3d8 0fa3d8
  4811d8 4819d8 11d8 19d8
  4898 4899 99 98
  0fc8 480fc8
  fa 0f01f8
`;

/** Splits the list; spaces inside an example are a mistake that decoding shows. */
const examples = Examples.split(/\s+/).filter((text) => text.length >= 2 && text.length % 2 === 0);

export interface InlineHandlers {
  readonly handlers: readonly InlineHandler[];
  /** Handler number by form key. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** Numbers of handlers that are not forms (core-module.ts). */
const FixedCount = 4;

export function inlineHandlers(): InlineHandlers {
  const decoder = createDecoder();
  const decoded = createDecodedInstruction(allRows[0]!);
  const handlers: InlineHandler[] = [];
  const numbers = new Map<string, number>();
  for (const example of examples) {
    const bytes = new Uint8Array(16);
    for (let i = 0; i < example.length; i += 2) bytes[i / 2] = parseInt(example.slice(i, i + 2), 16);
    const status = decoder.decode(bytes, 0, 16, 64, decoded);
    if (status !== 'ok') throw new Error(`inline form ${example}: ${status}`);
    const form = formOf(decoded, true);
    const semantic = semantics.get(form.form.mnemonic);
    if (!semantic || numbers.has(form.key)) continue;
    numbers.set(form.key, FixedCount + handlers.length);
    handlers.push(inlineHandler(form, semantic));
  }
  return { handlers, numbers };
}
