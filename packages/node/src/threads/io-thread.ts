/**
 * An I/O worker of a machine, from the main thread's side: started for each plan that the machine's thread sends with
 * `created`, stopped before the engine releases the VM.
 */
import { Worker } from 'node:worker_threads';
import { FutexDoorbell } from '@lodger/vmm/devices/virtio/doorbell.js';
import type { EngineThreads, SharedVm } from './engines/engine-threads.ts';
import type { IoWorkerData, IoWorkerPlan } from './io-links.ts';

/** How long a request on a slow disk may take before the thread is ended under it. */
const StopPatience = 10_000;

export class IoThread {
  readonly #engine: EngineThreads;
  readonly #plan: IoWorkerPlan;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  /** A thread that sleeps in the kernel would keep the process from exiting. */
  readonly #onProcessExit = (): void => this.#askToStop();

  constructor(engine: EngineThreads, shared: SharedVm, plan: IoWorkerPlan, onError: (error: unknown) => void) {
    this.#engine = engine;
    this.#plan = plan;
    const workerData: IoWorkerData = { shared, plan };
    this.#worker = new Worker(new URL('./io-worker.js', import.meta.url), { name: plan.name, workerData });
    this.#worker.on('error', onError);
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    process.on('exit', this.#onProcessExit);
  }

  /** Lets the request in service finish, then ends the thread. */
  async stop(): Promise<void> {
    this.#askToStop();
    const patience = setTimeout(() => void this.#worker.terminate(), StopPatience);
    await this.#exited;
    clearTimeout(patience);
    process.off('exit', this.#onProcessExit);
  }

  #askToStop(): void {
    const { stop, bell } = this.#plan;
    Atomics.store(new Int32Array(stop), 0, 1);
    if (bell.kind === 'futex') new FutexDoorbell(bell.words).ring();
    else this.#engine.events!.raise(bell.event);
  }
}
