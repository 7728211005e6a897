/**
 * Boot on the kvm engine beside QEMU's microvm with KVM: same kernel, initrd, command line and memory, from the start of
 * the process to the first line of /init. Medians of alternating runs; ends with 1 when the bar is missed.
 *
 * The bar is microvm as it comes: without an RTC, of which Linux's rtc_cmos makes sure for seconds ("broken or not
 * accessible"; 3.6 s in the nested host). So there is also microvm with an RTC, as lodger's machine has one.
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
const Patience = 60_000;
/** The nested host's emulation of SVM loses a guest now and then, of QEMU's and of ours: it is started anew. */
const Attempts = 3;

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
const microvm = 'microvm,x-option-roms=off,auto-kernel-cmdline=off';
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
  qemu('qemu microvm, RTC', kernel, `${microvm},rtc=on`),
];

function qemu(name: string, image: string, machine = microvm): Candidate {
  const guest = ['-m', Memory, '-smp', '1', '-kernel', image, '-initrd', initrd, '-append', append];
  return {
    name,
    command: 'qemu-system-x86_64',
    args: ['-M', machine, '-accel', 'kvm', '-cpu', 'host', ...console_, ...guest],
    boots: [],
  };
}

for (let round = 0; round < Runs; round++) {
  for (const candidate of round % 2 === 0 ? candidates : candidates.slice().reverse()) {
    const boot = await bootSoon(candidate);
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
const ratios = others.map((other) => (lodger / other).toFixed(2));
const met = lodger <= others[0]!;
console.log(
  `boot to /init: ${ratios[0]} times microvm with the same bzImage (bar 1: ${met ? 'pass' : 'MISS'}), ` +
    `${ratios[1]} times microvm with an unpacked kernel, ${ratios[2]} times microvm with an RTC (medians of ${Runs})`,
);
process.exitCode = met ? 0 : 1;

async function bootSoon(candidate: Candidate): Promise<Boot> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await bootOnce(candidate);
    } catch (error) {
      if (attempt === Attempts) throw error;
      process.stderr.write(`again: ${(error as Error).message}\n`);
    }
  }
}

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
