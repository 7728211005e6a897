/**
 * The threads of one machine, from the main thread's side: the machine's worker (devices, and the first vCPU or all of
 * them), a worker for each further vCPU of an engine whose vCPUs have threads, I/O workers. They live from one boot to
 * its end; a reboot is a new set.
 *
 * Whatever way one of them ends, the machine ends, with a reason, and the others with it. When all have ended, what the
 * process has of the VM is given back.
 */
import type { Worker } from 'node:worker_threads';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { ControlBlock, Request } from './control-block.ts';
import type { EngineStatistics, EngineThreads, SharedVm } from './engine-choice.ts';
import { startEngineWorker } from './engine-worker.ts';
import { IoThread } from './io-thread.ts';
import type { IoWorkerPlan } from './io-links.ts';
import type { BootFiles, MachineMessage, MachineWorkerData } from './messages.ts';
import { onProcessExit } from './process-exit.ts';
import { endOfSilentThread, endOfThread } from './thread-end.ts';
import { machineThreadName } from './thread-name.ts';
import { VcpuThread } from './vcpu-thread.ts';

/** How long a machine may take to end after one of its threads did, before the others are ended under it. */
const EndPatience = 5_000;
/** Milliseconds between two attempts to get a thread that is to be ended out of guest code. */
const KickInterval = 50;

export interface MachineEvents {
  /** The vCPUs are about to run. */
  onRunning(): void;
  /** The guest printed something. */
  onOutput(): void;
  /** The guest took input. */
  onInputRoom(): void;
  onPaused(): void;
  onStatistics(statistics: EngineStatistics): void;
}

export class MachineThreads {
  /** Resolves, never rejects, when the machine has ended and its threads are gone. */
  readonly ended: Promise<EndReason>;
  readonly #engine: EngineThreads;
  readonly #worker: Worker;
  readonly #name: string;
  readonly #data: MachineWorkerData;
  readonly #control: ControlBlock;
  readonly #events: MachineEvents;
  #vcpus: VcpuThread[] = [];
  #io: IoThread[] = [];
  #shared: SharedVm | undefined;
  #reason: EndReason | undefined;
  #patience: NodeJS.Timeout | undefined;

  constructor(engine: EngineThreads, data: MachineWorkerData, events: MachineEvents) {
    this.#engine = engine;
    this.#data = data;
    this.#control = new ControlBlock(data.control);
    this.#events = events;
    this.#name = machineThreadName(data.cpus - data.mailboxes.length);
    this.#worker = startEngineWorker(engine, new URL('./machine-worker.js', import.meta.url), {
      name: this.#name,
      workerData: data,
      transferList: buffersOf(data.boot),
    });
    this.ended = this.#untilEnd();
  }

  /** Makes the machine's thread look at what was asked of it. */
  notify(): void {
    if (this.#shared) this.#engine.wake(this.#shared);
  }

  /** Ends the threads without asking the machine. */
  async terminate(): Promise<void> {
    this.#control.ask(Request.Stop);
    const ended = Promise.all([this.#worker.terminate(), ...this.#vcpus.map((vcpu) => vcpu.terminate())]);
    // A thread in guest code does not hear of it.
    const kicks = setInterval(() => this.#kick(), KickInterval);
    this.#kick();
    await ended;
    clearInterval(kicks);
  }

  async #untilEnd(): Promise<EndReason> {
    const forget = onProcessExit(() => {
      this.#askToEnd();
      for (const io of this.#io) io.askToStop();
    });
    await new Promise<void>((resolve) => {
      this.#worker.on('message', (message: MachineMessage) => this.#receive(message));
      this.#worker.on('error', (error) => this.#endsWith(endOfThread(this.#name, error)));
      this.#worker.on('exit', (code) => {
        this.#endsWith(endOfSilentThread(this.#name, code));
        resolve();
      });
    });
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.end()));
    await Promise.all(this.#io.map((io) => io.stop()));
    clearTimeout(this.#patience);
    forget();
    if (this.#shared) this.#engine.release(this.#shared);
    return this.#reason!;
  }

  /** The first reason counts. */
  #endsWith(reason: EndReason): void {
    this.#reason ??= reason;
  }

  #receive(message: MachineMessage): void {
    switch (message.kind) {
      case 'created':
        return this.#start(message.shared, message.io);
      case 'running':
        return this.#events.onRunning();
      case 'output':
        return this.#events.onOutput();
      case 'input-room':
        return this.#events.onInputRoom();
      case 'paused':
        return this.#events.onPaused();
      case 'statistics':
        return this.#events.onStatistics(message.statistics);
      case 'ended':
        return this.#endsWith(message.reason);
      default:
        return message satisfies never;
    }
  }

  /** Starts the other threads. */
  #start(shared: SharedVm, io: readonly IoWorkerPlan[]): void {
    this.#shared = shared;
    const onDeath = (reason: EndReason) => this.#threadDied(reason);
    const engine = this.#engine;
    this.#vcpus = this.#data.mailboxes.map(
      (mailbox, index) => new VcpuThread(engine, { shared, id: index + 1, mailbox }, onDeath),
    );
    this.#io = io.map((plan) => new IoThread(engine, shared, plan, onDeath));
    // Requests from before the machine could be reached.
    this.notify();
  }

  #threadDied(reason: EndReason): void {
    this.#endsWith(reason);
    this.#askToEnd();
    this.#patience ??= setTimeout(() => void this.terminate(), EndPatience);
  }

  /** Every thread that can ends soon; nothing is waited for. */
  #askToEnd(): void {
    this.#control.ask(Request.Stop);
    this.notify();
    this.#kick();
  }

  #kick(): void {
    if (!this.#shared) return;
    this.#engine.kick(this.#shared, 0);
    for (const vcpu of this.#vcpus) vcpu.askToEnd();
  }
}

/** Kernel and initrd move to the worker instead of being copied. */
function buffersOf({ kernel, setup, initrd }: BootFiles): ArrayBuffer[] {
  return [kernel, setup, initrd].flatMap((bytes) => (bytes ? [bytes.buffer] : []));
}
