/**
 * The queue half of a virtio device: takes chains from its queues, has them served, returns them.
 *
 * Everything here touches guest memory and nothing here knows registers or threads: a {@link QueueRunner} calls it, in
 * the transport's thread or on an I/O worker.
 */
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain } from './descriptor-chain.ts';
import type { Activation, QueuePosition, QueueSignals } from './virtio-device.ts';
import { Virtqueue } from './virtqueue.ts';
import type { VirtqueueFault } from './virtqueue.ts';

/** What a device type does with its chains. */
export interface RequestHandler {
  /** The driver is ready; these features were negotiated. */
  activated(features: bigint): void;
  /** False leaves available chains of that queue alone: a receive queue with nothing received. */
  canServe(queue: number): boolean;
  /** Serves one chain completely. Returns how many bytes were written to its writable part. */
  serve(queue: number, chain: DescriptorChain): number;
}

/** Whether chains may be left over because the pass used up its budget or was interrupted. */
export type ServeResult = 'done' | 'more';

export class QueueServer {
  /** Told why, when a queue is found broken: for logs. */
  onFault: ((queue: number, fault: VirtqueueFault) => void) | undefined;
  readonly #memory: GuestMemory;
  readonly #handler: RequestHandler;
  readonly #signals: QueueSignals;
  #queues: readonly (Virtqueue | undefined)[] = [];
  /** A broken queue stops the whole device until it is reset. */
  #broken = false;

  constructor(memory: GuestMemory, handler: RequestHandler, signals: QueueSignals) {
    this.#memory = memory;
    this.#handler = handler;
    this.#signals = signals;
  }

  get active(): boolean {
    return this.#queues.length > 0;
  }

  /** Takes the queues over. What is available already counts as notified: serve every queue once afterwards. */
  activate({ queues, features }: Activation): void {
    this.#broken = false;
    this.#queues = queues.map((queue) => (queue.enabled ? new Virtqueue(this.#memory, queue, features) : undefined));
    this.#handler.activated(features);
    this.#queues.forEach((_, queue) => this.#checkFault(queue));
  }

  /** Lets go of the queues: no guest memory is touched from here on. Returns where they were. */
  deactivate(): readonly QueuePosition[] {
    const positions = this.#queues.map((queue) => queue?.position ?? { nextAvailable: 0, nextUsed: 0 });
    this.#queues = [];
    return positions;
  }

  /**
   * Serves available chains of a queue: at most one queue's length of them, and none after `interrupted` turned true, so
   * that a driver which adds chains without end cannot hold on to the thread.
   */
  serve(index: number, interrupted: () => boolean): ServeResult {
    const queue = this.#queues[index];
    if (queue === undefined || this.#broken) return 'done';
    const result = this.#serveQueue(queue, index, interrupted);
    this.#checkFault(index);
    return result;
  }

  #serveQueue(queue: Virtqueue, index: number, interrupted: () => boolean): ServeResult {
    queue.disableNotifications();
    for (let budget = queue.size; budget > 0; budget--) {
      if (interrupted()) return 'more';
      if (!this.#handler.canServe(index)) return 'done';
      const chain = queue.pop();
      if (chain !== undefined) {
        queue.addUsed(chain.head, this.#handler.serve(index, chain));
        if (queue.takeInterrupt()) this.#signals.usedBuffers(index);
      } else if (!queue.enableNotifications()) {
        return 'done';
      }
    }
    return 'more';
  }

  #checkFault(index: number): void {
    const fault = this.#queues[index]?.fault;
    if (fault === undefined || this.#broken) return;
    this.#broken = true;
    this.onFault?.(index, fault);
    this.#signals.needsReset();
  }
}
