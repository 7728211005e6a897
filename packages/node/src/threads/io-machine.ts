/**
 * The machine thread's side of the I/O workers: what links each device's two halves, and who serves what.
 *
 * With events of the engine (kvm) every queue of every virtio device is served by an I/O worker. `io-virtio` has the
 * console, the entropy source and the first disk: neither of the first two ever keeps it from its disk, and a thread costs
 * about 13 MiB of host memory. Each further disk has a thread of its own, so that a slow disk slows no other one down.
 * A worker without a disk starts when a driver first wants something of it: many a guest never does, and where processors
 * are few a thread's start would keep the guest from its own. Whoever has a disk will wait for it.
 *
 * Without events (wasm) there is one thread for the disks, and the rest is served in the machine's thread: a doorbell is
 * an exit to it anyway.
 */
import { BlockLimits } from '@lodger/vmm/devices/virtio/block/block-format.js';
import type { ConsolePort } from '@lodger/vmm/devices/virtio/console/console-port.js';
import { FutexDoorbell } from '@lodger/vmm/devices/virtio/doorbell.js';
import { SharedQueueBytes, SharedQueueRunner } from '@lodger/vmm/devices/virtio/shared-queue-runner.js';
import type { Doorbell, QueueRunner } from '@lodger/vmm/devices/virtio/virtio-device.js';
import type { EventWiring } from '@lodger/vmm/interrupts/event-wiring.js';
import type { BoardDisk } from '@lodger/vmm/machine/board.js';
import { RingConsolePort, createConsoleRings } from './io-console.ts';
import type { BellLink, IoDevice, IoWorkerPlan, QueueLink } from './io-links.ts';
import type { DiskLink } from './messages.ts';

/** Virtqueues of each device. */
const Queues = { disk: BlockLimits.Queues, console: 2, entropy: 1 } as const;
/** More disks than this share threads. */
const MaxThreads = 8;

/** Starts a worker of which a device was asked something. Called once for each, in the machine's thread. */
export type StartWorker = (plan: IoWorkerPlan) => void;

/** What the board gets, and the workers that have to be started for it. */
export interface IoSetup {
  readonly disks: readonly BoardDisk[];
  /** Undefined: the board serves them itself. */
  readonly consolePort: ConsolePort | undefined;
  readonly rngRunner: QueueRunner | undefined;
  /** To be started with the machine. */
  readonly workers: readonly IoWorkerPlan[];
}

/** The devices of one boot. `events` are the engine's, if it has them. */
export function setUpIo(disks: readonly DiskLink[], events: EventWiring | undefined, start: StartWorker): IoSetup {
  return events === undefined ? onFutexes(disks) : onEvents(disks, events, start);
}

function onFutexes(disks: readonly DiskLink[]): IoSetup {
  const worker = new WorkerSetup('io-disks');
  const boardDisks = disks.map((disk) => worker.addDisk(disk));
  return {
    disks: boardDisks,
    consolePort: undefined,
    rngRunner: undefined,
    workers: disks.length === 0 ? [] : [worker.plan()],
  };
}

function onEvents(disks: readonly DiskLink[], events: EventWiring, start: StartWorker): IoSetup {
  const names = Array.from({ length: Math.min(Math.max(disks.length, 1), MaxThreads) }, (_, index) =>
    index === 0 ? 'io-virtio' : `io-disk${index}`,
  );
  const onFirstRing = disks.length === 0 ? start : undefined;
  const workers = names.map((name) => new WorkerSetup(name, events, onFirstRing));
  const common = workers[0]!;
  const rings = createConsoleRings();
  const console = common.add('console', (queues) => ({ kind: 'console', queues, rings }));
  const rngRunner = common.add('entropy', (queues) => ({ kind: 'entropy', queues }));
  const boardDisks = disks.map((disk, index) => workers[index % MaxThreads]!.addDisk(disk));
  return {
    disks: boardDisks,
    consolePort: new RingConsolePort(rings, console),
    rngRunner,
    workers: onFirstRing ? [] : workers.map((worker) => worker.plan()),
  };
}

/** One worker while its devices are gathered. */
class WorkerSetup {
  readonly #name: string;
  readonly #events: EventWiring | undefined;
  readonly #bell: BellLink;
  readonly #doorbell: Doorbell;
  readonly #devices: IoDevice[] = [];
  /** Until the doorbell rang. */
  #onFirstRing: StartWorker | undefined;

  constructor(name: string, events?: EventWiring, onFirstRing?: StartWorker) {
    this.#name = name;
    this.#onFirstRing = onFirstRing;
    this.#events = events;
    if (events === undefined) {
      const words = new SharedArrayBuffer(4);
      this.#bell = { kind: 'futex', words };
      this.#doorbell = new FutexDoorbell(words);
    } else {
      const event = events.create();
      this.#bell = { kind: 'event', event };
      this.#doorbell = {
        ring: () => {
          events.raise(event);
          this.#startWorker();
        },
      };
    }
  }

  #startWorker(): void {
    const start = this.#onFirstRing;
    this.#onFirstRing = undefined;
    start?.(this.plan());
  }

  addDisk(disk: DiskLink): BoardDisk {
    return { geometry: disk, runner: this.add('disk', (queues) => ({ kind: 'disk', queues, disk })) };
  }

  /** Answers the board's end of the device's queues. */
  add(kind: IoDevice['kind'], device: (queues: QueueLink) => IoDevice): QueueRunner {
    const { words, events } = this.#link(Queues[kind]);
    this.#devices.push(device({ words, events }));
    return new SharedQueueRunner(words, this.#doorbell, events);
  }

  plan(): IoWorkerPlan {
    return { name: this.#name, bell: this.#bell, stop: new SharedArrayBuffer(4), devices: this.#devices };
  }

  #link(queues: number): QueueLink {
    const events = this.#events;
    const each = (): number[] => Array.from({ length: queues }, () => events!.create());
    return {
      words: new SharedArrayBuffer(SharedQueueBytes),
      events: events && { notify: each(), used: each() },
    };
  }
}
