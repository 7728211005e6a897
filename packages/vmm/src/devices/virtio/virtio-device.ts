/**
 * What a virtio device is to its transport, and what the two halves of a device are to each other.
 *
 * A device has a register half (features, configuration space; it lives in the thread that runs the transport) and a
 * queue half (everything that touches guest memory; it may live in another thread). They meet in a {@link QueueRunner}:
 * the transport hands it a plain {@link Activation} at DRIVER_OK, rings it for each notification and gets
 * {@link VirtioSignals} back. A device knows neither its transport nor in which thread its queues run.
 *
 * Spec: virtio 1.2 chapter 2 "Basic Facilities of a Virtio Device".
 */
import type { BusDevice, Saveable } from '../../bus/bus-device.ts';
import type { EventNumber } from '../../interrupts/event-wiring.ts';

/** virtio 1.2 chapter 5 "Device Types". */
export const VirtioDeviceType = {
  Network: 1,
  Block: 2,
  Console: 3,
  EntropySource: 4,
} as const;
export type VirtioDeviceType = (typeof VirtioDeviceType)[keyof typeof VirtioDeviceType];

/** Where a queue's next buffers are: ring positions that run freely modulo 2^16. */
export interface QueuePosition {
  readonly nextAvailable: number;
  readonly nextUsed: number;
}

/** One queue as the driver set it up. */
export interface QueueActivation extends QueuePosition {
  readonly enabled: boolean;
  readonly size: number;
  /** Guest-physical addresses; guests choose them, nothing is checked yet. */
  readonly descriptors: bigint;
  readonly driver: bigint;
  readonly device: bigint;
  /** The interrupt vector, for information: the transport maps queues to vectors itself. */
  readonly vector: number;
}

/** All that the queue half of a device gets to know at DRIVER_OK. Plain data: it can be sent to any thread. */
export interface Activation {
  readonly features: bigint;
  readonly queues: readonly QueueActivation[];
}

/** From a queue half to its transport: something happened that the driver must hear of. */
export interface QueueSignals {
  /** Buffers of that queue were used and the driver wants an interrupt. */
  usedBuffers(queue: number): void;
  /** The queues are in a state that only a reset ends. */
  needsReset(): void;
}

/** From a device to its transport. */
export interface VirtioSignals extends QueueSignals {
  configChanged(): void;
}

/** Makes a sleeping thread look: at notified queues in one direction, at used buffers in the other. */
export interface Doorbell {
  ring(): void;
}

/** Events of a runner whose queues an engine can wire directly: neither end then calls the other. */
export interface QueueEvents {
  /** For each queue: raised by the driver's notifications. */
  readonly notify: readonly EventNumber[];
  /** For each queue: raised for its used buffers while interrupts are direct. */
  readonly used: readonly EventNumber[];
  /** True: used buffers raise their event and nothing else. False: they are reported through {@link QueueSignals}. */
  setDirect(direct: boolean): void;
}

/** Runs the queue half of a device, in this thread or another one. */
export interface QueueRunner {
  /** A runner without takes calls only. */
  readonly events?: QueueEvents | undefined;
  /** Called once, when the device is given to a transport. */
  connect(signals: QueueSignals): void;
  /** DRIVER_OK: queues are served from now on. Implies a reset. */
  activate(activation: Activation): void;
  /** The driver made buffers available. Posted: never waits for another thread. */
  notify(queue: number): void;
  /** Starts a reset. Once {@link quiescent} is true the device touches no guest memory. */
  reset(): void;
  readonly quiescent: boolean;
  /** Stops DMA and answers where the queues are; returns when no more DMA happens. Undefined when not active. */
  pause(): readonly QueuePosition[] | undefined;
  /** Goes on after {@link pause}. */
  resume(): void;
  /** Passes on what the queue half signalled, and goes on with work left over. Call when the doorbell rang. */
  poll(): void;
}

/** A virtio device as a transport sees it: its register half. */
export interface VirtioDevice extends Saveable {
  readonly type: VirtioDeviceType;
  /** Device-specific feature bits on offer; the transport adds those of the rings. */
  readonly features: bigint;
  /** The largest size of each queue: powers of two. */
  readonly queueSizes: readonly number[];
  readonly runner: QueueRunner;
  /** Device-specific configuration space: `size` bytes. */
  readonly config: BusDevice & { readonly size: number };
  /** Called once by the transport. */
  connect(signals: VirtioSignals): void;
  /** Status 0 was written: register state back to its defaults. The transport resets the runner itself. */
  reset(): void;
}
