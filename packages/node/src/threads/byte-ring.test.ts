import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ByteRing, createByteRing } from './byte-ring.ts';

test('bytes come out in order across the wrap', () => {
  const ring = createByteRing(8);
  const out = new Uint8Array(8);
  assert.equal(ring.write(Uint8Array.of(1, 2, 3, 4, 5, 6)), 6);
  assert.equal(ring.read(out.subarray(0, 4)), 4);
  assert.equal(ring.write(Uint8Array.of(7, 8, 9, 10, 11, 12, 13)), 6);
  assert.equal(ring.room, 0);
  assert.equal(ring.read(out), 8);
  assert.deepEqual([...out], [5, 6, 7, 8, 9, 10, 11, 12]);
  assert.equal(ring.read(out), 0);
});

test('positions survive the wrap of their 32-bit counters', () => {
  const ring = createByteRing(4);
  new Int32Array(ring.buffer, 0, 2).fill(-2);
  const out = new Uint8Array(4);
  assert.equal(ring.write(Uint8Array.of(1, 2, 3, 4)), 4);
  assert.equal(ring.available, 4);
  assert.equal(ring.read(out), 4);
  assert.deepEqual([...out], [1, 2, 3, 4]);
});

test('a capacity that is no power of two is refused', () => {
  assert.throws(() => createByteRing(12), RangeError);
});

test('a producer on another thread waits for room and nothing is lost', async () => {
  const ring = createByteRing(64);
  const total = 10_000;
  const source = `import { workerData } from 'node:worker_threads';
     const { ByteRing } = await import(workerData.module);
     const ring = new ByteRing(workerData.buffer);
     const bytes = Uint8Array.from({ length: ${total} }, (_, i) => i % 251);
     for (let sent = 0; sent < bytes.length; ) {
       sent += ring.write(bytes.subarray(sent));
       ring.waitForRoom(1000);
     }`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: { buffer: ring.buffer, module: new URL('./byte-ring.js', import.meta.url).href },
  });
  const received: number[] = [];
  const chunk = new Uint8Array(48);
  while (received.length < total) {
    const length = ring.read(chunk);
    if (length === 0) await new Promise((resolve) => setImmediate(resolve));
    else received.push(...chunk.subarray(0, length));
  }
  await worker.terminate();
  assert.ok(received.every((byte, i) => byte === i % 251));
  assert.equal(new ByteRing(ring.buffer).available, 0);
});
