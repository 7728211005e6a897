/**
 * How the devices of a machine are served: which threads there are, and what each shares with the machine's thread.
 * Plain data and shared memory, sent to the I/O workers (io-worker.ts).
 */
import type { EventNumber } from '@lodger/vmm/interrupts/event-wiring.js';
import type { SharedVm } from './engines/engine-threads.ts';
import type { DiskLink } from './messages.ts';

/** What a worker sleeps on. */
export type BellLink =
  | { readonly kind: 'futex'; readonly words: SharedArrayBuffer }
  | { readonly kind: 'event'; readonly event: EventNumber };

/** One device's queues, as both ends see them (shared-queue-runner.ts). */
export interface QueueLink {
  readonly words: SharedArrayBuffer;
  /** For each queue, where the engine has events. */
  readonly events: { readonly notify: readonly EventNumber[]; readonly used: readonly EventNumber[] } | undefined;
}

export type IoDevice =
  | { readonly kind: 'disk'; readonly queues: QueueLink; readonly disk: DiskLink }
  | { readonly kind: 'entropy'; readonly queues: QueueLink }
  | { readonly kind: 'console'; readonly queues: QueueLink; readonly rings: ConsoleRings };

/** The console's bytes between the I/O worker and the machine's thread: buffers of byte rings. */
export interface ConsoleRings {
  /** From the guest. */
  readonly output: SharedArrayBuffer;
  /** To the guest. */
  readonly input: SharedArrayBuffer;
}

/** One I/O worker. */
export interface IoWorkerPlan {
  /** The thread's name; at most 15 bytes of it are shown. */
  readonly name: string;
  readonly bell: BellLink;
  /** Word 0 is 1 when the worker is to end; its bell is rung then. */
  readonly stop: SharedArrayBuffer;
  readonly devices: readonly IoDevice[];
}

/** `workerData` of an I/O worker. */
export interface IoWorkerData {
  readonly shared: SharedVm;
  readonly plan: IoWorkerPlan;
}
