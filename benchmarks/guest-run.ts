/** One run of one emulator: from the start of its process over the first line of /init to power-off. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { InitLine } from '#lodger/images/index.js';
import type { Emulator, GuestFiles } from './emulators.ts';
import { processStatistics } from './process-statistics.ts';
import type { ProcessStatistics } from './process-statistics.ts';
import { beginLine, DoneLine, parseResult } from './programs.ts';
import type { ProgramResult } from './programs.ts';

/** Milliseconds that a boot may take, and a run. */
const BootPatience = 20_000;
const Patience = 90_000;

export interface GuestRun {
  /** From process start to the first line of /init. */
  readonly boot: { readonly wall: number; readonly user: number; readonly system: number };
  readonly programs: readonly TimedProgram[];
  /** Bytes. */
  readonly peakResident: number;
}

export interface TimedProgram extends ProgramResult {
  /** Seconds between its two lines by this host's clock. */
  readonly hostSeconds: number;
}

/** The guest never came to /init, and printed no reason. */
export class NoBoot extends Error {}

/** Runs a guest once. Throws an Error that says what went wrong; the process has ended then, too. */
export async function runGuest(emulator: Emulator, files: GuestFiles, signal: AbortSignal): Promise<GuestRun> {
  signal.throwIfAborted();
  const start = performance.now();
  const child = spawn(emulator.command, emulator.args(files), { stdio: ['ignore', 'pipe', 'pipe'] });
  const observer = new Observer(start, () => processStatistics(child.pid ?? 0));
  const kill = () => void child.kill('SIGKILL');
  signal.addEventListener('abort', kill);
  const patience = setTimeout(kill, Patience);
  const bootPatience = setTimeout(() => !observer.booted && kill(), BootPatience);
  try {
    const ended = new Promise<string>((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('close', (code, ending) => resolve(ending ?? `status ${code}`));
    });
    let complaints = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
    createInterface({ input: child.stdout }).on('line', (line) => observer.see(line));
    const how = await ended;
    signal.throwIfAborted();
    if (!observer.booted && how === 'SIGKILL') {
      throw new NoBoot(`${emulator.title}: no /init within ${BootPatience / 1000} s`);
    }
    return observer.result() ?? fail(emulator, `ended early (${how}) ${complaints.trim()}\n${observer.lastLines}`);
  } finally {
    clearTimeout(patience);
    clearTimeout(bootPatience);
    signal.removeEventListener('abort', kill);
    kill();
  }
}

function fail(emulator: Emulator, what: string): never {
  throw new Error(`${emulator.title}: ${what}`);
}

/** Turns a guest's lines into a run. */
class Observer {
  readonly #start: number;
  readonly #statistics: () => ProcessStatistics | undefined;
  readonly #programs: TimedProgram[] = [];
  readonly #recent: string[] = [];
  readonly #began = new Map<string, number>();
  #boot: GuestRun['boot'] | undefined;
  #peakResident = 0;
  #done = false;

  constructor(start: number, statistics: () => ProcessStatistics | undefined) {
    this.#start = start;
    this.#statistics = statistics;
  }

  get booted(): boolean {
    return this.#boot !== undefined;
  }

  get lastLines(): string {
    return this.#recent.join('\n');
  }

  see(line: string): void {
    const now = performance.now();
    const statistics = this.#statistics();
    this.#peakResident = statistics?.peakResident ?? this.#peakResident;
    const result = parseResult(line);
    if (!this.#boot && line.endsWith(InitLine)) {
      const { user, system } = statistics ?? { user: Number.NaN, system: Number.NaN };
      this.#boot = { wall: (now - this.#start) / 1000, user, system };
    } else if (result) {
      const began = this.#began.get(beginLine(result.name)) ?? Number.NaN;
      this.#programs.push({ ...result, hostSeconds: (now - began) / 1000 });
    } else if (line === DoneLine) {
      this.#done = true;
    } else this.#began.set(line, now);
    this.#recent.push(line);
    if (this.#recent.length > 5) this.#recent.shift();
  }

  /** Undefined unless the guest came to its end. */
  result(): GuestRun | undefined {
    if (!this.#boot || !this.#done || Number.isNaN(this.#boot.user)) return undefined;
    return { boot: this.#boot, programs: this.#programs, peakResident: this.#peakResident };
  }
}
