/** The rounds of a comparison: every emulator runs every guest once in each; rounds alternate their order. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { lodger, qemuEmulators } from './emulators.ts';
import type { Emulator, GuestFiles } from './emulators.ts';
import { NoBoot, runGuest } from './guest-run.ts';
import type { InstructionCounts } from './instruction-counts.ts';
import type { Measurements } from './measurements.ts';
import { Guests } from './programs.ts';

export interface Plan {
  readonly guests: readonly GuestFiles[];
  /** With the integer loop only; undefined when instructions are not to be counted. */
  readonly counting: GuestFiles | undefined;
  readonly qemu: boolean;
  readonly runs: number;
  /** Milliseconds after which no further round begins. */
  readonly budget: number;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

interface State extends Plan {
  readonly measurements: Measurements;
  readonly notes: string[];
  /** Emulators that do not boot here, and what is measured instead. */
  readonly replaced: Map<Emulator, Emulator>;
}

/** Ends early, with a note in `notes`, when the time is used up: the medians then have fewer samples. */
export async function runRounds(plan: Plan, measurements: Measurements, notes: string[]): Promise<void> {
  const emulators = [lodger, ...(plan.qemu ? qemuEmulators : [])];
  const state: State = { ...plan, measurements, notes, replaced: new Map() };
  const steps = plan.guests.flatMap((files) => emulators.map((emulator) => () => sample(emulator, files, state)));
  const { counting } = plan;
  if (counting) steps.push(async () => void measurements.counts.push(await countInstructions(counting, plan.signal)));
  const start = performance.now();
  let longest = 0;
  for (let round = 0; round < plan.runs; round++) {
    const began = performance.now();
    if (round > 0 && began - start + longest > plan.budget) {
      notes.push(`stopped after ${round} of ${plan.runs} rounds: time is up`);
      return;
    }
    plan.note(`round ${round + 1} of ${plan.runs}`);
    for (const step of round % 2 === 0 ? steps : steps.toReversed()) await step();
    longest = Math.max(longest, performance.now() - began);
  }
}

/** Attempts at a run whose guest does not boot. */
const Attempts = 2;

/** Runs a guest until one boots. A guest of ours that does not boot is a fault; a board of QEMU's may have another. */
async function sample(wanted: Emulator, files: GuestFiles, state: State): Promise<void> {
  const { signal, note, measurements, notes, replaced } = state;
  const emulator = replaced.get(wanted) ?? wanted;
  const { title, processors } = Guests[files.guest];
  if (processors > (emulator.mostProcessors ?? processors)) return;
  const attempts = emulator.instead ? 1 : Attempts;
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const start = performance.now();
    try {
      const run = await runGuest(emulator, files, signal);
      note(`  ${emulator.title}, ${title}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
      for (const problem of run.problems) note(`  ${emulator.title}: ${problem}`);
      measurements.runs[files.guest][emulator.name].push(run);
      return;
    } catch (error) {
      if (!(error instanceof NoBoot)) throw error;
      note(error.message);
      (emulator === lodger ? measurements.problems : notes).push(error.message.split('\n')[0]!);
    }
  }
  if (!emulator.instead) return;
  notes.push(`${emulator.title}: went on without ACPI, which needs less of this host's clock`);
  replaced.set(wanted, emulator.instead);
  await sample(wanted, files, state);
}

async function countInstructions(files: GuestFiles, signal: AbortSignal): Promise<InstructionCounts> {
  signal.throwIfAborted();
  const script = fileURLToPath(new URL('./instruction-counts.js', import.meta.url));
  const args = [script, files.kernel, files.initrd, String(Guests[files.guest].mebibytes)];
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
