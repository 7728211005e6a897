/** One run of one emulator: from the start of its process over the first line of /init to power-off. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { InitLine } from '#lodger/images/index.js';
import type { Emulator, GuestFiles } from './emulators.ts';
import { processStatistics } from './process-statistics.ts';
import type { ProcessStatistics } from './process-statistics.ts';
import { beginLine, DoneLine, FailedLine, Guests, parseResult, ProcessorsLine } from './programs.ts';
import type { ProgramResult } from './programs.ts';

/**
 * Seconds without a line of output after which a guest is given up: so much processor time (it runs in circles), or so much
 * wall time with nearly none (it stands still). On a busy host wall time alone says nothing.
 */
const Patience = { busy: 40, still: 20, stillCpu: 0.5 } as const;
const LookEvery = 1000;

export interface GuestRun {
  /** From process start to the first line of /init; bytes that were resident at most up to there. */
  readonly boot: { readonly wall: number; readonly user: number; readonly system: number; readonly resident: number };
  readonly programs: readonly TimedProgram[];
  /** Bytes. */
  readonly peakResident: number;
  /** What went wrong after the boot, in words. */
  readonly problems: readonly string[];
}

export interface TimedProgram extends ProgramResult {
  /** Seconds between its two lines by this host's clock, and of processor time that the emulator's process used. */
  readonly hostSeconds: number;
  readonly cpu: number;
}

/** The guest never came to /init, or not with all of its processors. */
export class NoBoot extends Error {}

/** Runs a guest once. Throws an Error that says what went wrong; the process has ended then, too. */
export async function runGuest(emulator: Emulator, files: GuestFiles, signal: AbortSignal): Promise<GuestRun> {
  signal.throwIfAborted();
  const start = performance.now();
  const child = spawn(emulator.command, emulator.args(files), { stdio: ['ignore', 'pipe', 'pipe'] });
  const observer = new Observer(start, () => processStatistics(child.pid ?? 0));
  const kill = () => void child.kill('SIGKILL');
  signal.addEventListener('abort', kill);
  const watch = setInterval(() => observer.isStuck() && kill(), LookEvery);
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
    const missing = Guests[files.guest].processors - observer.processors;
    if (missing > 0) throw new NoBoot(`${emulator.title}: the guest did not start ${missing} of its processors`);
    const run = observer.result(`ended early (${how}) ${complaints.trim()}`.trim());
    if (run) return run;
    const why = how === 'SIGKILL' ? 'it stands still or runs in circles' : `${how} ${complaints.trim()}`;
    throw new NoBoot(`${emulator.title}: no /init: ${why}\n${observer.lastLines}`.trim());
  } finally {
    clearInterval(watch);
    signal.removeEventListener('abort', kill);
    kill();
  }
}

interface Moment {
  readonly wall: number;
  readonly cpu: number;
}

/** Turns a guest's lines into a run. */
class Observer {
  readonly #start: number;
  readonly #statistics: () => ProcessStatistics | undefined;
  readonly #programs: TimedProgram[] = [];
  readonly #problems: string[] = [];
  readonly #recent: string[] = [];
  readonly #began = new Map<string, Moment>();
  /** Of the latest line. */
  #last: Moment;
  #boot: GuestRun['boot'] | undefined;
  #peakResident = 0;
  #done = false;
  /** Infinity until the guest says it. */
  processors = Number.POSITIVE_INFINITY;

  constructor(start: number, statistics: () => ProcessStatistics | undefined) {
    this.#start = start;
    this.#statistics = statistics;
    this.#last = { wall: start / 1000, cpu: 0 };
  }

  #moment(): Moment {
    const { user, system } = this.#statistics() ?? { user: Number.NaN, system: Number.NaN };
    return { wall: performance.now() / 1000, cpu: user + system };
  }

  /** Nothing more is to be expected. */
  isStuck(): boolean {
    const now = this.#moment();
    const cpu = now.cpu - this.#last.cpu;
    return cpu > Patience.busy || (now.wall - this.#last.wall > Patience.still && cpu < Patience.stillCpu);
  }

  get lastLines(): string {
    return this.#recent.join('\n');
  }

  see(line: string): void {
    const now = performance.now() / 1000;
    const statistics = this.#statistics();
    this.#peakResident = statistics?.peakResident ?? this.#peakResident;
    const { user, system } = statistics ?? { user: Number.NaN, system: Number.NaN };
    this.#last = { wall: now, cpu: user + system };
    const result = parseResult(line);
    const failed = FailedLine.exec(line);
    const processors = ProcessorsLine.exec(line);
    if (processors) this.processors = Number(processors[1]);
    if (!this.#boot && line.endsWith(InitLine)) {
      this.#boot = { wall: now - this.#start / 1000, user, system, resident: this.#peakResident };
    } else if (result) {
      const began = this.#began.get(beginLine(result.name)) ?? { wall: Number.NaN, cpu: Number.NaN };
      this.#programs.push({ ...result, hostSeconds: now - began.wall, cpu: user + system - began.cpu });
    } else if (failed) {
      this.#problems.push(`${failed[1]} ended with status ${failed[2]}`);
    } else if (line === DoneLine) {
      this.#done = true;
    } else this.#began.set(line, { wall: now, cpu: user + system });
    this.#recent.push(line);
    if (this.#recent.length > 5) this.#recent.shift();
  }

  /** Undefined unless the guest came to /init. `early` is what happened if it did not come to its end. */
  result(early: string): GuestRun | undefined {
    if (!this.#boot || Number.isNaN(this.#boot.user)) return undefined;
    const last = this.#recent.at(-1) ?? '';
    const problems = this.#done ? this.#problems : [...this.#problems, `${early} after "${last}"`];
    return { boot: this.#boot, programs: this.#programs, peakResident: this.#peakResident, problems };
  }
}
