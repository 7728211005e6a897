/** The PC board: every device of the machine, on its bus and its interrupt line. */
import type { Saveable, SavedState } from '../bus/bus-device.ts';
import { MmioBus } from '../bus/mmio-bus.ts';
import { PioBus } from '../bus/pio-bus.ts';
import { AcpiPm } from '../devices/acpi-pm.ts';
import { DebugExit } from '../devices/debug-exit.ts';
import { I8042 } from '../devices/i8042.ts';
import { PciHost } from '../devices/pci/host-bridge.ts';
import { ResetControl } from '../devices/reset-control.ts';
import { RtcMc146818 } from '../devices/rtc-mc146818.ts';
import { Serial16550 } from '../devices/serial-16550.ts';
import { VirtioBlock } from '../devices/virtio/block/virtio-block.ts';
import type { BlockGeometry } from '../devices/virtio/block/virtio-block.ts';
import { LocalConsolePort } from '../devices/virtio/console/console-port.ts';
import type { ConsolePort } from '../devices/virtio/console/console-port.ts';
import { VirtioConsole } from '../devices/virtio/console/virtio-console.ts';
import { LocalQueueRunner } from '../devices/virtio/local-queue-runner.ts';
import { EntropyRequests, VirtioRng } from '../devices/virtio/rng/virtio-rng.ts';
import type { EntropySource } from '../devices/virtio/rng/virtio-rng.ts';
import { VirtioPciTransport } from '../devices/virtio/transport/pci.ts';
import type { QueueRunner, VirtioDevice } from '../devices/virtio/virtio-device.ts';
import type { EngineVm } from '../engine/engine.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { Clock } from '../time/clock.ts';
import { HeapTimerQueue } from '../time/timer-queue.ts';
import type { EndReason } from './end-reason.ts';
import { Gsi, HighRamStart, LowRamLimit, PhysicalMap, PortMap } from './memory-map.ts';

/** Registers that only say what the next access means: they need not stop the guest. */
const PciConfigAddressBytes = 4;
const RtcIndexBytes = 1;

/** A disk: what the guest sees of it, and who serves its requests. */
export interface BoardDisk {
  readonly geometry: BlockGeometry;
  readonly runner: QueueRunner;
}

export interface BoardConfig {
  readonly vm: EngineVm;
  readonly clock: Clock;
  readonly entropy: EntropySource;
  readonly disks: readonly BoardDisk[];
  /** Who serves the virtio console's queues and the entropy source's. Default: the board's own thread. */
  readonly consolePort?: ConsolePort | undefined;
  readonly rngRunner?: QueueRunner | undefined;
  /** The serial console's output, a byte at a time. */
  readonly serialOutput: (byte: number) => void;
  /** The virtio console's output. */
  readonly virtioConsoleOutput: (bytes: Uint8Array) => void;
  readonly window: { readonly columns: number; readonly rows: number } | undefined;
  /** The guest did something that ends the machine. */
  readonly end: (reason: EndReason) => void;
}

export class Board implements Saveable {
  readonly pio = new PioBus();
  readonly mmio = new MmioBus();
  readonly timers = new HeapTimerQueue();
  readonly serial: Serial16550;
  readonly virtioConsole: VirtioConsole;
  readonly #acpiPm: AcpiPm;
  readonly #pci: PciHost;
  readonly #virtio: VirtioPciTransport[] = [];
  /** Everything with state, by the name that it is saved under. */
  readonly #saveables = new Map<string, Saveable>();

  constructor(config: BoardConfig) {
    const { vm, clock, end } = config;
    const reset = () => end({ kind: 'reset' });

    this.serial = this.#named(
      'serial',
      new Serial16550({ interrupt: vm.interruptLine(Gsi.Com1), output: config.serialOutput }),
    );
    this.pio.attach(PortMap.Com1, this.serial);

    const rtc = new RtcMc146818({
      clock,
      timers: this.timers,
      interrupt: vm.interruptLine(Gsi.Rtc),
      memory: { low: ramIn(vm.memory, 0, LowRamLimit), high: ramIn(vm.memory, HighRamStart, Infinity) },
    });
    this.pio.attach(PortMap.Rtc, this.#named('rtc', rtc));
    vm.postedWrites?.post(PortMap.Rtc.start, RtcIndexBytes);

    const i8042 = this.#named('i8042', new I8042({ reset }));
    this.pio.attach(PortMap.I8042Data, i8042.data);
    this.pio.attach(PortMap.I8042Command, i8042.command);

    this.pio.attach(PortMap.DebugExit, new DebugExit((exitCode) => end({ kind: 'debug-exit', exitCode })));

    const powerOff = () => end({ kind: 'power-off' });
    this.#acpiPm = new AcpiPm({ clock, sci: vm.interruptLine(Gsi.AcpiSci), powerOff, reset });
    this.pio.attach(PortMap.Acpi, this.#named('acpiPm', this.#acpiPm));

    this.pio.attach(PortMap.ResetControl, this.#named('resetControl', new ResetControl({ reset })), { byteOnly: true });
    this.#pci = this.#named('pci', this.#createPci(vm));
    this.virtioConsole = new VirtioConsole(config.consolePort ?? new LocalConsolePort(vm.memory), {
      output: config.virtioConsoleOutput,
      ...config.window,
    });
    this.#plug(this.virtioConsole);
    const localRng = (): QueueRunner => new LocalQueueRunner(vm.memory, new EntropyRequests(vm.memory, config.entropy));
    this.#plug(new VirtioRng(config.rngRunner ?? localRng()));
    for (const { geometry, runner } of config.disks) this.#plug(new VirtioBlock(geometry, runner));
    this.#pci.assignResources();
  }

  /** Passes on what other threads did for devices, and goes on with work left over. */
  poll(): void {
    for (const transport of this.#virtio) transport.poll();
    this.virtioConsole.poll();
  }

  pressPowerButton(): void {
    this.#acpiPm.pressPowerButton();
  }

  /** Stops every device from touching guest memory; returns when they have stopped. */
  pauseDma(): void {
    for (const transport of this.#virtio) transport.pause();
  }

  resumeDma(): void {
    for (const transport of this.#virtio) transport.resume();
  }

  /** DMA must be paused. */
  save(): SavedState {
    const devices = [...this.#saveables].map(([name, device]) => [name, device.save()] as const);
    return { version: 1, devices: Object.fromEntries(devices) };
  }

  restore(state: SavedState): void {
    const { devices } = state as unknown as { devices: Record<string, SavedState> };
    for (const [name, device] of this.#saveables) {
      const saved = devices[name];
      if (saved) device.restore(saved);
    }
  }

  #createPci(vm: EngineVm): PciHost {
    const pci = new PciHost({
      windows: { memory32: PhysicalMap.PciMemory32, memory64: PhysicalMap.PciMemory64, io: PortMap.PciIo },
      intx: Gsi.PciInt.map((gsi) => vm.interruptLine(gsi)),
      intxGsi: Gsi.PciInt,
      msi: vm.msi,
      events: vm.events,
    });
    this.pio.attach(PortMap.PciConfig, pci.ports);
    vm.postedWrites?.post(PortMap.PciConfig.start, PciConfigAddressBytes);
    this.mmio.attach(PhysicalMap.PciEcam, pci.ecam);
    const { memory32, memory64, io } = pci.space;
    this.mmio.attach(PhysicalMap.PciMemory32, memory32);
    this.mmio.attach(PhysicalMap.PciMemory64, memory64);
    this.pio.attach(PortMap.PciIo, io);
    return pci;
  }

  #plug(device: VirtioDevice): void {
    const transport = new VirtioPciTransport(device);
    this.#pci.attach(transport);
    this.#virtio.push(transport);
  }

  #named<Device extends Saveable>(name: string, device: Device): Device {
    this.#saveables.set(name, device);
    return device;
  }
}

/** Where the last RAM between `start` and `end` ends, from `start`: holes in it count as RAM, as firmware counts them. */
function ramIn(memory: GuestMemory, start: number, end: number): number {
  return memory.ranges
    .filter((range) => range.start >= start && range.start < end)
    .reduce((last, range) => Math.max(last, range.start + range.length - start), 0);
}
