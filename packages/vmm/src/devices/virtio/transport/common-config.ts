/** The common configuration structure. Spec: virtio 1.2 §4.1.4.3 "Common configuration structure layout". */
import { RegisterSpace, constant, merge, register } from '../../pci/register-space.ts';
import type { RegisterField } from '../../pci/register-space.ts';
import type { QueueRegisters, VirtioRegisters } from './registers.ts';

export const CommonConfigBytes = 0x3c;

/** The selectors of the structure: which feature word and which queue the other registers mean. */
export interface Selectors {
  deviceFeature: number;
  driverFeature: number;
  queue: number;
}

/** What the structure needs of its transport. */
export interface CommonConfigOwner {
  readonly registers: VirtioRegisters;
  readonly selectors: Selectors;
  configVector: number;
  writeStatus(status: number): void;
  /** The vector as it will read back: "no vector" when there is none of that number. */
  acceptVector(vector: number): number;
  /** A queue has another vector now. */
  vectorChanged(): void;
}

type QueueAddress = 'descriptors' | 'driver' | 'device';

export function commonConfig(owner: CommonConfigOwner): RegisterSpace {
  const { registers, selectors } = owner;
  const selected = (): QueueRegisters | undefined => registers.queues[selectors.queue];
  const writable = (): QueueRegisters | undefined => registers.writableQueue(selectors.queue);
  return new RegisterSpace(CommonConfigBytes, [
    selector('deviceFeatureSelect', 4, selectors, 'deviceFeature'),
    readOnly('deviceFeature', 4, () => featureWord(registers.deviceFeatures, selectors.deviceFeature)),
    selector('driverFeatureSelect', 4, selectors, 'driverFeature'),
    register('driverFeature', 4, {
      get: () => featureWord(registers.driverFeatures, selectors.driverFeature),
      set: (value) => writeFeatureWord(registers, selectors.driverFeature, value),
    }),
    register('configVector', 2, {
      get: () => owner.configVector,
      set: (value) => (owner.configVector = owner.acceptVector(value)),
    }),
    constant('numberOfQueues', 2, registers.queues.length),
    { name: 'deviceStatus', bytes: 1, read: () => registers.status, write: (value) => owner.writeStatus(value) },
    readOnly('configGeneration', 1, () => registers.configGeneration & 0xff),
    selector('queueSelect', 2, selectors, 'queue'),
    register('queueSize', 2, {
      get: () => selected()?.size ?? 0,
      set: (value) => setQueueSize(writable(), value),
    }),
    register('queueVector', 2, {
      get: () => selected()?.vector ?? owner.acceptVector(0xffff),
      set: (value) => {
        const queue = selected();
        if (queue === undefined) return;
        queue.vector = owner.acceptVector(value);
        owner.vectorChanged();
      },
    }),
    register('queueEnable', 2, {
      get: () => Number(selected()?.enabled ?? false),
      set: (value) => enableQueue(registers, writable(), value),
    }),
    readOnly('queueNotifyOffset', 2, () => (selected() === undefined ? 0 : selectors.queue)),
    ...queueAddress('queueDescriptors', 'descriptors', selected, writable),
    ...queueAddress('queueDriver', 'driver', selected, writable),
    ...queueAddress('queueDevice', 'device', selected, writable),
    constant('queueNotifyData', 2, 0),
    constant('queueReset', 2, 0),
  ]);
}

function selector(name: string, bytes: 2 | 4, selectors: Selectors, which: keyof Selectors): RegisterField {
  return register(name, bytes, { get: () => selectors[which], set: (value) => (selectors[which] = value) });
}

function readOnly(name: string, bytes: 1 | 2 | 4, read: () => number): RegisterField {
  return { name, bytes, read, write: () => {} };
}

/** 32 of the 64 feature bits; words from 2 on have none. */
function featureWord(features: bigint, word: number): number {
  return word < 2 ? Number((features >> BigInt(word * 32)) & 0xffff_ffffn) : 0;
}

function writeFeatureWord(registers: VirtioRegisters, word: number, value: number): void {
  if (word >= 2) return;
  const shift = BigInt(word * 32);
  registers.driverFeatures = (registers.driverFeatures & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift);
}

/** A driver may make a queue shorter; anything but a power of two up to the maximum is ignored. */
function setQueueSize(queue: QueueRegisters | undefined, size: number): void {
  if (queue === undefined || size === 0 || size > queue.maxSize || (size & (size - 1)) !== 0) return;
  queue.size = size;
}

/** Queues are enabled before DRIVER_OK; only a reset disables them. */
function enableQueue(registers: VirtioRegisters, queue: QueueRegisters | undefined, value: number): void {
  if (queue !== undefined && value === 1 && !registers.driverOk) queue.enabled = true;
}

/** A 64-bit address as two registers. */
function queueAddress(
  name: string,
  which: QueueAddress,
  selected: () => QueueRegisters | undefined,
  writable: () => QueueRegisters | undefined,
): RegisterField[] {
  return [0n, 32n].map((shift): RegisterField => {
    const get = (): number => Number(((selected()?.[which] ?? 0n) >> shift) & 0xffff_ffffn);
    return {
      name: `${name}${shift === 0n ? 'Low' : 'High'}`,
      bytes: 4,
      read: get,
      write(value, mask) {
        const queue = writable();
        if (queue === undefined) return;
        queue[which] = (queue[which] & ~(0xffff_ffffn << shift)) | (BigInt(merge(get(), value, mask)) << shift);
      },
    };
  });
}
