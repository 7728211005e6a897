import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioBench } from '../../testing/virtio-bench.ts';
import { Feature } from './features.ts';
import { localRng } from '../../testing/local-devices.ts';

test('a driver that adds chains without end leaves the rest to poll', () => {
  let add = (): void => {};
  let served = 0;
  const { driver, transport } = virtioBench((memory) =>
    localRng(memory, () => {
      served++;
      add();
    }),
  );
  driver.start({ features: Feature.Version1, sizes: [8] });
  add = () => {
    if (served < 100) driver.queues[0]!.add({ writable: [1] });
  };
  add();
  driver.notify(0);
  assert.equal(served, 4 * 8, 'four passes of a queue each');
  while (served < 100) transport.poll();
  transport.poll();
  assert.equal(served, 100);
});
