/**
 * Which instruction forms a guest executes most, and whether the interpreter's loop has them inline.
 *
 *     node benchmarks/dist/forms.js [boot|PROGRAM…] [--top N]
 *
 * `boot` (the default) is everything up to the first line of /init; PROGRAM is one of guest/*.c.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { decompress } from '#lodger/images/decompress.js';
import { ensureGuestImage, InitLine, loadInitrdFile, loadKernelFile } from '#lodger/images/index.js';
import { linuxCommandLine } from '#lodger/vm/command-line.js';
import { createBareVm, runMachine } from './bare-engine.ts';
import { buildPrograms, programArchive } from './guest-programs.ts';
import { beginLine, Guests, parseResult } from './programs.ts';
import { table } from './tables.ts';

interface FormCount {
  readonly form: string;
  readonly inline: boolean;
  readonly count: number;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { top: { type: 'string' } } });
const wanted = positionals.length > 0 ? positionals : ['boot'];
const top = Number(values.top ?? 40);

/** An initrd with the wanted programs. */
async function initrd(path: string): Promise<Uint8Array> {
  const directory = mkdtempSync(join(tmpdir(), 'lodger-forms-'));
  try {
    const programs = buildPrograms(
      wanted.filter((name) => name !== 'boot'),
      directory,
    );
    if (typeof programs === 'string') throw new Error(programs);
    return Buffer.concat([await loadInitrdFile(path), programArchive(programs, 100)]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Executions since an earlier count. */
function since(now: readonly FormCount[], before: readonly FormCount[]): FormCount[] {
  const old = new Map(before.map(({ form, count }) => [form, count]));
  return now
    .map(({ form, inline, count }) => ({ form, inline, count: count - (old.get(form) ?? 0) }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count);
}

function print(what: string, counts: readonly FormCount[]): void {
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const outline = counts.filter(({ inline }) => !inline);
  const share = (count: number) => `${((100 * count) / total).toFixed(2)} %`;
  const rows = (list: readonly FormCount[]) =>
    list.slice(0, top).map(({ form, count }) => [form, count.toLocaleString('en'), share(count)]);
  const calls = outline.reduce((sum, { count }) => sum + count, 0);
  const lines = [
    `${what}: ${total.toLocaleString('en')} executions of ${counts.length} forms`,
    '',
    ...table([['most frequent', 'executions', 'share'], ...rows(counts)]),
    '',
    ...table([['most frequent that are not inline', 'executions', 'share'], ...rows(outline)]),
    `all that are not inline: ${share(calls)}`,
    '',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

const image = await ensureGuestImage({ onProgress: (text) => console.error(text) });
const { kernel, kernelName, setup } = await loadKernelFile(image.vmlinux);
const commandLine = linuxCommandLine({ filter: true, append: 'lodger.bench=1' });
const vm = createBareVm(Guests.plain.mebibytes * 2 ** 20, true);
let before: FormCount[] = [];
const boot = {
  kernel,
  ...(kernelName !== undefined && { kernelName }),
  ...(setup && { setup }),
  initrd: await initrd(image.initrd),
  decompress,
  linuxCommandLine: commandLine,
  commandLine,
};
const end = runMachine(vm, boot, (line) => {
  const result = parseResult(line);
  if (line === InitLine && wanted.includes('boot')) print('boot', vm.executionCounts());
  else if (wanted.some((name) => line === beginLine(name))) before = vm.executionCounts();
  else if (result && wanted.includes(result.name)) print(result.name, since(vm.executionCounts(), before));
});
if (end !== 'power-off') process.stderr.write(`the guest ended with ${end}\n`);
