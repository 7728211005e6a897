/**
 * Counts guest instructions: a process of its own that boots one guest through the library and prints an
 * {@link InstructionCounts} as JSON. `node instruction-counts.js KERNEL INITRD MEBIBYTES`
 */
import { fileURLToPath } from 'node:url';
import { VirtualMachine } from 'lodger';
import type { EngineStatistics } from 'lodger';
import { InitLine } from '#lodger/images/index.js';
import { beginLine, DoneLine } from './programs.ts';

export interface Stretch {
  readonly instructions: number;
  /** Seconds of this process, user and system. */
  readonly cpu: number;
  readonly wall: number;
}

export interface InstructionCounts {
  /** From process start to the first guest instruction. */
  readonly startUp: Omit<Stretch, 'instructions'>;
  /** From there to the first line of /init. */
  readonly boot: Stretch;
  /** The integer loop, if the guest has it. */
  readonly integer: Stretch | undefined;
  /** At the end. */
  readonly engine: WasmStatistics | undefined;
}

/** This process up to now. */
interface Mark {
  readonly instructions: number;
  readonly cpu: number;
  readonly wall: number;
}

type WasmStatistics = Extract<EngineStatistics, { engine: 'wasm' }>;

async function statisticsOf(vm: VirtualMachine): Promise<WasmStatistics | undefined> {
  const statistics = await vm.statistics();
  return statistics?.engine === 'wasm' ? statistics : undefined;
}

async function mark(vm: VirtualMachine): Promise<Mark> {
  const instructions = (await statisticsOf(vm))?.instructions ?? 0;
  const { user, system } = process.cpuUsage();
  return { instructions, cpu: (user + system) / 1e6, wall: performance.now() / 1000 };
}

function between(from: Mark, to: Mark): Stretch {
  return { instructions: to.instructions - from.instructions, cpu: to.cpu - from.cpu, wall: to.wall - from.wall };
}

async function count(kernel: string, initrd: string, mebibytes: number): Promise<InstructionCounts> {
  await using vm = await VirtualMachine.create({
    engine: 'wasm',
    kernel,
    initrd,
    memory: `${mebibytes}M`,
    append: 'lodger.bench=1',
    filter: true,
    timeout: 80,
  });
  await vm.start();
  const started = await mark(vm);
  await vm.console.waitFor(new RegExp(`${InitLine}\\n`));
  const booted = await mark(vm);
  let integer: Stretch | undefined;
  const [next] = await vm.console.waitFor(new RegExp(`${beginLine('integer')}|${DoneLine}`));
  if (next !== DoneLine) {
    const begun = await mark(vm);
    await vm.console.waitFor(/bench: integer \d+ [0-9a-f]+\n/);
    integer = between(begun, await mark(vm));
  }
  const end = await vm.exited;
  if (end.exitCode !== 0) throw new Error(end.message);
  const { cpu, wall } = started;
  return { startUp: { cpu, wall }, boot: between(started, booted), integer, engine: await statisticsOf(vm) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [kernel, initrd, mebibytes] = process.argv.slice(2);
  process.stdout.write(`${JSON.stringify(await count(kernel!, initrd!, Number(mebibytes)))}\n`);
}
