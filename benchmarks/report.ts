/** The report: a table of medians, the bars of the project, and what to know about both. */
import { MemoryMebibytes } from './emulators.ts';
import type { HostDescription } from './host.ts';
import { isBusy } from './host.ts';
import { BootCpu, bestQemu, doubts, medianOf, PeakMemory, Quantities, rateOf } from './measurements.ts';
import type { Measurements } from './measurements.ts';
import { median } from './medians.ts';

/** What each figure is measured against. */
export const Bars = {
  /** Times QEMU TCG's processor time of a boot: must, and aim. */
  BootRatio: 5,
  BootRatioAim: 3,
  /** Guest instructions a second of processor time. */
  IntegerRate: 150e6,
  BootRate: 100e6,
  /** MiB of resident memory beside the guest's own. */
  MemoryOverhead: 150,
} as const;

export function report(measurements: Measurements, host: HostDescription, notes: readonly string[]): string {
  const { wrong, odd } = doubts(measurements);
  const warnings = [...wrong.map((text) => `WRONG RESULT: ${text}`), ...odd, ...notes];
  if (isBusy(host))
    warnings.push(`this machine was busy (load ${host.load.toFixed(2)}): measure again when it is calm`);
  return [
    `Lodger (wasm engine) and QEMU TCG: medians of ${measurements.runs.lodger.length} alternating runs`,
    '',
    ...Object.entries({ ...host, load: host.load.toFixed(2) }).map(([key, value]) => `${`${key}:`.padEnd(11)}${value}`),
    `guest:     ${MemoryMebibytes} MiB, 1 processor`,
    '',
    ...table([['', 'Lodger', 'TCG microvm', 'TCG q35', 'Lodger / TCG', 'host itself'], ...rows(measurements)]),
    '',
    ...instructionLines(measurements),
    ...table([['bar', 'limit', 'measured', ''], ...barRows(measurements)]),
    ...(warnings.length > 0 ? ['', ...counted(warnings).map((text) => `note: ${text}`)] : []),
    '',
  ].join('\n');
}

/** Equal lines become one with their number. */
function counted(lines: readonly string[]): string[] {
  const numbers = new Map<string, number>();
  for (const line of lines) numbers.set(line, (numbers.get(line) ?? 0) + 1);
  return [...numbers].map(([line, number]) => (number === 1 ? line : `${line} (${number} times)`));
}

function rows(measurements: Measurements): string[][] {
  return Quantities.flatMap((quantity) => {
    const ours = medianOf(measurements, 'lodger', quantity);
    if (ours === undefined) return [];
    const text = (value: number | undefined) => (value === undefined ? '-' : format(value, quantity.unit));
    const theirs = bestQemu(measurements, quantity);
    return [
      [
        quantity.title,
        text(ours),
        text(medianOf(measurements, 'microvm', quantity)),
        text(medianOf(measurements, 'q35', quantity)),
        theirs === undefined ? '-' : `${(ours / theirs).toFixed(2)} x`,
        text(quantity.native?.(measurements)),
      ],
    ];
  });
}

function format(value: number, unit: 's' | 'MiB'): string {
  return unit === 's' ? `${value.toFixed(value < 0.1 ? 3 : 2)} s` : `${value.toFixed(0)} MiB`;
}

const millions = (value: number | undefined) => (value === undefined ? '-' : `${(value / 1e6).toFixed(0)} million`);

function instructionLines(measurements: Measurements): string[] {
  const { counts } = measurements;
  const last = counts.at(-1);
  if (!last) return [];
  const startUp = median(counts.map((count) => count.startUp.cpu));
  const engine = last.engine;
  return [
    `boot: ${millions(median(counts.map(({ boot }) => boot.instructions)))} guest instructions; before the first one ` +
      `Lodger uses ${startUp?.toFixed(2)} s of processor time (Node, reading files, compiling the interpreter)`,
    ...(engine
      ? [
          `engine: ${engine.forms} instruction forms met, ${engine.droppedBlocks} blocks dropped because their code was ` +
            `written, ${engine.flushes} times all`,
        ]
      : []),
    '',
  ];
}

function barRows(measurements: Measurements): string[][] {
  const boot = medianOf(measurements, 'lodger', BootCpu);
  const theirs = bestQemu(measurements, BootCpu);
  const ratio = boot === undefined || theirs === undefined ? undefined : boot / theirs;
  const times = (value: number | undefined) => (value === undefined ? '-' : `${value.toFixed(2)} x TCG`);
  const peak = medianOf(measurements, 'lodger', PeakMemory);
  const limit = MemoryMebibytes + Bars.MemoryOverhead;
  const integer = rateOf(measurements, 'integer');
  const bootRate = rateOf(measurements, 'boot');
  return [
    ['boot, processor time', `<= ${Bars.BootRatio} x TCG`, times(ratio), verdict(ratio, (r) => r <= Bars.BootRatio)],
    ['  aim', `<= ${Bars.BootRatioAim} x TCG`, times(ratio), verdict(ratio, (r) => r <= Bars.BootRatioAim)],
    [
      'instructions a second, integer loop',
      `>= ${millions(Bars.IntegerRate)}`,
      millions(integer),
      verdict(integer, (r) => r >= Bars.IntegerRate),
    ],
    [
      'instructions a second, boot',
      `>= ${millions(Bars.BootRate)}`,
      millions(bootRate),
      verdict(bootRate, (r) => r >= Bars.BootRate),
    ],
    [
      'peak resident memory',
      `<= ${limit} MiB`,
      peak === undefined ? '-' : `${peak.toFixed(0)} MiB`,
      verdict(peak, (mebibytes) => mebibytes <= limit),
    ],
  ];
}

function verdict(value: number | undefined, passes: (value: number) => boolean): string {
  return value === undefined ? 'not measured' : passes(value) ? 'pass' : 'MISS';
}

/** Columns as wide as their widest cell; the first to the left, the others to the right. */
export function table(cells: readonly (readonly string[])[]): string[] {
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}
