/** The I/O worker of a machine, from the main thread's side. */
import { Worker } from 'node:worker_threads';
import { FutexDoorbell } from '@lodger/vmm/devices/virtio/doorbell.js';
import type { DiskLink, IoWorkerData } from './messages.ts';
import type { SharedVm } from './engine-choice.ts';

/** How long a request on a slow disk may take before the thread is ended under it. */
const StopPatience = 10_000;

export interface IoThreadConfig {
  readonly shared: SharedVm;
  readonly disks: readonly DiskLink[];
  /** A futex word: rung by the machine for its queues, and by this side to stop. */
  readonly doorbell: SharedArrayBuffer;
}

export class IoThread {
  readonly #worker: Worker;
  readonly #doorbell: FutexDoorbell;
  readonly #stopWord = new Int32Array(new SharedArrayBuffer(4));
  readonly #exited: Promise<void>;

  constructor({ shared, disks, doorbell }: IoThreadConfig, onError: (error: unknown) => void) {
    this.#doorbell = new FutexDoorbell(doorbell);
    const workerData: IoWorkerData = { shared, disks, doorbell, stop: this.#stopWord };
    this.#worker = new Worker(new URL('./io-worker.js', import.meta.url), { name: 'lodger-io', workerData });
    this.#worker.on('error', onError);
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
  }

  /** Lets the request in service finish, then ends the thread. */
  async stop(): Promise<void> {
    Atomics.store(this.#stopWord, 0, 1);
    this.#doorbell.ring();
    const patience = setTimeout(() => void this.#worker.terminate(), StopPatience);
    await this.#exited;
    clearTimeout(patience);
  }
}
