/**
 * An I/O worker: serves the queues of its devices in guest memory and sleeps between, on a futex or in poll(2).
 *
 * With events of the engine neither a vCPU's thread nor the machine's has a part in a request: the guest's notification
 * raises an event that this thread polls, and the event that it raises for used buffers becomes an interrupt.
 */
import { workerData } from 'node:worker_threads';
import { BlockRequests } from '@lodger/vmm/devices/virtio/block/block-requests.js';
import { ConsoleQueues } from '@lodger/vmm/devices/virtio/console/console-queues.js';
import { FutexDoorbell, runIoWorker } from '@lodger/vmm/devices/virtio/doorbell.js';
import type { RequestHandler } from '@lodger/vmm/devices/virtio/queue-server.js';
import { EntropyRequests } from '@lodger/vmm/devices/virtio/rng/virtio-rng.js';
import { SharedQueueService } from '@lodger/vmm/devices/virtio/shared-queue-runner.js';
import { FileBackend } from '../disks/file-backend.ts';
import { loadEngine } from './engine-choice.ts';
import { enterEngineWorker } from './engine-worker.ts';
import { RingConsoleStream } from './io-console.ts';
import type { IoDevice, IoWorkerData } from './io-links.ts';
import { nameThread } from './thread-name.ts';

const { shared, plan } = workerData as IoWorkerData;
nameThread(plan.name);
const engine = await loadEngine(shared.engine);
enterEngineWorker(engine);
const memory = engine.attachMemory(shared);
/** Makes the machine's thread poll its devices. */
const machine = { ring: () => engine.wake(shared) };

function handlerOf(device: IoDevice): RequestHandler {
  switch (device.kind) {
    case 'disk':
      return new BlockRequests(memory, new FileBackend(device.disk), device.disk.serial);
    case 'console':
      return new ConsoleQueues(memory, new RingConsoleStream(device.rings, machine));
    case 'entropy':
      return new EntropyRequests(memory, (target) => void crypto.getRandomValues(target));
    default:
      return device satisfies never;
  }
}

const services = plan.devices.map((device) => {
  const used = device.queues.events?.used;
  const usedEvents = used && {
    raise: (queue: number) => engine.events!.raise(used[queue]!),
    clear: (queue: number) => engine.events!.clear(used[queue]!),
  };
  return new SharedQueueService(device.queues.words, memory, handlerOf(device), machine, usedEvents);
});

const targets = plan.devices.flatMap(({ queues }, index) =>
  (queues.events?.notify ?? []).map((event, queue) => ({ event, raised: () => services[index]!.notified(queue) })),
);
const bell =
  plan.bell.kind === 'futex' ? new FutexDoorbell(plan.bell.words) : engine.events!.bell(plan.bell.event, targets);
const stop = new Int32Array(plan.stop);

runIoWorker(bell, services, () => Atomics.load(stop, 0) !== 0);
