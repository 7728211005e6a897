/** Runs the queue half of a device in the transport's own thread, by direct calls. */
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { QueueServer } from './queue-server.ts';
import type { RequestHandler } from './queue-server.ts';
import type { Activation, QueuePosition, QueueRunner, QueueSignals } from './virtio-device.ts';

/** How many passes one notification may take before the rest waits for {@link LocalQueueRunner.poll}. */
const MaxPasses = 4;

const never = (): boolean => false;

export class LocalQueueRunner implements QueueRunner {
  readonly server: QueueServer;
  #signals: QueueSignals | undefined;
  #activation: Activation | undefined;
  /** Queues that have work left over. */
  readonly #leftOver = new Set<number>();
  #paused = false;

  constructor(memory: GuestMemory, handler: RequestHandler) {
    this.server = new QueueServer(memory, handler, {
      usedBuffers: (queue) => this.#signals?.usedBuffers(queue),
      needsReset: () => this.#signals?.needsReset(),
    });
  }

  connect(signals: QueueSignals): void {
    this.#signals = signals;
  }

  activate(activation: Activation): void {
    this.reset();
    this.#activation = activation;
    this.server.activate(activation);
    activation.queues.forEach((_, queue) => this.notify(queue));
  }

  notify(queue: number): void {
    if (this.#activation === undefined) return;
    this.#leftOver.add(queue);
    if (this.#paused) return;
    for (let pass = 0; pass < MaxPasses; pass++) {
      if (this.server.serve(queue, never) === 'more') continue;
      this.#leftOver.delete(queue);
      return;
    }
  }

  reset(): void {
    this.#activation = undefined;
    this.#paused = false;
    this.#leftOver.clear();
    this.server.deactivate();
  }

  get quiescent(): boolean {
    return this.#activation === undefined || this.#paused;
  }

  pause(): readonly QueuePosition[] | undefined {
    const activation = this.#activation;
    if (activation === undefined) return undefined;
    if (!this.#paused) {
      const positions = this.server.deactivate();
      const queues = activation.queues.map((queue, index) => ({ ...queue, ...positions[index] }));
      this.#activation = { ...activation, queues };
      this.#paused = true;
    }
    return this.#activation!.queues.map(({ nextAvailable, nextUsed }) => ({ nextAvailable, nextUsed }));
  }

  resume(): void {
    if (this.#paused && this.#activation !== undefined) this.activate(this.#activation);
  }

  poll(): void {
    for (const queue of [...this.#leftOver]) this.notify(queue);
  }
}
