/**
 * A guest that does what no driver would: random accesses to configuration space, BARs and rings of a machine with all
 * virtio devices, between attempts that look like a driver's so that the deeper states are reached too.
 */
import { AcpiPm } from '../devices/acpi-pm.ts';
import { BlockRequests } from '../devices/virtio/block/block-requests.ts';
import { VirtioBlock } from '../devices/virtio/block/virtio-block.ts';
import type { VirtioConsole } from '../devices/virtio/console/virtio-console.ts';
import { LocalQueueRunner } from '../devices/virtio/local-queue-runner.ts';
import { localConsole, localRng } from './local-devices.ts';
import { SharedQueueBytes, SharedQueueRunner, SharedQueueService } from '../devices/virtio/shared-queue-runner.ts';
import { VirtioPciTransport } from '../devices/virtio/transport/pci.ts';
import { PhysicalMap, PortMap } from '../machine/memory-map.ts';
import { gpa } from '../memory/address.ts';
import { GuardedMemory } from './guarded-memory.ts';
import { MemoryDisk } from './memory-disk.ts';
import { PciBench } from './pci-bench.ts';
import { Random } from './random.ts';
import { RecordedLine } from './recorded-interrupts.ts';
import { Allocator, VirtioDriver } from './virtio-driver.ts';

const MiB = 1024 * 1024;
const DiskBytes = 128 * 512;
const Slots = 7;
const BarBytes = 0x8000;
/** Where the driver's rings go, and its buffers after them. */
const RingStart = 0x1_0000;
const RingBytes = 0x1_0000;
const Sizes = [1, 2, 4] as const;
const RingFeatures = (1n << 32n) | (1n << 29n) | (1n << 28n);

/** Lengths of buffers that mean something to some device. */
const Lengths = [0, 1, 16, 32, 512, 512, 512, 512, 1024, 4096] as const;

/** Numbers that tend to be edges. */
const Edges = [0, 1, 2, 3, 4, 7, 8, 0xf, 0x10, 0x40, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff];
const WideEdges = [0x1_0000, MiB - 1, MiB, 0x7fff_ffff, 0x8000_0000, 0xfee0_0000, 0xffff_f000, 0xffff_ffff];

export class HostileGuest {
  readonly memory = new GuardedMemory([
    { start: 0, length: MiB },
    { start: 2 ** 32, length: MiB },
  ]);
  readonly disk = new MemoryDisk(DiskBytes);
  readonly #random: Random;
  readonly #bench = new PciBench();
  readonly #console: VirtioConsole;
  /** The workers' ends of the devices that have one. */
  readonly #services: readonly SharedQueueService[];
  readonly #notified: number;
  readonly #transports: readonly VirtioPciTransport[];
  readonly #pm: AcpiPm;
  #drivers: readonly VirtioDriver[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
    const { memory, disk } = this;
    const { events } = this.#bench;
    const [shared, wired] = [new SharedArrayBuffer(SharedQueueBytes), new SharedArrayBuffer(SharedQueueBytes)];
    const [notify, used] = [events.create(), events.create()];
    const quiet = { ring: () => {} };
    const requests = (): BlockRequests => new BlockRequests(memory, disk, 'fuzz');
    this.#notified = notify;
    this.#services = [
      new SharedQueueService(shared, memory, requests(), quiet),
      new SharedQueueService(wired, memory, requests(), quiet, {
        raise: () => events.raise(used),
        clear: () => void events.clear(used),
      }),
    ];
    this.#console = localConsole(memory, { output: () => {} });
    const devices = [
      new VirtioBlock(disk, new LocalQueueRunner(memory, requests())),
      new VirtioBlock(disk, new SharedQueueRunner(shared, quiet)),
      new VirtioBlock(disk, new SharedQueueRunner(wired, quiet, { notify: [notify], used: [used] })),
      this.#console,
      localRng(memory, (target) => target.fill(0x5a)),
    ];
    this.#transports = devices.map((device) => new VirtioPciTransport(device));
    for (const transport of this.#transports) this.#bench.host.attach(transport);
    const clock = { now: () => 0, wallClock: () => 0n };
    this.#pm = new AcpiPm({ clock, sci: new RecordedLine(), powerOff: () => {}, reset: () => {} });
    this.powerOn();
  }

  /** Back to how firmware leaves the machine. */
  powerOn(): void {
    this.#bench.host.reset();
    this.#workAll();
    this.#bench.host.assignResources();
    this.#drivers = this.#transports.map(
      (_, index) => new VirtioDriver(this.#bench, index + 1, this.memory, new Allocator(RingStart + index * RingBytes)),
    );
  }

  /** Everything works for a driver that behaves. Answers the statuses of one request to each device. */
  checkHealth(): number[] {
    this.powerOn();
    this.disk.log.length = 0;
    return this.#drivers.map((driver, index) => {
      driver.start({ features: RingFeatures, msix: true });
      this.#workAll();
      driver.queues.at(-1)!.add(index < 3 ? { readable: [new Uint8Array(16)], writable: [512, 1] } : { writable: [8] });
      driver.notify(driver.queues.length - 1);
      this.#workAll();
      return driver.queues.at(-1)!.takeUsed().length;
    });
  }

  /** Touches every byte of every BAR and configuration space at every width, with each of `values`. */
  sweep(values: readonly number[]): void {
    for (let slot = 0; slot <= this.#transports.length; slot++) {
      for (const size of Sizes) {
        for (const value of values) {
          const ecam = PhysicalMap.PciEcam.start + (slot << 15);
          this.#sweepRange(ecam, 0x1000, size, value);
          this.#bench.host.assignResources();
          if (slot > 0) this.#sweepRange(this.#bench.barAddress(slot, 0), BarBytes, size, value);
        }
      }
    }
  }

  /** One action. */
  act(): void {
    this.memory.accesses = 0;
    this.memory.bytesMoved = 0;
    this.disk.log.length = 0;
    const random = this.#random;
    const actions: readonly (readonly [weight: number, action: () => void])[] = [
      [6, () => this.#accessConfig()],
      [8, () => this.#accessBar()],
      [2, () => this.#scribbleRing()],
      [10, () => this.#notify()],
      [10, () => this.#addChain()],
      [1, () => this.#flood()],
      [3, () => this.#startDriver()],
      [1, () => this.#accessPorts()],
      [1, () => this.#accessPm()],
      [1, () => void this.#console.send(new Uint8Array(random.below(2000)))],
      [1, () => this.#console.resize(random.below(300), random.below(100))],
      [3, () => this.#work()],
      [2, () => random.pick(this.#transports).poll()],
    ];
    let ticket = random.below(actions.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, action] of actions) {
      ticket -= weight;
      if (ticket >= 0) continue;
      action();
      return;
    }
  }

  /** What the workers' threads do. True when there may be more. */
  #work(): boolean {
    if (this.#bench.events.clear(this.#notified)) this.#services[1]!.notified(0);
    return this.#services.map((service) => service.work()).includes(true);
  }

  #workAll(): void {
    while (this.#work());
  }

  #sweepRange(start: number, bytes: number, size: 1 | 2 | 4, value: number): void {
    for (let offset = 0; offset < bytes; offset++) {
      this.#bench.read(start + offset, size);
      this.#bench.write(start + offset, size, value);
    }
  }

  #value(): number {
    const random = this.#random;
    if (random.oneIn(3)) return random.pick(WideEdges);
    return random.oneIn(2) ? random.pick(Edges) : random.u32();
  }

  /** An address that is often in memory and often at an end of it. */
  #address(): number {
    const random = this.#random;
    const base = random.oneIn(3) ? 2 ** 32 : 0;
    if (random.oneIn(60)) return random.u32() * random.u32();
    return random.oneIn(30) ? base + MiB - random.below(64) : base + random.below(MiB - 0x2000);
  }

  #accessConfig(): void {
    const random = this.#random;
    // Mostly where something is: registers of the header and capabilities.
    const offset = random.oneIn(4) ? random.below(0x1000) : random.below(0xc0);
    const slot = random.below(Slots);
    const size = random.pick(Sizes);
    const ecam = PhysicalMap.PciEcam.start + (slot << 15) + offset;
    if (random.oneIn(3)) this.#bench.read(ecam, size);
    else if (random.oneIn(2)) this.#bench.write(ecam, size, this.#value());
    else this.#bench.writeConfig(slot, offset & 0xff, size, this.#value());
    // Otherwise most of the run would happen with decoding off.
    if (random.oneIn(4)) this.#bench.host.assignResources();
  }

  #accessBar(): void {
    const random = this.#random;
    const page = random.pick([0, 0, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x6000]);
    const offset = random.oneIn(4) ? random.below(BarBytes) : page + random.below(0x48);
    const address = this.#bench.barAddress(1 + random.below(this.#transports.length), 0) + offset;
    const size = random.pick(Sizes);
    if (random.oneIn(2)) this.#bench.read(address, size);
    else this.#bench.write(address, size, this.#value());
  }

  #accessPorts(): void {
    const random = this.#random;
    const port = random.oneIn(2) ? PortMap.PciIo.start + random.below(0x40) : PortMap.PciConfig.start + random.below(8);
    if (random.oneIn(2)) this.#bench.pio.read(port, random.pick(Sizes));
    else this.#bench.pio.write(port, random.pick(Sizes), this.#value());
  }

  #accessPm(): void {
    const random = this.#random;
    const offset = random.below(0x20);
    if (random.oneIn(2)) this.#pm.read(offset, random.pick(Sizes));
    else this.#pm.write(offset, random.pick(Sizes), this.#value());
  }

  #startDriver(): void {
    const random = this.#random;
    const driver = random.pick(this.#drivers);
    const features = random.oneIn(8) ? BigInt(random.u32()) << 9n : RingFeatures & ~(random.oneIn(2) ? 1n << 29n : 0n);
    this.#bench.host.assignResources();
    const fresh = new VirtioDriver(this.#bench, driver.slot, this.memory, new Allocator(RingStart * driver.slot));
    fresh.start({ features, msix: random.oneIn(2), sizes: [random.pick([1, 8, 64, 256]), random.pick([4, 256])] });
    this.#drivers = this.#drivers.map((old) => (old === driver ? fresh : old));
  }

  #notify(): void {
    const random = this.#random;
    const driver = random.pick(this.#drivers);
    driver.notify(random.oneIn(10) ? random.below(1024) : random.below(2));
  }

  /** A chain of random descriptors, made available. */
  #addChain(): void {
    const random = this.#random;
    const driver = random.pick(this.#drivers);
    const queue = random.pick(driver.queues);
    if (queue === undefined) return;
    const head = random.below(queue.size);
    const length = 1 + random.below(6);
    let index = head;
    for (let position = 0; position < length; position++) {
      const last = position === length - 1;
      const next = (index + 1) % queue.size;
      const writable = position > length / 2 ? 2 : 0;
      const address = position === 0 ? this.#header() : this.#address();
      const bytes = position === 0 ? 16 : random.oneIn(60) ? random.u32() : last ? 1 : random.pick(Lengths);
      const flags = (last ? 0 : 1) | writable | (random.oneIn(50) ? random.below(8) : 0);
      queue.writeDescriptor(index, { address, length: bytes, flags, next: random.oneIn(60) ? this.#value() : next });
      index = next;
    }
    queue.publish(head);
    if (random.oneIn(2)) driver.notify(driver.queues.indexOf(queue));
  }

  /** A block request's header somewhere in memory. */
  #header(): number {
    const random = this.#random;
    const at = 0x8_0000 + random.below(0x1000) * 16;
    this.memory.writeU32(gpa(at), random.oneIn(20) ? this.#value() : random.pick([0, 0, 1, 1, 4, 8, 11, 13]));
    this.memory.writeU32(gpa(at + 8), random.oneIn(20) ? this.#value() : random.below(140));
    this.memory.writeU32(gpa(at + 12), random.oneIn(30) ? this.#value() : 0);
    return at;
  }

  /** As many chains as the queue holds, all through one indirect table. */
  #flood(): void {
    const random = this.#random;
    const queue = random.pick(random.pick(this.#drivers).queues);
    if (queue === undefined) return;
    const table = 0xa_0000;
    const length = random.pick([1, 2, 3, 16, 254, 1024]);
    for (let index = 0; index < length; index++) {
      const address = index === 0 ? this.#header() : this.#address();
      const flags = (index + 1 < length ? 1 : 0) | (index > length / 2 ? 2 : 0);
      const bytes = index === 0 ? 16 : random.pick(Lengths);
      queue.writeDescriptor(index, { address, length: bytes, flags, next: index + 1 }, table);
    }
    queue.writeDescriptor(0, { address: table, length: length * 16, flags: 4, next: 0 });
    for (let count = random.below(queue.size) + 1; count > 0; count--) queue.publish(0);
  }

  /** Any bytes into the rings, descriptors and indices. */
  #scribbleRing(): void {
    const random = this.#random;
    const queue = random.pick(random.pick(this.#drivers).queues);
    if (queue === undefined) return;
    switch (random.below(40)) {
      case 0:
        this.memory.writeU16(gpa(queue.available + 2), random.oneIn(2) ? random.below(0x1_0000) : random.below(300));
        return;
      case 1:
        this.memory.writeU16(gpa(queue.available), random.below(4));
        return;
      case 2:
        this.memory.writeU16(gpa(queue.used + random.below(queue.size * 8)), random.below(0x1_0000));
        return;
      default:
        this.#addChain();
    }
  }
}
