/** What two machines that ran in lockstep differ in. */
import type { DeterministicMachine } from './deterministic-machine.ts';

const PageSize = 4096;
/** Lines of a report: the first differences tell most. */
const MaxLines = 40;

/** Compares everything that a guest could see. Empty when there is no difference; `first` and `second` in that order. */
export function differences(first: DeterministicMachine, second: DeterministicMachine): string[] {
  const lines: string[] = [];
  if (first.clock.now() !== second.clock.now()) lines.push(`time: ${first.clock.now()} ${second.clock.now()}`);
  if (first.clock.instructions !== second.clock.instructions) {
    lines.push(`instructions: ${first.clock.instructions} ${second.clock.instructions}`);
  }
  const [a, b] = [first.registers(), second.registers()];
  for (const part of ['vcpu', 'vm', 'board'] as const) {
    if (a[part] !== b[part]) compareValues(part, JSON.parse(a[part]), JSON.parse(b[part]), lines);
  }
  if (!first.ram.equals(second.ram)) compareMemory(first.ram, second.ram, lines);
  if (first.output !== second.output) lines.push(`console: ${tail(first.output)} ${tail(second.output)}`);
  const ends = [first.end, second.end].map((end) => JSON.stringify(end));
  if (ends[0] !== ends[1]) lines.push(`end: ${ends[0]} ${ends[1]}`);
  return lines.slice(0, MaxLines);
}

const tail = (text: string): string => JSON.stringify(text.slice(-80));

function compareValues(path: string, a: unknown, b: unknown, lines: string[]): void {
  if (typeof a === 'object' && typeof b === 'object' && a !== null && b !== null) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const [x, y] = [a, b].map((object) => (object as Record<string, unknown>)[name]);
      compareValues(`${path}.${name}`, x, y, lines);
    }
  } else if (a !== b) lines.push(`${path}: ${JSON.stringify(a)} ${JSON.stringify(b)}`);
}

/** Offsets are from the start of RAM. */
function compareMemory(a: Buffer, b: Buffer, lines: string[]): void {
  for (let page = 0; page < a.length && lines.length < MaxLines; page += PageSize) {
    const [x, y] = [a, b].map((ram) => ram.subarray(page, page + PageSize)) as [Buffer, Buffer];
    if (x.equals(y)) continue;
    for (let at = 0; at < PageSize && lines.length < MaxLines; at += 8) {
      const [u, v] = [x, y].map((bytes) => bytes.readBigUInt64LE(at)) as [bigint, bigint];
      if (u !== v) lines.push(`memory ${(page + at).toString(16)}: ${u.toString(16)} ${v.toString(16)}`);
    }
  }
}
