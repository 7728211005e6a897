/** What the console's register half needs of whoever serves its queues; and the one that does so in the same thread. */
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { LocalQueueRunner } from '../local-queue-runner.ts';
import type { QueueRunner } from '../virtio-device.ts';
import { ConsoleQueue, ConsoleQueues } from './console-queues.ts';

/** Input that the guest has not taken yet, at most. */
export const MaxPendingInput = 64 * 1024;

export interface ConsolePort {
  readonly runner: QueueRunner;
  /** Takes what the guest writes; set by the device. */
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  /** How many bytes {@link send} takes now. */
  readonly room: number;
  /** Types into the console. Returns how many of the bytes there was room for. */
  send(bytes: Uint8Array): number;
  /** Passes on output that another thread took from the guest. */
  poll(): void;
  /** What was typed and not taken. The runner must be paused. */
  pendingInput(): Uint8Array;
  /** The same, restored. */
  setPendingInput(bytes: Uint8Array): void;
}

export class LocalConsolePort implements ConsolePort {
  readonly runner: LocalQueueRunner;
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  /** The guest took input: there is room again. */
  onInputTaken: (() => void) | undefined;
  #input: Uint8Array = new Uint8Array(0);

  constructor(memory: GuestMemory) {
    const input = (): number => this.#input.length;
    const stream = {
      get available() {
        return input();
      },
      read: (target: Uint8Array) => this.#take(target),
      hasRoom: () => true,
      write: (bytes: Uint8Array) => this.onOutput?.(bytes),
    };
    this.runner = new LocalQueueRunner(memory, new ConsoleQueues(memory, stream));
  }

  get room(): number {
    return Math.max(0, MaxPendingInput - this.#input.length);
  }

  send(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.room);
    if (taken.length > 0) {
      const joined = new Uint8Array(this.#input.length + taken.length);
      joined.set(this.#input);
      joined.set(taken, this.#input.length);
      this.#input = joined;
      this.runner.notify(ConsoleQueue.Receive);
    }
    return taken.length;
  }

  poll(): void {}

  pendingInput(): Uint8Array {
    return this.#input.slice();
  }

  setPendingInput(bytes: Uint8Array): void {
    this.#input = bytes.slice();
  }

  #take(target: Uint8Array): number {
    const taken = this.#input.subarray(0, target.length);
    target.set(taken);
    this.#input = this.#input.slice(taken.length);
    this.onInputTaken?.();
    return taken.length;
  }
}
