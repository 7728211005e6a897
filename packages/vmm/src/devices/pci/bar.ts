/**
 * Base address registers: sizing, relocation, and decoding as the command register allows it.
 *
 * Spec: PCI Local Bus 3.0 §6.2.5 "Base Addresses".
 */
import type { BusDevice } from '../../bus/bus-device.ts';
import { HostError } from '../../errors/host-error.ts';
import { BarType, ConfigLayout } from './config-registers.ts';
import { constant, merge } from './register-space.ts';
import type { RegisterField } from './register-space.ts';
import type { PciAddressSpace } from './windows.ts';

export interface BarSpec {
  /** 0 to 5; a 64-bit BAR takes the next one too. */
  readonly index: number;
  readonly kind: 'memory32' | 'memory64' | 'io';
  /** A power of two: at least 16 for memory, 4 for I/O. */
  readonly size: number;
  readonly prefetchable?: boolean;
  /** What answers in the range, with offsets from its start. */
  readonly device: BusDevice;
}

const Word = 2 ** 32;

/** One BAR of a function. */
export class Bar {
  readonly spec: BarSpec;
  /** Called with the guest-physical address where the BAR is decoded now, or undefined. */
  onMapped: ((address: number | undefined) => void) | undefined;
  #low = 0;
  #high = 0;
  #mapped: number | undefined;

  constructor(spec: BarSpec) {
    const least = spec.kind === 'io' ? 4 : 16;
    const most = spec.kind === 'memory64' ? 2 ** 51 : spec.kind === 'memory32' ? Word / 2 : 256;
    if (!Number.isInteger(Math.log2(spec.size)) || spec.size < least || spec.size > most) {
      throw new HostError(
        'Internal',
        `BAR ${spec.index}: ${spec.size} bytes is no size for a BAR of kind ${spec.kind}`,
      );
    }
    this.spec = spec;
  }

  /** The programmed address (whether decoded or not). */
  get address(): number {
    return this.#high * Word + this.#low;
  }

  /** Programs the address, as firmware does. */
  set address(address: number) {
    this.#low = ((address % Word) & this.#lowMask) >>> 0;
    this.#high = this.spec.kind === 'memory64' ? Math.floor(address / Word) & this.#highMask : 0;
  }

  /** Where the BAR is decoded now. */
  get mapped(): number | undefined {
    return this.#mapped;
  }

  /** The configuration registers: one, or two for a 64-bit BAR. `changed` runs after each write. */
  registers(changed: () => void): RegisterField[] {
    const type = this.#typeBits();
    const low: RegisterField = {
      name: `bar${this.spec.index}`,
      bytes: 4,
      read: () => (this.#low | type) >>> 0,
      write: (value, mask) => {
        this.#low = (merge(this.#low, value, mask) & this.#lowMask) >>> 0;
        changed();
      },
    };
    if (this.spec.kind !== 'memory64') return [low];
    const high: RegisterField = {
      name: `bar${this.spec.index + 1}`,
      bytes: 4,
      read: () => this.#high,
      write: (value, mask) => {
        this.#high = (merge(this.#high, value, mask) & this.#highMask) >>> 0;
        changed();
      },
    };
    return [low, high];
  }

  /** Maps or unmaps the BAR after a change of its address or of the command register. */
  decode(space: PciAddressSpace, enabled: boolean): void {
    const wanted = enabled ? this.address : undefined;
    if (wanted === this.#mapped) return;
    space.unmap(this.spec.device);
    this.#mapped = wanted !== undefined && this.#map(space, wanted) ? wanted : undefined;
    this.onMapped?.(this.#mapped);
  }

  #map(space: PciAddressSpace, address: number): boolean {
    const { kind, size, device } = this.spec;
    return kind === 'io' ? space.mapIo(address, size, device) : space.mapMemory(address, size, device);
  }

  get #lowMask(): number {
    return this.spec.size >= Word ? 0 : ~(this.spec.size - 1) >>> 0;
  }

  get #highMask(): number {
    return this.spec.size > Word ? ~(this.spec.size / Word - 1) >>> 0 : Word - 1;
  }

  #typeBits(): number {
    if (this.spec.kind === 'io') return BarType.Io;
    const width = this.spec.kind === 'memory64' ? BarType.Memory64 : BarType.Memory32;
    return width | (this.spec.prefetchable === true ? BarType.Prefetchable : 0);
  }
}

/** The six BAR registers of a header, in order; those that no BAR uses read as zero. */
export function barRegisters(bars: readonly Bar[], changed: (bar: Bar) => void): RegisterField[] {
  const taken = bars.flatMap(({ spec }) => (spec.kind === 'memory64' ? [spec.index, spec.index + 1] : [spec.index]));
  if (new Set(taken).size !== taken.length || taken.some((index) => index < 0 || index >= ConfigLayout.Bars)) {
    throw new HostError('Internal', 'the BARs of a PCI function overlap');
  }
  const fields: RegisterField[] = [];
  while (fields.length < ConfigLayout.Bars) {
    const index = fields.length;
    const bar = bars.find((candidate) => candidate.spec.index === index);
    if (bar === undefined) fields.push(constant(`bar${index}`, 4, 0));
    else fields.push(...bar.registers(() => changed(bar)));
  }
  return fields;
}
