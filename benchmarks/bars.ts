/** The project's bars, and how they were met. */
import {
  BootCpu,
  BootMemory,
  BootWall,
  cpuOf,
  medianOf,
  PeakMemory,
  rateOf,
  timesFaster,
  wallOf,
} from './measurements.ts';
import type { Measurements, Quantity } from './measurements.ts';
import { geometricMean } from './medians.ts';
import { Guests, Programs } from './programs.ts';
import type { Program } from './programs.ts';

export const Bars = {
  /** Times faster than QEMU TCG: the geometric mean over the suite, and each program. */
  Mean: 3,
  Slowest: 0.8,
  /** Times QEMU TCG's processor time and wall time of a boot. */
  Boot: 1,
  /** Two processors beside one, on a parallel program. */
  Scaling: 1.7,
  /** MiB of resident memory beside the guest's own: after the boot, and after all programs. */
  BootMemory: 200,
  PeakMemory: 150,
  /** Guest instructions a second of processor time. */
  IntegerRate: 150e6,
  BootRate: 100e6,
} as const;

export interface Bar {
  readonly title: string;
  readonly limit: string;
  readonly measured: string;
  /** Undefined when it was not measured. */
  readonly met: boolean | undefined;
}

export function bars(measurements: Measurements): Bar[] {
  const memory = (extra: number): number => Guests.plain.mebibytes + extra;
  const atMost = (title: string, value: number | undefined, limit: number, unit: string): Bar =>
    bar(title, '<=', value, limit, (number) => `${round(number)} ${unit}`);
  const atLeast = (title: string, value: number | undefined, limit: number, unit: string): Bar =>
    bar(title, '>=', value, limit, (number) => `${round(number)} ${unit}`);
  return [
    atLeast('suite, wall time', mean(measurements, wallOf), Bars.Mean, 'times faster'),
    atLeast('suite, CPU time', mean(measurements, cpuOf), Bars.Mean, 'times faster'),
    ...[wallOf, cpuOf].map((clock) => {
      const slowest = slowestOf(measurements, clock);
      const title = `slowest, ${clock === wallOf ? 'wall' : 'CPU'} time${slowest ? `: ${slowest.title}` : ''}`;
      return atLeast(title, slowest?.ratio, Bars.Slowest, 'times faster');
    }),
    atMost('boot, CPU time', slower(measurements, BootCpu), Bars.Boot, 'x TCG'),
    atMost('boot, wall time', slower(measurements, BootWall), Bars.Boot, 'x TCG'),
    atLeast('two processors, parallel program', scaling(measurements), Bars.Scaling, 'x one'),
    atMost('resident memory, booted', medianOf(measurements, 'lodger', BootMemory), memory(Bars.BootMemory), 'MiB'),
    atMost('resident memory, peak', medianOf(measurements, 'lodger', PeakMemory), memory(Bars.PeakMemory), 'MiB'),
    rate('instructions a second, integer', rateOf(measurements, 'integer'), Bars.IntegerRate),
    rate('instructions a second, boot', rateOf(measurements, 'boot'), Bars.BootRate),
  ];
}

function bar(
  title: string,
  relation: '<=' | '>=',
  value: number | undefined,
  limit: number,
  text: (value: number) => string,
): Bar {
  const met = value === undefined ? undefined : relation === '<=' ? value <= limit : value >= limit;
  return { title, limit: `${relation} ${text(limit)}`, measured: value === undefined ? '-' : text(value), met };
}

const rate = (title: string, value: number | undefined, limit: number): Bar =>
  bar(title, '>=', value, limit, (number) => `${(number / 1e6).toFixed(0)} million`);

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : String(Number(value.toFixed(2))));

/** Geometric mean of how many times faster the programs are. */
export function mean(measurements: Measurements, clock: (program: Program) => Quantity): number | undefined {
  const ratios = Programs.map((program) => timesFaster(measurements, clock(program)));
  return geometricMean(ratios.filter((ratio) => ratio !== undefined));
}

function slowestOf(measurements: Measurements, clock: (program: Program) => Quantity) {
  const known = Programs.flatMap((program) => {
    const ratio = timesFaster(measurements, clock(program));
    return ratio === undefined ? [] : [{ title: program.name, ratio }];
  });
  return known.sort((a, b) => a.ratio - b.ratio)[0];
}

function slower(measurements: Measurements, quantity: Quantity): number | undefined {
  const faster = timesFaster(measurements, quantity);
  return faster === undefined ? undefined : 1 / faster;
}

/** How many times faster the parallel program is on two processors. */
function scaling(measurements: Measurements): number | undefined {
  const [one, two] = ['parallel-one', 'parallel-two'].map((name) => {
    const program = Programs.find((candidate) => candidate.name === name);
    return program && medianOf(measurements, 'lodger', wallOf(program));
  });
  return one === undefined || two === undefined ? undefined : one / two;
}
