/**
 * The local APIC of a vCPU with a thread of its own, on that thread. The other controllers are the machine thread's:
 * accesses to them are exits.
 *
 * Left out: the 8259A's interrupts reach the bootstrap processor only, whose thread is the machine's (docs/deviations.md).
 */
import { PhysicalMap } from '../machine/memory-map.ts';
import type { Clock, TimerQueue } from '../time/clock.ts';
import type { TscRate } from '../time/tsc-rate.ts';
import { ApicBus } from './apic-bus.ts';
import type { ApicInbox } from './apic-inbox.ts';
import type { VcpuEvent } from './interrupt-message.ts';
import { isXApicAddress } from './irqchip.ts';
import { readXApic, writeXApic } from './local-apic-interface.ts';
import { LocalApic } from './local-apic.ts';
import type { VcpuInterrupts } from './vcpu-interrupts.ts';

export interface OwnApicOptions {
  readonly id: number;
  /** Of all vCPUs, in the order of their numbers. */
  readonly inboxes: readonly ApicInbox[];
  readonly clock: Clock;
  readonly timers: TimerQueue;
  readonly tsc: TscRate;
  /** As IrqChipOptions.onVcpuEvent. */
  onVcpuEvent(event: VcpuEvent): void;
  /** Another vCPU's TSC was written. */
  tscChanged(): void;
}

export class OwnApic implements VcpuInterrupts {
  readonly #apic: LocalApic;
  readonly #inbox: ApicInbox;
  readonly #options: OwnApicOptions;
  #pending = false;

  constructor(options: OwnApicOptions) {
    this.#options = options;
    const { id, inboxes, clock, timers, tsc } = options;
    this.#inbox = inboxes[id]!;
    this.#apic = new LocalApic(id, PhysicalMap.LocalApic.start, {
      clock,
      timers,
      tsc,
      sendIpi: (source, message, shorthand) => bus.sendIpi(source, message, shorthand),
      broadcastEndOfInterrupt: (vector) => inboxes[0]!.sendEndOfInterrupt(vector),
      requestChanged: (apic) => this.#update(apic),
      event: (_, event) => options.onVcpuEvent(event),
    });
    const bus = new ApicBus(inboxes.map((inbox) => (inbox.id === id ? this.#apic : inbox)));
    this.#update(this.#apic);
  }

  receive(): void {
    this.#inbox.take({
      apic: this.#apic,
      endOfInterrupt: () => {},
      tscChanged: () => this.#options.tscChanged(),
    });
  }

  pendingInterrupt(): boolean {
    return this.#pending;
  }
  acknowledge(): number {
    return this.#apic.acknowledge();
  }
  apic(): LocalApic {
    return this.#apic;
  }
  cr8(): number {
    return this.#apic.taskPriority >> 4;
  }
  setCr8(_vcpu: number, value: number): boolean {
    if (value < 0 || value > 0xf) return false;
    this.#apic.taskPriority = value << 4;
    return true;
  }

  readPort(): undefined {}
  writePort(): boolean {
    return false;
  }
  readMmio(_vcpu: number, address: number, size: 1 | 2 | 4): number | undefined {
    if (!isXApicAddress(this.#apic, address)) return undefined;
    this.receive();
    return readXApic(this.#apic, address - this.#apic.baseAddress, size);
  }
  writeMmio(_vcpu: number, address: number, size: 1 | 2 | 4, value: number): boolean {
    if (!isXApicAddress(this.#apic, address)) return false;
    this.receive();
    writeXApic(this.#apic, address - this.#apic.baseAddress, size, value);
    return true;
  }

  /** The APIC may not be known yet: its constructor tells of its first changes. */
  #update(apic: LocalApic): void {
    this.#inbox.publish(apic);
    const pending = apic.request !== -1;
    if (this.#pending === pending) return;
    this.#pending = pending;
    if (pending) this.#options.onVcpuEvent('interrupt');
  }
}
