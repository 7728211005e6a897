/** What the boot suites share: guests of both kinds, and what the host has for them. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VirtualMachine } from 'lodger';
import type { VirtualMachineOptions } from 'lodger';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const lodgerCommand = join(root, 'packages/node/bin/lodger.js');

/** Milliseconds that a boot to the shell may take on a busy host. */
export const BootPatience = 240_000;

/** A reason to skip tests that need a Linux guest, or false. */
export const noLinux = await linuxReason();

async function linuxReason(): Promise<string | false> {
  try {
    await (await VirtualMachine.create())[Symbol.asyncDispose]();
    return false;
  } catch (error) {
    return `no default guest here: ${(error as Error).message}`;
  }
}

/** A reason to skip tests that need a host program, or false. */
export function noProgram(...names: string[]): string | false {
  const missing = names.find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  return missing === undefined ? false : `the host has no ${missing}`;
}

/** A folder that is gone after the file's tests. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lodger-boot-'));
  after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/**
 * Boots that may be lost: QEMU's emulation of SVM, in the nested host, can deliver an interrupt twice, to its own guests as
 * well as to ours (tools/nested-host/machine.js); one is enough since that host has one processor, and none is expected.
 */
const Attempts = process.env['LODGER_NESTED_HOST'] ? 2 : 1;
/** Milliseconds after which a boot counts as lost there; it takes 15 to 40 s. */
const AttemptPatience = 90_000;

/** A default guest at its prompt. */
export async function bootedGuest(options: VirtualMachineOptions = {}): Promise<VirtualMachine> {
  for (let attempt = 1; ; attempt++) {
    const vm = await VirtualMachine.create({ timeout: BootPatience / 1000, ...options });
    await vm.start();
    const last = attempt === Attempts;
    try {
      await vm.console.waitFor(/# /, { timeout: last ? BootPatience : AttemptPatience });
      return vm;
    } catch (error) {
      if (last) throw error;
      console.error(`boot ${attempt} of a guest was lost: ${(error as Error).message}`);
      await vm[Symbol.asyncDispose]();
    }
  }
}

/** Types a command and returns what it printed. */
export async function shell(vm: VirtualMachine, command: string): Promise<string> {
  // The marker is spelled differently where the shell echoes it. A line that fills the terminal ends with two \r.
  vm.console.write(`${command}; echo "[""done $?]"\n`);
  const [, output = ''] = await vm.console.waitFor(/\[""done \$\?\]"\r*\n([^]*?)\[done \d+\]\r?\n[^]*?# /, {
    timeout: BootPatience,
  });
  return output.replaceAll('\r\n', '\n');
}

export interface LodgerProcess {
  readonly child: ChildProcessWithoutNullStreams;
  /** What it has printed so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
}

/** Starts the command with pipes. */
export function startLodger(...args: string[]): LodgerProcess {
  const child = spawn(process.execPath, [lodgerCommand, 'run', ...args]);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
  after(() => child.kill('SIGKILL'));
  return { child, stdout: () => stdout, stderr: () => stderr, ended };
}

/** Waits until the process has printed something that matches. */
export async function printed(lodger: LodgerProcess, pattern: RegExp): Promise<void> {
  while (!pattern.test(lodger.stdout())) {
    if (lodger.child.exitCode !== null) throw new Error(`ended (${lodger.stderr()}) before it printed ${pattern}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The shell's line that starts the command. */
export function lodgerLine(...args: string[]): string {
  return [process.execPath, lodgerCommand, 'run', ...args].map((word) => `'${word}'`).join(' ');
}

/** For the end of a line on a pseudo terminal: says whether its settings are what they were before. */
export const compareTerminal = '[ "$before" = "$(stty -g)" ] && echo restored';

/** A shell's line on a pseudo terminal of its own, by util-linux's script(1). */
export function onTerminal(line: string) {
  const command = `stty cols 93 rows 31 icanon echo; before=$(stty -g); ${line}`;
  const child = spawn('script', ['--quiet', '--echo', 'never', '--command', command, '/dev/null']);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  after(() => child.kill('SIGKILL'));
  const printed = async (pattern: RegExp) => {
    while (!pattern.test(output)) {
      if (child.exitCode !== null) throw new Error(`ended before it printed ${pattern}: ${output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { child, output: () => output, ended, printed };
}
