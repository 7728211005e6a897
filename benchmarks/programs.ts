/** The programs that are measured inside guests (guest/*.c): built once, put into every guest's initrd. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCpio } from '#lodger/images/cpio.js';

export const Programs = [
  { name: 'integer', title: 'integer loop' },
  { name: 'copy', title: 'memory copy' },
  { name: 'copy-string', title: 'memory copy, REP MOVSB' },
  { name: 'sha256', title: 'SHA-256' },
  { name: 'floating', title: 'floating-point loop' },
  { name: 'syscall', title: 'system call loop' },
  { name: 'fork', title: 'fork loop' },
] as const;

/** Last line of a guest that has run its programs. */
export const DoneLine = 'bench: done';

/** No C library, and nothing that a plain x86-64 lacks. Floating point is as written. */
const CompilerOptions = [
  '-std=gnu17',
  '-O2',
  '-march=x86-64',
  '-static',
  '-nostdlib',
  '-ffreestanding',
  '-fno-pie',
  '-no-pie',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  '-fno-math-errno',
  '-ffp-contract=off',
  // No calls of memcpy and memset in place of loops.
  '-fno-tree-loop-distribute-patterns',
  '-Wl,--build-id=none',
  '-Wl,-z,noexecstack',
] as const;

export interface Program {
  readonly name: string;
  /** The executable on this host. */
  readonly path: string;
}

/** Builds programs into a folder. Returns a reason instead when this host cannot. */
export function buildPrograms(names: readonly string[], directory: string): Program[] | string {
  const sources = fileURLToPath(new URL('../guest/', import.meta.url));
  const programs = names.map((name) => ({ name, path: join(directory, name) }));
  for (const { name, path } of programs) {
    const result = spawnSync('gcc', [...CompilerOptions, '-o', path, join(sources, `${name}.c`)], { encoding: 'utf8' });
    if (result.error) return 'this host has no gcc (Debian: apt-get install gcc)';
    if (result.status !== 0) return `gcc does not compile guest/${name}.c: ${result.stderr.trim().split('\n')[0]}`;
  }
  return programs;
}

/** What a program says of itself. */
export interface ProgramResult {
  readonly name: string;
  readonly seconds: number;
  readonly checksum: string;
}

/** Parses `bench: NAME NANOSECONDS CHECKSUM`. */
export function parseResult(line: string): ProgramResult | undefined {
  const match = /^bench: ([\w-]+) (\d+) ([0-9a-f]+)$/.exec(line);
  return match ? { name: match[1]!, seconds: Number(match[2]) / 1e9, checksum: match[3]! } : undefined;
}

/** The line that a program prints before its work. */
export function beginLine(name: string): string {
  return `bench: ${name} begins`;
}

/** Runs a program on this host itself: what its checksum must be, and how far emulation is from the processor. */
export function runNatively({ path }: Program): ProgramResult | undefined {
  const { stdout } = spawnSync(path, { encoding: 'utf8', timeout: 20_000 });
  return (stdout ?? '').split('\n').map(parseResult).find(Boolean);
}

/** An initrd archive to append to the default guest's: `/lodger/bench` runs the programs in order (lodger.bench=1). */
export function benchArchive(programs: readonly Program[]): Uint8Array {
  const runs = programs.map(({ name }) => `/lodger/programs/${name} || echo "bench: ${name} failed: $?"\n`);
  // The process is looked at once more when the last line is seen.
  const script = `#!/bin/sh\n${runs.join('')}echo '${DoneLine}'\nsleep 0.2\n`;
  return writeCpio([
    { kind: 'directory', path: 'lodger' },
    { kind: 'directory', path: 'lodger/programs' },
    { kind: 'file', path: 'lodger/bench', bytes: Buffer.from(script), mode: 0o755 },
    ...programs.map(({ name, path }) => ({
      kind: 'file' as const,
      path: `lodger/programs/${name}`,
      bytes: readFileSync(path),
      mode: 0o755,
    })),
  ]);
}
