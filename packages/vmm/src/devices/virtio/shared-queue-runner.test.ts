import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ArrayMemory } from '../../memory/array-memory.ts';
import { MemoryDisk } from '../../testing/memory-disk.ts';
import { BenchMemorySize, virtioBench } from '../../testing/virtio-bench.ts';
import { BlockFeature } from './block/block-format.ts';
import { BlockRequests } from './block/block-requests.ts';
import { VirtioBlock } from './block/virtio-block.ts';
import { FutexDoorbell } from './doorbell.ts';
import { Feature } from './features.ts';
import { SharedQueueBytes, SharedQueueRunner, SharedQueueService } from './shared-queue-runner.ts';

const Features = Feature.Version1 | Feature.EventIndex | BlockFeature.Flush;

function request(type: number, sector = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setUint32(8, sector, true);
  return new Uint8Array(view.buffer);
}

function sharedMemory(): { buffer: SharedArrayBuffer; memory: ArrayMemory } {
  const buffer = new SharedArrayBuffer(BenchMemorySize);
  return { buffer, memory: new ArrayMemory([{ start: 0, length: BenchMemorySize, buffer }]) };
}

/** Both ends in one thread, the worker's only moving when the test says so. */
function stepped() {
  const { memory } = sharedMemory();
  const shared = new SharedArrayBuffer(SharedQueueBytes);
  const disk = new MemoryDisk(64 * 512);
  const worker = new FutexDoorbell(new SharedArrayBuffer(4));
  const transport = new FutexDoorbell(new SharedArrayBuffer(4));
  const service = new SharedQueueService(shared, memory, new BlockRequests(memory, disk, 'd'), transport);
  const bench = virtioBench(() => new VirtioBlock(disk, new SharedQueueRunner(shared, worker)), memory);
  return { disk, service, worker, doorbell: transport, ...bench };
}

test('a notification is posted; the interrupt follows the worker', () => {
  const { driver, bench, disk, service, worker, doorbell, transport } = stepped();
  driver.start({ features: Features, msix: true });
  while (service.work());
  const rings = worker.rings;
  driver.queues[0]!.add({ readable: [request(1, 2), new Uint8Array(512).fill(7)], writable: [1] });
  driver.notify(0);
  assert.notEqual(worker.rings, rings);
  assert.deepEqual(disk.log, []);
  const rung = doorbell.rings;
  while (service.work());
  assert.deepEqual(disk.log, ['write 1024+512']);
  assert.notEqual(doorbell.rings, rung);
  assert.deepEqual(bench.msi.take(), [], 'not before the transport looks');
  transport.poll();
  assert.deepEqual(bench.msi.take(), [0x41]);
  transport.poll();
  assert.deepEqual(bench.msi.take(), []);
});

test('§2.4.1 the status reads zero after a reset only when the worker has let go', () => {
  const { driver, disk, service, bench, transport } = stepped();
  driver.start({ features: Features, msix: true });
  while (service.work());
  driver.queues[0]!.add({ readable: [request(4)], writable: [1] });
  driver.notify(0);
  driver.status = 0;
  assert.equal(driver.status, 15, 'the reset is not through');
  while (service.work());
  assert.equal(driver.status, 0);
  assert.deepEqual(disk.log, [], 'no request is served after the reset');
  transport.poll();
  assert.deepEqual(bench.msi.take(), []);
});

test('a driver that does not wait for the reset still gets a working device', () => {
  const { driver, service } = stepped();
  driver.start({ features: Features });
  while (service.work());
  driver.start({ features: Features });
  while (service.work());
  driver.queues[0]!.add({ readable: [request(4)], writable: [1] });
  driver.notify(0);
  while (service.work());
  assert.deepEqual([...driver.queues[0]!.takeUsed()[0]!.data], [0]);
});

test('a broken queue reaches the status register', () => {
  const { driver, service, bench, transport } = stepped();
  driver.start({ features: Features, msix: true });
  while (service.work());
  driver.queues[0]!.publish(0xffff);
  driver.notify(0);
  while (service.work());
  transport.poll();
  assert.equal(driver.status, 15 | 64);
  assert.deepEqual(bench.msi.take(), [0x40]);
});

test('a driver that adds requests without end does not keep the worker from a reset', () => {
  const { driver, disk, service } = stepped();
  driver.start({ features: Features });
  while (service.work());
  const queue = driver.queues[0]!;
  const add = (): void => void queue.add({ readable: [request(4)], writable: [1] });
  disk.flush = () => {
    disk.log.push('flush');
    add();
    if (disk.log.length === 40) driver.status = 0;
    return 'ok';
  };
  add();
  driver.notify(0);
  while (service.work());
  assert.equal(disk.log.length, 40);
  assert.equal(driver.status, 0);
});

/** The worker's end in a thread of its own. */
const workerCode = (base: string): string => `
  const { workerData } = require('node:worker_threads');
  const load = (path) => import(${JSON.stringify(base)} + path);
  (async () => {
    const { ArrayMemory } = await load('memory/array-memory.js');
    const { MemoryDisk } = await load('testing/memory-disk.js');
    const { BlockRequests } = await load('devices/virtio/block/block-requests.js');
    const { FutexDoorbell, runIoWorker } = await load('devices/virtio/doorbell.js');
    const { SharedQueueService } = await load('devices/virtio/shared-queue-runner.js');
    const { guest, shared, work, done, stop } = workerData;
    const memory = new ArrayMemory([{ start: 0, length: guest.byteLength, buffer: guest }]);
    const requests = new BlockRequests(memory, new MemoryDisk(64 * 512), 'threaded');
    const service = new SharedQueueService(shared, memory, requests, new FutexDoorbell(done));
    runIoWorker(new FutexDoorbell(work), [service], () => Atomics.load(new Int32Array(stop), 0) !== 0);
  })();
`;

test('a disk on a worker thread: requests, pause, save, reset', async () => {
  const { buffer: guest, memory } = sharedMemory();
  const shared = new SharedArrayBuffer(SharedQueueBytes);
  const [work, done, stop] = [new SharedArrayBuffer(4), new SharedArrayBuffer(4), new SharedArrayBuffer(4)];
  const code = workerCode(new URL('../../', import.meta.url).href);
  const worker = new Worker(code, { eval: true, workerData: { guest, shared, work, done, stop } });
  const doorbell = new FutexDoorbell(work!);
  const finished = new FutexDoorbell(done!);
  try {
    const { driver, bench, transport } = virtioBench(
      () => new VirtioBlock({ size: 64 * 512, readOnly: false }, new SharedQueueRunner(shared, doorbell)),
      memory,
    );
    const until = (condition: () => boolean): void => {
      for (let rings = finished.rings; !condition(); rings = finished.rings) {
        finished.wait(rings, 20);
        transport.poll();
      }
    };
    driver.start({ features: Features, msix: true });
    const queue = driver.queues[0]!;
    for (let sector = 0; sector < 64; sector++) {
      queue.setUsedEvent(sector);
      queue.add({ readable: [request(1, sector), new Uint8Array(512).fill(sector)], writable: [1] });
      driver.notify(0);
      until(() => queue.takeUsed().length === 1);
    }
    until(() => bench.msi.take().includes(0x41));
    transport.pause();
    const { registers } = transport.save() as unknown as { registers: { positions: unknown } };
    assert.deepEqual(registers.positions, [{ nextAvailable: 64, nextUsed: 64 }]);
    queue.add({ readable: [request(0, 33)], writable: [512, 1] });
    transport.resume();
    let read: Uint8Array | undefined;
    until(() => (read = queue.takeUsed()[0]?.data) !== undefined);
    assert.deepEqual(read, new Uint8Array([...new Uint8Array(512).fill(33), 0]));
    driver.status = 0;
    until(() => driver.status === 0);
  } finally {
    Atomics.store(new Int32Array(stop!), 0, 1);
    doorbell.ring();
    await new Promise((resolve) => worker.once('exit', resolve));
  }
});
