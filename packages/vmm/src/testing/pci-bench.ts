/** A PCI host on real buses with nothing around it, and the guest's way of using it. */
import type { AccessSize } from '../bus/bus-device.ts';
import { MmioBus } from '../bus/mmio-bus.ts';
import { PioBus } from '../bus/pio-bus.ts';
import { PciHost } from '../devices/pci/host-bridge.ts';
import type { EventWiring } from '../interrupts/event-wiring.ts';
import type { MsiSink } from '../interrupts/interrupt-line.ts';
import { Gsi, PhysicalMap, PortMap } from '../machine/memory-map.ts';
import { MemoryEvents } from './memory-events.ts';
import { RecordedLine, RecordedMsi } from './recorded-interrupts.ts';

export interface Capability {
  readonly id: number;
  /** Offset in configuration space. */
  readonly at: number;
}

export class PciBench {
  readonly mmio = new MmioBus();
  readonly pio = new PioBus();
  readonly lines = [new RecordedLine(), new RecordedLine(), new RecordedLine(), new RecordedLine()];
  readonly msi = new RecordedMsi();
  /** The engine's events; only runners that have some use them. */
  readonly events = new MemoryEvents(this.msi);
  readonly host: PciHost;

  /** `engine`: where messages and events go instead of here. */
  constructor(engine?: { readonly msi: MsiSink; readonly events: EventWiring }) {
    this.host = new PciHost({
      windows: { memory32: PhysicalMap.PciMemory32, memory64: PhysicalMap.PciMemory64, io: PortMap.PciIo },
      intx: this.lines,
      intxGsi: Gsi.PciInt,
      msi: engine?.msi ?? this.msi,
      events: engine?.events ?? this.events,
    });
    this.pio.attach(PortMap.PciConfig, this.host.ports);
    this.mmio.attach(PhysicalMap.PciEcam, this.host.ecam);
    this.pio.attach(this.host.space.io, this.host.space.io);
    for (const window of [this.host.space.memory32, this.host.space.memory64]) this.mmio.attach(window, window);
  }

  /** Reads configuration space of a device on bus 0 through ports 0xCF8 and 0xCFC. */
  readConfig(slot: number, offset: number, size: 1 | 2 | 4): number {
    this.#select(slot, offset);
    return this.pio.read(PortMap.PciConfig.start + 4 + (offset & 3), size);
  }

  writeConfig(slot: number, offset: number, size: 1 | 2 | 4, value: number): void {
    this.#select(slot, offset);
    this.pio.write(PortMap.PciConfig.start + 4 + (offset & 3), size, value);
  }

  /** The capability list, as a driver walks it. */
  capabilities(slot: number): Capability[] {
    const found: Capability[] = [];
    for (
      let at = this.readConfig(slot, 0x34, 1);
      at !== 0 && found.length < 48;
      at = this.readConfig(slot, at + 1, 1)
    ) {
      found.push({ id: this.readConfig(slot, at, 1), at });
    }
    return found;
  }

  /** The address in a 32- or 64-bit memory BAR. */
  barAddress(slot: number, bar: number): number {
    const low = this.readConfig(slot, 0x10 + bar * 4, 4);
    const high = (low & 4) === 0 ? 0 : this.readConfig(slot, 0x14 + bar * 4, 4);
    return high * 2 ** 32 + (low - (low & 0xf));
  }

  read(address: number, size: Exclude<AccessSize, 8>): number {
    return this.mmio.read(address, size);
  }

  write(address: number, size: Exclude<AccessSize, 8>, value: number): void {
    if (!this.events.guestWrites(address)) this.mmio.write(address, size, value);
  }

  #select(slot: number, offset: number): void {
    this.pio.write(PortMap.PciConfig.start, 4, (0x8000_0000 | (slot << 11) | (offset & 0xfc)) >>> 0);
  }
}
