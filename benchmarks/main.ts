/**
 * `npm run bench`: Lodger beside QEMU TCG, with the same kernel, initrd, command line and memory. See options.ts for what
 * it takes, programs.ts for what is measured.
 *
 * Each run is a process of its own, measured from outside (guest-run.ts): wall time and processor time to the first line
 * of /init, then the programs, timed by the guest's clock and by the process's processor time, and the most memory that
 * was resident. Guest instructions are counted in further processes (instruction-counts.ts).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureGuestImage } from '#lodger/images/index.js';
import type { GuestImage } from '#lodger/images/index.js';
import { debianPrograms } from './debian-programs.ts';
import { qemuVersion } from './emulators.ts';
import type { GuestFiles } from './emulators.ts';
import { buildPrograms, programArchive, runNatively } from './guest-programs.ts';
import { describeHost } from './host.ts';
import { measureKvm } from './kvm.ts';
import { doubts, noMeasurements } from './measurements.ts';
import type { Measurements } from './measurements.ts';
import { parseOptions, Usage, UsageError } from './options.ts';
import type { Options } from './options.ts';
import type { GuestName } from './programs.ts';
import { markdownReport, textReport } from './report.ts';
import { runRounds } from './rounds.ts';

const note = (text: string) => void process.stderr.write(`bench: ${text}\n`);

let progress = '';
/** What is being fetched or built, each step once. */
function onProgress(text: string): void {
  if (text !== progress) note(text);
  progress = text;
}

/** A folder for this run's files, and what is told of and may end it. */
interface Run {
  readonly options: Options;
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly image: GuestImage;
  readonly measurements: Measurements;
  readonly notes: string[];
}

async function bench(options: Options, directory: string, signal: AbortSignal): Promise<number> {
  const image = await ensureGuestImage({ onProgress, signal });
  const host = describeHost(image.release);
  const run: Run = { options, directory, signal, image, measurements: noMeasurements(), notes: [] };
  const { measurements, notes } = run;
  const qemu = options.qemu && qemuVersion() !== undefined;
  if (options.qemu && !qemu) {
    notes.push('QEMU is not installed, so only our own figures are here (Debian: apt-get install qemu-system-x86)');
  }
  const guests = [ownPrograms(run, 'plain'), ownPrograms(run, 'pair'), await debianGuest(run)];
  const counting = options.boot ? countingGuest(run) : undefined;
  const { runs, budget } = options;
  const wanted = guests.filter((files) => files !== undefined);
  await runRounds({ guests: wanted, counting, qemu, runs, budget, signal, note }, measurements, notes);
  const input = { measurements, host, notes };
  process.stdout.write(textReport(input));
  if (options.markdown !== undefined) writeFileSync(options.markdown, markdownReport(input));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(input, undefined, 1)}\n`);
  return doubts(measurements).wrong.length > 0 ? 1 : 0;
}

/** A guest with our programs for it; undefined when nothing of it is wanted. */
function ownPrograms(run: Run, guest: 'plain' | 'pair'): GuestFiles | undefined {
  const { options, directory, measurements, notes } = run;
  const names = options.programs.filter((program) => program.guest === guest).map(({ name }) => name);
  if (names.length === 0 && !(options.boot && guest === 'plain')) return undefined;
  const built = buildPrograms(names, directory);
  if (typeof built === 'string') notes.push(`our programs were not measured in ${guest}: ${built}`);
  const programs = typeof built === 'string' ? [] : built;
  for (const { path } of programs) {
    const native = runNatively(path, [String(options.percent)]);
    if (native) measurements.native.push(native);
  }
  return guestFiles(run, guest, guest, programArchive(programs, options.percent));
}

async function debianGuest(run: Run): Promise<GuestFiles | undefined> {
  const { options, directory, signal, measurements, notes } = run;
  const names = options.programs.filter(({ guest }) => guest === 'debian').map(({ name }) => name);
  if (names.length === 0) return undefined;
  try {
    const source = { percent: options.percent, directory, signal, onProgress };
    const { archive, native } = await debianPrograms(names, source);
    measurements.native.push(...native());
    return guestFiles(run, 'debian', 'debian', archive);
  } catch (error) {
    signal.throwIfAborted();
    notes.push(`Debian's programs were not measured: ${(error as Error).message}`);
    return undefined;
  }
}

function countingGuest(run: Run): GuestFiles | undefined {
  const built = buildPrograms(['integer'], run.directory);
  return typeof built === 'string'
    ? undefined
    : guestFiles(run, 'plain', 'counting', programArchive(built, run.options.percent));
}

function guestFiles({ image, directory }: Run, guest: GuestName, name: string, archive: Uint8Array): GuestFiles {
  const initrd = join(directory, `${name}.cpio`);
  writeFileSync(initrd, Buffer.concat([readFileSync(image.initrd), archive]));
  return { guest, kernel: image.kernel, vmlinux: image.vmlinux, initrd };
}

async function benchKvm({ runs }: Options, signal: AbortSignal): Promise<number> {
  const { lines, notes, met } = await measureKvm(runs, note, signal);
  process.stdout.write(['', 'kvm engine', ...lines, ...notes.map((text) => `note: ${text}`), ''].join('\n'));
  return met ? 0 : 1;
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
