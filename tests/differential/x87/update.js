/**
 * Records what the x87 unit of this machine does: compiles oracle.c, runs it on the seeded cases and writes
 * expected.bin.br (results xor-ed with their cases, compressed). Needs gcc on x86-64; after `npm run build`:
 *
 *     node tests/differential/x87/update.js
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

const semantics = new URL('../../../packages/vmm/dist/x86/instructions/semantics/', import.meta.url);
const { CaseLayout, RecordedCases, ResultLayout, concatenateCases, makeCases } = await import(
  new URL('x87.test.cases.js', semantics)
);

const cases = makeCases(RecordedCases.Seed, RecordedCases.PerRow);
const folder = mkdtempSync(join(tmpdir(), 'x87-'));
try {
  const program = join(folder, 'oracle');
  execFileSync('gcc', ['-O1', '-o', program, new URL('oracle.c', import.meta.url).pathname]);
  const results = execFileSync(program, { input: concatenateCases(cases), maxBuffer: 1 << 30 });
  cases.forEach((one, i) => {
    for (let j = 0; j < ResultLayout.Rflags; j++) results[i * ResultLayout.Size + j] ^= one.bytes[CaseLayout.State + j];
  });
  const compressed = brotliCompressSync(results, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  writeFileSync(new URL('expected.bin.br', import.meta.url), compressed);
  console.log(`${cases.length} cases, ${compressed.length} bytes`);
} finally {
  rmSync(folder, { recursive: true });
}
