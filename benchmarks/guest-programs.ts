/** The programs of guest/*.c: built once, run on this host, put into guests' initrds. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCpio } from '#lodger/images/cpio.js';
import type { CpioEntry } from '#lodger/images/cpio.js';
import { DoneLine, parseResult } from './programs.ts';
import type { ProgramResult } from './programs.ts';

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

export const GuestSources = fileURLToPath(new URL('../guest/', import.meta.url));

export interface Executable {
  readonly name: string;
  /** On this host. */
  readonly path: string;
}

/** Builds programs into a folder. Returns a reason instead when this host cannot. */
export function buildPrograms(names: readonly string[], directory: string): Executable[] | string {
  const programs = names.map((name) => ({ name, path: join(directory, name) }));
  for (const { name, path } of programs) {
    const source = join(GuestSources, `${name}.c`);
    const result = spawnSync('gcc', [...CompilerOptions, '-o', path, source], { encoding: 'utf8' });
    if (result.error) return 'this host has no gcc (Debian: apt-get install gcc)';
    if (result.status !== 0) return `gcc does not compile guest/${name}.c: ${result.stderr.trim().split('\n')[0]}`;
  }
  return programs;
}

/** Milliseconds that a program may take on this host itself. */
const Patience = 60_000;

/** Runs a program on this host itself: what its checksum must be, and how far emulation is from the processor. */
export function runNatively(command: string, args: readonly string[]): ProgramResult | undefined {
  const { stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: Patience });
  return (stdout ?? '').split('\n').map(parseResult).find(Boolean);
}

/** A program in the guest: its name in the report and the shell's command that runs it. */
export interface GuestCommand {
  readonly name: string;
  readonly command: string;
}

/** An initrd archive to append to the default guest's: `/lodger/bench` runs the commands in order (lodger.bench=1). */
export function benchArchive(
  commands: readonly GuestCommand[],
  files: readonly CpioEntry[],
  preparation = '',
): Uint8Array {
  const runs = commands.map(({ name, command }) => `${command} || echo "bench: ${name} failed: $?"\n`);
  // The process is looked at once more when the last line is seen.
  const script = `#!/bin/sh\necho "bench: $(nproc) processors"\n${preparation}${runs.join('')}echo '${DoneLine}'\nsleep 0.2\n`;
  return writeCpio([
    { kind: 'directory', path: 'lodger' },
    { kind: 'file', path: 'lodger/bench', bytes: Buffer.from(script), mode: 0o755 },
    ...files,
  ]);
}

/** The archive that runs programs of guest/*.c with `percent` of their usual work. */
export function programArchive(programs: readonly Executable[], percent: number): Uint8Array {
  const commands = programs.map(({ name }) => ({ name, command: `/lodger/programs/${name} ${percent}` }));
  return benchArchive(commands, [
    { kind: 'directory', path: 'lodger/programs' },
    ...programs.map(({ name, path }) => ({
      kind: 'file' as const,
      path: `lodger/programs/${name}`,
      bytes: readFileSync(path),
      mode: 0o755,
    })),
  ]);
}
