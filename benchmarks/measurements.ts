/** Everything that the runs gave, and the quantities that the report shows of it. */
import type { EmulatorName } from './emulators.ts';
import type { GuestRun, TimedProgram } from './guest-run.ts';
import type { InstructionCounts, Stretch } from './instruction-counts.ts';
import { median } from './medians.ts';
import { GuestNames } from './programs.ts';
import type { GuestName, Program, ProgramResult } from './programs.ts';

export interface Measurements {
  readonly runs: Record<GuestName, Record<EmulatorName, GuestRun[]>>;
  readonly counts: InstructionCounts[];
  /** Programs on this host itself. */
  readonly native: ProgramResult[];
  /** Runs that did not come about, and what went wrong in others. */
  readonly problems: string[];
}

export function noMeasurements(): Measurements {
  const none = (): Record<EmulatorName, GuestRun[]> => ({ lodger: [], microvm: [], q35: [] });
  return { runs: { plain: none(), pair: none(), debian: none() }, counts: [], native: [], problems: [] };
}

export interface Quantity {
  readonly title: string;
  readonly unit: 's' | 'MiB';
  readonly guest: GuestName;
  readonly of: (run: GuestRun) => number | undefined;
}

const MiB = 2 ** 20;
export const BootWall: Quantity = { title: 'boot, wall', unit: 's', guest: 'plain', of: ({ boot }) => boot.wall };
export const BootCpu: Quantity = {
  title: 'boot, CPU',
  unit: 's',
  guest: 'plain',
  of: ({ boot }) => boot.user + boot.system,
};
export const BootMemory: Quantity = {
  title: 'resident memory, booted',
  unit: 'MiB',
  guest: 'plain',
  of: ({ boot }) => boot.resident / MiB,
};
export const PeakMemory: Quantity = {
  title: 'resident memory, peak',
  unit: 'MiB',
  guest: 'plain',
  of: ({ peakResident }) => peakResident / MiB,
};

/** What is known of a boot beside its programs. */
export const MachineQuantities: readonly Quantity[] = [
  BootWall,
  BootCpu,
  { title: '  of it user', unit: 's', guest: 'plain', of: ({ boot }) => boot.user },
  { title: '  of it system', unit: 's', guest: 'plain', of: ({ boot }) => boot.system },
  { title: 'boot with two processors, CPU', unit: 's', guest: 'pair', of: ({ boot }) => boot.user + boot.system },
  BootMemory,
  PeakMemory,
];

type Clock = 'seconds' | 'cpu';

function programQuantity({ name, title, guest }: Program, clock: Clock): Quantity {
  const timed = (run: GuestRun): TimedProgram | undefined => run.programs.find((program) => program.name === name);
  return { title, unit: 's', guest, of: (run) => timed(run)?.[clock] };
}

/** By the guest's own clock. */
export const wallOf = (program: Program): Quantity => programQuantity(program, 'seconds');
/** Processor time of the emulator's process between the program's two lines. */
export const cpuOf = (program: Program): Quantity => programQuantity(program, 'cpu');

export function medianOf({ runs }: Measurements, emulator: EmulatorName, quantity: Quantity): number | undefined {
  const samples = runs[quantity.guest][emulator].map(quantity.of);
  return median(samples.filter((sample) => sample !== undefined && !Number.isNaN(sample)) as number[]);
}

/** The better of QEMU's two boards. */
export function bestQemu(measurements: Measurements, quantity: Quantity): number | undefined {
  const medians = (['microvm', 'q35'] as const).map((board) => medianOf(measurements, board, quantity));
  const known = medians.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** How many times faster than the better of QEMU's boards Lodger is. */
export function timesFaster(measurements: Measurements, quantity: Quantity): number | undefined {
  const ours = medianOf(measurements, 'lodger', quantity);
  const theirs = bestQemu(measurements, quantity);
  return ours === undefined || theirs === undefined || ours === 0 || theirs === 0 ? undefined : theirs / ours;
}

/** Instructions a second of processor time. */
export function rateOf({ counts }: Measurements, stretch: 'boot' | 'integer'): number | undefined {
  const stretches = counts.map((count) => count[stretch]).filter((one): one is Stretch => one !== undefined);
  return median(stretches.map(({ instructions, cpu }) => instructions / cpu));
}

/** What makes the figures doubtful, in words: wrong results and failures, clocks that disagree. */
export function doubts({ runs, native, problems }: Measurements): { wrong: string[]; odd: string[] } {
  const wrong: string[] = [...problems];
  const odd: string[] = [];
  const expected = new Map(native.map(({ name, checksum }) => [name, checksum]));
  for (const guest of GuestNames) {
    // QEMU's results first: where the host has none, they are what is right.
    for (const [emulator, list] of Object.entries(runs[guest]).toReversed()) {
      wrong.push(...list.flatMap((run) => run.problems.map((problem) => `${emulator}: ${problem}`)));
      for (const { name, checksum, seconds, hostSeconds } of list.flatMap(({ programs }) => programs)) {
        if (!expected.has(name)) expected.set(name, checksum);
        const right = expected.get(name);
        if (checksum !== right) wrong.push(`${emulator}: ${name} gave ${checksum}, not ${right}`);
        if (Math.abs(seconds - hostSeconds) > 0.1 + 0.1 * hostSeconds) {
          odd.push(`${emulator}: the guest's clock and this host's disagree on the time of ${name} by a tenth`);
        }
      }
    }
  }
  return { wrong, odd };
}
