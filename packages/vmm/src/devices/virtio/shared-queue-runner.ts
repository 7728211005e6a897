/**
 * Runs the queue half of a device in another thread, over one block of shared memory.
 *
 * {@link SharedQueueRunner} is the transport's end, {@link SharedQueueService} the I/O worker's. Notifications are bits
 * that the worker takes with one atomic exchange, used-buffer interrupts the same in the other direction; neither side
 * ever waits for the other except in `pause`. Commands (activate, pause, reset) are a mailbox with a sequence number:
 * the newest counts, the worker looks for one between any two requests, and a reset is over when the worker has
 * acknowledged it. Until then the transport keeps reporting the old device status, as virtio 1.2 §2.4.1 "Device
 * Requirements: Device Reset" has it.
 *
 * What wakes a sleeping end is a {@link Doorbell}: a futex word, or an event of the host (doorbell.ts). Where the engine
 * wires events, the two bit words are bypassed: the guest's notifications reach the worker as
 * {@link SharedQueueService.notified}, and while interrupts are direct the worker raises the queue's event instead of
 * setting its bit.
 */
import { HostError } from '../../errors/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { QueueServer } from './queue-server.ts';
import type { RequestHandler } from './queue-server.ts';
import {
  Command,
  MaxQueues,
  SharedQueueBytes,
  Word,
  readActivation,
  readPosition,
  writeActivation,
  writePosition,
} from './shared-queue-block.ts';
import type { Activation, Doorbell, QueueEvents, QueuePosition, QueueRunner, QueueSignals } from './virtio-device.ts';

export { SharedQueueBytes } from './shared-queue-block.ts';

const PauseTimeout = 30_000;

/** Raises and clears the events that stand for used buffers. */
export interface UsedEvents {
  raise(queue: number): void;
  clear(queue: number): void;
}

/** The transport's end. */
export class SharedQueueRunner implements QueueRunner {
  readonly events: QueueEvents | undefined;
  readonly #words: Int32Array;
  readonly #worker: Doorbell;
  #signals: QueueSignals | undefined;
  #activation: Activation | undefined;
  #paused = false;
  #sequence = 0;

  /** `worker` wakes the thread in which the service runs; it has the same `events`, if any. */
  constructor(shared: SharedArrayBuffer, worker: Doorbell, events?: Omit<QueueEvents, 'setDirect'>) {
    this.#words = new Int32Array(shared, 0, SharedQueueBytes / 4);
    this.events = events && {
      ...events,
      setDirect: (direct) => void Atomics.store(this.#words, Word.Direct, direct ? 1 : 0),
    };
    this.#worker = worker;
    this.#sequence = Atomics.load(this.#words, Word.Sequence);
  }

  connect(signals: QueueSignals): void {
    this.#signals = signals;
  }

  activate(activation: Activation): void {
    if (activation.queues.length > MaxQueues) throw new HostError('Internal', `more than ${MaxQueues} queues`);
    this.#activation = activation;
    this.#paused = false;
    this.#send(Command.Activate, () => writeActivation(this.#words, activation));
  }

  notify(queue: number): void {
    if (this.#activation === undefined || queue >= MaxQueues) return;
    Atomics.or(this.#words, Word.Notified, 1 << queue);
    this.#worker.ring();
  }

  reset(): void {
    if (this.#activation === undefined && this.quiescent) return;
    this.#activation = undefined;
    this.#paused = false;
    this.#send(Command.Reset);
  }

  get quiescent(): boolean {
    return this.#acknowledged() && (this.#activation === undefined || this.#paused);
  }

  pause(): readonly QueuePosition[] | undefined {
    const activation = this.#activation;
    if (activation === undefined) {
      this.#awaitWorker();
      return undefined;
    }
    if (!this.#paused) {
      // Not over a command that has not been seen: it would be lost.
      this.#awaitWorker();
      this.#send(Command.Pause);
      this.#awaitWorker();
      this.poll();
      const queues = activation.queues.map((queue, index) => ({ ...queue, ...readPosition(this.#words, index) }));
      this.#activation = { ...activation, queues };
      this.#paused = true;
    }
    return this.#activation!.queues.map(({ nextAvailable, nextUsed }) => ({ nextAvailable, nextUsed }));
  }

  resume(): void {
    if (this.#paused && this.#activation !== undefined) this.activate(this.#activation);
  }

  poll(): void {
    const words = this.#words;
    // What was signalled before a reset went through is of no interest to the driver any more.
    if (this.#activation === undefined || !this.#acknowledged()) return;
    const signalled = Atomics.load(words, Word.Signalled) === 0 ? 0 : Atomics.exchange(words, Word.Signalled, 0);
    const needsReset = Atomics.load(words, Word.NeedsReset) !== 0 && Atomics.exchange(words, Word.NeedsReset, 0) !== 0;
    for (let queue = 0, bits = signalled; bits !== 0; queue++, bits >>>= 1) {
      if ((bits & 1) !== 0) this.#signals?.usedBuffers(queue);
    }
    if (needsReset) this.#signals?.needsReset();
  }

  #send(command: number, fill?: () => void): void {
    const words = this.#words;
    Atomics.store(words, Word.Sequence, this.#sequence + 1);
    Atomics.store(words, Word.Command, command);
    fill?.();
    this.#sequence = (this.#sequence + 2) | 0;
    Atomics.store(words, Word.Sequence, this.#sequence);
    this.#worker.ring();
  }

  #acknowledged(): boolean {
    return Atomics.load(this.#words, Word.Done) === this.#sequence;
  }

  #awaitWorker(): void {
    while (!this.#acknowledged()) {
      const done = Atomics.load(this.#words, Word.Done);
      if (done === this.#sequence) return;
      if (Atomics.wait(this.#words, Word.Done, done, PauseTimeout) === 'timed-out') {
        throw new HostError('Internal', 'the I/O worker of a virtio device does not answer');
      }
    }
  }
}

/** The worker's end. Whoever owns the thread calls {@link work} whenever the worker's doorbell rang. */
export class SharedQueueService {
  readonly server: QueueServer;
  readonly #words: Int32Array;
  readonly #transport: Doorbell;
  readonly #usedEvents: UsedEvents | undefined;
  #done: number;
  #queueCount = 0;
  /** A bit for each queue whose event was raised. */
  #notified = 0;

  /** `transport` wakes the thread that polls the {@link SharedQueueRunner}. */
  constructor(
    shared: SharedArrayBuffer,
    memory: GuestMemory,
    handler: RequestHandler,
    transport: Doorbell,
    usedEvents?: UsedEvents,
  ) {
    this.#words = new Int32Array(shared, 0, SharedQueueBytes / 4);
    this.#transport = transport;
    this.#usedEvents = usedEvents;
    this.#done = Atomics.load(this.#words, Word.Done);
    this.server = new QueueServer(memory, handler, {
      usedBuffers: (queue) => this.#usedBuffers(queue),
      needsReset: () => {
        Atomics.store(this.#words, Word.NeedsReset, 1);
        transport.ring();
      },
    });
  }

  /** The event of a queue's notifications was raised. */
  notified(queue: number): void {
    this.#notified |= 1 << queue;
  }

  /** Deals with what is there now. True when there may be more: call again before sleeping. */
  work(): boolean {
    this.#takeCommand();
    const notified = this.#notified | Atomics.exchange(this.#words, Word.Notified, 0);
    this.#notified = 0;
    for (let queue = 0; queue < this.#queueCount; queue++) {
      const bit = 1 << queue;
      if ((notified & bit) !== 0 && this.server.serve(queue, this.#commandWaits) === 'more') this.#notified |= bit;
    }
    return this.#notified !== 0 || this.#commandWaits();
  }

  /** True when a complete command has not been dealt with. */
  readonly #commandWaits = (): boolean => {
    const sequence = Atomics.load(this.#words, Word.Sequence);
    return sequence !== this.#done && (sequence & 1) === 0;
  };

  #usedBuffers(queue: number): void {
    if (this.#isDirect) {
      this.#usedEvents!.raise(queue);
      // Still so, or no longer: then the transport may have looked at the event before it was raised.
      if (this.#isDirect) return;
    }
    Atomics.or(this.#words, Word.Signalled, 1 << queue);
    this.#transport.ring();
  }

  get #isDirect(): boolean {
    return this.#usedEvents !== undefined && Atomics.load(this.#words, Word.Direct) !== 0;
  }

  #takeCommand(): void {
    const words = this.#words;
    while (this.#commandWaits()) {
      const sequence = Atomics.load(words, Word.Sequence);
      const command = Atomics.load(words, Word.Command);
      const activation = command === Command.Activate ? readActivation(words) : undefined;
      // Overwritten while it was read: the newer command will be complete in a moment, and its doorbell will ring.
      if (Atomics.load(words, Word.Sequence) !== sequence) continue;
      this.#apply(command, activation);
      this.#done = sequence;
      Atomics.store(words, Word.Done, sequence);
      Atomics.notify(words, Word.Done);
      this.#transport.ring();
    }
  }

  #apply(command: number, activation: Activation | undefined): void {
    const positions = this.server.deactivate();
    if (command === Command.Pause) positions.forEach((position, queue) => writePosition(this.#words, queue, position));
    const queues = this.#queueCount;
    this.#queueCount = activation?.queues.length ?? 0;
    this.#notified = 0;
    if (command === Command.Pause) return;
    Atomics.store(this.#words, Word.Signalled, 0);
    Atomics.store(this.#words, Word.NeedsReset, 0);
    if (activation === undefined) {
      for (let queue = 0; queue < queues; queue++) this.#usedEvents?.clear(queue);
      return;
    }
    this.server.activate(activation);
    // Notifications may have been lost while the queues were away.
    activation.queues.forEach((_, queue) => this.notified(queue));
  }
}
