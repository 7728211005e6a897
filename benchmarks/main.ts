/**
 * `npm run bench`: Lodger beside QEMU TCG, with the same kernel, initrd, command line and memory. One round runs every
 * emulator once; rounds alternate their order. See options.ts for what it takes.
 *
 * Each run is a process of its own, measured from outside (guest-run.ts): wall time and processor time to the first line
 * of /init, then the programs of guest/*.c, timed by the guest's clock, and the most memory that was resident. Guest
 * instructions are counted in further processes (instruction-counts.ts).
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureGuestImage } from '#lodger/images/index.js';
import { lodger, MemoryMebibytes, qemuEmulators, qemuVersion } from './emulators.ts';
import type { Emulator, GuestFiles } from './emulators.ts';
import { NoBoot, runGuest } from './guest-run.ts';
import { describeHost } from './host.ts';
import type { InstructionCounts } from './instruction-counts.ts';
import { measureKvm } from './kvm.ts';
import { doubts, noMeasurements } from './measurements.ts';
import type { Measurements } from './measurements.ts';
import { parseOptions, Usage, UsageError } from './options.ts';
import type { Options } from './options.ts';
import { benchArchive, buildPrograms, runNatively } from './programs.ts';
import type { Program } from './programs.ts';
import { report } from './report.ts';

const note = (text: string) => void process.stderr.write(`bench: ${text}\n`);

interface Plan {
  readonly options: Options;
  readonly files: GuestFiles;
  /** For counting: an initrd with the integer loop only. */
  readonly countingInitrd: string;
  readonly signal: AbortSignal;
}

async function bench(options: Options, directory: string, signal: AbortSignal): Promise<number> {
  const notes: string[] = [];
  const image = await ensureGuestImage({ onProgress: note, signal });
  const host = describeHost(image.release);
  const built = buildPrograms(options.programs, directory);
  if (typeof built === 'string') notes.push(`no programs inside the guest were measured: ${built}`);
  const programs = typeof built === 'string' ? [] : built;
  const hasQemu = qemuVersion() !== undefined;
  if (!hasQemu) {
    notes.push('QEMU is not installed, so only our own figures are here (Debian: apt-get install qemu-system-x86)');
  }
  const initrd = (name: string, contents: readonly Program[]) => {
    const path = join(directory, name);
    writeFileSync(path, Buffer.concat([readFileSync(image.initrd), benchArchive(contents)]));
    return path;
  };
  const integer = programs.filter(({ name }) => name === 'integer');
  const plan: Plan = {
    options,
    files: { kernel: image.kernel, vmlinux: image.vmlinux, initrd: initrd('initrd', programs) },
    countingInitrd: initrd('counting-initrd', integer),
    signal,
  };
  const measurements = noMeasurements();
  measurements.native.push(...programs.map(runNatively).filter((result) => result !== undefined));
  await runRounds(plan, hasQemu, measurements, notes);
  process.stdout.write(report(measurements, host, notes));
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ host, notes, ...measurements }, undefined, 1)}\n`);
  }
  return doubts(measurements).wrong.length > 0 ? 1 : 0;
}

async function benchKvm({ runs }: Options, signal: AbortSignal): Promise<number> {
  const { lines, notes, met } = await measureKvm(runs, note, signal);
  process.stdout.write(['', 'kvm engine', ...lines, ...notes.map((text) => `note: ${text}`), ''].join('\n'));
  return met ? 0 : 1;
}

/** Attempts at a run whose guest does not boot. */
const Attempts = 2;

/**
 * Runs a guest until one boots, and does without this sample of QEMU's if none does. On microvm, which has no timer but
 * the PIT, Linux now and then finds no clock on a busy host ("tsc: No reference available") and stands still.
 */
async function sample(emulator: Emulator, { files, signal }: Plan, measurements: Measurements, notes: string[]) {
  for (let attempt = 1; attempt <= Attempts; attempt++) {
    try {
      measurements.runs[emulator.name].push(await runGuest(emulator, files, signal));
      return;
    } catch (error) {
      if (!(error instanceof NoBoot) || emulator === lodger) throw error;
      note(error.message);
      notes.push(error.message);
    }
  }
}

/** Ends early, with a note, when the time is used up: the medians then have fewer samples. */
async function runRounds(plan: Plan, hasQemu: boolean, measurements: Measurements, notes: string[]): Promise<void> {
  const { options } = plan;
  const emulators = [lodger, ...(hasQemu ? qemuEmulators : [])];
  const steps = [
    ...emulators.map((emulator) => () => sample(emulator, plan, measurements, notes)),
    async () => void measurements.counts.push(await countInstructions(plan)),
  ];
  const start = performance.now();
  let longest = 0;
  for (let round = 0; round < options.runs; round++) {
    const began = performance.now();
    if (began - start + longest > options.budget) {
      notes.push(`stopped after ${round} of ${options.runs} rounds: time is up`);
      return;
    }
    note(`round ${round + 1} of ${options.runs} …`);
    for (const step of round % 2 === 0 ? steps : steps.toReversed()) await step();
    longest = Math.max(longest, performance.now() - began);
  }
}

async function countInstructions({ files, countingInitrd, signal }: Plan): Promise<InstructionCounts> {
  signal.throwIfAborted();
  const script = fileURLToPath(new URL('./instruction-counts.js', import.meta.url));
  const args = [script, files.kernel, countingInitrd, String(MemoryMebibytes)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const kill = () => void child.kill('SIGKILL');
  signal.addEventListener('abort', kill);
  try {
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
    signal.throwIfAborted();
    if (status !== 0) throw new Error(`counting instructions ended with status ${status}`);
    return JSON.parse(output) as InstructionCounts;
  } finally {
    signal.removeEventListener('abort', kill);
  }
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(Usage);
    return 0;
  }
  const directory = mkdtempSync(join(tmpdir(), 'lodger-bench-'));
  const ending = new AbortController();
  let signalled = 0;
  for (const [signal, number] of [['SIGINT', 2] as const, ['SIGTERM', 15] as const, ['SIGHUP', 1] as const]) {
    process.on(signal, () => {
      signalled = 128 + number;
      ending.abort();
    });
  }
  try {
    let status = 0;
    if (options.engines.includes('wasm')) status = await bench(options, directory, ending.signal);
    if (options.engines.includes('kvm')) status = (await benchKvm(options, ending.signal)) || status;
    return status;
  } catch (error) {
    if (signalled !== 0) return signalled;
    throw error;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  note((error as Error).message + (error instanceof UsageError ? '; see npm run bench -- --help' : ''));
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
