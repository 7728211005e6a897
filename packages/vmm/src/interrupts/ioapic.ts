/**
 * The I/O APIC: 24 pins that become interrupt messages.
 *
 * Intel 82093AA data sheet (order number 290566-001).
 *
 * Left out: the EOI register of later parts (this one says version 0x11, as KVM's in-kernel IOAPIC does); pin polarity
 * (lines here are asserted or not; the bit is kept); ExtINT (the 8259A is not wired to a pin; see LINT0).
 */
import type { BusDevice, Saveable, SavedState } from '../bus/bus-device.ts';
import { requireVersion } from '../bus/saved-state.ts';
import { bitfield } from '../registers/bitfield.ts';
import { DeliveryMode, widenDestination } from './interrupt-message.ts';
import type { InterruptMessage } from './interrupt-message.ts';

export const IoApicPinCount = 24;

/** 82093AA §3.1 "Memory Mapped Registers for Accessing IOAPIC Registers". */
const MappedRegister = { Select: 0x00, Window: 0x10 } as const;

/** 82093AA §3.2 "IOAPIC Registers": indices through the select register. */
const IoApicRegister = { Id: 0x00, Version: 0x01, Arbitration: 0x02, RedirectionTable: 0x10 } as const;

/** 82093AA §3.2.1 "IOAPICID" and §3.2.3 "IOAPICARB". */
export const IoApicId = bitfield(32, { Reserved0: [23, 0], Id: [27, 24], Reserved28: [31, 28] });

/** 82093AA §3.2.2 "IOAPICVER". */
const IoApicVersion = bitfield(32, {
  Version: [7, 0],
  Reserved8: [15, 8],
  MaximumEntry: [23, 16],
  Reserved24: [31, 24],
});
const VersionValue = IoApicVersion.of({ Version: 0x11, MaximumEntry: IoApicPinCount - 1 });

/** 82093AA §3.2.4 "IOREDTBL": the low half of an entry. */
export const Redirection = bitfield(32, {
  Vector: [7, 0],
  DeliveryMode: [10, 8],
  Logical: 11,
  DeliveryStatus: 12,
  ActiveLow: 13,
  RemoteIrr: 14,
  LevelTriggered: 15,
  Mask: 16,
  Reserved17: [31, 17],
});
const RedirectionReadOnly = Redirection.DeliveryStatus.mask | Redirection.RemoteIrr.mask | Redirection.Reserved17.mask;

/** 82093AA §3.2.4 "IOREDTBL": the high half of an entry. */
const RedirectionHigh = bitfield(32, { Reserved0: [23, 0], Destination: [31, 24] });

export interface IoApicState extends SavedState {
  readonly select: number;
  readonly id: number;
  readonly lines: number;
  readonly entries: readonly { readonly low: number; readonly high: number }[];
}

export class IoApic implements BusDevice, Saveable {
  readonly #deliver: (message: InterruptMessage) => boolean;
  readonly #low = new Uint32Array(IoApicPinCount).fill(Redirection.Mask.mask);
  readonly #high = new Uint32Array(IoApicPinCount);
  #lines = 0;
  #select = 0;
  #id = 0;

  /** `deliver` carries a message to the local APICs; false when nobody took it. */
  constructor(deliver: (message: InterruptMessage) => boolean) {
    this.#deliver = deliver;
  }

  /** Drives a pin. An edge on a masked pin is lost (82093AA §3.2.4, "Interrupt Mask"). */
  setLine(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    if (((this.#lines & bit) !== 0) === asserted) return;
    this.#lines ^= bit;
    if (asserted) this.#service(pin);
  }

  /** A processor ended a level-triggered interrupt: pins with this vector that are still asserted send it again. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IoApicPinCount; pin++) {
      const entry = this.#low[pin]!;
      if (!Redirection.RemoteIrr.isSet(entry) || Redirection.Vector.get(entry) !== vector) continue;
      this.#low[pin] = Redirection.RemoteIrr.set(entry, 0);
      this.#serviceIfLevel(pin);
    }
  }

  read(offset: number): number {
    switch (offset) {
      case MappedRegister.Select:
        return this.#select;
      case MappedRegister.Window:
        return this.#readRegister(this.#select);
      default:
        return 0;
    }
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === MappedRegister.Select) this.#select = value & 0xff;
    else if (offset === MappedRegister.Window) this.#writeRegister(this.#select, value);
  }

  #readRegister(index: number): number {
    switch (index) {
      case IoApicRegister.Id:
      case IoApicRegister.Arbitration:
        return this.#id;
      case IoApicRegister.Version:
        return VersionValue;
      default: {
        const pin = (index - IoApicRegister.RedirectionTable) >> 1;
        if (pin < 0 || pin >= IoApicPinCount) return 0;
        return index % 2 === 0 ? this.#low[pin]! : this.#high[pin]!;
      }
    }
  }

  #writeRegister(index: number, value: number): void {
    if (index === IoApicRegister.Id) {
      this.#id = value & IoApicId.Id.mask;
      return;
    }
    const pin = (index - IoApicRegister.RedirectionTable) >> 1;
    if (pin < 0 || pin >= IoApicPinCount) return;
    if (index % 2 === 0) this.#writeLow(pin, value);
    else this.#high[pin] = value & RedirectionHigh.Destination.mask;
    this.#serviceIfLevel(pin);
  }

  #writeLow(pin: number, value: number): void {
    const kept = this.#low[pin]! & Redirection.RemoteIrr.mask;
    let entry = (value & ~RedirectionReadOnly) | kept;
    // A pin that becomes edge-triggered forgets its remote IRR: Linux clears stuck ones so on this version.
    if (!Redirection.LevelTriggered.isSet(entry)) entry = Redirection.RemoteIrr.set(entry, 0);
    this.#low[pin] = entry;
  }

  #serviceIfLevel(pin: number): void {
    if (Redirection.LevelTriggered.isSet(this.#low[pin]!) && (this.#lines & (1 << pin)) !== 0) this.#service(pin);
  }

  /** What a pin sends when it is asserted; undefined while it is masked. */
  message(pin: number): InterruptMessage | undefined {
    const entry = this.#low[pin]!;
    if (Redirection.Mask.isSet(entry)) return undefined;
    const deliveryMode = Redirection.DeliveryMode.get(entry) as DeliveryMode;
    // 82093AA §3.2.4, "Delivery Mode": NMI, SMI and INIT are edge-triggered whatever the entry says.
    const vectored = deliveryMode === DeliveryMode.Fixed || deliveryMode === DeliveryMode.LowestPriority;
    return {
      vector: Redirection.Vector.get(entry),
      deliveryMode,
      levelTriggered: vectored && Redirection.LevelTriggered.isSet(entry),
      logical: Redirection.Logical.isSet(entry),
      destination: widenDestination(RedirectionHigh.Destination.get(this.#high[pin]!)),
    };
  }

  #service(pin: number): void {
    const message = this.message(pin);
    if (message === undefined || Redirection.RemoteIrr.isSet(this.#low[pin]!)) return;
    const taken = this.#deliver(message);
    if (taken && message.levelTriggered) this.#low[pin] = Redirection.RemoteIrr.set(this.#low[pin]!, 1);
  }

  save(): IoApicState {
    return {
      version: 1,
      select: this.#select,
      id: this.#id,
      lines: this.#lines,
      entries: Array.from(this.#low, (low, pin) => ({ low, high: this.#high[pin]! })),
    };
  }

  restore(saved: SavedState): void {
    requireVersion(saved, 1, 'ioapic');
    const state = saved as IoApicState;
    this.#select = state.select;
    this.#id = state.id;
    this.#lines = state.lines;
    state.entries.slice(0, IoApicPinCount).forEach(({ low, high }, pin) => {
      this.#low[pin] = low;
      this.#high[pin] = high;
    });
  }
}
