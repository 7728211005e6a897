/**
 * The registers that every virtio transport has in some layout: status, features and the set-up of each queue.
 *
 * Spec: virtio 1.2 §2.1 "Device Status Field", §2.2 "Feature Bits", §4.1.4.3 "Common configuration structure layout".
 *
 * Left out: reset of a single queue (VIRTIO_F_RING_RESET).
 */
import type { Saveable, SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import { CommonFeatures, Feature } from '../features.ts';
import { DeviceStatus, nextStatus } from '../status.ts';
import type { StatusAction } from '../status.ts';
import type { Activation, QueuePosition, VirtioDevice } from '../virtio-device.ts';

/** virtio 1.2 §4.1.4.3: "no vector". */
export const NoVector = 0xffff;

/** The set-up of one queue. */
export interface QueueRegisters {
  readonly maxSize: number;
  size: number;
  enabled: boolean;
  descriptors: bigint;
  driver: bigint;
  device: bigint;
  vector: number;
}

export class VirtioRegisters implements Saveable {
  readonly deviceFeatures: bigint;
  readonly queues: readonly QueueRegisters[];
  /** Changes with every change of device-specific configuration that the driver did not make itself. */
  configGeneration = 0;
  readonly #device: VirtioDevice;
  #driverFeatures = 0n;
  #status = 0;
  /** The status before a reset that is not through yet. */
  #statusBeforeReset = 0;
  #activated = false;
  /** Where the queues go on when a restored device is resumed. */
  #held: { readonly positions: readonly QueuePosition[] | undefined } | undefined;

  constructor(device: VirtioDevice) {
    this.#device = device;
    this.deviceFeatures = device.features | CommonFeatures;
    this.queues = device.queueSizes.map(initialQueue);
  }

  get driverFeatures(): bigint {
    return this.#driverFeatures;
  }

  /** Features are negotiated until FEATURES_OK; later writes change nothing. */
  set driverFeatures(features: bigint) {
    if ((this.#status & DeviceStatus.FeaturesOk) === 0) this.#driverFeatures = features;
  }

  /** What the driver reads: 0 after a reset only once no more DMA can happen. */
  get status(): number {
    if (this.#status !== 0 || this.#device.runner.quiescent) return this.#status;
    return this.#statusBeforeReset;
  }

  get driverOk(): boolean {
    return (this.#status & DeviceStatus.DriverOk) !== 0;
  }

  /** A driver's write to the status register. True when it was a reset. */
  writeStatus(written: number): boolean {
    if (written === 0) {
      this.reset();
      return true;
    }
    this.#status = nextStatus(this.#status, written, (action) => this.#perform(action));
    // Only now: the device may find at once that it needs a reset.
    if (this.driverOk && !this.#activated) this.#activate();
    return false;
  }

  /** The queue at `index`, when its set-up may be changed. */
  writableQueue(index: number): QueueRegisters | undefined {
    const queue = this.queues[index];
    return queue === undefined || queue.enabled ? undefined : queue;
  }

  /** The device met something that only a reset ends. */
  needsReset(): void {
    this.#status |= DeviceStatus.NeedsReset;
  }

  reset(): void {
    if (this.#status !== 0) this.#statusBeforeReset = this.#status;
    this.#status = 0;
    this.#activated = false;
    this.#held = undefined;
    this.#driverFeatures = 0n;
    this.queues.forEach((queue) => Object.assign(queue, initialQueue(queue.maxSize)));
    this.#device.runner.reset();
    this.#device.reset();
  }

  /** Stops DMA until {@link resume}; state may be saved and guest memory copied meanwhile. */
  pause(): void {
    this.#device.runner.pause();
  }

  resume(): void {
    if (this.#held) this.#activate(this.#held.positions);
    else this.#device.runner.resume();
  }

  /** The device must be paused. */
  save(): SavedState {
    return {
      version: 1,
      status: this.#status,
      driverFeatures: this.#driverFeatures,
      configGeneration: this.configGeneration,
      queues: this.queues.map((queue) => ({ ...queue })),
      positions: this.#held ? this.#held.positions : this.#device.runner.pause(),
    };
  }

  /** For a device that was reset. Leaves it paused: a queue that runs could interrupt processors that are not restored. */
  restore(state: SavedState): void {
    requireVersion(state, 1, 'virtio');
    const saved = state as unknown as {
      status: number;
      driverFeatures: bigint;
      configGeneration: number;
      queues: readonly QueueRegisters[];
      positions: readonly QueuePosition[] | undefined;
    };
    this.#status = saved.status;
    this.#driverFeatures = saved.driverFeatures;
    this.configGeneration = saved.configGeneration;
    this.queues.forEach((queue, index) => Object.assign(queue, saved.queues[index], { maxSize: queue.maxSize }));
    this.#held = this.driverOk ? { positions: saved.positions } : undefined;
  }

  #perform(action: StatusAction): boolean {
    return action !== 'check-features' || this.#featuresAcceptable();
  }

  /** virtio 1.2 §2.2.2, §6.2: nothing that was not offered, and no legacy drivers. */
  #featuresAcceptable(): boolean {
    const unknown = this.#driverFeatures & ~this.deviceFeatures;
    return unknown === 0n && (this.#driverFeatures & Feature.Version1) !== 0n;
  }

  #activate(positions?: readonly QueuePosition[]): void {
    this.#activated = true;
    this.#held = undefined;
    const activation: Activation = {
      features: this.#driverFeatures,
      queues: this.queues.map(({ enabled, size, descriptors, driver, device, vector }, index) => {
        const { nextAvailable, nextUsed } = positions?.[index] ?? { nextAvailable: 0, nextUsed: 0 };
        return { enabled, size, descriptors, driver, device, vector, nextAvailable, nextUsed };
      }),
    };
    this.#device.runner.activate(activation);
  }
}

function initialQueue(maxSize: number): QueueRegisters {
  return { maxSize, size: maxSize, enabled: false, descriptors: 0n, driver: 0n, device: 0n, vector: NoVector };
}
