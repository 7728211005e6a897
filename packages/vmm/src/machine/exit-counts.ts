/** How often a vCPU came back from guest code, by reason: in shared memory, written by its thread alone. */
import type { VcpuExit } from '../engine/exit.ts';

type ExitKind = VcpuExit['kind'];

/** Each kind's place in memory. */
const Place = {
  'pio-read': 0,
  'pio-write': 1,
  'mmio-read': 2,
  'mmio-write': 3,
  halt: 4,
  shutdown: 5,
  interrupted: 6,
  debug: 7,
  hypercall: 8,
  failure: 9,
} as const satisfies Record<ExitKind, number>;

export const ExitCountBytes = Object.keys(Place).length * Float64Array.BYTES_PER_ELEMENT;

export class ExitCounts {
  readonly #counts: Float64Array;

  constructor(buffer: SharedArrayBuffer | ArrayBuffer = new ArrayBuffer(ExitCountBytes), offset = 0) {
    this.#counts = new Float64Array(buffer, offset, Object.keys(Place).length);
  }

  count(kind: ExitKind): void {
    this.#counts[Place[kind]]!++;
  }

  /** The counts so far, without those that are 0. */
  get all(): Partial<Record<ExitKind, number>> {
    const entries = Object.entries(Place).map(([kind, place]) => [kind, this.#counts[place]!] as const);
    return Object.fromEntries(entries.filter(([, count]) => count > 0));
  }
}
