/** Carries interrupt messages to local APICs: SDM Vol. 3A "Determining IPI Destination". */
import { BroadcastDestination, DeliveryMode } from './interrupt-message.ts';
import type { InterruptMessage } from './interrupt-message.ts';
import { Shorthand } from './local-apic-registers.ts';
import type { LocalApic } from './local-apic.ts';

export class ApicBus {
  /** In the order of their identifiers, which are the indices. */
  readonly #apics: readonly LocalApic[];
  /** Where the search for a lowest-priority processor starts, so that equals take turns. */
  #next = 0;

  constructor(apics: readonly LocalApic[]) {
    this.#apics = apics;
  }

  /** Delivers to whom the message's destination names; false when nobody took it. */
  deliver(message: InterruptMessage): boolean {
    const { destination, logical } = message;
    if (message.deliveryMode === DeliveryMode.LowestPriority) {
      return this.#deliverToLowest(message, (apic) => apic.matches(destination, logical));
    }
    if (!logical && destination !== BroadcastDestination) {
      const apic = this.#apics[destination];
      return apic !== undefined && apic.matches(destination, false) && apic.accept(message);
    }
    return this.#deliverToAll(message, (apic) => apic.matches(destination, logical));
  }

  /** Delivers an IPI, to the processors of its shorthand if it has one. */
  sendIpi(source: LocalApic, message: InterruptMessage, shorthand: Shorthand): void {
    switch (shorthand) {
      case Shorthand.None:
        this.deliver(message);
        return;
      case Shorthand.Self:
        source.accept(message);
        return;
      case Shorthand.AllIncludingSelf:
        this.#deliverToGroup(message, () => true);
        return;
      case Shorthand.AllExcludingSelf:
        this.#deliverToGroup(message, (apic) => apic !== source);
        return;
      default:
        shorthand satisfies never;
    }
  }

  #deliverToGroup(message: InterruptMessage, isMember: (apic: LocalApic) => boolean): void {
    if (message.deliveryMode === DeliveryMode.LowestPriority) this.#deliverToLowest(message, isMember);
    else this.#deliverToAll(message, isMember);
  }

  #deliverToAll(message: InterruptMessage, isMember: (apic: LocalApic) => boolean): boolean {
    let taken = false;
    for (const apic of this.#apics) {
      if (isMember(apic) && apic.accept(message)) taken = true;
    }
    return taken;
  }

  /** SDM Vol. 3A "Lowest Priority Delivery Mode": the focus processor, or the one with the lowest priority. */
  #deliverToLowest(message: InterruptMessage, isMember: (apic: LocalApic) => boolean): boolean {
    let chosen: LocalApic | undefined;
    for (let step = 0; step < this.#apics.length; step++) {
      const apic = this.#apics[(this.#next + step) % this.#apics.length]!;
      if (!apic.enabled || !isMember(apic)) continue;
      if (apic.isFocusFor(message.vector)) return apic.accept(message);
      if (chosen === undefined || apic.processorPriority < chosen.processorPriority) chosen = apic;
    }
    if (chosen === undefined) return false;
    this.#next = (chosen.id + 1) % this.#apics.length;
    return chosen.accept(message);
  }
}
