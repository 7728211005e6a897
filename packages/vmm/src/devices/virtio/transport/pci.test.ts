import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localConsole, localRng } from '../../../testing/local-devices.ts';
import { Feature } from '../features.ts';
import { Common } from '../../../testing/virtio-driver.ts';
import { virtioBench } from '../../../testing/virtio-bench.ts';

const AllFeatures = Feature.Version1 | Feature.EventIndex | Feature.IndirectDescriptors;

function rng() {
  let next = 1;
  return virtioBench((memory) => localRng(memory, (target) => target.forEach((_, at) => (target[at] = next++))));
}

function console_() {
  const output: number[] = [];
  return {
    output,
    ...virtioBench((memory) => localConsole(memory, { output: (bytes) => output.push(...bytes) })),
  };
}

test('§4.1.2 the function is a modern virtio device with all its structures', () => {
  const { bench, slot, driver } = rng();
  assert.equal(bench.readConfig(slot, 0, 4), 0x1044_1af4);
  assert.ok(bench.readConfig(slot, 8, 1) >= 1, 'revision of a non-transitional device');
  const types = bench
    .capabilities(slot)
    .filter(({ id }) => id === 9)
    .map(({ at }) => bench.readConfig(slot, at + 3, 1));
  assert.deepEqual(types.sort(), [1, 2, 3, 5], 'no device-specific structure: the device has no configuration');
  assert.equal(driver.notifyMultiplier, 4);
});

test('§3.1 a driver starts the device and gets its work done', () => {
  const { driver, bench } = rng();
  driver.start({ features: AllFeatures });
  assert.equal(driver.status, 15);
  const completion = driver.request(0, { writable: [4] })!;
  assert.deepEqual([...completion.data], [1, 2, 3, 4]);
  assert.equal(completion.written, 4);
  assert.deepEqual(bench.msi.take(), []);
});

test('§2.2 features that were not offered, and drivers without VERSION_1, are refused', () => {
  const { driver } = rng();
  assert.equal(driver.deviceFeatures(), AllFeatures);
  driver.negotiate(AllFeatures | (1n << 5n));
  assert.equal(driver.status, 3);
  driver.status = 0;
  driver.negotiate(Feature.EventIndex);
  assert.equal(driver.status, 3);
  driver.status = 0;
  assert.equal(driver.status, 0);
  driver.negotiate(AllFeatures);
  assert.equal(driver.status, 11);
});

test('§4.1.4.3 registers keep what is legal', () => {
  const { driver, bench } = console_();
  const at = (offset: number): number => driver.common + offset;
  assert.equal(bench.read(at(Common.QueueCount), 2), 2);
  bench.write(at(Common.QueueSelect), 2, 1);
  assert.equal(bench.read(at(Common.QueueSize), 2), 256);
  assert.equal(bench.read(at(Common.QueueNotifyOffset), 2), 1);
  for (const illegal of [0, 3, 512]) bench.write(at(Common.QueueSize), 2, illegal);
  assert.equal(bench.read(at(Common.QueueSize), 2), 256);
  bench.write(at(Common.QueueSize), 2, 64);
  assert.equal(bench.read(at(Common.QueueSize), 2), 64);
  bench.write(at(Common.QueueVector), 2, 3);
  assert.equal(bench.read(at(Common.QueueVector), 2), 0xffff, 'there are three vectors');
  bench.write(at(Common.QueueVector), 2, 2);
  assert.equal(bench.read(at(Common.QueueVector), 2), 2);
  bench.write(at(Common.QueueDescriptors) + 4, 4, 0x1234_5678);
  bench.write(at(Common.QueueDescriptors) + 1, 1, 0xab);
  assert.equal(bench.read(at(Common.QueueDescriptors), 4), 0xab00);
  assert.equal(bench.read(at(Common.QueueDescriptors) + 4, 4), 0x1234_5678);
  bench.write(at(Common.QueueEnable), 2, 1);
  bench.write(at(Common.QueueSize), 2, 32);
  bench.write(at(Common.QueueEnable), 2, 0);
  assert.equal(bench.read(at(Common.QueueSize), 2), 64, 'an enabled queue does not change');
  assert.equal(bench.read(at(Common.QueueEnable), 2), 1);
  bench.write(at(Common.QueueSelect), 2, 2);
  assert.equal(bench.read(at(Common.QueueSize), 2), 0, 'no such queue');
  bench.write(at(Common.QueueDescriptors), 4, 1);
  bench.write(at(Common.DeviceFeatureSelect), 4, 2);
  assert.equal(bench.read(at(Common.DeviceFeature), 4), 0);
});

test('§4.1.4.5 without MSI-X the ISR status and INTx tell of used buffers', () => {
  const { driver, bench, slot } = rng();
  driver.start({ features: Feature.Version1 });
  driver.request(0, { writable: [1] });
  const line = bench.lines[slot % 4]!;
  assert.equal(line.asserted, true);
  assert.equal(bench.read(driver.isr, 1), 1);
  assert.equal(line.asserted, false);
  assert.equal(bench.read(driver.isr, 1), 0);
});

test('§4.1.5.1.2 with MSI-X each queue and the configuration have vectors of their own', () => {
  const { driver, bench, slot, device } = console_();
  driver.start({ features: AllFeatures, msix: true });
  driver.request(1, { readable: [Uint8Array.of(65)] });
  assert.deepEqual(bench.msi.take(), [0x42]);
  driver.queues[0]!.add({ writable: [16] });
  device.send(Uint8Array.of(1));
  assert.deepEqual(bench.msi.take(), [0x41]);
  device.resize(100, 40);
  assert.deepEqual(bench.msi.take(), [0x40]);
  assert.equal(bench.lines[slot % 4]!.rises, 0);
  assert.equal(bench.read(driver.isr, 1), 0);
});

test('§2.4 a reset stops the device and forgets the set-up', () => {
  const { driver, bench } = rng();
  driver.start({ features: AllFeatures, msix: true });
  const queue = driver.queues[0]!;
  queue.add({ writable: [8] });
  driver.status = 0;
  assert.equal(driver.status, 0);
  driver.notify(0);
  assert.equal(queue.takeUsed().length, 0, 'nothing is used after a reset');
  assert.equal(bench.read(driver.common + Common.QueueEnable, 2), 0);
  assert.equal(bench.read(driver.common + Common.ConfigVector, 2), 0xffff);
  driver.start({ features: AllFeatures });
  assert.equal(driver.request(0, { writable: [2] })!.written, 2);
});

test('§2.1.2 a broken queue makes the device ask for a reset', () => {
  const { driver, bench } = rng();
  driver.start({ features: AllFeatures, msix: true });
  driver.queues[0]!.publish(999);
  driver.notify(0);
  assert.equal(driver.status, 15 | 64);
  assert.deepEqual(bench.msi.take(), [0x40]);
  driver.request(0, { writable: [1] });
  assert.equal(driver.queues[0]!.takeUsed().length, 0);
  driver.start({ features: AllFeatures });
  assert.equal(driver.request(0, { writable: [1] })!.written, 1);
});

test('queues outside of guest memory make the device ask for a reset at DRIVER_OK', () => {
  const { driver, bench } = rng();
  driver.negotiate(AllFeatures);
  bench.write(driver.common + Common.QueueDescriptors + 4, 4, 0xffff_ffff);
  bench.write(driver.common + Common.QueueEnable, 2, 1);
  driver.status = 15;
  assert.equal(driver.status, 15 | 64);
});

test('§4.1.4.9 configuration space reaches the structures through the access window', () => {
  const { driver, bench, slot } = rng();
  const window = bench.capabilities(slot).find(({ at, id }) => id === 9 && bench.readConfig(slot, at + 3, 1) === 5)!.at;
  const access = (offset: number, length: number): void => {
    bench.writeConfig(slot, window + 4, 1, 0);
    bench.writeConfig(slot, window + 8, 4, offset);
    bench.writeConfig(slot, window + 12, 4, length);
  };
  access(Common.Status, 1);
  bench.writeConfig(slot, window + 16, 4, 1);
  assert.equal(driver.status, 1);
  assert.equal(bench.readConfig(slot, window + 16, 4) & 0xff, 1);
  access(Common.QueueSize, 2);
  assert.equal(bench.readConfig(slot, window + 16, 4), 64);
  for (const [offset, length] of [
    [0x8000, 4],
    [1, 2],
    [0, 3],
    [0xffff_fffc, 4],
  ] as const) {
    access(offset, length);
    assert.equal(bench.readConfig(slot, window + 16, 4), 0);
  }
});

test('a restored device goes on where the saved one was', () => {
  const first = rng();
  first.driver.start({ features: AllFeatures, msix: true });
  first.driver.request(0, { writable: [3] });
  first.transport.pause();
  first.driver.queues[0]!.setUsedEvent(1);
  first.driver.queues[0]!.add({ writable: [2] });
  first.driver.notify(0);
  assert.equal(first.driver.queues[0]!.takeUsed().length, 0, 'no DMA while paused');
  const state = structuredClone(first.bench.host.save());

  let next = 100;
  const second = virtioBench(
    (memory) => localRng(memory, (target) => target.forEach((_, at) => (target[at] = next++))),
    first.memory,
  );
  second.bench.host.restore(state);
  assert.deepEqual(second.bench.msi.take(), [], 'nothing runs yet');
  second.transport.resume();
  assert.deepEqual(second.bench.msi.take(), [0x41], 'the request from before is served at once');
  assert.deepEqual([...first.driver.queues[0]!.takeUsed().at(-1)!.data], [100, 101]);
  assert.equal(second.driver.status, 15);
});

test('a paused device goes on after resume', () => {
  const { driver, transport } = rng();
  driver.start({ features: AllFeatures });
  transport.pause();
  driver.queues[0]!.add({ writable: [2] });
  driver.notify(0);
  transport.resume();
  assert.equal(driver.queues[0]!.takeUsed().length, 1);
});
