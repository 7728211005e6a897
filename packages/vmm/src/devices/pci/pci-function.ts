/**
 * A PCI function: a type-0 configuration header, base address registers and capabilities.
 *
 * Spec: PCI Local Bus 3.0 chapter 6 "Configuration Space".
 *
 * Left out: expansion ROMs, power management, the parity and abort bits of the status register (nothing here can cause
 * them), the PCI Express capability (functions are conventional ones on the root bus). Bus Master Enable is kept but
 * stops nothing: drivers reset a device to stop its DMA.
 */
import type { Saveable, SavedState } from '../../bus/bus-device.ts';
import { requireVersion } from '../../bus/saved-state.ts';
import type { EventWiring } from '../../interrupts/event-wiring.ts';
import { unconnectedLine } from '../../interrupts/interrupt-line.ts';
import type { InterruptLine, MsiSink } from '../../interrupts/interrupt-line.ts';
import { Bar, barRegisters } from './bar.ts';
import type { BarSpec } from './bar.ts';
import { Command, CommandWritable, ConfigLayout, Status } from './config-registers.ts';
import type { CapabilityId } from './config-registers.ts';
import type { InterruptPin } from './intx.ts';
import { RegisterSpace, constant, register, reserved } from './register-space.ts';
import type { RegisterField } from './register-space.ts';
import type { PciAddressSpace } from './windows.ts';

/** One entry of the capability list: its ID and the registers that follow the two header bytes. */
export interface PciCapability {
  readonly id: CapabilityId;
  readonly body: readonly RegisterField[];
}

export interface PciFunctionSpec {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revisionId: number;
  /** Base class, subclass and programming interface as one 24-bit number. */
  readonly classCode: number;
  readonly subsystemVendorId: number;
  readonly subsystemId: number;
  readonly interruptPin: InterruptPin;
  readonly bars: readonly BarSpec[];
  readonly capabilities: readonly PciCapability[];
}

/** What a function is plugged into. */
export interface PciSlot {
  readonly space: PciAddressSpace;
  readonly intx: InterruptLine;
  readonly msi: MsiSink;
  readonly events?: EventWiring | undefined;
}

/** What a bus asks of the thing in a slot. */
export interface PciDevice extends Saveable {
  readonly pci: PciFunction;
  /** The effect of RST#, beyond what {@link PciFunction.reset} does. */
  reset(): void;
}

export class PciFunction implements Saveable {
  readonly spec: PciFunctionSpec;
  readonly bars: readonly Bar[];
  readonly config: RegisterSpace;
  /** The interrupt line register: a note from firmware to drivers. */
  interruptLine = 0;
  /** Runs when the function was plugged in. */
  onConnected: (() => void) | undefined;
  #command = 0;
  #intxAsserted = false;
  #slot: PciSlot | undefined;

  constructor(spec: PciFunctionSpec) {
    this.spec = spec;
    this.bars = spec.bars.map((bar) => new Bar(bar));
    this.config = new RegisterSpace(ConfigLayout.Size, this.#registers());
  }

  /** Plugs the function in. */
  connect(slot: PciSlot): void {
    this.#slot = slot;
    this.onConnected?.();
    this.#decode();
  }

  get command(): number {
    return this.#command;
  }

  set command(value: number) {
    this.#command = value & CommandWritable;
    this.#decode();
    this.#driveIntx();
  }

  /** The engine's events, where it has them. */
  get events(): EventWiring | undefined {
    return this.#slot?.events;
  }

  /** True when an access at `address` reaches this BAR, not one that lies over it. */
  answersAt(bar: Bar, address: number): boolean {
    return this.#slot?.space.deviceAt(address) === bar.spec.device;
  }

  /** Sends a message-signalled interrupt. */
  signalMsi(address: number, data: number): void {
    this.#slot?.msi.signalMsi(address, data);
  }

  /** Asserts or deasserts the function's INTx pin; the Interrupt Disable bit of the command register gates it. */
  setIntx(asserted: boolean): void {
    this.#intxAsserted = asserted;
    this.#driveIntx();
  }

  /** RST#: nothing decoded, addresses forgotten. */
  reset(): void {
    this.interruptLine = 0;
    this.#intxAsserted = false;
    for (const bar of this.bars) bar.address = 0;
    this.command = 0;
  }

  save(): SavedState {
    return {
      version: 1,
      command: this.#command,
      interruptLine: this.interruptLine,
      intxAsserted: this.#intxAsserted,
      bars: this.bars.map((bar) => bar.address),
    };
  }

  restore(state: SavedState): void {
    requireVersion(state, 1, 'PCI function');
    const saved = state as unknown as { command: number; interruptLine: number; intxAsserted: boolean; bars: number[] };
    this.interruptLine = saved.interruptLine;
    this.#intxAsserted = saved.intxAsserted;
    this.bars.forEach((bar, index) => (bar.address = saved.bars[index] ?? 0));
    this.command = saved.command;
  }

  #decode(): void {
    if (this.#slot !== undefined) for (const bar of this.bars) this.#decodeBar(bar);
  }

  #decodeBar(bar: Bar): void {
    const enable = bar.spec.kind === 'io' ? Command.IoSpace : Command.MemorySpace;
    if (this.#slot !== undefined) bar.decode(this.#slot.space, enable.isSet(this.#command));
  }

  #driveIntx(): void {
    const line = this.#slot?.intx ?? unconnectedLine;
    line.setLevel(this.#intxAsserted && !Command.InterruptDisable.isSet(this.#command));
  }

  #status(): number {
    return Status.of({ InterruptStatus: this.#intxAsserted, CapabilitiesList: this.spec.capabilities.length > 0 });
  }

  /** The whole of configuration space, in address order. */
  #registers(): RegisterField[] {
    const { spec } = this;
    return [
      constant('vendorId', 2, spec.vendorId),
      constant('deviceId', 2, spec.deviceId),
      register('command', 2, {
        get: () => this.#command,
        set: (value) => (this.command = value),
        writable: CommandWritable,
      }),
      { name: 'status', bytes: 2, read: () => this.#status(), write: () => {} },
      constant('revisionId', 1, spec.revisionId),
      constant('programmingInterface', 1, spec.classCode & 0xff),
      constant('classCode', 2, spec.classCode >>> 8),
      constant('cacheLineSize', 1, 0),
      constant('latencyTimer', 1, 0),
      constant('headerType', 1, 0),
      constant('selfTest', 1, 0),
      ...barRegisters(this.bars, (bar) => this.#decodeBar(bar)),
      constant('cardbusCis', 4, 0),
      constant('subsystemVendorId', 2, spec.subsystemVendorId),
      constant('subsystemId', 2, spec.subsystemId),
      constant('expansionRom', 4, 0),
      constant('capabilitiesPointer', 1, spec.capabilities.length > 0 ? ConfigLayout.HeaderSize : 0),
      reserved(7),
      register('interruptLine', 1, { get: () => this.interruptLine, set: (value) => (this.interruptLine = value) }),
      constant('interruptPin', 1, spec.interruptPin),
      constant('minimumGrant', 1, 0),
      constant('maximumLatency', 1, 0),
      ...capabilityList(spec.capabilities),
    ];
  }
}

/** The linked list of capabilities, from the end of the header on; each starts on a 4-byte boundary. */
function capabilityList(capabilities: readonly PciCapability[]): RegisterField[] {
  const fields: RegisterField[] = [];
  let at: number = ConfigLayout.HeaderSize;
  capabilities.forEach((capability, index) => {
    const size = capability.body.reduce((sum, field) => sum + field.bytes, 2);
    const padded = (size + 3) & ~3;
    const next = index + 1 < capabilities.length ? at + padded : 0;
    fields.push(constant('capabilityId', 1, capability.id), constant('nextCapability', 1, next), ...capability.body);
    if (padded > size) fields.push(reserved(padded - size));
    at += padded;
  });
  return fields;
}
