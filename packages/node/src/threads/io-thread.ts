/** An I/O worker of a machine, from the main thread's side. */
import type { Worker } from 'node:worker_threads';
import { FutexDoorbell } from '@lodger/vmm/devices/virtio/doorbell.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { startEngineWorker } from './engine-worker.ts';
import type { EngineThreads, SharedVm } from './engines/engine-threads.ts';
import type { IoWorkerData, IoWorkerPlan } from './io-links.ts';
import { endOfSilentThread, endOfThread } from './thread-end.ts';

/** How long a request on a slow disk may take before the thread is ended under it. */
const StopPatience = 10_000;

export class IoThread {
  readonly #engine: EngineThreads;
  readonly #plan: IoWorkerPlan;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;

  /** `onDeath` is told when the thread ends and nobody asked for it. */
  constructor(engine: EngineThreads, shared: SharedVm, plan: IoWorkerPlan, onDeath: (reason: EndReason) => void) {
    this.#engine = engine;
    this.#plan = plan;
    const { name } = plan;
    const workerData: IoWorkerData = { shared, plan };
    this.#worker = startEngineWorker(engine, new URL('./io-worker.js', import.meta.url), { name, workerData });
    this.#worker.on('error', (error) => onDeath(endOfThread(name, error)));
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.once('exit', (code) => this.#mayEnd || onDeath(endOfSilentThread(name, code)));
  }

  /** Lets the request in service finish, then ends the thread. */
  async stop(): Promise<void> {
    this.askToStop();
    const patience = setTimeout(() => void this.#worker.terminate(), StopPatience);
    await this.#exited;
    clearTimeout(patience);
  }

  /** Tells the thread to end; nothing is waited for. */
  askToStop(): void {
    const { stop, bell } = this.#plan;
    Atomics.store(new Int32Array(stop), 0, 1);
    if (bell.kind === 'futex') new FutexDoorbell(bell.words).ring();
    else this.#engine.events!.raise(bell.event);
  }

  get #mayEnd(): boolean {
    return Atomics.load(new Int32Array(this.#plan.stop), 0) !== 0;
  }
}
