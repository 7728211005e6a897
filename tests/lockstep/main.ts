/**
 * npm run lockstep: interpreter and translator boot Debian side by side, and are compared after each slice.
 *
 *     --instructions N   nanoseconds of guest time, as many instructions while it is busy (default: to the prompt)
 *     --slice N          the same between two comparisons (default: 2000000)
 *     --threshold N      0 translates every block when it is met, N one that N slices ended at (default: 1)
 *     --seed N           of the guest's random numbers (default: 1)
 *     --cpu MODEL        of the guest's processor (default: x86-64-v2)
 *     --input TEXT       a line for the guest's console; then the run goes on to the end of the machine
 *     --kernel FILE, --initrd FILE, --append TEXT   another guest
 */
import { parseArgs } from 'node:util';
import { enableCompilationHints, compileOptimized } from '#lodger/threads/engines/compile-optimized.js';
import { compileHere } from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import { linuxGuest } from './debian.ts';
import { Lockstep } from './lockstep.ts';

/** Of the shell in the default initramfs. */
const Prompt = /\n~ # /;
/** Nanoseconds of guest time between two lines of progress. */
const ReportInterval = 100e6;

const text = { type: 'string' } as const;
const { values } = parseArgs({
  options: {
    instructions: text, slice: text, threshold: text, seed: text, kernel: text, initrd: text, append: text, input: text, cpu: text,
  },
}); // prettier-ignore

function number(value: string | undefined, other: number): number {
  const parsed = value === undefined ? other : Number(value);
  if (Number.isSafeInteger(parsed) && parsed >= 0) return parsed;
  throw new Error(`'${value}' is no whole number`);
}

enableCompilationHints();
const started = performance.now();
let reported = 0;
const result = new Lockstep({
  guest: await linuxGuest({ ...values, input: values.input && `${values.input}\n` }),
  cpu: values.cpu,
  seed: number(values.seed, 1),
  engines: [
    { compileCore: compileOptimized },
    {
      compileCore: compileOptimized,
      translator: { createCompiler: compileHere, threshold: number(values.threshold, 1), optimized: false },
    },
  ],
  slice: number(values.slice, 2_000_000),
  time: values.instructions === undefined ? Infinity : number(values.instructions, 0),
  until: values.instructions === undefined && values.input === undefined ? Prompt : undefined,
  searching: (same, different) => console.error(`the same at ${same} ns, different at ${different} ns`),
  progress({ clock }) {
    if (clock.now() - reported < ReportInterval) return;
    reported = clock.now();
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.error(`${(clock.instructions / 1e6).toFixed(0)} million instructions the same, ${seconds} s`);
  },
}).run();

if (result.kind === 'same') {
  const share = ((100 * result.translated) / result.instructions).toFixed(0);
  console.log(
    `the same: ${result.instructions} instructions in ${(result.time / 1e6).toFixed(0)} ms of guest time, ` +
      `${share} % of them translated, ${result.comparisons} comparisons`,
  );
  console.log(`state ${result.hash}`);
  console.log(`the guest's last words: ${JSON.stringify(result.output.slice(-80))}`);
} else {
  const [first, last] = result.instructions;
  console.log(`different after ${first === last ? last : `${first} to ${last}`} instructions`);
  console.log(`at ${result.rip.toString(16)}: ${result.instruction}`);
  for (const line of result.lines) console.log(`  ${line}`);
  process.exitCode = 1;
}
