/** The worker of one vCPU with a thread of its own, from the main thread's side. */
import type { Worker } from 'node:worker_threads';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { BoardMailbox, VcpuMailbox } from '@lodger/vmm/machine/exit-mailbox.js';
import type { EngineThreads } from './engine-choice.ts';
import { startEngineWorker } from './engine-worker.ts';
import { VcpuEnded } from './messages.ts';
import type { VcpuWorkerData } from './messages.ts';
import { endOfSilentThread, endOfThread } from './thread-end.ts';
import { vcpuThreadName } from './thread-name.ts';

export class VcpuThread {
  readonly #worker: Worker;
  readonly #kick: () => void;
  readonly #mailbox: BoardMailbox;
  readonly #exited: Promise<void>;
  #mayEnd = false;

  /** `onDeath` is told when the thread ends and nobody asked for it. */
  constructor(engine: EngineThreads, data: VcpuWorkerData, onDeath: (reason: EndReason) => void) {
    const { shared, id, mailbox } = data;
    const name = vcpuThreadName(id);
    this.#kick = () => engine.kick(shared, id);
    this.#mailbox = new BoardMailbox(mailbox, this.#kick);
    this.#worker = startEngineWorker(engine, new URL('./vcpu-worker.js', import.meta.url), { name, workerData: data });
    this.#exited = new Promise((resolve) => this.#worker.once('exit', () => resolve()));
    const die = (reason: EndReason) => {
      if (this.#mayEnd) return;
      this.#mayEnd = true;
      onDeath(reason);
    };
    this.#worker.on('message', (message) => (this.#mayEnd ||= message === VcpuEnded));
    this.#worker.on('error', (error) => die(endOfThread(name, error)));
    this.#worker.on('exit', (code) => {
      // The board may be waiting for this vCPU to stand still.
      new VcpuMailbox(mailbox, () => engine.wake(shared)).ended();
      die(endOfSilentThread(name, code));
    });
  }

  /** Tells the thread to end; nothing is waited for. */
  askToEnd(): void {
    this.#mailbox.end();
    this.#kick();
  }

  /** Ends the thread. */
  async end(): Promise<void> {
    this.askToEnd();
    await this.#exited;
  }

  /** Ends the thread in the middle of its work. Not heard in guest code: {@link askToEnd} gets it out. */
  async terminate(): Promise<void> {
    this.#mayEnd = true;
    await this.#worker.terminate();
  }
}
