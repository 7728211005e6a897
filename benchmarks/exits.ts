/**
 * What an exit costs on the kvm engine, beside a C program with the same guest code (host/exit-loop.c), and how long a
 * doorbell takes to become an interrupt. Medians of alternating runs; ends with 1 when a bar is missed.
 *
 *     node benchmarks/dist/exits.js [RUNS]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitLoop } from './exit-loop.ts';
import type { ExitLoopResult, LoopKind } from './exit-loop.ts';
import { median } from './medians.ts';

const Exits = 20_000;
const Runs = Number(process.argv[2] ?? 7);
/** Times the C program's. */
const Bar = 1.3;
const kinds: readonly LoopKind[] = ['port', 'mmio'];

const directory = mkdtempSync(join(tmpdir(), 'lodger-bench-'));
try {
  const program = join(directory, 'exit-loop');
  const source = fileURLToPath(new URL('../host/exit-loop.c', import.meta.url));
  const built = spawnSync('gcc', ['-O2', '-o', program, source], { stdio: 'inherit' });
  if (built.status !== 0) throw new Error('this needs gcc (Debian: apt-get install gcc)');
  process.exitCode = kinds.map((kind) => compare(kind, program)).every(Boolean) ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true });
}

function compare(kind: LoopKind, program: string): boolean {
  const c: ExitLoopResult[] = [];
  const lodger: ExitLoopResult[] = [];
  for (let run = 0; run < Runs; run++) {
    const ours = (): unknown => lodger.push(exitLoop(kind, Exits));
    const theirs = (): unknown => c.push(runProgram(program, kind));
    for (const measure of run % 2 === 0 ? [ours, theirs] : [theirs, ours]) measure();
  }
  const [mine, its] = [medians(lodger), medians(c)];
  const ratio = mine.processor / its.processor;
  const microseconds = (nanoseconds: number): string => `${(nanoseconds / 1000).toFixed(2)} us`;
  console.log(
    `${kind.padEnd(5)} write exit: Lodger ${microseconds(mine.processor)}, C ${microseconds(its.processor)} of processor time ` +
      `(wall ${microseconds(mine.wall)}, ${microseconds(its.wall)}): ${ratio.toFixed(2)} times, bar ${Bar}: ` +
      `${ratio <= Bar ? 'pass' : 'MISS'} (medians of ${Runs})`,
  );
  return ratio <= Bar;
}

function runProgram(program: string, kind: LoopKind): ExitLoopResult {
  const { stdout, stderr, status } = spawnSync(program, [kind, String(Exits)], { encoding: 'utf8', timeout: 120_000 });
  if (status !== 0) throw new Error(`exit-loop: ${stderr.trim()}`);
  const [wall, processor] = stdout.trim().split(' ').map(Number);
  return { wall: wall! / Exits, processor: processor! / Exits };
}

/** Of each figure on its own. */
function medians(results: readonly ExitLoopResult[]): ExitLoopResult {
  return {
    wall: median(results.map(({ wall }) => wall))!,
    processor: median(results.map(({ processor }) => processor))!,
  };
}
