import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Common } from '../../../testing/virtio-driver.ts';
import { virtioBench } from '../../../testing/virtio-bench.ts';
import { Feature } from '../features.ts';
import { localConsole } from '../../../testing/local-devices.ts';

const Features = Feature.Version1 | 1n;
const Receive = 0;
const Transmit = 1;

function sample({ start = true } = {}) {
  const output: string[] = [];
  let taken = 0;
  const bench = virtioBench((memory) =>
    localConsole(memory, {
      output: (bytes) => output.push(String.fromCharCode(...bytes)),
      inputTaken: () => taken++,
      columns: 120,
      rows: 50,
    }),
  );
  if (start) bench.driver.start({ features: Features });
  return { output, taken: () => taken, ...bench };
}

const text = (value: string): Uint8Array => Uint8Array.from(value, (character) => character.charCodeAt(0));

test('§5.3.6 what the guest transmits comes out in order', () => {
  const { driver, output } = sample();
  driver.request(Transmit, { readable: [text('hello '), text('world')] });
  driver.request(Transmit, { readable: [text('!')] });
  assert.deepEqual(output, ['hello world', '!']);
});

test('typed input fills the buffers that the guest has posted', () => {
  const { driver, device, taken } = sample();
  driver.queues[Receive]!.add({ writable: [4] });
  driver.queues[Receive]!.add({ writable: [64] });
  driver.notify(Receive);
  assert.equal(driver.queues[Receive]!.takeUsed().length, 0);
  assert.equal(device.send(text('abcdef')), 6);
  const received = driver.queues[Receive]!.takeUsed();
  assert.deepEqual(
    received.map(({ data, written }) => String.fromCharCode(...data.subarray(0, written))),
    ['abcd', 'ef'],
  );
  assert.equal(taken(), 2);
});

test('input from before the driver waits for it', () => {
  const { driver, device } = sample({ start: false });
  device.send(text('early'));
  driver.start({ features: Features });
  const completion = driver.request(Receive, { writable: [16] })!;
  assert.equal(completion.written, 5);
});

test('input that nobody takes is bounded', () => {
  const { device } = sample();
  assert.equal(device.send(new Uint8Array(100_000)), 65_536);
  assert.equal(device.send(text('x')), 0);
});

test('§5.3.4 the window size is configuration, and a change of it an interrupt', () => {
  const { driver, device, bench } = sample();
  assert.equal(bench.read(driver.config, 4), (50 << 16) | 120);
  const generation = bench.read(driver.common + Common.Generation, 1);
  device.resize(120, 50);
  assert.equal(bench.read(driver.isr, 1), 0, 'no change');
  device.resize(80, 24);
  assert.equal(bench.read(driver.isr, 1), 2);
  assert.equal(bench.read(driver.config, 4), (24 << 16) | 80);
  assert.notEqual(bench.read(driver.common + Common.Generation, 1), generation);
});

test('a change of size before DRIVER_OK interrupts nobody', () => {
  const { driver, device, bench } = sample({ start: false });
  device.resize(80, 24);
  assert.equal(bench.read(driver.isr, 1), 0);
});

test('§5.3.4 emergency writes work before the driver does', () => {
  const { driver, bench, output } = sample({ start: false });
  bench.write(driver.config + 8, 4, 0x58);
  bench.write(driver.config + 8, 1, 0x59);
  assert.deepEqual(output, ['X', 'Y']);
});

test('pending input is part of the saved state', () => {
  const first = sample();
  first.device.send(text('kept'));
  const second = sample({ start: false });
  second.device.restore(structuredClone(first.device.save()));
  second.driver.start({ features: Features });
  assert.equal(second.driver.request(Receive, { writable: [16] })!.written, 4);
});
