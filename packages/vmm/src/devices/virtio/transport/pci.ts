/**
 * A virtio device on the PCI bus, modern interface.
 *
 * Spec: virtio 1.2 §4.1 "Virtio Over PCI Bus".
 *
 * Left out: the legacy and transitional interfaces, shared memory regions, notification data, queue reset.
 */
import type { AccessSize, BusDevice, SavedState } from '../../../bus/bus-device.ts';
import { requireVersion } from '../../../bus/saved-state.ts';
import { Msix } from '../../pci/msix.ts';
import { PciFunction } from '../../pci/pci-function.ts';
import type { PciDevice } from '../../pci/pci-function.ts';
import type { RegisterSpace } from '../../pci/register-space.ts';
import type { VirtioDevice } from '../virtio-device.ts';
import { CommonConfigBytes, commonConfig } from './common-config.ts';
import type { CommonConfigOwner, Selectors } from './common-config.ts';
import { VirtioBar, VirtioPciId, classCodeOf, pciAccessCapability, structureCapabilities } from './pci-layout.ts';
import type { PciAccessWindow } from './pci-layout.ts';
import { QueueWires } from './queue-wires.ts';
import { NoVector, VirtioRegisters } from './registers.ts';

/** §4.1.4.5 "ISR status capability". */
const Isr = { Queue: 1, Config: 2 } as const;

export class VirtioPciTransport implements PciDevice, CommonConfigOwner {
  readonly pci: PciFunction;
  readonly device: VirtioDevice;
  readonly registers: VirtioRegisters;
  readonly selectors: Selectors = { deviceFeature: 0, driverFeature: 0, queue: 0 };
  configVector: number = NoVector;
  readonly #msix: Msix;
  readonly #common: RegisterSpace;
  readonly #window: PciAccessWindow;
  /** Undefined until the slot is known, and where the engine or the runner has no events. */
  #wires: QueueWires | undefined;
  #isr = 0;

  constructor(device: VirtioDevice) {
    this.device = device;
    this.registers = new VirtioRegisters(device);
    this.#common = commonConfig(this);
    this.#msix = new Msix(
      {
        // One for each queue and one for configuration changes.
        vectors: device.queueSizes.length + 1,
        bar: VirtioBar.Index,
        tableOffset: VirtioBar.MsixTable,
        pendingOffset: VirtioBar.MsixPending,
      },
      (address, data) => this.pci.signalMsi(address, data),
    );
    this.#msix.onEnabled = () => this.#driveIntx();
    this.#msix.onChanged = (vector) => this.#wires?.updateInterrupts(vector);
    this.#msix.pendingElsewhere = (vector) => this.#wires?.isPending(vector) ?? false;
    this.#window = this.#accessWindow();
    this.pci = this.#createFunction();
    this.pci.onConnected = () => (this.#wires = this.#createWires());
    this.pci.bars[VirtioBar.Index]!.onMapped = () => this.#wires?.updateDoorbells();
    device.connect({
      usedBuffers: (queue) => this.#usedBuffers(queue),
      configChanged: () => this.#configChanged(),
      needsReset: () => this.#needsReset(),
    });
  }

  /** Passes interrupts of an I/O worker on to the guest. Call when the doorbell given to its service rang. */
  poll(): void {
    this.device.runner.poll();
  }

  /** Stops the device's DMA, as saving needs it; returns when it has stopped. */
  pause(): void {
    this.registers.pause();
    this.#wires?.pause();
  }

  resume(): void {
    this.#wires?.resume();
    this.registers.resume();
  }

  writeStatus(status: number): void {
    if (this.registers.writeStatus(status)) this.#forget();
    else this.#rewire();
  }

  vectorChanged(): void {
    this.#wires?.updateInterrupts();
  }

  acceptVector(vector: number): number {
    return vector < this.#msix.spec.vectors ? vector : NoVector;
  }

  /** RST#: as a reset by the driver, and MSI-X too. */
  reset(): void {
    this.registers.reset();
    this.#forget();
    Object.assign(this.selectors, { deviceFeature: 0, driverFeature: 0, queue: 0 });
    Object.assign(this.#window, { bar: 0, offset: 0, length: 0 });
    this.#msix.reset();
  }

  /** The device must be paused. */
  save(): SavedState {
    const { bar, offset, length } = this.#window;
    return {
      version: 1,
      pci: this.pci.save(),
      msix: this.#msix.save(),
      registers: this.registers.save(),
      device: this.device.save(),
      selectors: { ...this.selectors },
      window: { bar, offset, length },
      configVector: this.configVector,
      isr: this.#isr,
    };
  }

  /** Leaves the device paused: {@link resume} lets the queues run again. */
  restore(state: SavedState): void {
    requireVersion(state, 1, 'virtio PCI');
    const saved = state as unknown as {
      [part in 'pci' | 'msix' | 'registers' | 'device']: SavedState;
    } & { selectors: Selectors; window: object; configVector: number; isr: number };
    this.reset();
    this.pci.restore(saved.pci);
    this.#msix.restore(saved.msix);
    Object.assign(this.selectors, saved.selectors);
    Object.assign(this.#window, saved.window);
    this.configVector = saved.configVector;
    this.#isr = saved.isr;
    this.#driveIntx();
    this.device.restore(saved.device);
    this.registers.restore(saved.registers);
    this.#rewire();
  }

  /** A driver's reset: interrupts and vectors are gone. */
  #forget(): void {
    this.configVector = NoVector;
    this.#isr = 0;
    this.#driveIntx();
    this.#wires?.reset();
  }

  #rewire(): void {
    this.#wires?.updateDoorbells();
    this.#wires?.updateInterrupts();
  }

  #createWires(): QueueWires | undefined {
    const { pci, registers } = this;
    const { events } = this.device.runner;
    if (pci.events === undefined || events === undefined) return undefined;
    const bar = pci.bars[VirtioBar.Index]!;
    return new QueueWires({
      wiring: pci.events,
      events,
      registers,
      msix: this.#msix,
      notifyAddress(queue) {
        if (bar.mapped === undefined) return undefined;
        const address = bar.mapped + VirtioBar.Notify + queue * VirtioBar.NotifyMultiplier;
        return pci.answersAt(bar, address) ? address : undefined;
      },
      usedBuffers: (queue) => this.#usedBuffers(queue),
    });
  }

  #usedBuffers(queue: number): void {
    this.#interrupt(Isr.Queue, this.registers.queues[queue]?.vector ?? NoVector);
  }

  #configChanged(): void {
    this.registers.configGeneration++;
    if (this.registers.driverOk) this.#interrupt(Isr.Config, this.configVector);
  }

  #needsReset(): void {
    this.registers.needsReset();
    if (this.registers.driverOk) this.#interrupt(Isr.Config, this.configVector);
  }

  #interrupt(reason: number, vector: number): void {
    if (this.#msix.enabled) {
      this.#msix.signal(vector);
      return;
    }
    this.#isr |= reason;
    this.#driveIntx();
  }

  #driveIntx(): void {
    this.pci.setIntx(this.#isr !== 0 && !this.#msix.enabled);
  }

  /** Reading the ISR status acknowledges the interrupt. */
  #readIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.#driveIntx();
    return isr;
  }

  #createFunction(): PciFunction {
    const { device } = this;
    return new PciFunction({
      vendorId: VirtioPciId.Vendor,
      deviceId: VirtioPciId.FirstDevice + device.type,
      revisionId: VirtioPciId.Revision,
      classCode: classCodeOf(device.type),
      subsystemVendorId: VirtioPciId.Vendor,
      subsystemId: VirtioPciId.Subsystem,
      interruptPin: 1,
      bars: [{ index: VirtioBar.Index, kind: 'memory64', size: VirtioBar.Size, device: this.#regions() }],
      capabilities: [
        this.#msix.capability(),
        ...structureCapabilities(device.queueSizes.length, device.config.size, CommonConfigBytes),
        pciAccessCapability(this.#window),
      ],
    });
  }

  /** The BAR: one page or more for each structure. What lies between reads as zero. */
  #regions(): BusDevice {
    const notify: BusDevice = {
      read: () => 0,
      write: (offset) => this.device.runner.notify(Math.floor(offset / VirtioBar.NotifyMultiplier)),
    };
    const isr: BusDevice = { read: (offset) => (offset === 0 ? this.#readIsr() : 0), write: () => {} };
    const regions: readonly { readonly start: number; readonly bytes: number; readonly device: BusDevice }[] = [
      { start: VirtioBar.Common, bytes: CommonConfigBytes, device: this.#common },
      { start: VirtioBar.Isr, bytes: 4, device: isr },
      { start: VirtioBar.Device, bytes: this.device.config.size, device: this.device.config },
      {
        start: VirtioBar.Notify,
        bytes: this.device.queueSizes.length * VirtioBar.NotifyMultiplier,
        device: notify,
      },
      {
        start: VirtioBar.MsixTable,
        bytes: Msix.tableBytes(this.#msix.spec.vectors),
        device: this.#msix.table,
      },
      { start: VirtioBar.MsixPending, bytes: 8, device: this.#msix.pendingBits },
    ];
    const find = (offset: number) => regions.find(({ start, bytes }) => offset >= start && offset < start + bytes);
    return {
      read(offset, size) {
        const region = find(offset);
        return region === undefined ? 0 : region.device.read(offset - region.start, size);
      },
      write(offset, size, value) {
        const region = find(offset);
        region?.device.write(offset - region.start, size, value);
      },
    };
  }

  /** §4.1.4.9: accesses of 1, 2 or 4 aligned bytes of the BAR, made through configuration space. */
  #accessWindow(): PciAccessWindow {
    const bar = (): BusDevice => this.pci.bars[0]!.spec.device;
    const window: PciAccessWindow = {
      bar: 0,
      offset: 0,
      length: 0,
      read: () => (legal() ? bar().read(window.offset, window.length as AccessSize) : 0),
      write(value) {
        if (legal()) bar().write(window.offset, window.length as AccessSize, value);
      },
    };
    const legal = (): boolean => {
      const { length, offset } = window;
      const sized = length === 1 || length === 2 || length === 4;
      return sized && window.bar === VirtioBar.Index && offset % length === 0 && offset + length <= VirtioBar.Size;
    };
    return window;
  }
}
