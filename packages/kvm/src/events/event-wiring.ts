/**
 * Events of KVM: eventfds that a guest's write raises (ioeventfd) and that send an interrupt when raised (irqfd).
 *
 * KVM API documentation, 4.59 "KVM_IOEVENTFD", 4.75 "KVM_IRQFD". An irqfd that is assigned while its eventfd is raised
 * fires at once, so nothing is lost while a vector is masked. To be used on one thread; the eventfds are for all.
 */
import type { EventNumber, EventWiring, MsiMessage } from '@lodger/vmm/interrupts/event-wiring.js';
import { Ioeventfd, IoeventfdFlag, Irqfd, IrqfdFlag } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl, requestName } from '../api/requests.ts';
import { PollSet, createEventFd, drainEventFd, signalEventFd } from '../linux/eventfd.ts';
import { Errno, LinuxError, tryIoctl } from '../linux/libc.ts';
import { FirstFreeGsi } from '../irqchip/gsi-routes.ts';
import type { GsiRoutes } from '../irqchip/gsi-routes.ts';
import type { KvmSystem } from '../system.ts';

/** What drivers write where ioeventfds of any length are not to be had: virtio 1.2 §4.1.5.2 "Available Buffer Notifications". */
const NotificationBytes = 2;
/** Routes of the pins: each of the PICs' and each of the IOAPIC's. */
const PinRoutes = 16 + FirstFreeGsi;

interface InterruptWire {
  readonly gsi: number;
  message: MsiMessage;
  assigned: boolean;
}

export class KvmEventWiring implements EventWiring {
  readonly #vmFd: number;
  readonly #routes: GsiRoutes;
  /** The first interrupt number that is too high. */
  readonly #gsiLimit: number;
  #nextGsi = FirstFreeGsi;
  readonly #created: EventNumber[];
  readonly #interrupts = new Map<EventNumber, InterruptWire>();
  readonly #ioeventfd = new DataView(new ArrayBuffer(Ioeventfd.size));
  readonly #irqfd = new DataView(new ArrayBuffer(Irqfd.size));

  /** All interrupt numbers after the pins' are given out here. Whoever releases the VM closes `created`. */
  constructor(vmFd: number, routes: GsiRoutes, system: KvmSystem, created: EventNumber[]) {
    this.#created = created;
    this.#vmFd = vmFd;
    this.#routes = routes;
    this.#gsiLimit = system.capability('IrqRouting') - PinRoutes;
    const anyLength = system.capability('IoeventfdAnyLength') > 0;
    this.#ioeventfd.setUint32(Ioeventfd.offset.len, anyLength ? 0 : NotificationBytes, true);
  }

  create(): EventNumber {
    const event = createEventFd();
    this.#created.push(event);
    return event;
  }

  raise(event: EventNumber): void {
    signalEventFd(event);
  }

  bindWrite(event: EventNumber, address: number): boolean {
    const result = this.#callIoeventfd(event, address, 0);
    if (result >= 0) return true;
    // Another one at that address, or as many devices as KVM's bus has places for.
    if (result === -Errno.EEXIST || result === -Errno.ENOSPC) return false;
    throw new LinuxError(requestName(KvmRequest.Ioeventfd), -result);
  }

  unbindWrite(event: EventNumber, address: number): void {
    const result = this.#callIoeventfd(event, address, IoeventfdFlag.Deassign);
    if (result < 0) throw new LinuxError(requestName(KvmRequest.Ioeventfd), -result);
  }

  bindInterrupt(event: EventNumber, message: MsiMessage): boolean {
    const wire = this.#route(event, message);
    if (wire === undefined) return false;
    if (!wire.assigned) this.#callIrqfd(event, wire.gsi, 0);
    wire.assigned = true;
    return true;
  }

  /** The route stays: most vectors are unmasked again with the message that they had. */
  unbindInterrupt(event: EventNumber): void {
    const wire = this.#interrupts.get(event);
    if (wire === undefined || !wire.assigned) return;
    this.#callIrqfd(event, wire.gsi, IrqfdFlag.Deassign);
    wire.assigned = false;
  }

  isRaised(event: EventNumber): boolean {
    return new PollSet([event]).wait(0) > 0;
  }

  clear(event: EventNumber): boolean {
    return drainEventFd(event) !== 0n;
  }

  /** The event's wire with its interrupt number routed to `message`; undefined when there are no more numbers. */
  #route(event: EventNumber, message: MsiMessage): InterruptWire | undefined {
    let wire = this.#interrupts.get(event);
    if (wire !== undefined && wire.message.address === message.address && wire.message.data === message.data)
      return wire;
    if (wire === undefined) {
      if (this.#nextGsi >= this.#gsiLimit) return undefined;
      wire = { gsi: this.#nextGsi++, message, assigned: false };
      this.#interrupts.set(event, wire);
    }
    wire.message = message;
    this.#routes.set(wire.gsi, message);
    this.#routes.apply();
    return wire;
  }

  #callIoeventfd(event: EventNumber, address: number, flags: number): number {
    const view = this.#ioeventfd;
    view.setBigUint64(Ioeventfd.offset.addr, BigInt(address), true);
    view.setInt32(Ioeventfd.offset.fd, event, true);
    view.setUint32(Ioeventfd.offset.flags, flags, true);
    return tryIoctl(this.#vmFd, KvmRequest.Ioeventfd, new Uint8Array(view.buffer));
  }

  #callIrqfd(event: EventNumber, gsi: number, flags: number): void {
    const view = this.#irqfd;
    view.setUint32(Irqfd.offset.fd, event, true);
    view.setUint32(Irqfd.offset.gsi, gsi, true);
    view.setUint32(Irqfd.offset.flags, flags, true);
    kvmIoctl(this.#vmFd, KvmRequest.Irqfd, new Uint8Array(view.buffer));
  }
}
