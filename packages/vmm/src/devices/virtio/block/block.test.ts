import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { ArrayMemory } from '../../../memory/array-memory.ts';
import { MemoryDisk } from '../../../testing/memory-disk.ts';
import { virtioBench } from '../../../testing/virtio-bench.ts';
import type { VirtioDriver } from '../../../testing/virtio-driver.ts';
import { Feature } from '../features.ts';
import { LocalQueueRunner } from '../local-queue-runner.ts';
import { BlockFeature } from './block-format.ts';
import { BlockRequests } from './block-requests.ts';
import { VirtioBlock } from './virtio-block.ts';

const RingFeatures = Feature.Version1 | Feature.EventIndex | Feature.IndirectDescriptors;
const Type = { In: 0, Out: 1, Flush: 4, GetId: 8, GetLifetime: 10, Discard: 11, WriteZeroes: 13 } as const;
const Ok = 0;
const IoError = 1;
const Unsupported = 2;

function header(type: number, sector: number | bigint = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

function range(sector: number | bigint, sectors: number, flags = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return new Uint8Array(view.buffer);
}

interface SampleOptions {
  readonly disk?: MemoryDisk;
  readonly features?: bigint;
  readonly memory?: GuestMemory;
}

function sample({ disk = new MemoryDisk(64 * 512), features = BlockFeature.Flush, memory }: SampleOptions = {}) {
  const errors: string[] = [];
  const bench = virtioBench((guest) => {
    const requests = new BlockRequests(guest, disk, 'disk-0', { onError: (operation) => errors.push(operation) });
    return new VirtioBlock(disk, new LocalQueueRunner(guest, requests));
  }, memory);
  bench.driver.start({ features: RingFeatures | features });
  return { disk, errors, ...bench };
}

/** The status byte that ends a request's input, and what came before. */
function run(driver: VirtioDriver, readable: readonly Uint8Array[], input = 0, indirect = false) {
  const completion = driver.request(0, { readable, writable: input > 0 ? [input, 1] : [1], indirect })!;
  return { status: completion.data.at(-1)!, data: completion.data.subarray(0, input), written: completion.written };
}

const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => (index * 7 + 1) & 0xff);

for (const indirect of [false, true]) {
  test(`§5.2.6 what was written is read back (${indirect ? 'indirect' : 'direct'} descriptors)`, () => {
    const { driver, disk, memory } = sample();
    const data = pattern(1024);
    assert.deepEqual(run(driver, [header(Type.Out, 3), data], 0, indirect).status, Ok);
    assert.deepEqual(disk.bytes.subarray(3 * 512, 5 * 512), data);
    const read = run(driver, [header(Type.In, 3)], 1024, indirect);
    assert.equal(read.status, Ok);
    assert.equal(read.written, 1025);
    assert.deepEqual(read.data, data);
    assert.deepEqual((memory as ArrayMemory).written.at(-1)?.length, 1024, 'the engine hears of the DMA');
  });
}

test('§2.7.4 the framing of a request does not matter', () => {
  const { driver, disk } = sample();
  const request = new Uint8Array([...header(Type.Out, 1), ...pattern(512)]);
  const pieces = [request.subarray(0, 5), request.subarray(5, 20), request.subarray(20)];
  assert.equal(run(driver, pieces).status, Ok);
  assert.deepEqual(disk.bytes.subarray(512, 1024), pattern(512));
  const completion = driver.request(0, { readable: [header(Type.In, 1)], writable: [500, 13] })!;
  assert.deepEqual(completion.data, new Uint8Array([...pattern(512), Ok]));
});

test('§5.2.4 configuration: capacity, limits, block sizes', () => {
  const { driver, bench } = sample({ disk: new MemoryDisk(64 * 512 + 100) });
  assert.equal(bench.read(driver.config, 4), 64, 'a partial sector at the end is not shown');
  assert.equal(bench.read(driver.config + 4, 4), 0);
  assert.equal(bench.read(driver.config + 12, 4), 254);
  assert.equal(bench.read(driver.config + 20, 4), 512);
  assert.equal(bench.read(driver.config + 24, 1), 3, 'eight sectors in a physical block');
  assert.ok(bench.read(driver.config + 36, 4) > 0);
  bench.write(driver.config, 4, 7);
  assert.equal(bench.read(driver.config, 4), 64);
});

test('a flush reaches the back end, and its failure the guest', () => {
  const { driver, disk, errors } = sample();
  assert.equal(run(driver, [header(Type.Flush)]).status, Ok);
  assert.deepEqual(disk.log, ['flush']);
  disk.failing.set('flush', 'io-error');
  assert.equal(run(driver, [header(Type.Flush)]).status, IoError);
  assert.deepEqual(errors, ['flush']);
});

test('§5.2.6.2 a driver without FLUSH gets writes that are durable', () => {
  const { driver, disk } = sample({ features: 0n });
  assert.equal(run(driver, [header(Type.Out), pattern(512)]).status, Ok);
  assert.deepEqual(disk.log, ['write 0+512', 'flush']);
  disk.failing.set('flush', 'io-error');
  assert.equal(run(driver, [header(Type.Out), pattern(512)]).status, IoError);
});

test('a failed write is an I/O error, a full host disk too, and the device lives on', () => {
  const { driver, disk, errors } = sample();
  for (const failure of ['io-error', 'no-space'] as const) {
    disk.failing.set('write', failure);
    assert.equal(run(driver, [header(Type.Out), pattern(512)]).status, IoError);
  }
  assert.deepEqual(errors, ['write', 'write']);
  disk.failing.clear();
  assert.equal(run(driver, [header(Type.Out), pattern(512)]).status, Ok);
  disk.read = () => {
    throw new Error('the disk is gone');
  };
  const read = run(driver, [header(Type.In)], 512);
  assert.equal(read.status, IoError);
  assert.equal(driver.status, 15);
});

test('requests beyond the end of the disk, or of odd length, are I/O errors without any access', () => {
  const { driver, disk } = sample();
  assert.equal(run(driver, [header(Type.In, 63)], 512).status, Ok);
  disk.log.length = 0;
  assert.equal(run(driver, [header(Type.In, 63)], 1024).status, IoError);
  assert.equal(run(driver, [header(Type.In, 2n ** 64n - 1n)], 512).status, IoError);
  assert.equal(run(driver, [header(Type.Out, 2n ** 55n), pattern(512)]).status, IoError);
  assert.equal(run(driver, [header(Type.In)], 100).status, IoError);
  assert.equal(run(driver, [header(Type.In).subarray(0, 12)], 512).status, IoError);
  assert.deepEqual(disk.log, []);
});

test('a request without room for a status is returned untouched', () => {
  const { driver, disk } = sample();
  driver.queues[0]!.add({ readable: [header(Type.Flush)] });
  driver.notify(0);
  assert.equal(driver.queues[0]!.takeUsed()[0]!.written, 0);
  assert.deepEqual(disk.log, []);
});

test('the disk has its serial number', () => {
  const { driver } = sample();
  const { status, data } = run(driver, [header(Type.GetId)], 20);
  assert.equal(status, Ok);
  assert.equal(String.fromCharCode(...data), 'disk-0'.padEnd(20, '\0'));
});

test('discard and write-zeroes take lists of ranges', () => {
  const { driver, disk } = sample();
  disk.bytes.fill(0xff);
  assert.equal(run(driver, [header(Type.Discard), range(0, 8), range(16, 8)]).status, Ok);
  assert.equal(run(driver, [header(Type.WriteZeroes), range(2, 3, 1), range(8, 1)]).status, Ok);
  assert.deepEqual(disk.log, ['discard 0+4096', 'discard 8192+4096', 'zero 1024+1536 unmap', 'zero 4096+512']);
  assert.equal(disk.bytes[1024], 0);
  assert.equal(disk.bytes[1023], 0xff);
});

test('bad discard and write-zeroes requests change nothing', () => {
  const { driver, disk } = sample();
  assert.equal(run(driver, [header(Type.Discard), range(0, 8, 1)]).status, Unsupported);
  assert.equal(run(driver, [header(Type.WriteZeroes), range(0, 8, 2)]).status, Unsupported);
  assert.equal(run(driver, [header(Type.WriteZeroes), range(0, 1), range(60, 8)]).status, IoError);
  assert.equal(run(driver, [header(Type.WriteZeroes), range(2n ** 64n - 4n, 8)]).status, IoError);
  assert.equal(run(driver, [header(Type.Discard), range(0, 8).subarray(1)]).status, IoError);
  assert.equal(run(driver, [header(Type.Discard)]).status, IoError);
  assert.equal(run(driver, [header(Type.Discard), ...Array.from({ length: 33 }, () => range(0, 1))]).status, IoError);
  assert.deepEqual(disk.log, []);
});

test('a read-only disk says so and refuses every change', () => {
  const { driver, disk } = sample({ disk: new MemoryDisk(64 * 512, true) });
  assert.ok((driver.deviceFeatures() & BlockFeature.ReadOnly) !== 0n);
  assert.equal(driver.deviceFeatures() & (BlockFeature.Discard | BlockFeature.WriteZeroes), 0n);
  assert.equal(run(driver, [header(Type.Out), pattern(512)]).status, IoError);
  assert.equal(run(driver, [header(Type.WriteZeroes), range(0, 1)]).status, IoError);
  assert.equal(run(driver, [header(Type.Discard), range(0, 1)]).status, IoError);
  assert.equal(run(driver, [header(Type.In)], 512).status, Ok);
  assert.deepEqual(disk.log, ['read 0+512']);
});

test('other request types are unsupported', () => {
  const { driver } = sample();
  assert.equal(run(driver, [header(Type.GetLifetime)], 40).status, Unsupported);
  assert.equal(run(driver, [header(0xffff_ffff)]).status, Unsupported);
});

test('guest memory without views is reached through copies', () => {
  const memory = new ArrayMemory(16 * 1024 * 1024);
  memory.view = () => undefined;
  const { driver, disk } = sample({ memory });
  assert.equal(run(driver, [header(Type.Out, 5), pattern(512)]).status, Ok);
  assert.deepEqual(disk.bytes.subarray(5 * 512, 6 * 512), pattern(512));
  assert.deepEqual(run(driver, [header(Type.In, 5)], 512).data, pattern(512));
});

test('a whole queue of requests is served by one notification', () => {
  const { driver, disk } = sample();
  for (let index = 0; index < 85; index++) {
    driver.queues[0]!.add({ readable: [header(Type.Out, index % 64), pattern(512)], writable: [1] });
  }
  driver.notify(0);
  assert.equal(driver.queues[0]!.takeUsed().length, 85);
  assert.equal(disk.log.length, 85);
});

test('restoring next to another disk is refused', () => {
  const first = sample();
  const state = structuredClone(first.bench.host.save());
  assert.throws(() => sample({ disk: new MemoryDisk(512) }).bench.host.restore(state), /attach the same disk/);
});
