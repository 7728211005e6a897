/** The command line of the benchmarks. */
import { parseArgs } from 'node:util';
import { Programs } from './programs.ts';

export const Usage = `usage: npm run bench -- [options]

Measures Lodger's wasm engine beside QEMU TCG (if qemu-system-x86_64 is installed), and the kvm engine beside a C program
and QEMU with KVM: medians of alternating runs.

options:
  --engine E     only this engine: wasm or kvm
  --quick        3 runs each instead of 5
  --only NAME    only this measurement, may be repeated: ${['boot', ...Programs.map(({ name }) => name)].join(', ')}
  --json FILE    also writes every sample there
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
  readonly programs: readonly string[];
  readonly json: string | undefined;
}

/** A wrong command line; the message says what is wrong. */
export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const known: string[] = Programs.map(({ name }) => name);
  for (const name of values.only ?? []) {
    if (name !== 'boot' && !known.includes(name)) throw new UsageError(`--only: there is no measurement "${name}"`);
  }
  return {
    engines: engines(values.engine, values.only !== undefined),
    runs: values.quick ? 3 : 5,
    budget: (values.quick ? 150 : 510) * 1000,
    programs: values.only ? known.filter((name) => values.only!.includes(name)) : known,
    json: values.json,
  };
}

/** Both, but the wasm engine's measurements are those that `--only` chooses from. */
function engines(engine: string | undefined, chosen: boolean): Options['engines'] {
  if (engine === undefined) return chosen ? ['wasm'] : ['wasm', 'kvm'];
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
        only: { type: 'string', multiple: true },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
