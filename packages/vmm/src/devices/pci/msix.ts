/**
 * MSI-X: the capability, its table of vectors and the pending bit array.
 *
 * Spec: PCI Local Bus 3.0 §6.8.2 "MSI-X Capability and Table Structures", §6.8.3.4 "Per-vector Masking and Function
 * Masking".
 *
 * Left out: message addresses outside of the local APICs' page (0xFEEx_xxxx). Hardware would write the data to memory;
 * here such a message is dropped.
 */
import type { BusDevice, Saveable, SavedState } from '../../bus/bus-device.ts';
import { requireVersion } from '../../bus/saved-state.ts';
import type { MsiMessage } from '../../interrupts/event-wiring.ts';
import { bitfield } from '../../registers/bitfield.ts';
import { CapabilityId } from './config-registers.ts';
import type { PciCapability } from './pci-function.ts';
import { constant, merge, register } from './register-space.ts';

const MessageControl = bitfield(16, { TableSize: [10, 0], Reserved11: [13, 11], FunctionMask: 14, Enable: 15 });

/** One table entry is four words. */
const Entry = { AddressLow: 0, AddressHigh: 1, Data: 2, VectorControl: 3, Words: 4, Bytes: 16 } as const;
const VectorMasked = 1;
/** Address bits 31 to 20 of an interrupt message. SDM Vol. 3A "Message Address Register Format". */
const MessagePage = 0xfee;

export interface MsixSpec {
  readonly vectors: number;
  readonly bar: number;
  readonly tableOffset: number;
  readonly pendingOffset: number;
}

export class Msix implements Saveable {
  readonly spec: MsixSpec;
  /** The table, as found at `tableOffset`. */
  readonly table: BusDevice;
  /** The pending bit array, as found at `pendingOffset`. */
  readonly pendingBits: BusDevice;
  /** Runs when Enable changes: a function with MSI-X enabled must not use its INTx pin. */
  onEnabled: (() => void) | undefined;
  /** Runs when what {@link message} answers may have changed, for one vector or (undefined) for all. */
  onChanged: ((vector: number | undefined) => void) | undefined;
  /** Vectors that are pending elsewhere: raised events that are bound to no message. */
  pendingElsewhere: ((vector: number) => boolean) | undefined;
  readonly #send: (address: number, data: number) => void;
  readonly #entries: Uint32Array;
  readonly #pending: Uint32Array;
  #enabled = false;
  #functionMask = false;

  constructor(spec: MsixSpec, send: (address: number, data: number) => void) {
    this.spec = spec;
    this.#send = send;
    this.#entries = new Uint32Array(spec.vectors * Entry.Words);
    // Whole 64-bit words, as the specification counts them.
    this.#pending = new Uint32Array(Math.ceil(spec.vectors / 64) * 2);
    this.table = words(this.#entries, (word, value) => this.#writeEntry(word, value));
    this.pendingBits = {
      read: (offset, size) => words(this.#allPending(), () => {}).read(offset, size),
      write: () => {},
    };
    this.reset();
  }

  static tableBytes(vectors: number): number {
    return vectors * Entry.Bytes;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** The entry of the function's capability list. */
  capability(): PciCapability {
    const { bar, tableOffset, pendingOffset } = this.spec;
    return {
      id: CapabilityId.MsiX,
      body: [
        register('messageControl', 2, {
          get: () => this.#control(),
          set: (value) => this.#setControl(value),
          writable: MessageControl.FunctionMask.mask | MessageControl.Enable.mask,
        }),
        constant('tableOffset', 4, tableOffset | bar),
        constant('pendingBitArrayOffset', 4, pendingOffset | bar),
      ],
    };
  }

  /** What a signal of the vector sends now; undefined while it stays pending, goes nowhere, or MSI-X is off. */
  message(vector: number): MsiMessage | undefined {
    if (!this.#enabled || vector >= this.spec.vectors || this.#masked(vector)) return undefined;
    return this.#entryMessage(vector);
  }

  /** Sends the vector's message, or leaves it pending while masked. Nothing happens while MSI-X is off. */
  signal(vector: number): void {
    if (!this.#enabled || vector >= this.spec.vectors) return;
    if (this.#masked(vector)) this.#pending[vector >>> 5]! |= 1 << (vector & 31);
    else this.#sendMessage(vector);
  }

  reset(): void {
    this.#entries.fill(0);
    for (let vector = 0; vector < this.spec.vectors; vector++) {
      this.#entries[vector * Entry.Words + Entry.VectorControl] = VectorMasked;
    }
    this.#pending.fill(0);
    this.#enabled = false;
    this.#functionMask = false;
  }

  save(): SavedState {
    return {
      version: 1,
      enabled: this.#enabled,
      functionMask: this.#functionMask,
      entries: [...this.#entries],
      pending: [...this.#allPending()],
    };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'MSI-X');
    const saved = state as unknown as {
      enabled: boolean;
      functionMask: boolean;
      entries: readonly number[];
      pending: readonly number[];
    };
    this.#enabled = saved.enabled;
    this.#functionMask = saved.functionMask;
    this.#entries.set(saved.entries.slice(0, this.#entries.length));
    this.#pending.set(saved.pending.slice(0, this.#pending.length));
  }

  #control(): number {
    return MessageControl.of({
      TableSize: this.spec.vectors - 1,
      FunctionMask: this.#functionMask,
      Enable: this.#enabled,
    });
  }

  #setControl(value: number): void {
    const enabled = MessageControl.Enable.isSet(value);
    const changed = enabled !== this.#enabled;
    this.#enabled = enabled;
    this.#functionMask = MessageControl.FunctionMask.isSet(value);
    if (changed) this.onEnabled?.();
    this.onChanged?.(undefined);
    for (let vector = 0; vector < this.spec.vectors; vector++) this.#sendPending(vector);
  }

  #writeEntry(word: number, value: number): void {
    const isControl = word % Entry.Words === Entry.VectorControl;
    const vector = Math.floor(word / Entry.Words);
    this.#entries[word] = isControl ? value & VectorMasked : value;
    this.onChanged?.(vector);
    this.#sendPending(vector);
  }

  #masked(vector: number): boolean {
    return this.#functionMask || this.#entries[vector * Entry.Words + Entry.VectorControl] === VectorMasked;
  }

  /** The pending bits, with those that are kept elsewhere. */
  #allPending(): Uint32Array {
    const all = this.#pending.slice();
    for (let vector = 0; vector < this.spec.vectors; vector++) {
      if (this.pendingElsewhere?.(vector) === true) all[vector >>> 5]! |= 1 << (vector & 31);
    }
    return all;
  }

  #sendPending(vector: number): void {
    const bit = 1 << (vector & 31);
    if ((this.#pending[vector >>> 5]! & bit) === 0 || !this.#enabled || this.#masked(vector)) return;
    this.#pending[vector >>> 5]! &= ~bit;
    this.#sendMessage(vector);
  }

  #sendMessage(vector: number): void {
    const message = this.#entryMessage(vector);
    if (message !== undefined) this.#send(message.address, message.data);
  }

  #entryMessage(vector: number): MsiMessage | undefined {
    const entry = vector * Entry.Words;
    const address = this.#entries[entry + Entry.AddressLow]!;
    if (this.#entries[entry + Entry.AddressHigh] !== 0 || address >>> 20 !== MessagePage) return undefined;
    return { address, data: this.#entries[entry + Entry.Data]! };
  }
}

/** 32-bit words that answer accesses of any width. */
function words(values: Uint32Array, write: (word: number, value: number) => void): BusDevice {
  const visit = (
    offset: number,
    size: number,
    part: (word: number, shift: number, mask: number, at: number) => void,
  ) => {
    for (let byte = offset; byte < offset + Math.min(size, 4) && byte < values.byteLength;) {
      const shift = (byte & 3) * 8;
      const bytes = Math.min(4 - (byte & 3), offset + Math.min(size, 4) - byte);
      part(byte >>> 2, shift, bytes === 4 ? 0xffff_ffff : (1 << (bytes * 8)) - 1, (byte - offset) * 8);
      byte += bytes;
    }
  };
  return {
    read(offset, size) {
      let value = 0;
      visit(offset, size, (word, shift, mask, at) => (value |= ((values[word]! >>> shift) & mask) << at));
      return value >>> 0;
    },
    write(offset, size, value) {
      visit(offset, size, (word, shift, mask, at) =>
        write(word, merge(values[word]!, ((value >>> at) & mask) << shift, (mask << shift) >>> 0)),
      );
    },
  };
}
