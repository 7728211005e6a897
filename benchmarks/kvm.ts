/**
 * The figures of the kvm engine: exits beside a C program, a doorbell's way to its interrupt, and boot beside QEMU's microvm
 * with KVM in the nested test host. Each is a program of its own, whose lines this one collects.
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface KvmFigures {
  readonly lines: readonly string[];
  readonly notes: readonly string[];
  /** False when a bar was missed or a program failed. */
  readonly met: boolean;
}

interface Part {
  readonly title: string;
  readonly command: readonly string[];
  /** Why it cannot be measured here, or undefined. */
  readonly hindrance: () => string | undefined;
}

const script = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));
const nestedHost = fileURLToPath(new URL('../../tools/nested-host.js', import.meta.url));

const parts = (runs: number): readonly Part[] => [
  {
    title: 'exits',
    command: [script('exits'), String(runs)],
    hindrance: () => withoutKvm() ?? without('gcc', 'gcc'),
  },
  { title: 'doorbell', command: [script('doorbell')], hindrance: withoutKvm },
  {
    title: 'boot in the nested test host',
    command: [nestedHost, '--timeout', '1500', '--qemu', '--', 'node', script('kvm-boot'), String(runs)],
    hindrance: () => without('qemu-system-x86_64', 'qemu-system-x86') ?? without('mmdebstrap', 'mmdebstrap'),
  },
];

/** Measures what this host can. `note` is told what is going on. */
export async function measureKvm(runs: number, note: (text: string) => void, signal: AbortSignal): Promise<KvmFigures> {
  const lines: string[] = [];
  const notes: string[] = [];
  let met = true;
  for (const { title, command, hindrance } of parts(runs)) {
    const reason = hindrance();
    if (reason !== undefined) {
      notes.push(`kvm, ${title}: not measured: ${reason}`);
      continue;
    }
    note(`kvm: ${title} …`);
    const { status, output } = await run(command, signal);
    signal.throwIfAborted();
    lines.push(...output.split('\n').filter((line) => line !== ''));
    if (status !== 0) met = false;
    if (status === null || status > 1) notes.push(`kvm, ${title}: ended with status ${status}`);
  }
  return { lines, notes, met };
}

async function run(args: readonly string[], signal: AbortSignal): Promise<{ status: number | null; output: string }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // Tidy ends: the nested host ends its QEMU
  const end = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', end);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  signal.removeEventListener('abort', end);
  return { status, output };
}

function withoutKvm(): string | undefined {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return 'no /dev/kvm that this user may open';
  }
}

function without(program: string, debianPackage: string): string | undefined {
  const { error } = spawnSync(program, ['--version'], { stdio: 'ignore' });
  return error ? `${program} is not installed (Debian: apt-get install ${debianPackage})` : undefined;
}
