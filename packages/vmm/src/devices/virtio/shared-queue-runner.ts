/**
 * Runs the queue half of a device in another thread, over one block of shared memory.
 *
 * {@link SharedQueueRunner} is the transport's end, {@link SharedQueueService} the I/O worker's. Notifications are bits
 * that the worker takes with one atomic exchange, used-buffer interrupts the same in the other direction; neither side
 * ever waits for the other except in `pause`. Commands (activate, pause, reset) are a mailbox with a sequence number:
 * the newest counts, the worker looks for one between any two requests, and a reset is over when the worker has
 * acknowledged it. Until then the transport keeps reporting the old device status, as virtio 1.2 §2.4.1 "Device
 * Requirements: Device Reset" has it.
 */
import { HostError } from '../../errors/host-error.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { QueueServer } from './queue-server.ts';
import type { RequestHandler } from './queue-server.ts';
import type {
  Activation,
  Doorbell,
  QueueActivation,
  QueuePosition,
  QueueRunner,
  QueueSignals,
} from './virtio-device.ts';

/** Words of the shared block. */
const Word = {
  /** Sequence number of the mailbox: odd while it is being written. */
  Sequence: 0,
  Command: 1,
  /** The last sequence number that the worker has dealt with. */
  Done: 2,
  /** A bit for each notified queue. */
  Notified: 3,
  /** A bit for each queue with used buffers to signal. */
  Signalled: 4,
  NeedsReset: 5,
  FeaturesLow: 6,
  FeaturesHigh: 7,
  QueueCount: 8,
  Queues: 16,
} as const;

/** Words of one queue. */
const QueueWord = {
  Enabled: 0,
  Size: 1,
  DescriptorsLow: 2,
  DescriptorsHigh: 3,
  DriverLow: 4,
  DriverHigh: 5,
  DeviceLow: 6,
  DeviceHigh: 7,
  Vector: 8,
  NextAvailable: 9,
  NextUsed: 10,
  Count: 12,
} as const;

const Command = { Reset: 0, Activate: 1, Pause: 2 } as const;

/** One bit each in a word. */
const MaxQueues = 32;
const PauseTimeout = 30_000;

/** Bytes of the shared block between a {@link SharedQueueRunner} and its {@link SharedQueueService}. */
export const SharedQueueBytes = (Word.Queues + MaxQueues * QueueWord.Count) * 4;

/** The transport's end. */
export class SharedQueueRunner implements QueueRunner {
  readonly #words: Int32Array;
  readonly #worker: Doorbell;
  #signals: QueueSignals | undefined;
  #activation: Activation | undefined;
  #paused = false;
  #sequence = 0;

  /** `worker` wakes the thread in which the service runs. */
  constructor(shared: SharedArrayBuffer, worker: Doorbell) {
    this.#words = new Int32Array(shared, 0, SharedQueueBytes / 4);
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
  #done: number;
  #queueCount = 0;

  /** `transport` wakes the thread that polls the {@link SharedQueueRunner}. */
  constructor(shared: SharedArrayBuffer, memory: GuestMemory, handler: RequestHandler, transport: Doorbell) {
    this.#words = new Int32Array(shared, 0, SharedQueueBytes / 4);
    this.#transport = transport;
    this.#done = Atomics.load(this.#words, Word.Done);
    this.server = new QueueServer(memory, handler, {
      usedBuffers: (queue) => {
        Atomics.or(this.#words, Word.Signalled, 1 << queue);
        transport.ring();
      },
      needsReset: () => {
        Atomics.store(this.#words, Word.NeedsReset, 1);
        transport.ring();
      },
    });
  }

  /** Deals with what is there now. True when there may be more: call again before sleeping. */
  work(): boolean {
    this.#takeCommand();
    const notified = Atomics.exchange(this.#words, Word.Notified, 0);
    let more = 0;
    for (let queue = 0; queue < this.#queueCount; queue++) {
      const bit = 1 << queue;
      if ((notified & bit) !== 0 && this.server.serve(queue, this.#commandWaits) === 'more') more |= bit;
    }
    if (more !== 0) Atomics.or(this.#words, Word.Notified, more);
    return more !== 0 || this.#commandWaits();
  }

  /** True when a complete command has not been dealt with. */
  readonly #commandWaits = (): boolean => {
    const sequence = Atomics.load(this.#words, Word.Sequence);
    return sequence !== this.#done && (sequence & 1) === 0;
  };

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
    this.#queueCount = activation?.queues.length ?? 0;
    if (command === Command.Pause) return;
    Atomics.store(this.#words, Word.Signalled, 0);
    Atomics.store(this.#words, Word.NeedsReset, 0);
    if (activation === undefined) return;
    this.server.activate(activation);
    // Notifications may have been lost while the queues were away.
    activation.queues.forEach((_, queue) => Atomics.or(this.#words, Word.Notified, 1 << queue));
  }
}

function writeActivation(words: Int32Array, { features, queues }: Activation): void {
  words[Word.FeaturesLow] = low(features);
  words[Word.FeaturesHigh] = high(features);
  words[Word.QueueCount] = queues.length;
  queues.forEach((queue, index) => {
    const at = queueAt(index);
    words[at + QueueWord.Enabled] = Number(queue.enabled);
    words[at + QueueWord.Size] = queue.size;
    words[at + QueueWord.DescriptorsLow] = low(queue.descriptors);
    words[at + QueueWord.DescriptorsHigh] = high(queue.descriptors);
    words[at + QueueWord.DriverLow] = low(queue.driver);
    words[at + QueueWord.DriverHigh] = high(queue.driver);
    words[at + QueueWord.DeviceLow] = low(queue.device);
    words[at + QueueWord.DeviceHigh] = high(queue.device);
    words[at + QueueWord.Vector] = queue.vector;
    writePosition(words, index, queue);
  });
}

function readActivation(words: Int32Array): Activation {
  const count = Math.min(words[Word.QueueCount]!, MaxQueues);
  const queues = Array.from({ length: count }, (_, index): QueueActivation => {
    const at = queueAt(index);
    return {
      enabled: words[at + QueueWord.Enabled] !== 0,
      size: words[at + QueueWord.Size]!,
      descriptors: wide(words, at + QueueWord.DescriptorsLow),
      driver: wide(words, at + QueueWord.DriverLow),
      device: wide(words, at + QueueWord.DeviceLow),
      vector: words[at + QueueWord.Vector]!,
      ...readPosition(words, index),
    };
  });
  return { features: wide(words, Word.FeaturesLow), queues };
}

function writePosition(words: Int32Array, queue: number, { nextAvailable, nextUsed }: QueuePosition): void {
  words[queueAt(queue) + QueueWord.NextAvailable] = nextAvailable;
  words[queueAt(queue) + QueueWord.NextUsed] = nextUsed;
}

function readPosition(words: Int32Array, queue: number): QueuePosition {
  return {
    nextAvailable: words[queueAt(queue) + QueueWord.NextAvailable]!,
    nextUsed: words[queueAt(queue) + QueueWord.NextUsed]!,
  };
}

function queueAt(index: number): number {
  return Word.Queues + index * QueueWord.Count;
}

function low(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}

function high(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n));
}

function wide(words: Int32Array, at: number): bigint {
  return (BigInt(words[at + 1]! >>> 0) << 32n) | BigInt(words[at]! >>> 0);
}
