/** The block of shared memory between the two ends of a {@link SharedQueueRunner}: its words, and what is passed in them. */
import type { Activation, QueueActivation, QueuePosition } from './virtio-device.ts';

/** Words of the shared block. */
export const Word = {
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
  /** 1 while used buffers raise events instead of bits of `Signalled`. */
  Direct: 9,
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

export const Command = { Reset: 0, Activate: 1, Pause: 2 } as const;

/** One bit each in a word. */
export const MaxQueues = 32;

/** Bytes of the shared block between a {@link SharedQueueRunner} and its {@link SharedQueueService}. */
export const SharedQueueBytes = (Word.Queues + MaxQueues * QueueWord.Count) * 4;

export function writeActivation(words: Int32Array, { features, queues }: Activation): void {
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

export function readActivation(words: Int32Array): Activation {
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

export function writePosition(words: Int32Array, queue: number, { nextAvailable, nextUsed }: QueuePosition): void {
  words[queueAt(queue) + QueueWord.NextAvailable] = nextAvailable;
  words[queueAt(queue) + QueueWord.NextUsed] = nextUsed;
}

export function readPosition(words: Int32Array, queue: number): QueuePosition {
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
