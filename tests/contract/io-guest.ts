/**
 * A tiny guest of kvm with virtio devices on a PCI bus and the I/O workers that serve them: nothing is simulated but the
 * driver's set-up, which is made from the host's side. Guest code rings doorbells and takes interrupts.
 */
import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { KvmEngine } from '@lodger/kvm/engine.js';
import type { KvmVm } from '@lodger/kvm/vm.js';
import { VirtioBlock } from '@lodger/vmm/devices/virtio/block/virtio-block.js';
import { VirtioConsole } from '@lodger/vmm/devices/virtio/console/virtio-console.js';
import { VirtioRng } from '@lodger/vmm/devices/virtio/rng/virtio-rng.js';
import { VirtioPciTransport } from '@lodger/vmm/devices/virtio/transport/pci.js';
import type { VirtioDevice } from '@lodger/vmm/devices/virtio/virtio-device.js';
import { PciBench } from '@lodger/vmm/testing/pci-bench.js';
import { Allocator, VirtioDriver } from '@lodger/vmm/testing/virtio-driver.js';
import { loadEngine } from '#lodger/threads/engine-choice.js';
import type { EngineThreads } from '#lodger/threads/engine-choice.js';
import { setUpIo } from '#lodger/threads/io-machine.js';
import { IoThread } from '#lodger/threads/io-thread.js';
import { type Assembler, ebx, mem, rbx } from '../guest/assembler.ts';
import { leaveHalt } from './emulated-host.ts';
import { At, EngineGuest } from './engine-guest.ts';
import type { Outcome, RunOptions } from './engine-guest.ts';
import { realClock, runPastHalts } from './kvm-host.ts';

export const Version1 = 1n << 32n;
const Apic = { EndOfInterrupt: At.LocalApic + 0xb0, Spurious: At.LocalApic + 0xf0 } as const;
const Handler = 0xd000;
/** Rings and buffers of the first driver; each further one has the next MiB. */
const Rings = 0x10_0000;
const SectorBytes = 512;
const Sectors = 128;
/** The driver's message data: 0x40 for configuration changes, then one for each queue. */
const FirstVector = 0x41;

/** One device as its guest has it. */
export interface IoDriver {
  readonly slot: number;
  readonly transport: VirtioPciTransport;
  readonly driver: VirtioDriver;
}

export class IoGuest {
  readonly guest: EngineGuest;
  readonly vm: KvmVm;
  readonly bench: PciBench;
  readonly console: VirtioConsole;
  readonly tty: IoDriver;
  readonly entropy: IoDriver;
  readonly disk: IoDriver;
  /** What threads died of. */
  readonly errors: unknown[] = [];
  printed = '';
  readonly #threads: readonly IoThread[];
  readonly #disk: number;

  /** `path`: of the disk, which is made. Every byte of a sector is the sector's number. */
  static async create(path: string): Promise<IoGuest> {
    return new IoGuest(await loadEngine('kvm'), path);
  }

  private constructor(engine: EngineThreads, path: string) {
    const clock = realClock();
    this.guest = new EngineGuest({
      clock,
      createVm: (config) => new KvmEngine().createVm({ ...config, clock }),
      advance: () => {},
    });
    this.vm = this.guest.vm as KvmVm;
    writeFileSync(
      path,
      Uint8Array.from({ length: Sectors * SectorBytes }, (_, at) => Math.floor(at / SectorBytes)),
    );
    this.#disk = openSync(path, 'r+');
    const disk = { descriptor: this.#disk, size: Sectors * SectorBytes, readOnly: false, serial: 'd' };
    const io = setUpIo([disk], this.vm.events, ({ name }) => assert.fail(`${name} belongs to the disk's`));
    this.#threads = io.workers.map(
      (plan) => new IoThread(engine, this.vm.shared, plan, (error) => this.errors.push(error)),
    );
    this.bench = new PciBench({ msi: this.vm.msi, events: this.vm.events });
    this.console = new VirtioConsole(io.consolePort!, {
      output: (bytes) => (this.printed += String.fromCharCode(...bytes)),
    });
    this.tty = this.#plug(this.console);
    this.entropy = this.#plug(new VirtioRng(io.rngRunner!));
    this.disk = this.#plug(new VirtioBlock(disk, io.disks[0]!.runner));
    this.guest.code(Handler, (a) => store(leaveHalt(a), Apic.EndOfInterrupt, 0, 32).iret());
  }

  /** Starts the driver; the interrupts of its queues only end halts. */
  start({ driver }: IoDriver, { msix = true } = {}): void {
    driver.start({ features: Version1, msix });
    driver.queues.forEach((_, queue) => this.guest.setGate(FirstVector + queue, Handler));
  }

  /** Runs the guest to its end; a worker's interrupts end its halts. */
  run(options: RunOptions = {}): Outcome {
    return runPastHalts(this.guest, options);
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.stop()));
    this.vm.close();
    closeSync(this.#disk);
  }

  #plug(device: VirtioDevice): IoDriver {
    const transport = new VirtioPciTransport(device);
    const slot = this.bench.host.attach(transport);
    this.bench.host.assignResources();
    const allocator = new Allocator(Rings + (slot - 1) * 0x10_0000);
    return { slot, transport, driver: new VirtioDriver(this.bench, slot, this.vm.memory, allocator) };
  }
}

/** Where the guest notifies of a queue. */
export function doorbell({ driver }: IoDriver, queue = 0): number {
  return driver.notifyBase + queue * driver.notifyMultiplier;
}

export function store(a: Assembler, address: number, value: number, size: 8 | 16 | 32): Assembler {
  return a.mov(ebx, address).mov(mem({ base: rbx, size }), value);
}

/** Waits for one interrupt. */
export const wait = (a: Assembler): Assembler => a.sti().hlt().cli();
export const enableApic = (a: Assembler): Assembler => store(a, Apic.Spurious, 0x1ff, 32);
