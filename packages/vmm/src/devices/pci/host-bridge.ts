/**
 * The PCI host bridge: bus 0 with up to 32 single-function devices, their configuration space, address windows and
 * interrupt wires. The bridge itself is device 0.
 *
 * Specs: PCI Local Bus 3.0; PCI Firmware 3.0 chapter 4.
 *
 * Left out: multi-function devices, bridges and further buses, hot plug, routing of INTx to the 8259 PICs (interrupt
 * link devices): without an IOAPIC driver a guest has to poll or to use MSI-X.
 */
import type { AddressRange } from '../../bus/address-range.ts';
import type { AccessSize, BusDevice, Saveable, SavedState } from '../../bus/bus-device.ts';
import { requireVersion } from '../../bus/saved-state.ts';
import { HostError } from '../../errors/host-error.ts';
import type { EventWiring } from '../../interrupts/event-wiring.ts';
import type { InterruptLine, MsiSink } from '../../interrupts/interrupt-line.ts';
import { PciConfigPorts, PciEcam } from './config-access.ts';
import type { ConfigSpaces } from './config-access.ts';
import { ClassCode, Command, ConfigLayout, noDevice } from './config-registers.ts';
import { IntxWires, intxWire } from './intx.ts';
import { PciFunction } from './pci-function.ts';
import type { PciDevice } from './pci-function.ts';
import { PciAddressSpace } from './windows.ts';

/** "PCIe host bridge" of the QEMU generic machine: class drivers need no more, and no chip-specific quirk matches it. */
const BridgeIdentity = { vendorId: 0x1b36, deviceId: 0x0008 } as const;
const Slots = 32;

export interface PciHostConfig {
  readonly windows: { readonly memory32: AddressRange; readonly memory64: AddressRange; readonly io: AddressRange };
  /** INTA# to INTD# of device 0, rotating with the device number. */
  readonly intx: readonly InterruptLine[];
  /** The global system interrupts behind `intx`: the value of the interrupt line registers. */
  readonly intxGsi: readonly number[];
  readonly msi: MsiSink;
  readonly events?: EventWiring | undefined;
}

export class PciHost implements ConfigSpaces, Saveable {
  /** For ports 0xCF8 to 0xCFF. */
  readonly ports: PciConfigPorts;
  /** For the enhanced configuration window. */
  readonly ecam: BusDevice;
  /** Its three windows go on the buses at their own `start` and `size`. */
  readonly space: PciAddressSpace;
  readonly #config: PciHostConfig;
  readonly #wires: IntxWires;
  readonly #slots: (PciDevice | undefined)[] = Array.from({ length: Slots });

  constructor(config: PciHostConfig) {
    this.#config = config;
    this.space = new PciAddressSpace(config.windows);
    this.ports = new PciConfigPorts(this);
    this.ecam = new PciEcam(this);
    this.#wires = new IntxWires(config.intx);
    this.attach(new HostBridgeDevice(), 0);
  }

  /** The devices on the bus, by device number. */
  get devices(): readonly (PciDevice | undefined)[] {
    return this.#slots;
  }

  /** Plugs a device in, into the first free slot unless one is given. Returns the device number. */
  attach(device: PciDevice, slot = this.#slots.indexOf(undefined)): number {
    if (slot < 0 || slot >= Slots || this.#slots[slot] !== undefined) {
      throw new HostError('InvalidArgument', `no free PCI slot (there are ${Slots - 1}): use fewer devices`);
    }
    this.#slots[slot] = device;
    const pin = device.pci.spec.interruptPin;
    device.pci.connect({
      space: this.space,
      msi: this.#config.msi,
      events: this.#config.events,
      intx: this.#wires.source(slot, pin === 0 ? 1 : pin),
    });
    return slot;
  }

  /**
   * What firmware does at power-on: gives every BAR an address in the lowest window that takes it, enables decoding and
   * fills in the interrupt line registers. Guests may redo all of it.
   */
  assignResources(): void {
    const { windows } = this.#config;
    const next = { io: windows.io.start, memory32: windows.memory32.start, memory64: windows.memory64.start };
    this.#slots.forEach((device, slot) => {
      if (device === undefined) return;
      const { bars, spec } = device.pci;
      for (const bar of bars) {
        const kind = bar.spec.kind === 'io' ? 'io' : this.#fits(next.memory32, bar.spec.size) ? 'memory32' : 'memory64';
        bar.address = alignUp(next[kind], bar.spec.size);
        next[kind] = bar.address + bar.spec.size;
      }
      if (spec.interruptPin !== 0) {
        device.pci.interruptLine = this.#config.intxGsi[intxWire(slot, spec.interruptPin)] ?? 0;
      }
      if (bars.length > 0) device.pci.command = Command.of({ IoSpace: true, MemorySpace: true });
    });
  }

  readConfig(bus: number, devfn: number, offset: number, size: AccessSize): number {
    const device = this.#deviceAt(bus, devfn);
    if (device === undefined) return noDevice(size);
    // Conventional functions have no extended configuration space: it reads as zero.
    return offset < ConfigLayout.Size ? device.pci.config.read(offset, size) : 0;
  }

  writeConfig(bus: number, devfn: number, offset: number, size: AccessSize, value: number): void {
    if (offset < ConfigLayout.Size) this.#deviceAt(bus, devfn)?.pci.config.write(offset, size, value);
  }

  /** Resets the bus (RST#): every device and the address port. */
  reset(): void {
    this.ports.reset();
    for (const device of this.#slots) {
      device?.reset();
      device?.pci.reset();
    }
  }

  save(): SavedState {
    return { version: 1, ports: this.ports.save(), devices: this.#slots.map((device) => device?.save()) };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'PCI host');
    const saved = state as unknown as { ports: SavedState; devices: readonly (SavedState | undefined)[] };
    this.ports.restore(saved.ports);
    this.#slots.forEach((device, slot) => {
      const deviceState = saved.devices[slot];
      if ((device === undefined) !== (deviceState === undefined)) {
        throw new HostError('Internal', `the saved machine has other devices in PCI slot ${slot} than this one`);
      }
      if (deviceState !== undefined) device?.restore(deviceState);
    });
  }

  #deviceAt(bus: number, devfn: number): PciDevice | undefined {
    return bus === 0 && (devfn & 7) === 0 ? this.#slots[devfn >>> 3] : undefined;
  }

  #fits(next: number, size: number): boolean {
    const { start, size: length } = this.#config.windows.memory32;
    return alignUp(next, size) + size <= start + length;
  }
}

/** Device 0: configuration space and nothing else. */
class HostBridgeDevice implements PciDevice {
  readonly pci = new PciFunction({
    ...BridgeIdentity,
    revisionId: 0,
    classCode: ClassCode.HostBridge,
    subsystemVendorId: 0,
    subsystemId: 0,
    interruptPin: 0,
    bars: [],
    capabilities: [],
  });

  reset(): void {}

  save(): SavedState {
    return this.pci.save();
  }

  restore(state: SavedState): void {
    this.pci.restore(state);
  }
}

function alignUp(address: number, size: number): number {
  return Math.ceil(address / size) * size;
}
