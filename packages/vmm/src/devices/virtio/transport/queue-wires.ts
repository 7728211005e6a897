/**
 * Wires a device's queues to its I/O worker through the engine's events: the driver's notifications raise the worker's
 * event without an exit, and the worker's events become MSI-X messages without a call.
 *
 * The transport says when something changed that matters (device status, where the BAR is decoded, an MSI-X vector,
 * pausing); what is bound follows from the registers as they are then. Whatever cannot be bound (an address that another
 * BAR covers, no free route) goes the ordinary way: exits, and signals that the machine's thread polls.
 */
import type { EventNumber, EventWiring, MsiMessage } from '../../../interrupts/event-wiring.ts';
import type { Msix } from '../../pci/msix.ts';
import type { QueueEvents } from '../virtio-device.ts';
import type { VirtioRegisters } from './registers.ts';

export interface QueueWiresConfig {
  readonly wiring: EventWiring;
  readonly events: QueueEvents;
  readonly registers: VirtioRegisters;
  readonly msix: Msix;
  /** Where a queue's notification address is decoded now, if it is and nothing lies over it. */
  readonly notifyAddress: (queue: number) => number | undefined;
  /** Used buffers of a queue that were signalled while nobody sent messages for them. */
  readonly usedBuffers: (queue: number) => void;
}

interface InterruptWire {
  readonly event: EventNumber;
  /** The vector that the event stands for. */
  vector: number;
  /** What raising the event sends; undefined while it is bound to nothing. */
  message: MsiMessage | undefined;
}

export class QueueWires {
  readonly #config: QueueWiresConfig;
  /** Bound notification addresses, by queue. */
  readonly #doorbells = new Map<number, number>();
  readonly #interrupts: readonly InterruptWire[];
  /** Used buffers raise events. */
  #direct = false;
  #paused = false;
  /** The engine could not bind a message: signals go the ordinary way until the next reset. */
  #refused = false;

  constructor(config: QueueWiresConfig) {
    this.#config = config;
    this.#interrupts = config.events.used.map((event, queue) => ({
      event,
      vector: config.registers.queues[queue]!.vector,
      message: undefined,
    }));
  }

  /** Call after a change of the device status or of where the BAR is decoded. */
  updateDoorbells(): void {
    const { wiring, events, registers, notifyAddress } = this.#config;
    registers.queues.forEach(({ enabled }, queue) => {
      const event = events.notify[queue]!;
      const wanted = registers.driverOk && enabled ? notifyAddress(queue) : undefined;
      const bound = this.#doorbells.get(queue);
      if (wanted === bound) return;
      if (bound !== undefined) wiring.unbindWrite(event, bound);
      if (wanted !== undefined && wiring.bindWrite(event, wanted)) this.#doorbells.set(queue, wanted);
      else this.#doorbells.delete(queue);
    });
  }

  /** Call after a change of the device status, of MSI-X (of one vector, or of all) or of a queue's vector. */
  updateInterrupts(vector?: number): void {
    const { registers, msix, events } = this.#config;
    const direct = registers.driverOk && msix.enabled && !this.#refused;
    this.#interrupts.forEach((wire, queue) => {
      const current = registers.queues[queue]!.vector;
      if (vector !== undefined && vector !== current && current === wire.vector) return;
      this.#setVector(wire, current);
      this.#bind(wire, direct && !this.#paused ? msix.message(current) : undefined);
    });
    if (this.#refused && direct) return this.updateInterrupts();
    if (direct === this.#direct) return;
    this.#direct = direct;
    events.setDirect(direct);
    // What was raised before the worker saw the change. If it raises one later it looks again and reports it.
    if (!direct) this.#collect();
  }

  /** True when used buffers were signalled for the vector and no message was sent for them. */
  isPending(vector: number): boolean {
    if (!this.#direct) return false;
    const { wiring } = this.#config;
    return this.#interrupts.some(
      (wire) => wire.vector === vector && wire.message === undefined && wiring.isRaised(wire.event),
    );
  }

  /** The queues have stopped: every interrupt for what they did is sent or pending when this returns. */
  pause(): void {
    this.#paused = true;
    this.updateInterrupts();
  }

  resume(): void {
    this.#paused = false;
    this.updateInterrupts();
  }

  /** The device was reset: nothing is bound any more and what was raised is forgotten. */
  reset(): void {
    this.#paused = false;
    this.#refused = false;
    this.updateDoorbells();
    this.updateInterrupts();
    for (const { event } of this.#interrupts) this.#config.wiring.clear(event);
  }

  /** An event stands for another vector from now on; what it was raised for stays pending for the old one. */
  #setVector(wire: InterruptWire, vector: number): void {
    if (vector === wire.vector) return;
    this.#bind(wire, undefined);
    if (this.#direct && this.#config.wiring.clear(wire.event)) this.#config.msix.signal(wire.vector);
    wire.vector = vector;
  }

  #bind(wire: InterruptWire, message: MsiMessage | undefined): void {
    const { wiring } = this.#config;
    const bound = wire.message;
    if (bound?.address === message?.address && bound?.data === message?.data) return;
    if (bound !== undefined && message === undefined) wiring.unbindInterrupt(wire.event);
    wire.message = message;
    if (message === undefined || wiring.bindInterrupt(wire.event, message)) return;
    wire.message = undefined;
    this.#refused = true;
  }

  #collect(): void {
    const { wiring, registers, usedBuffers } = this.#config;
    this.#interrupts.forEach(({ event }, queue) => {
      if (wiring.clear(event) && registers.driverOk) usedBuffers(queue);
    });
  }
}
