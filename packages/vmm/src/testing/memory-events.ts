/** Events in memory, as an engine with a kernel has them: for tests of what wires them. */
import type { EventNumber, EventWiring, MsiMessage } from '../interrupts/event-wiring.ts';
import type { MsiSink } from '../interrupts/interrupt-line.ts';

export class MemoryEvents implements EventWiring {
  /** How many interrupts can be bound at a time. */
  room = Infinity;
  readonly #msi: MsiSink;
  readonly #raised: number[] = [];
  readonly #writes = new Map<number, EventNumber>();
  readonly #messages = new Map<EventNumber, MsiMessage>();

  constructor(msi: MsiSink) {
    this.#msi = msi;
  }

  /** Addresses that are bound, in ascending order. */
  get boundWrites(): readonly number[] {
    return [...this.#writes.keys()].sort((a, b) => a - b);
  }

  get boundInterrupts(): number {
    return this.#messages.size;
  }

  /** A write of the guest. False when it is an exit. */
  guestWrites(address: number): boolean {
    const event = this.#writes.get(address);
    if (event !== undefined) this.raise(event);
    return event !== undefined;
  }

  create(): EventNumber {
    return this.#raised.push(0) - 1;
  }

  raise(event: EventNumber): void {
    const message = this.#messages.get(event);
    if (message === undefined) this.#raised[event]!++;
    else this.#msi.signalMsi(message.address, message.data);
  }

  bindWrite(event: EventNumber, address: number): boolean {
    if (this.#writes.has(address)) return false;
    this.#writes.set(address, event);
    return true;
  }

  unbindWrite(event: EventNumber, address: number): void {
    if (this.#writes.get(address) !== event) throw new Error('not bound');
    this.#writes.delete(address);
  }

  bindInterrupt(event: EventNumber, message: MsiMessage): boolean {
    if (this.#messages.size >= this.room && !this.#messages.has(event)) return false;
    this.#messages.set(event, message);
    if (this.clear(event)) this.#msi.signalMsi(message.address, message.data);
    return true;
  }

  unbindInterrupt(event: EventNumber): void {
    this.#messages.delete(event);
  }

  isRaised(event: EventNumber): boolean {
    return this.#raised[event]! > 0;
  }

  clear(event: EventNumber): boolean {
    const was = this.isRaised(event);
    this.#raised[event] = 0;
    return was;
  }
}
