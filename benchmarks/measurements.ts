/** Everything that the runs gave, and the quantities that the report shows of it. */
import type { EmulatorName } from './emulators.ts';
import type { GuestRun } from './guest-run.ts';
import type { InstructionCounts, Stretch } from './instruction-counts.ts';
import { median } from './medians.ts';
import { Programs } from './programs.ts';
import type { ProgramResult } from './programs.ts';

export interface Measurements {
  readonly runs: Record<EmulatorName, GuestRun[]>;
  readonly counts: InstructionCounts[];
  /** Programs on this host itself. */
  readonly native: ProgramResult[];
}

export function noMeasurements(): Measurements {
  return { runs: { lodger: [], microvm: [], q35: [] }, counts: [], native: [] };
}

export interface Quantity {
  readonly title: string;
  readonly unit: 's' | 'MiB';
  readonly of: (run: GuestRun) => number | undefined;
  readonly native?: (measurements: Measurements) => number | undefined;
}

export const BootCpu: Quantity = {
  title: 'boot to /init: processor time',
  unit: 's',
  of: ({ boot }) => boot.user + boot.system,
};
export const PeakMemory: Quantity = {
  title: 'peak resident memory',
  unit: 'MiB',
  of: ({ peakResident }) => peakResident / 2 ** 20,
};

/** The rows of the report. */
export const Quantities: readonly Quantity[] = [
  { title: 'boot to /init: wall time', unit: 's', of: ({ boot }) => boot.wall },
  BootCpu,
  { title: '  of it user', unit: 's', of: ({ boot }) => boot.user },
  { title: '  of it system', unit: 's', of: ({ boot }) => boot.system },
  ...Programs.map(({ name, title }): Quantity => ({
    title,
    unit: 's',
    of: (run) => run.programs.find((program) => program.name === name)?.seconds,
    native: ({ native }) => native.find((program) => program.name === name)?.seconds,
  })),
  PeakMemory,
];

export function medianOf({ runs }: Measurements, emulator: EmulatorName, { of }: Quantity): number | undefined {
  return median(runs[emulator].map(of).filter((sample) => sample !== undefined));
}

/** The better of QEMU's two boards. */
export function bestQemu(measurements: Measurements, quantity: Quantity): number | undefined {
  const medians = (['microvm', 'q35'] as const).map((board) => medianOf(measurements, board, quantity));
  const known = medians.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** Instructions a second of processor time. */
export function rateOf({ counts }: Measurements, stretch: 'boot' | 'integer'): number | undefined {
  const stretches = counts.map((count) => count[stretch]).filter((one): one is Stretch => one !== undefined);
  return median(stretches.map(({ instructions, cpu }) => instructions / cpu));
}

/** What makes the figures doubtful, in words: wrong results, clocks that disagree. */
export function doubts({ runs, native }: Measurements): { wrong: string[]; odd: string[] } {
  const wrong = new Set<string>();
  const odd = new Set<string>();
  const expected = new Map(native.map(({ name, checksum }) => [name, checksum]));
  for (const [emulator, list] of Object.entries(runs)) {
    for (const { name, checksum, seconds, hostSeconds } of list.flatMap(({ programs }) => programs)) {
      if (!expected.has(name)) expected.set(name, checksum);
      if (checksum !== expected.get(name))
        wrong.add(`${emulator}: ${name} gave ${checksum}, not ${expected.get(name)}`);
      const difference = Math.abs(seconds - hostSeconds);
      if (difference > 0.05 + 0.05 * hostSeconds) {
        odd.add(
          `${emulator}: the guest's clock says ${seconds.toFixed(2)} s for ${name}, ours ${hostSeconds.toFixed(2)} s`,
        );
      }
    }
  }
  return { wrong: [...wrong], odd: [...odd] };
}
