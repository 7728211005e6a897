/** The command line of the benchmarks. */
import { parseArgs } from 'node:util';
import { GuestNames, Programs, programsNamed } from './programs.ts';
import type { Program } from './programs.ts';

const NamesPerLine = 10;
const names = Programs.map(({ name }) => name);
const nameLines = names
  .map((name, i) => (i % NamesPerLine === 0 ? `\n      ${name}` : ` ${name}`))
  .join('')
  .slice(1);

export const Usage = `usage: npm run bench -- [options]

Measures Lodger's wasm engine beside QEMU TCG (if qemu-system-x86_64 is installed), and the kvm engine beside a C program
and QEMU with KVM: medians of alternating runs.

options:
  --engine E       only this engine: wasm or kvm
  --quick          2 runs each instead of 5, without the kvm engine
  --runs N         so many runs each
  --only NAME,…    only these measurements: boot, ${GuestNames.join(', ')} (all programs of that guest) or programs:
${nameLines}
  --work PERCENT   so much of each program's usual work (100)
  --lodger-only    without QEMU
  --json FILE      also writes every sample there
  --markdown FILE  also writes the report there as markdown
  --help

After npm run bench -- --help has built them, for work on the engine:
  node benchmarks/dist/loops.js   small loops on the bare engine, in millions of instructions a second
  node benchmarks/dist/forms.js   the instruction forms that a guest executes most
`;

export interface Options {
  readonly engines: readonly ('wasm' | 'kvm')[];
  readonly runs: number;
  /** Milliseconds after which no further round begins. */
  readonly budget: number;
  readonly programs: readonly Program[];
  /** False when only programs are wanted: no counting of instructions, no guest without programs. */
  readonly boot: boolean;
  readonly percent: number;
  readonly qemu: boolean;
  readonly json: string | undefined;
  readonly markdown: string | undefined;
}

const Minute = 60_000;
const Most = { runs: 99, work: 10_000 } as const;

/** A wrong command line; the message says what is wrong. */
export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const only = values.only?.flatMap((list) => list.split(','));
  const known = ['boot', ...GuestNames, ...names];
  for (const name of only ?? []) {
    if (!known.includes(name)) throw new UsageError(`--only: there is no measurement "${name}"`);
  }
  const quick = values.quick ?? false;
  return {
    engines: engines(values.engine, quick || only !== undefined),
    runs: number(values.runs, '--runs', Most.runs) ?? (quick ? 2 : 5),
    budget: (quick ? 5 : 15) * Minute,
    programs: only ? programsNamed(only) : Programs,
    boot: only?.includes('boot') ?? true,
    percent: number(values.work, '--work', Most.work) ?? 100,
    qemu: !values['lodger-only'],
    json: values.json,
    markdown: values.markdown,
  };
}

function number(text: string | undefined, option: string, most: number): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(text) || Number(text) > most) {
    throw new UsageError(`${option} takes a whole number up to ${most}, not "${text}"`);
  }
  return Number(text);
}

/** Both, but the wasm engine's measurements are those that `--only` chooses from. */
function engines(engine: string | undefined, wasmOnly: boolean): Options['engines'] {
  if (engine === undefined) return wasmOnly ? ['wasm'] : ['wasm', 'kvm'];
  if (engine === 'wasm' || engine === 'kvm') return [engine];
  throw new UsageError(`--engine: there is no engine "${engine}"`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        engine: { type: 'string' },
        quick: { type: 'boolean' },
        runs: { type: 'string' },
        only: { type: 'string', multiple: true },
        work: { type: 'string' },
        'lodger-only': { type: 'boolean' },
        json: { type: 'string' },
        markdown: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
