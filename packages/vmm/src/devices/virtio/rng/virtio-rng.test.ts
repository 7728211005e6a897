import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioBench } from '../../../testing/virtio-bench.ts';
import { Feature } from '../features.ts';
import { localRng } from '../../../testing/local-devices.ts';

function sample() {
  const asked: number[] = [];
  const bench = virtioBench((memory) =>
    localRng(memory, (target) => {
      asked.push(target.length);
      target.fill(0xa5);
    }),
  );
  bench.driver.start({ features: Feature.Version1 });
  return { asked, ...bench };
}

test('§5.4.6 all buffers of a request are filled', () => {
  const { driver, asked } = sample();
  const completion = driver.request(0, { writable: [3, 5] })!;
  assert.equal(completion.written, 8);
  assert.deepEqual(
    [...completion.data],
    Array.from({ length: 8 }, () => 0xa5),
  );
  assert.deepEqual(asked, [8]);
});

test('a huge request gets a part of it', () => {
  const { driver } = sample();
  assert.equal(driver.request(0, { writable: [1024 * 1024] })!.written, 65_536);
});

test('a request without room is returned empty', () => {
  const { driver } = sample();
  assert.equal(driver.request(0, { readable: [new Uint8Array(4)] })!.written, 0);
});
