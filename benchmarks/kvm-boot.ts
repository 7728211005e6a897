/**
 * Boot on the kvm engine beside QEMU's microvm with KVM: same kernel, initrd, command line and memory, from the start of
 * the process to the first line of /init. Medians of alternating runs; ends with 1 when the bar is missed.
 *
 *     node benchmarks/dist/kvm-boot.js [RUNS]
 *     node tools/nested-host.js --qemu -- node benchmarks/dist/kvm-boot.js
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ensureGuestImage, InitLine } from '#lodger/images/index.js';
import { linuxCommandLine } from '#lodger/vm/command-line.js';
import { median } from './medians.ts';
import { processStatistics } from './process-statistics.ts';

const Runs = Number(process.argv[2] ?? 5);
const Memory = '256M';
/** Milliseconds that a boot may take. */
const Patience = 180_000;

interface Boot {
  /** Seconds from the start of the process. */
  readonly wall: number;
  readonly processor: number;
}

interface Candidate {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly boots: Boot[];
}

const { kernel, vmlinux, initrd } = await ensureGuestImage();
const append = linuxCommandLine({ filter: true });
const microvm = ['-M', 'microvm,x-option-roms=off,auto-kernel-cmdline=off', '-accel', 'kvm', '-cpu', 'host'];
const console_ = ['-nodefaults', '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'];

const candidates: readonly Candidate[] = [
  {
    name: 'lodger --engine kvm',
    command: process.execPath,
    args: [
      fileURLToPath(new URL('../../packages/node/bin/lodger.js', import.meta.url)),
      ...['run', '--engine', 'kvm', '--kernel', kernel, '--initrd', initrd, '--memory', Memory],
    ],
    boots: [],
  },
  qemu('qemu microvm, bzImage', kernel),
  qemu('qemu microvm, vmlinux', vmlinux),
];

function qemu(name: string, image: string): Candidate {
  const guest = ['-m', Memory, '-smp', '1', '-kernel', image, '-initrd', initrd, '-append', append];
  return { name, command: 'qemu-system-x86_64', args: [...microvm, ...console_, ...guest], boots: [] };
}

for (let round = 0; round < Runs; round++) {
  for (const candidate of round % 2 === 0 ? candidates : candidates.slice().reverse()) {
    const boot = await bootOnce(candidate);
    candidate.boots.push(boot);
    process.stderr.write(`${candidate.name}: ${boot.wall.toFixed(2)} s, processor ${boot.processor.toFixed(2)} s\n`);
  }
}
const walls = candidates.map(({ boots }) => median(boots.map(({ wall }) => wall))!);
candidates.forEach(({ name, boots }, index) => {
  const processor = median(boots.map((boot) => boot.processor))!;
  console.log(`${name.padEnd(24)} ${walls[index]!.toFixed(2)} s wall, ${processor.toFixed(2)} s processor`);
});
const [lodger, ...others] = walls as [number, ...number[]];
const met = lodger <= others[0]!;
console.log(
  `boot to /init: ${(lodger / others[0]!).toFixed(2)} times microvm with the same bzImage (bar 1: ${met ? 'pass' : 'MISS'}), ` +
    `${(lodger / others[1]!).toFixed(2)} times microvm with an unpacked kernel (medians of ${Runs})`,
);
process.exitCode = met ? 0 : 1;

async function bootOnce({ name, command, args }: Candidate): Promise<Boot> {
  const start = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const patience = setTimeout(() => child.kill('SIGKILL'), Patience);
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
  const last: string[] = [];
  const boot = await new Promise<Boot | undefined>((resolve) => {
    child.on('error', () => resolve(undefined));
    child.on('close', () => resolve(undefined));
    createInterface({ input: child.stdout }).on('line', (line) => {
      last.push(line);
      if (!line.endsWith(InitLine)) return;
      const wall = (performance.now() - start) / 1000;
      const { user, system } = processStatistics(child.pid!) ?? { user: Number.NaN, system: Number.NaN };
      resolve({ wall, processor: user + system });
    });
  });
  clearTimeout(patience);
  child.kill('SIGKILL');
  if (!boot) throw new Error(`${name} did not boot: ${complaints.trim()}\n${last.slice(-5).join('\n')}`);
  return boot;
}
