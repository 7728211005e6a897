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
import type { TranslatorThread } from './engines/translation.ts';
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
  onSaved(problem: string | undefined): void;
  onStatistics(statistics: EngineStatistics): void;
}

/** What a machine starts with, but for what is made here. */
type MachineData = Omit<MachineWorkerData, 'othersEnded' | 'translator'>;

export class MachineThreads {
  /** Resolves, never rejects, when the machine has ended and its threads are gone. */
  readonly ended: Promise<EndReason>;
  readonly #engine: EngineThreads;
  readonly #worker: Worker;
  readonly #name: string;
  readonly #data: MachineData;
  readonly #control: ControlBlock;
  readonly #events: MachineEvents;
  /** Word 0 is 1 when only the machine's thread is left. */
  readonly #othersEnded = new Int32Array(new SharedArrayBuffer(4));
  #vcpus: VcpuThread[] = [];
  #io: IoThread[] = [];
  readonly #translator: TranslatorThread | undefined;
  #shared: SharedVm | undefined;
  #othersEnd: Promise<void> | undefined;
  #reason: EndReason | undefined;
  #patience: NodeJS.Timeout | undefined;

  constructor(engine: EngineThreads, data: MachineData, events: MachineEvents) {
    this.#engine = engine;
    this.#data = data;
    this.#control = new ControlBlock(data.control);
    this.#events = events;
    this.#name = machineThreadName(data.cpus - data.mailboxes.length);
    this.#translator = engine.startTranslator?.();
    const translator = this.#translator?.link;
    this.#worker = startEngineWorker(engine, new URL('./machine-worker.js', import.meta.url), {
      name: this.#name,
      workerData: { ...data, othersEnded: this.#othersEnded, translator } satisfies MachineWorkerData,
      transferList: [...buffersOf(data.boot), ...(translator ? [translator.port] : [])],
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
    await this.#endOthers();
    clearTimeout(this.#patience);
    forget();
    // Unless the machine's thread has done so.
    if (this.#shared) this.#engine.release(this.#shared);
    return this.#reason!;
  }

  /** Ends all threads but the machine's, which then gives back the VM: that takes its time and would block this one. */
  #endOthers(): Promise<void> {
    return (this.#othersEnd ??= this.#endThem());
  }

  async #endThem(): Promise<void> {
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.end()));
    await Promise.all(this.#io.map((io) => io.stop()));
    await this.#translator?.end();
    // What they are called by goes with the VM.
    this.#vcpus = [];
    this.#io = [];
    Atomics.store(this.#othersEnded, 0, 1);
    Atomics.notify(this.#othersEnded, 0);
  }

  /** The first reason counts. */
  #endsWith(reason: EndReason): void {
    this.#reason ??= reason;
  }

  #receive(message: MachineMessage): void {
    switch (message.kind) {
      case 'created':
        return this.#start(message.shared);
      case 'io-wanted':
        return this.#startIo(message.plan);
      case 'running':
        return this.#events.onRunning();
      case 'output':
        return this.#events.onOutput();
      case 'input-room':
        return this.#events.onInputRoom();
      case 'paused':
        return this.#events.onPaused();
      case 'saved':
        return this.#events.onSaved(message.problem);
      case 'statistics':
        return this.#events.onStatistics(message.statistics);
      case 'ended':
        this.#endsWith(message.reason);
        return void this.#endOthers();
      default:
        return message satisfies never;
    }
  }

  /** Starts the threads of the other vCPUs. */
  #start(shared: SharedVm): void {
    this.#shared = shared;
    const onDeath = (reason: EndReason) => this.#threadDied(reason);
    const engine = this.#engine;
    this.#vcpus = this.#data.mailboxes.map(
      (mailbox, index) => new VcpuThread(engine, { shared, id: index + 1, mailbox }, onDeath),
    );
    // Requests from before the machine could be reached.
    this.notify();
  }

  #startIo(plan: IoWorkerPlan): void {
    this.#io.push(new IoThread(this.#engine, this.#shared!, plan, (reason) => this.#threadDied(reason)));
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

/** A kernel's bytes move to the worker instead of being copied. */
function buffersOf(boot: BootFiles | undefined): ArrayBuffer[] {
  return boot === undefined || typeof boot.kernel === 'string' ? [] : [boot.kernel.buffer];
}
