/**
 * The threads of one machine, from the main thread's side: the machine's worker (all vCPUs and devices) and, when there
 * are disks, its I/O worker. They live from one boot to its end; a reboot is a new set.
 */
import { Worker } from 'node:worker_threads';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { endOfError } from '@lodger/vmm/machine/end-reason.js';
import type { EngineStatistics, SharedVm } from './engine-choice.ts';
import { IoThread } from './io-thread.ts';
import type { BootFiles, MachineMessage, MachineWorkerData } from './messages.ts';

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
  readonly #worker: Worker;
  readonly #data: MachineWorkerData;
  readonly #events: MachineEvents;
  #io: IoThread | undefined;
  #attention: Int32Array | undefined;

  constructor(data: MachineWorkerData, events: MachineEvents) {
    this.#data = data;
    this.#events = events;
    this.#worker = new Worker(new URL('./machine-worker.js', import.meta.url), {
      name: 'lodger-machine',
      workerData: data,
      transferList: buffersOf(data.boot),
    });
    this.ended = this.#untilEnd();
  }

  /** Makes the machine's thread look at what was asked of it. */
  notify(): void {
    if (!this.#attention) return;
    Atomics.store(this.#attention, 0, 1);
    Atomics.notify(this.#attention, 0);
  }

  /** Ends the threads without asking the machine. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  async #untilEnd(): Promise<EndReason> {
    const reason = await new Promise<EndReason>((resolve) => {
      let reported: EndReason | undefined;
      this.#worker.on('message', (message: MachineMessage) => {
        if (message.kind === 'ended') reported = message.reason;
        else this.#receive(message, (error) => (reported ??= endOfError(error)));
      });
      this.#worker.on('error', (error) => (reported ??= endOfError(error)));
      this.#worker.on('exit', () => resolve(reported ?? { kind: 'stopped' }));
    });
    this.#attention = undefined;
    await this.#io?.stop();
    return reason;
  }

  #receive(message: Exclude<MachineMessage, { kind: 'ended' }>, failed: (error: unknown) => void): void {
    switch (message.kind) {
      case 'running':
        this.#started(message.shared, failed);
        return this.#events.onRunning();
      case 'output':
        return this.#events.onOutput();
      case 'input-room':
        return this.#events.onInputRoom();
      case 'paused':
        return this.#events.onPaused();
      case 'statistics':
        return this.#events.onStatistics(message.statistics);
      default:
        return message satisfies never;
    }
  }

  #started(shared: SharedVm, failed: (error: unknown) => void): void {
    this.#attention = shared.attention;
    const { disks, ioDoorbell } = this.#data;
    if (disks.length > 0) {
      this.#io = new IoThread({ shared, disks, doorbell: ioDoorbell }, (error) => {
        failed(error);
        void this.terminate();
      });
    }
    // Requests from before the machine could be reached.
    this.notify();
  }
}

/** Kernel and initrd move to the worker instead of being copied. */
function buffersOf({ kernel, setup, initrd }: BootFiles): ArrayBuffer[] {
  return [kernel, setup, initrd].flatMap((bytes) => (bytes ? [bytes.buffer] : []));
}
