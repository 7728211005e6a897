/** The report: medians of boot, memory and programs, the project's bars, and what to know about both. */
import { bars, mean } from './bars.ts';
import type { HostDescription } from './host.ts';
import { isBusy } from './host.ts';
import { cpuOf, doubts, MachineQuantities, medianOf, timesFaster, wallOf } from './measurements.ts';
import type { Measurements, Quantity } from './measurements.ts';
import { median } from './medians.ts';
import { GuestNames, Guests, Programs } from './programs.ts';
import type { GuestName } from './programs.ts';
import { markdownTable, table } from './tables.ts';
import type { Cells } from './tables.ts';

/** Part of a report, to be written as text or as markdown. */
type Part = { readonly lines: readonly string[] } | { readonly title: string; readonly cells: Cells };

export interface ReportInput {
  readonly measurements: Measurements;
  readonly host: HostDescription;
  readonly notes: readonly string[];
}

export function textReport(input: ReportInput): string {
  const parts = reportParts(input).map((part) =>
    'lines' in part ? part.lines : table([[part.title, ...part.cells[0]!.slice(1)], ...part.cells.slice(1)]),
  );
  return parts.map((lines) => lines.map((line) => `${line}\n`).join('')).join('\n');
}

/** To be put under a heading of RESULTS.md. */
export function markdownReport(input: ReportInput): string {
  const parts = reportParts(input).map((part) =>
    'lines' in part ? part.lines.map((line) => `- ${line}`) : [`### ${part.title}`, '', ...markdownTable(part.cells)],
  );
  return parts.map((lines) => lines.map((line) => `${line}\n`).join('')).join('\n');
}

function reportParts(input: ReportInput): Part[] {
  const { measurements } = input;
  const parts: Part[] = [
    { lines: hostLines(input) },
    { title: 'machine', cells: [Columns, ...machineRows(measurements)] },
    ...GuestNames.map((guest) => ({ title: Guests[guest].title, cells: programCells(measurements, guest) })),
    { title: 'all programs', cells: meanCells(measurements) },
    { title: 'bars', cells: barCells(measurements) },
    { lines: instructionLines(measurements) },
    { lines: noteLines(input) },
  ];
  return parts.filter((part) => ('lines' in part ? part.lines.length > 0 : part.cells.length > 1));
}

function hostLines({ host, measurements }: ReportInput): string[] {
  const runs = GuestNames.map((guest) => measurements.runs[guest].lodger.length);
  const machines = GuestNames.map((name) => `${Guests[name].title}: ${Guests[name].mebibytes} MiB`).join(', ');
  return [
    `Lodger (wasm engine) and QEMU TCG: medians of ${Math.max(...runs)} alternating runs, wall time | CPU time`,
    ...Object.entries({ ...host, load: host.load.toFixed(2) }).map(([key, value]) => `${key}: ${value}`),
    `guests: ${machines}`,
  ];
}

const Columns = ['', 'Lodger', 'TCG microvm', 'TCG q35', 'times faster'] as const;
const ProgramColumns = [...Columns, '| Lodger', 'TCG microvm', 'TCG q35', 'times faster', '| host itself'];

const orDash = (value: number | undefined, text: (value: number) => string): string =>
  value === undefined ? '-' : text(value);
const ratioText = (value: number | undefined): string => orDash(value, (ratio) => ratio.toFixed(2));

function format(value: number, unit: 's' | 'MiB'): string {
  return unit === 's' ? `${value.toFixed(value < 0.1 ? 3 : 2)} s` : `${value.toFixed(0)} MiB`;
}

function cellsOf(measurements: Measurements, quantity: Quantity): string[] {
  const medians = (['lodger', 'microvm', 'q35'] as const).map((name) => medianOf(measurements, name, quantity));
  return [
    ...medians.map((value) => orDash(value, (known) => format(known, quantity.unit))),
    quantity.unit === 's' ? ratioText(timesFaster(measurements, quantity)) : '',
  ];
}

function machineRows(measurements: Measurements): string[][] {
  return MachineQuantities.map((quantity) => [quantity.title, ...cellsOf(measurements, quantity)]);
}

function programCells(measurements: Measurements, guest: GuestName): Cells {
  const measured = new Set(
    Object.values(measurements.runs[guest]).flatMap((runs) =>
      runs.flatMap(({ programs }) => programs.map(({ name }) => name)),
    ),
  );
  const rows = Programs.filter(({ name }) => measured.has(name)).map((program) => {
    const native = measurements.native.find(({ name }) => name === program.name)?.seconds;
    const [wall, cpu] = [cellsOf(measurements, wallOf(program)), cellsOf(measurements, cpuOf(program))];
    return [program.name, ...wall, ...cpu, orDash(native, (seconds) => format(seconds, 's'))];
  });
  return [ProgramColumns, ...rows];
}

function meanCells(measurements: Measurements): Cells {
  const means = [wallOf, cpuOf].map((clock) => ratioText(mean(measurements, clock)));
  return [
    ['', 'wall time', 'CPU time'],
    ['geometric mean, times faster', ...means],
  ];
}

function barCells(measurements: Measurements): Cells {
  const verdict = (met: boolean | undefined) => (met === undefined ? 'not measured' : met ? 'pass' : 'MISS');
  const rows = bars(measurements).map(({ title, limit, measured, met }) => [title, limit, measured, verdict(met)]);
  return [['', 'limit', 'measured', ''], ...rows];
}

function instructionLines({ counts }: Measurements): string[] {
  const last = counts.at(-1);
  if (!last) return [];
  const instructions = median(counts.map(({ boot }) => boot.instructions));
  const startUp = median(counts.map((count) => count.startUp.cpu));
  const engine = last.engine;
  return [
    `boot: ${((instructions ?? 0) / 1e6).toFixed(0)} million guest instructions; before the first one Lodger uses ` +
      `${startUp?.toFixed(2)} s of CPU time (Node, reading files, compiling the interpreter)`,
    ...(engine
      ? [
          `engine: ${engine.forms} instruction forms met, ${engine.droppedBlocks} blocks dropped because their code was ` +
            `written, ${engine.flushes} times all`,
        ]
      : []),
  ];
}

function noteLines({ measurements, host, notes }: ReportInput): string[] {
  const { wrong, odd } = doubts(measurements);
  const busy = isBusy(host)
    ? [`this machine was busy (load ${host.load.toFixed(2)}): measure again when it is calm`]
    : [];
  const lines = [...wrong.map((text) => `WRONG: ${text}`), ...odd, ...notes, ...busy];
  return counted(lines).map((text) => `note: ${text}`);
}

/** Equal lines become one with their number. */
function counted(lines: readonly string[]): string[] {
  const numbers = new Map<string, number>();
  for (const line of lines) numbers.set(line, (numbers.get(line) ?? 0) + 1);
  return [...numbers].map(([line, number]) => (number === 1 ? line : `${line} (${number} times)`));
}
