/**
 * How interrupts reach a local APIC that another thread has: what is sent to it, and what its senders look at, in shared
 * memory. A local APIC itself belongs to the thread of its vCPU alone, which takes what was sent between two instructions
 * or when it is woken.
 *
 * Messages of the same kind and vector that are sent before the first is taken are one, as in the IRR.
 */
import { type ApicTarget, type LocalApicMode, matchesDestination } from './apic-target.ts';
import { DeliveryMode } from './interrupt-message.ts';
import type { InterruptMessage } from './interrupt-message.ts';
import { FirstLegalVector, SpuriousVector } from './local-apic-registers.ts';
import type { LocalApic } from './local-apic.ts';

const Word = {
  /** 1 when something was sent. */
  Pending: 0,
  /** {@link Sent} */
  Events: 1,
  /** Vector of a start-up IPI + 1, or 0. */
  StartUp: 2,
  // What senders look at
  Mode: 3,
  LogicalDestination: 4,
  DestinationFormat: 5,
  SpuriousVector: 6,
  ProcessorPriority: 7,
  // Eight words of 32 vectors each
  Edges: 8,
  Levels: 16,
  /** Level-triggered interrupts that ended, for the IOAPIC: of the thread that has it. */
  Ended: 24,
} as const;
const WordCount = 32;
export const ApicInboxBytes = WordCount * 4;
const VectorWords = 8;

const Sent = { Nmi: 1, Init: 2, TscChanged: 4 } as const;
const Modes: readonly LocalApicMode[] = ['disabled', 'xapic', 'x2apic'];

export interface InboxTaker {
  readonly apic: LocalApic;
  /** A level-triggered interrupt ended on another vCPU. */
  endOfInterrupt(vector: number): void;
  /** Another vCPU's TSC was written. */
  tscChanged(): void;
}

/** The local APIC of a vCPU with another thread, and that thread's part of it. */
export class ApicInbox implements ApicTarget {
  readonly id: number;
  readonly #words: Int32Array;
  readonly #wake: () => void;

  /** `wake` gets the attention of the thread. */
  constructor(id: number, words: Int32Array, wake: () => void) {
    this.id = id;
    this.#words = words;
    this.#wake = wake;
  }

  // For senders.

  get mode(): LocalApicMode {
    return Modes[Atomics.load(this.#words, Word.Mode)] ?? 'disabled';
  }
  get logicalDestination(): number {
    return Atomics.load(this.#words, Word.LogicalDestination) >>> 0;
  }
  get destinationFormat(): number {
    return Atomics.load(this.#words, Word.DestinationFormat) >>> 0;
  }
  get enabled(): boolean {
    return this.mode !== 'disabled' && SpuriousVector.SoftwareEnable.isSet(this.#spuriousVector);
  }
  get processorPriority(): number {
    return Atomics.load(this.#words, Word.ProcessorPriority);
  }
  get #spuriousVector(): number {
    return Atomics.load(this.#words, Word.SpuriousVector);
  }
  matches(destination: number, logical: boolean): boolean {
    return matchesDestination(this, destination, logical);
  }
  /** Whether the vector is in service is not known here. */
  isFocusFor(): boolean {
    return false;
  }

  accept(message: InterruptMessage): boolean {
    if (this.mode === 'disabled') return false;
    const { vector } = message;
    switch (message.deliveryMode) {
      case DeliveryMode.Fixed:
      case DeliveryMode.LowestPriority:
        if (!this.enabled) return false;
        this.#sendVector(message.levelTriggered ? Word.Levels : Word.Edges, vector);
        return vector >= FirstLegalVector;
      case DeliveryMode.Nmi:
        this.#send(Sent.Nmi);
        return true;
      case DeliveryMode.Init:
        Atomics.store(this.#words, Word.StartUp, 0);
        this.#send(Sent.Init);
        return true;
      case DeliveryMode.StartUp:
        Atomics.store(this.#words, Word.StartUp, vector + 1);
        this.#send(0);
        return true;
      default:
        return true;
    }
  }

  /** To the thread that has the IOAPIC. */
  sendEndOfInterrupt(vector: number): void {
    this.#sendVector(Word.Ended, vector);
  }
  sendTscChanged(): void {
    this.#send(Sent.TscChanged);
  }

  #sendVector(set: number, vector: number): void {
    Atomics.or(this.#words, set + (vector >> 5), 1 << (vector & 31));
    this.#send(0);
  }

  #send(event: number): void {
    if (event) Atomics.or(this.#words, Word.Events, event);
    Atomics.store(this.#words, Word.Pending, 1);
    this.#wake();
  }

  /** Something was sent and not taken. */
  get isPending(): boolean {
    return Atomics.load(this.#words, Word.Pending) !== 0;
  }

  // For the local APIC's thread.

  /** What senders are to find the local APIC by. */
  publish(apic: LocalApic): void {
    const words = this.#words;
    Atomics.store(words, Word.LogicalDestination, apic.logicalDestination | 0);
    Atomics.store(words, Word.DestinationFormat, apic.destinationFormat | 0);
    Atomics.store(words, Word.SpuriousVector, apic.spuriousVector);
    Atomics.store(words, Word.ProcessorPriority, apic.processorPriority);
    Atomics.store(words, Word.Mode, Modes.indexOf(apic.mode));
  }

  /** Takes what was sent. */
  take(taker: InboxTaker): void {
    const words = this.#words;
    if (Atomics.load(words, Word.Pending) === 0) return;
    Atomics.store(words, Word.Pending, 0);
    const events = Atomics.exchange(words, Word.Events, 0);
    const event = { vector: 0, levelTriggered: false, logical: false, destination: this.id };
    const { apic } = taker;
    if (events & Sent.Init) apic.accept({ ...event, deliveryMode: DeliveryMode.Init });
    if (events & Sent.Nmi) apic.accept({ ...event, deliveryMode: DeliveryMode.Nmi });
    const startUp = Atomics.exchange(words, Word.StartUp, 0);
    if (startUp !== 0) apic.accept({ ...event, vector: startUp - 1, deliveryMode: DeliveryMode.StartUp });
    if (events & Sent.TscChanged) taker.tscChanged();
    const { Fixed: deliveryMode } = DeliveryMode;
    this.#takeVectors(Word.Edges, (vector) => apic.accept({ ...event, vector, deliveryMode }));
    this.#takeVectors(Word.Levels, (vector) => apic.accept({ ...event, vector, deliveryMode, levelTriggered: true }));
    this.#takeVectors(Word.Ended, (vector) => taker.endOfInterrupt(vector));
  }

  #takeVectors(set: number, deliver: (vector: number) => void): void {
    for (let index = 0; index < VectorWords; index++) {
      if (Atomics.load(this.#words, set + index) === 0) continue;
      const bits = Atomics.exchange(this.#words, set + index, 0);
      for (let bit = 0; bit < 32; bit++) if (bits & (1 << bit)) deliver(index * 32 + bit);
    }
  }
}
