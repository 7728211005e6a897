/**
 * The I/O worker: serves the queues of every disk of one machine, in guest memory, and sleeps on its doorbell between.
 */
import { workerData } from 'node:worker_threads';
import { FutexDoorbell, runIoWorker } from '@lodger/vmm/devices/virtio/doorbell.js';
import { BlockRequests } from '@lodger/vmm/devices/virtio/block/block-requests.js';
import { SharedQueueService } from '@lodger/vmm/devices/virtio/shared-queue-runner.js';
import { FileBackend } from '../disks/file-backend.ts';
import { attachMemory } from './engine-choice.ts';
import type { IoWorkerData } from './messages.ts';

const { shared, disks, doorbell, stop } = workerData as IoWorkerData;
const memory = attachMemory(shared);

/** Makes the machine's thread poll its devices. */
const machineDoorbell = {
  ring() {
    Atomics.store(shared.attention, 0, 1);
    Atomics.notify(shared.attention, 0);
  },
};

const services = disks.map(
  (disk) =>
    new SharedQueueService(
      disk.queues,
      memory,
      new BlockRequests(memory, new FileBackend(disk), disk.serial),
      machineDoorbell,
    ),
);

runIoWorker(new FutexDoorbell(doorbell), services, () => Atomics.load(stop, 0) !== 0);
