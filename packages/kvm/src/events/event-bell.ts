/** What an I/O worker sleeps on under kvm: poll(2) on eventfds, one to be called by and one for each queue. */
import type { WorkerBell } from '@lodger/vmm/devices/virtio/doorbell.js';
import type { Doorbell } from '@lodger/vmm/devices/virtio/virtio-device.js';
import { PollSet, drainEventFd, signalEventFd } from '../linux/eventfd.ts';

/** A doorbell made of an eventfd: what rings an {@link EventBell}. */
export class EventDoorbell implements Doorbell {
  readonly #event: number;

  constructor(event: number) {
    this.#event = event;
  }

  ring(): void {
    signalEventFd(this.#event);
  }
}

/** An event and what it is raised for. */
export interface EventTarget {
  readonly event: number;
  raised(): void;
}

export class EventBell implements WorkerBell {
  readonly #targets: readonly EventTarget[];
  readonly #set: PollSet;
  /** The events were taken by the {@link sleep} just over. */
  #taken = false;

  /** Rung by an {@link EventDoorbell} on `doorbell`, and by each target's event. */
  constructor(doorbell: number, targets: readonly EventTarget[]) {
    this.#targets = [{ event: doorbell, raised() {} }, ...targets];
    this.#set = new PollSet(this.#targets.map(({ event }) => event));
  }

  look(): number {
    if (!this.#taken) this.#take(0);
    this.#taken = false;
    return 0;
  }

  /** Raised events stay raised until they are taken: there is no moment at which a ring could be missed. */
  sleep(): void {
    this.#take(-1);
    this.#taken = true;
  }

  #take(milliseconds: number): void {
    if (this.#set.wait(milliseconds) === 0) return;
    this.#targets.forEach((target, index) => {
      if (this.#set.isReady(index) && drainEventFd(target.event) !== 0n) target.raised();
    });
  }
}
