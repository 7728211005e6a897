/** The examples of README.md, run as they stand there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';
import { noLinux, root, scratchFolder } from './support.ts';

const folder = scratchFolder();
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const examples = [...readme.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code!);

test('README.md has examples', () => {
  assert.ok(examples.length >= 2);
});

examples.forEach((code, index) => {
  test(`example ${index + 1} of README.md runs`, { skip: noLinux }, () => {
    const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    const { outputText } = ts.transpileModule(code, { compilerOptions });
    // Beside this file, where `lodger` can be imported from.
    const script = join(import.meta.dirname, `readme-example-${index + 1}.mjs`);
    writeFileSync(script, outputText);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'disk.img'), new Uint8Array(1024 * 1024));
    const { status, stderr } = spawnSync(process.execPath, [script], { cwd: folder, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
});
