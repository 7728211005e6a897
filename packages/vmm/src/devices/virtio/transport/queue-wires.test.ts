import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ArrayMemory } from '../../../memory/array-memory.ts';
import { MemoryDisk } from '../../../testing/memory-disk.ts';
import { PciBench } from '../../../testing/pci-bench.ts';
import { Allocator, Common, VirtioDriver } from '../../../testing/virtio-driver.ts';
import { BenchMemorySize } from '../../../testing/virtio-bench.ts';
import { BlockRequests } from '../block/block-requests.ts';
import { VirtioBlock } from '../block/virtio-block.ts';
import { Feature } from '../features.ts';
import { SharedQueueBytes, SharedQueueRunner, SharedQueueService } from '../shared-queue-runner.ts';
import { VirtioPciTransport } from './pci.ts';

const Features = Feature.Version1;
const Flush = 4;
const QueueVector = 0x41;
const MsixTable = 0x4000;
const MsixPending = 0x6000;
const Notify = 0x3000;

/** A disk whose two ends are wired by events; the worker's moves when the test says so. */
function wired({ memory = new ArrayMemory(BenchMemorySize) } = {}) {
  const bench = new PciBench();
  const { events } = bench;
  const shared = new SharedArrayBuffer(SharedQueueBytes);
  const [doorbell, notify, used] = [events.create(), events.create(), events.create()];
  const disk = new MemoryDisk(64 * 512);
  let machineRings = 0;
  const service = new SharedQueueService(
    shared,
    memory,
    new BlockRequests(memory, disk, 'd'),
    { ring: () => machineRings++ },
    { raise: () => events.raise(used), clear: () => void events.clear(used) },
  );
  let atOnce = false;
  const ring = (): void => {
    events.raise(doorbell);
    if (atOnce) while (service.work());
  };
  const runner = new SharedQueueRunner(shared, { ring }, { notify: [notify], used: [used] });
  const transport = new VirtioPciTransport(new VirtioBlock(disk, runner));
  const slot = bench.host.attach(transport);
  bench.host.assignResources();
  const driver = new VirtioDriver(bench, slot, memory, new Allocator(0x10000));
  const bar = bench.barAddress(slot, 0);
  const work = (): void => {
    events.clear(doorbell);
    if (events.clear(notify)) service.notified(0);
    while (service.work());
  };
  const request = (): void => {
    driver.queues[0]!.add({ readable: [new Uint8Array([Flush, ...new Array<number>(15).fill(0)])], writable: [1] });
    driver.notify(0);
    work();
  };
  const start = (options: { msix?: boolean } = { msix: true }): void => {
    driver.start({ features: Features, ...options });
    work();
    transport.poll();
    bench.msi.take();
  };
  const mask = (masked: boolean): void => bench.write(bar + MsixTable + 16 + 12, 4, masked ? 1 : 0);
  const pending = (): number => bench.read(bar + MsixPending, 4);
  const control = (value: number): void => {
    const { at } = bench.capabilities(slot).find(({ id }) => id === 0x11)!;
    bench.writeConfig(slot, at + 2, 2, value);
  };
  const served = (): number => disk.log.length;
  return {
    ...{ bench, events, driver, transport, slot, bar, memory },
    ...{ work, request, start, mask, pending, control, served },
    rings: () => machineRings,
    /** Commands are answered within the ring from now on, as `pause` needs it. */
    answerAtOnce: () => (atOnce = true),
  };
}

const Enable = 0x8000;
const FunctionMask = 0x4000;

test('a notification raises the event, used buffers the interrupt: nobody is called', () => {
  const { events, bench, start, request, served, rings, bar } = wired();
  assert.deepEqual(events.boundWrites, []);
  start();
  assert.deepEqual(events.boundWrites, [bar + Notify]);
  const before = rings();
  request();
  assert.equal(served(), 1);
  assert.deepEqual(bench.msi.take(), [QueueVector]);
  assert.equal(rings(), before);
});

test('the doorbell follows the BAR, memory decoding and resets', () => {
  const { events, bench, slot, start, bar, request, served, driver } = wired();
  start();
  bench.writeConfig(slot, 4, 2, 0);
  assert.deepEqual(events.boundWrites, []);
  bench.writeConfig(slot, 0x10, 4, bar + 0x10_0000);
  assert.deepEqual(events.boundWrites, []);
  bench.writeConfig(slot, 4, 2, 2);
  assert.deepEqual(events.boundWrites, [bar + 0x10_0000 + Notify]);
  bench.writeConfig(slot, 0x10, 4, bar);
  assert.deepEqual(events.boundWrites, [bar + Notify]);
  request();
  assert.equal(served(), 1);
  driver.status = 0;
  assert.deepEqual(events.boundWrites, []);
  assert.equal(events.boundInterrupts, 0);
  start();
  bench.host.reset();
  assert.deepEqual(events.boundWrites, []);
});

test('a BAR under another one is not wired', () => {
  const { events, bench, start, slot, bar } = wired();
  start();
  const there = bar + 0x10_0000;
  const other = bench.host.attach(new VirtioPciTransport(new VirtioBlock(new MemoryDisk(512), quietRunner)));
  bench.writeConfig(other, 0x10, 4, there + 0x1000);
  bench.writeConfig(other, 4, 2, 2);
  bench.writeConfig(slot, 0x10, 4, there);
  assert.deepEqual(events.boundWrites, [], 'the other one is first, and lies over the notification address');
  bench.writeConfig(slot, 0x10, 4, bar);
  assert.deepEqual(events.boundWrites, [bar + Notify]);
});

const quietRunner = {
  connect() {},
  activate() {},
  notify() {},
  reset() {},
  quiescent: true,
  pause: () => undefined,
  resume() {},
  poll() {},
};

test('§4.1.5.1.2 a masked vector is pending and sent when unmasked', () => {
  const { bench, start, request, mask, pending, events } = wired();
  start();
  mask(true);
  assert.equal(events.boundInterrupts, 0);
  request();
  assert.deepEqual(bench.msi.take(), []);
  assert.equal(pending(), 1 << 1);
  mask(false);
  assert.deepEqual(bench.msi.take(), [QueueVector]);
  assert.equal(pending(), 0);
  request();
  assert.deepEqual(bench.msi.take(), [QueueVector]);
});

test('the function mask holds back too, and a new message counts', () => {
  const { bench, start, request, pending, control, bar } = wired();
  start();
  control(Enable | FunctionMask);
  request();
  assert.equal(pending(), 2);
  bench.write(bar + MsixTable + 16 + 8, 4, 0x77);
  assert.deepEqual(bench.msi.take(), []);
  control(Enable);
  assert.deepEqual(bench.msi.take(), [0x77]);
});

test('without MSI-X the worker calls the machine, which drives INTx', () => {
  const { bench, start, request, transport, slot, driver, events } = wired();
  start({ msix: false });
  assert.equal(events.boundWrites.length, 1);
  request();
  transport.poll();
  assert.equal(bench.lines[slot % 4]!.asserted, true);
  assert.equal(bench.read(driver.isr, 1), 1);
  assert.equal(bench.lines[slot % 4]!.asserted, false);
});

test('MSI-X switched off with an interrupt pending: it comes by INTx', () => {
  const { bench, start, request, mask, control, slot } = wired();
  start();
  mask(true);
  request();
  control(0);
  assert.equal(bench.lines[slot % 4]!.asserted, true);
});

test('another vector for a queue: what was raised stays pending for the old one', () => {
  const { bench, start, request, mask, pending, driver } = wired();
  start();
  mask(true);
  request();
  bench.write(driver.common + Common.QueueSelect, 2, 0);
  bench.write(driver.common + Common.QueueVector, 2, 0);
  assert.equal(pending(), 2);
  request();
  assert.deepEqual(bench.msi.take(), [0x40]);
  mask(false);
  assert.deepEqual(bench.msi.take(), [QueueVector]);
});

test('no vector: no interrupt, not even later', () => {
  const { bench, start, request, driver } = wired();
  start();
  bench.write(driver.common + Common.QueueSelect, 2, 0);
  bench.write(driver.common + Common.QueueVector, 2, 0xffff);
  request();
  bench.write(driver.common + Common.QueueVector, 2, 1);
  assert.deepEqual(bench.msi.take(), []);
  request();
  assert.deepEqual(bench.msi.take(), [QueueVector]);
});

test('an engine without room for the message: signals go the ordinary way', () => {
  const { bench, start, request, events, transport } = wired();
  events.room = 0;
  start();
  request();
  assert.deepEqual(bench.msi.take(), []);
  transport.poll();
  assert.deepEqual(bench.msi.take(), [QueueVector]);
});

test('paused: notifications wait and are served at resume; nothing is bound that could interrupt', () => {
  const { bench, start, request, work, events, transport, served, answerAtOnce, driver } = wired();
  start();
  answerAtOnce();
  transport.pause();
  assert.equal(events.boundInterrupts, 0);
  request();
  assert.equal(served(), 0);
  transport.resume();
  work();
  assert.equal(served(), 1);
  assert.equal(driver.queues[0]!.takeUsed().length, 1);
  assert.deepEqual(bench.msi.take(), [QueueVector]);
});

test('a restored device has its doorbell, its vector and what was pending', () => {
  const first = wired();
  first.start();
  first.mask(true);
  first.request();
  first.answerAtOnce();
  first.transport.pause();
  first.driver.queues[0]!.add({ readable: [new Uint8Array([Flush, ...new Array<number>(15).fill(0)])], writable: [1] });
  const state = structuredClone(first.bench.host.save());

  const second = wired({ memory: first.memory });
  second.bench.host.restore(state);
  second.transport.resume();
  assert.deepEqual(second.events.boundWrites, first.events.boundWrites);
  assert.equal(second.pending(), 2);
  second.work();
  assert.equal(second.served(), 1, 'the request from before');
  assert.deepEqual(second.bench.msi.take(), []);
  second.mask(false);
  assert.deepEqual(new Set(second.bench.msi.take()), new Set([QueueVector]));
  assert.equal(second.pending(), 0);
});
