/**
 * The two ways to configuration space: ports 0xCF8/0xCFC and the enhanced (memory-mapped) mechanism.
 *
 * Specs: PCI Local Bus 3.0 §3.2.2.3.2 "Software Generation of Configuration Transactions"; PCI Express Base 3.0 §7.2.2
 * "PCI Express Enhanced Configuration Access Mechanism (ECAM)". Bits 27 to 24 of CONFIG_ADDRESS extend the register
 * number as AMD processors have it (BKDG "IO Configuration-Space Address Register"), which Linux uses on them.
 *
 * The reset control register, a byte at port 0xCF9, is another device that the machine attaches above these ports.
 */
import type { AccessSize, BusDevice, Saveable, SavedState } from '../../bus/bus-device.ts';
import { requireVersion } from '../../bus/saved-state.ts';
import { bitfield } from '../../registers/bitfield.ts';
import { noDevice } from './config-registers.ts';

/** Configuration space of everything behind a host bridge. */
export interface ConfigSpaces {
  readConfig(bus: number, devfn: number, offset: number, size: AccessSize): number;
  writeConfig(bus: number, devfn: number, offset: number, size: AccessSize, value: number): void;
}

/** Ports, relative to 0xCF8. */
const Port = { Address: 0, Data: 4, End: 8 } as const;

const ConfigAddress = bitfield(32, {
  Reserved0: [1, 0],
  Register: [7, 2],
  DeviceFunction: [15, 8],
  Bus: [23, 16],
  ExtendedRegister: [27, 24],
  Reserved28: [30, 28],
  Enable: 31,
});
const AddressWritable = ~(ConfigAddress.Reserved0.mask | ConfigAddress.Reserved28.mask) >>> 0;

/** Ports 0xCF8 to 0xCFF. */
export class PciConfigPorts implements BusDevice, Saveable {
  readonly #spaces: ConfigSpaces;
  #address = 0;

  constructor(spaces: ConfigSpaces) {
    this.#spaces = spaces;
  }

  read(port: number, size: AccessSize): number {
    if (port === Port.Address && size === 4) return this.#address;
    const target = this.#target(port, size);
    if (target === undefined) return noDevice(size);
    return this.#spaces.readConfig(target.bus, target.devfn, target.offset, size);
  }

  write(port: number, size: AccessSize, value: number): void {
    if (port === Port.Address && size === 4) {
      this.#address = (value & AddressWritable) >>> 0;
    } else {
      const target = this.#target(port, size);
      if (target !== undefined) this.#spaces.writeConfig(target.bus, target.devfn, target.offset, size, value);
    }
  }

  reset(): void {
    this.#address = 0;
  }

  save(): SavedState {
    return { version: 1, address: this.#address };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'PCI ports');
    this.#address = (state as unknown as { address: number }).address;
  }

  #target(port: number, size: number): { bus: number; devfn: number; offset: number } | undefined {
    if (port < Port.Data || port + size > Port.End || !ConfigAddress.Enable.isSet(this.#address)) return undefined;
    const address = this.#address;
    const doubleword = (ConfigAddress.ExtendedRegister.get(address) << 8) | (ConfigAddress.Register.get(address) << 2);
    return {
      bus: ConfigAddress.Bus.get(address),
      devfn: ConfigAddress.DeviceFunction.get(address),
      offset: doubleword + port - Port.Data,
    };
  }
}

/** The memory-mapped configuration space: 4 KiB for each function, 1 MiB for each bus. */
export class PciEcam implements BusDevice {
  readonly #spaces: ConfigSpaces;

  constructor(spaces: ConfigSpaces) {
    this.#spaces = spaces;
  }

  read(offset: number, size: AccessSize): number {
    return this.#spaces.readConfig(offset >>> 20, (offset >>> 12) & 0xff, offset & 0xfff, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#spaces.writeConfig(offset >>> 20, (offset >>> 12) & 0xff, offset & 0xfff, size, value);
  }
}
