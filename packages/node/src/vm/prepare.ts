/** From options to a machine that can start: everything checked, kernel and initrd found, disks opened and locked. */
import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { resolve } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { createMailbox } from '@lodger/vmm/machine/exit-mailbox.js';
import { formatCpuChoice, isWasmCpuModel, parseCpuChoice, WasmCpuModel } from '@lodger/vmm/x86/cpu-models.js';
import type { CpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { PageSize } from '@lodger/vmm/memory/address.js';
import { openDiskImage } from '../disks/disk-image.ts';
import type { DiskImage } from '../disks/disk-image.ts';
import { checkInitrdFile, ensureGuestImage, findKernelFile } from '../images/index.ts';
import { checkAddressSpace } from '../host/address-space.ts';
import { chooseEngine } from '../host/choose-engine.ts';
import type { EngineDecision } from '../host/choose-engine.ts';
import { loadEngine } from '../threads/engine-choice.ts';
import type { EngineLimits, EngineThreads } from '../threads/engine-choice.ts';
import type { BootFiles, DiskLink, MachineWorkerData, Processors } from '../threads/messages.ts';
import { linuxCommandLine } from './command-line.ts';
import type { DiskOptions, RestoreOptions, VirtualMachineOptions } from './options.ts';
import { openSavedMachine } from './saved-machine.ts';
import type { MachineDescription } from './saved-machine.ts';
import { formatSize, parseSize } from './size.ts';

const DefaultMemory = '256M';
/** Below this, no kernel has room for its boot structures. */
const SmallestMemory = 2 * 1024 * 1024;

/** What the machine's worker starts with, but for what each boot brings. */
export type FixedWorkerData = Omit<
  MachineWorkerData,
  | 'boot'
  | 'restore'
  | 'mailboxes'
  | 'control'
  | 'consoleOutput'
  | 'consoleInput'
  | 'disks'
  | 'othersEnded'
  | 'translator'
>;

export interface PreparedMachine {
  readonly engine: EngineThreads;
  readonly fixed: FixedWorkerData;
  /** Reads kernel and initrd, anew for each boot: they are large and handed over. */
  readonly loadBootFiles: () => Promise<BootFiles>;
  /** The file of the machine that is to go on, the first time that it is asked for: a reset boots. Who takes it closes it. */
  takeSaved(): number | undefined;
  /** Of the vCPUs that have threads of their own, for one boot. */
  readonly createMailboxes: () => SharedArrayBuffer[];
  readonly disks: readonly DiskImage[];
  readonly serials: readonly string[];
  readonly timeout: number | undefined;
  readonly window: VirtualMachineOptions['window'];
}

/** A machine as its options or its saved file say it. */
interface MachinePlan {
  readonly memory: string | number;
  readonly cpus: number;
  readonly cpu: string | undefined;
  readonly tscKhz: number | undefined;
  readonly disks: readonly DiskOptions[];
  /** What guests know the disks by. */
  readonly serials: readonly string[];
  /** Where the kernel is, found when it is needed. */
  readonly paths: () => Promise<BootPaths>;
  readonly linuxCommandLine: string;
  readonly commandLine: string;
  /** The file to continue instead of a boot. */
  readonly saved: number | undefined;
}

/** @throws HostError */
export async function prepare(options: VirtualMachineOptions): Promise<PreparedMachine> {
  const decision = await chooseEngine(options.engine);
  const { disks = [] } = options;
  return prepareMachine(options, decision, {
    memory: options.memory ?? DefaultMemory,
    cpus: options.cpus ?? 1,
    cpu: options.cpu,
    tscKhz: options.tscKhz,
    disks,
    serials: disks.map(({ path }) => serialOf(path)),
    paths: () => bootPaths(options),
    linuxCommandLine: linuxCommandLine(options),
    commandLine: options.append ?? '',
    saved: undefined,
  });
}

/**
 * A machine that goes on where it was saved.
 *
 * @throws HostError
 */
export async function prepareRestored(path: string, options: RestoreOptions): Promise<PreparedMachine> {
  const decision = await chooseEngine(options.engine);
  const { descriptor, description, cpu } = openSavedMachine(path);
  try {
    checkProcessor(cpu, decision);
    const { boot, memorySize, cpus } = description;
    const disks = options.disks ?? description.disks;
    checkDisks(disks, description);
    return await prepareMachine(options, decision, {
      memory: memorySize,
      cpus,
      cpu: formatCpuChoice(cpu),
      // The state has it: a host that is close enough is taken
      tscKhz: undefined,
      disks,
      serials: description.disks.map(({ serial }) => serial),
      paths: () => Promise.resolve({ kernel: boot.kernel, initrd: boot.initrd }),
      linuxCommandLine: boot.linuxCommandLine,
      commandLine: boot.commandLine,
      saved: descriptor,
    });
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function checkProcessor({ model }: CpuChoice, { engine, reason }: EngineDecision): void {
  if (engine === 'kvm' || isWasmCpuModel(model)) return;
  throw new HostError(
    'InvalidArgument',
    `the saved machine's processor is of the model ${model}, and it gets the wasm engine (${reason}): continue it with ` +
      `--engine kvm on a host like its own; machines that are to move everywhere are started with --cpu ${WasmCpuModel}`,
  );
}

function checkDisks(disks: readonly DiskOptions[], { disks: saved }: MachineDescription): void {
  if (disks.length === saved.length) return;
  throw new HostError(
    'InvalidArgument',
    `the saved machine had ${saved.length} disks, not ${disks.length}: give all of them, in the same order`,
  );
}

async function prepareMachine(
  options: RestoreOptions,
  decision: EngineDecision,
  plan: MachinePlan,
): Promise<PreparedMachine> {
  checkKvmOptions(options, decision);
  const processors = checkedProcessors({ ...options, cpu: plan.cpu, tscKhz: plan.tscKhz }, decision);
  const engine = await loadEngine(decision.engine);
  const limits = engine.limits();
  const memorySize = checkedMemory(plan.memory, limits, decision);
  const cpus = checkedCpus(plan.cpus, limits, decision);
  checkAddressSpace({ engine: decision.engine, memorySize, guestThreads: engine.vcpuThreads ? cpus : 1 });
  checkTimeout(options.timeout);
  const disks = openDisks(plan.disks);
  try {
    const paths = await plan.paths();
    let { saved } = plan;
    // A saved machine needs its kernel when its guest resets
    let first = saved === undefined ? await readBootFiles(paths) : undefined;
    const { linuxCommandLine, commandLine } = plan;
    return {
      engine,
      fixed: {
        engine: decision.engine,
        memorySize,
        memoryBacking: { prefault: options.prefault, hugePages: options.hugePages },
        irqchip: options.irqchip,
        processors,
        cpus,
        linuxCommandLine,
        commandLine,
        interactive: options.interactive ?? false,
        description: {
          version: 1,
          memorySize,
          cpus,
          disks: disks.map(({ path, readOnly }, i) => ({ path: resolve(path), readOnly, serial: plan.serials[i]! })),
          boot: { ...absolute(paths), linuxCommandLine, commandLine },
        },
      },
      loadBootFiles: async () => {
        const files = first ?? (await readBootFiles(paths));
        first = undefined;
        return files;
      },
      takeSaved() {
        const descriptor = saved;
        saved = undefined;
        return descriptor;
      },
      createMailboxes: () => Array.from({ length: engine.vcpuThreads ? cpus - 1 : 0 }, createMailbox),
      disks,
      serials: plan.serials,
      timeout: options.timeout,
      window: options.window,
    };
  } catch (error) {
    for (const disk of disks) disk.close();
    throw error;
  }
}

/** A restored machine may be in another working folder. */
function absolute({ kernel, initrd }: BootPaths): BootPaths {
  return { kernel: resolve(kernel), initrd: initrd === undefined ? undefined : resolve(initrd) };
}

/** The disks of one boot. */
export function diskLinks({ disks, serials }: PreparedMachine): DiskLink[] {
  return disks.map(({ descriptor, size, readOnly }, i) => ({ descriptor, size, readOnly, serial: serials[i]! }));
}

/** 20 characters that stay the same for the same path: guests name disks by them (/dev/disk/by-id). */
function serialOf(path: string): string {
  return createHash('sha256').update(resolve(path)).digest('hex').slice(0, 20);
}

/** Options that only the kvm engine has, and how the command spells them. */
const KvmOptions = {
  prefault: '--prefault',
  hugePages: '--huge-pages',
  irqchip: '--irqchip',
  haltPolling: '--halt-polling',
  disableExits: '--disable-exits',
  realtimeHint: 'realtimeHint',
  nested: 'nested',
} as const;

function checkKvmOptions(options: RestoreOptions, { engine, reason }: EngineDecision): void {
  if (engine === 'kvm') return;
  const names = Object.keys(KvmOptions) as (keyof typeof KvmOptions)[];
  const given = names.find((name) => options[name] !== undefined && options[name] !== false);
  if (given === undefined) return;
  throw new HostError(
    'InvalidArgument',
    `${KvmOptions[given]} is for the kvm engine, and this machine gets wasm (${reason}): leave it out, or pass --engine kvm`,
  );
}

function checkedMemory(memory: string | number, limits: EngineLimits, { engine, forMore }: EngineDecision): number {
  const size = parseSize(memory, 'memory');
  const { memory: most } = limits;
  if (size > most) {
    throw new HostError(
      'MemoryTooLarge',
      `${formatSize(size)} of guest memory are more than the ${engine} engine can give: pass at most ${formatSize(most)}, or ${forMore}`,
    );
  }
  if (size < SmallestMemory) {
    throw new HostError(
      'MemoryTooSmall',
      `${formatSize(size)} of guest memory are too little for any kernel: pass for example --memory ${DefaultMemory}`,
    );
  }
  if (size % PageSize !== 0) {
    throw new HostError('InvalidArgument', `guest memory must be a multiple of ${PageSize} bytes, not ${size}`);
  }
  return size;
}

function checkedCpus(cpus: number, limits: EngineLimits, { engine, forMore }: EngineDecision): number {
  const { cpus: most } = limits;
  if (Number.isInteger(cpus) && cpus >= 1 && cpus <= most) return cpus;
  const message = `the ${engine} engine has 1 to ${most} processors for a guest, not ${cpus}`;
  throw new HostError('InvalidArgument', `${message}: pass another number${cpus > most ? `, or ${forMore}` : ''}`);
}

function checkedProcessors(options: VirtualMachineOptions, { engine, reason }: EngineDecision): Processors {
  const { tscKhz, haltPolling, disableExits, realtimeHint, nested } = options;
  const cpu = options.cpu === undefined ? undefined : parseCpuChoice(options.cpu);
  if (engine === 'wasm' && cpu !== undefined && !isWasmCpuModel(cpu.model)) {
    throw new HostError(
      'InvalidArgument',
      `--cpu ${cpu.model} is for the kvm engine, and this machine gets wasm (${reason}): pass --cpu ${WasmCpuModel} or x86-64-v3, or --engine kvm`,
    );
  }
  return { cpu, tscKhz, tuning: { haltPolling, disableExits, realtimeHint, nested } };
}

/** The longest delay of a Node timer, in seconds. */
const LongestTimeout = Math.floor((2 ** 31 - 1) / 1000);

function checkTimeout(timeout: number | undefined): void {
  if (timeout === undefined || (timeout > 0 && timeout <= LongestTimeout)) return;
  throw new HostError('InvalidArgument', `the time limit must be between 0 and ${LongestTimeout} s, not ${timeout}`);
}

function openDisks(disks: readonly DiskOptions[]): DiskImage[] {
  const open: DiskImage[] = [];
  try {
    for (const disk of disks) open.push(openDiskImage(disk));
    return open;
  } catch (error) {
    for (const disk of open) disk.close();
    throw error;
  }
}

interface BootPaths {
  readonly kernel: string;
  readonly initrd: string | undefined;
}

/** A kernel without an initrd is started without one; an initrd without a kernel goes with the default kernel. */
async function bootPaths({ kernel, initrd, onProgress, signal }: VirtualMachineOptions): Promise<BootPaths> {
  if (kernel !== undefined) return { kernel, initrd };
  const image = await ensureGuestImage({ onProgress, signal });
  return { kernel: image.kernel, initrd: initrd ?? image.initrd };
}

async function readBootFiles(paths: BootPaths): Promise<BootFiles> {
  const { kernel, kernelName, setup } = await findKernelFile(paths.kernel);
  if (paths.initrd !== undefined) await checkInitrdFile(paths.initrd);
  return { kernel, kernelName, setup, initrd: paths.initrd };
}
