/**
 * Events: how a guest and an I/O worker reach each other without a vCPU's thread between them.
 *
 * An event is a counter of the host, raised by whoever has its number. An engine that has them in its kernel (KVM:
 * ioeventfd and irqfd) raises one for a guest's write instead of leaving guest mode, and sends an interrupt for another
 * one without being called. Engines without a kernel have none, and everything goes the ordinary way.
 */

/** The number of an event: plain data, valid on every thread of the process. */
export type EventNumber = number;

/** What a message-signalled interrupt writes, and where. */
export interface MsiMessage {
  /** Below 4 GiB, as every address of an interrupt message is. */
  readonly address: number;
  readonly data: number;
}

/** What an engine does with events. Legal on the machine's thread. */
export interface EventWiring {
  /** A new event, which lives as long as the VM. */
  create(): EventNumber;
  raise(event: EventNumber): void;
  /**
   * From now on a guest's write of any size to exactly this guest-physical address raises the event and is no exit. False
   * when that cannot be had: such writes stay exits.
   */
  bindWrite(event: EventNumber, address: number): boolean;
  /** Undoes {@link bindWrite}; once it has returned the guest raises the event no more. */
  unbindWrite(event: EventNumber, address: number): void;
  /**
   * From now on the message is sent when the event is raised; at once if it was raised before. Replaces the event's
   * earlier message. False when that cannot be had: the event is then bound to nothing.
   */
  bindInterrupt(event: EventNumber, message: MsiMessage): boolean;
  /** Undoes {@link bindInterrupt}; once it has returned every message for an earlier raise has been sent. */
  unbindInterrupt(event: EventNumber): void;
  /** True when the event was raised and no interrupt was sent for it. */
  isRaised(event: EventNumber): boolean;
  /** Forgets that the event was raised. True when it had been. */
  clear(event: EventNumber): boolean;
}
