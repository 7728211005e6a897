import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpa } from '../../memory/address.ts';
import { ArrayMemory } from '../../memory/array-memory.ts';
import { Allocator, DriverQueue } from '../../testing/virtio-driver.ts';
import { Feature } from './features.ts';
import { Virtqueue } from './virtqueue.ts';

const Next = 1;
const Write = 2;
const Indirect = 4;
const AllFeatures = Feature.EventIndex | Feature.IndirectDescriptors;

function sample({ size = 8, features = 0n, position = 0 } = {}) {
  const memory = new ArrayMemory(0x40000);
  const driver = new DriverQueue(memory, new Allocator(0x1000), size);
  const setup = {
    enabled: true,
    size,
    descriptors: BigInt(driver.descriptors),
    driver: BigInt(driver.available),
    device: BigInt(driver.used),
    vector: 0,
    nextAvailable: position,
    nextUsed: position,
  };
  return { memory, driver, setup, queue: new Virtqueue(memory, setup, features) };
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

test('§2.7.5 a chain is popped with its parts in order and returned', () => {
  const { driver, queue } = sample();
  const head = driver.add({ readable: [bytes(1, 2), bytes(3)], writable: [16] });
  const chain = queue.pop()!;
  assert.equal(chain.head, head);
  assert.deepEqual(
    chain.readable.map(({ length }) => length),
    [2, 1],
  );
  assert.deepEqual(
    chain.writable.map(({ length }) => length),
    [16],
  );
  assert.equal(queue.pop(), undefined);
  queue.addUsed(chain.head, 7);
  assert.deepEqual(
    driver.takeUsed().map(({ head: used, written }) => ({ used, written })),
    [{ used: head, written: 7 }],
  );
});

test('indices wrap around at 2^16', () => {
  const { memory, driver, queue } = sample({ position: 0xffff });
  driver.writeDescriptor(0, { address: 0x8000, length: 4, flags: 0, next: 0 });
  memory.writeU16(gpa(driver.available + 4 + (0xffff % 8) * 2), 0);
  memory.writeU16(gpa(driver.available + 2), 0);
  assert.equal(queue.pop()?.head, 0);
  queue.addUsed(0, 0);
  assert.equal(memory.readU16(gpa(driver.used + 2)), 0);
  assert.deepEqual(queue.position, { nextAvailable: 0, nextUsed: 0 });
});

test('§2.7.5.3 indirect descriptors', () => {
  const { driver, queue } = sample({ features: AllFeatures });
  driver.add({ readable: [bytes(1), bytes(2)], writable: [3, 4], indirect: true });
  const chain = queue.pop()!;
  assert.equal(chain.readable.length, 2);
  assert.equal(chain.writable.length, 2);
});

test('§2.7.5.3.2 an indirect descriptor may end a chain', () => {
  const { driver, queue } = sample({ features: AllFeatures });
  driver.writeDescriptor(0, { address: 0x8000, length: 4, flags: Next, next: 1 });
  driver.writeDescriptor(1, { address: 0x9000, length: 32, flags: Indirect, next: 0 });
  driver.writeDescriptor(0, { address: 0xa000, length: 5, flags: Next, next: 1 }, 0x9000);
  driver.writeDescriptor(1, { address: 0xb000, length: 6, flags: Write, next: 0 }, 0x9000);
  driver.publish(0);
  const chain = queue.pop()!;
  assert.deepEqual(chain.readable, [
    { address: 0x8000, length: 4 },
    { address: 0xa000, length: 5 },
  ]);
  assert.deepEqual(chain.writable, [{ address: 0xb000, length: 6 }]);
});

test('a chain through the whole table is legal, and so is one whose buffers are empty', () => {
  const { driver, queue } = sample();
  for (let index = 0; index < 8; index++) {
    driver.writeDescriptor(index, { address: 0, length: 0, flags: index < 7 ? Next : 0, next: index + 1 });
  }
  driver.publish(0);
  assert.deepEqual(queue.pop(), { head: 0, readable: [], writable: [] });
  assert.equal(queue.fault, undefined);
});

const faults: readonly (readonly [string, string, (driver: DriverQueue) => void])[] = [
  ['a head beyond the table', 'BadDescriptorIndex', (driver) => driver.publish(8)],
  [
    'a next index beyond the table',
    'BadDescriptorIndex',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 1, flags: Next, next: 8 });
      driver.publish(0);
    },
  ],
  [
    'a loop',
    'DescriptorLoop',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 1, flags: Next, next: 1 });
      driver.writeDescriptor(1, { address: 0x8000, length: 1, flags: Next, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'a loop in an indirect table',
    'DescriptorLoop',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x9000, length: 32, flags: Indirect, next: 0 });
      driver.writeDescriptor(0, { address: 0x8000, length: 1, flags: Next, next: 1 }, 0x9000);
      driver.writeDescriptor(1, { address: 0x8000, length: 1, flags: Next, next: 0 }, 0x9000);
      driver.publish(0);
    },
  ],
  [
    'an indirect table that is the queue table itself',
    'BadIndirectTable',
    (driver) => {
      driver.writeDescriptor(0, { address: driver.descriptors, length: 128, flags: Indirect, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'an indirect descriptor with a successor',
    'BadIndirectTable',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x9000, length: 32, flags: Indirect | Next, next: 1 });
      driver.publish(0);
    },
  ],
  [
    'an indirect table of half a descriptor',
    'BadIndirectTable',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x9000, length: 24, flags: Indirect, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'an empty indirect table',
    'BadIndirectTable',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x9000, length: 0, flags: Indirect, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'an indirect table outside of memory',
    'BadIndirectTable',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x3fff8, length: 16, flags: Indirect, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'a buffer that ends outside of memory',
    'BufferOutsideMemory',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x3fff0, length: 17, flags: 0, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'a buffer at the end of the address space',
    'BufferOutsideMemory',
    (driver) => {
      driver.writeDescriptor(0, { address: 0xffff_ffff_ffff_fff0n, length: 0x20, flags: Write, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'a readable buffer after a writable one',
    'ReadableAfterWritable',
    (driver) => {
      driver.writeDescriptor(0, { address: 0x8000, length: 1, flags: Write | Next, next: 1 });
      driver.writeDescriptor(1, { address: 0x8000, length: 1, flags: 0, next: 0 });
      driver.publish(0);
    },
  ],
  [
    'an available index that is too far ahead',
    'BadAvailableIndex',
    (driver) => void driver.memory.writeU16(gpa(driver.available + 2), 9),
  ],
];

for (const [what, fault, make] of faults) {
  test(`${what} is the fault ${fault}`, () => {
    const { driver, queue, memory } = sample({ features: AllFeatures });
    make(driver);
    assert.equal(queue.pop(), undefined);
    assert.equal(queue.fault, fault);
    assert.equal(queue.pop(), undefined);
    queue.addUsed(0, 0);
    assert.equal(memory.readU16(gpa(driver.used + 2)), 0, 'a broken queue is left alone');
    assert.equal(queue.takeInterrupt(), false);
  });
}

test('indirect descriptors that were not negotiated are a fault', () => {
  const { driver, queue } = sample();
  driver.add({ readable: [bytes(1)], indirect: true });
  assert.equal(queue.pop(), undefined);
  assert.equal(queue.fault, 'BadIndirectTable');
});

test('a bad set-up is a fault', () => {
  const { memory, setup } = sample();
  const faultOf = (change: object): string | undefined => new Virtqueue(memory, { ...setup, ...change }, 0n).fault;
  assert.equal(faultOf({}), undefined);
  assert.equal(faultOf({ size: 0 }), 'BadSize');
  assert.equal(faultOf({ size: 12 }), 'BadSize');
  assert.equal(faultOf({ size: 65536 }), 'BadSize');
  assert.equal(faultOf({ descriptors: setup.descriptors + 8n }), 'BadAlignment');
  assert.equal(faultOf({ driver: setup.driver + 1n }), 'BadAlignment');
  assert.equal(faultOf({ device: setup.device + 2n }), 'BadAlignment');
  assert.equal(faultOf({ device: 0x3ffc0n }), 'RingOutsideMemory');
  assert.equal(faultOf({ descriptors: 0xffff_ffff_ffff_fff0n }), 'RingOutsideMemory');
});

test('§2.7.7 without event indices the driver suppresses interrupts by a flag', () => {
  const { memory, driver, queue } = sample();
  driver.add({ writable: [1] });
  driver.add({ writable: [1] });
  queue.addUsed(queue.pop()!.head, 0);
  assert.equal(queue.takeInterrupt(), true);
  assert.equal(queue.takeInterrupt(), false, 'nothing new');
  memory.writeU16(gpa(driver.available), 1);
  queue.addUsed(queue.pop()!.head, 0);
  assert.equal(queue.takeInterrupt(), false);
});

test('§2.7.7 with event indices an interrupt is due when the used index passes the event', () => {
  const { driver, queue } = sample({ features: AllFeatures });
  for (let index = 0; index < 5; index++) driver.add({ writable: [1] });
  const complete = (): boolean => {
    queue.addUsed(queue.pop()!.head, 0);
    return queue.takeInterrupt();
  };
  driver.setUsedEvent(0);
  assert.equal(complete(), true);
  assert.equal(complete(), false);
  driver.setUsedEvent(3);
  assert.equal(complete(), false);
  assert.equal(complete(), true);
  queue.addUsed(queue.pop()!.head, 0);
  driver.setUsedEvent(4);
  assert.equal(queue.takeInterrupt(), true);
});

test('§2.7.10 notifications are suppressed and asked for', () => {
  const flagged = sample();
  flagged.queue.disableNotifications();
  assert.equal(flagged.memory.readU16(gpa(flagged.driver.used)), 1);
  flagged.driver.add({ writable: [1] });
  assert.equal(flagged.queue.enableNotifications(), true, 'one came meanwhile');
  assert.equal(flagged.memory.readU16(gpa(flagged.driver.used)), 0);

  const indexed = sample({ features: AllFeatures });
  indexed.driver.add({ writable: [1] });
  indexed.queue.pop();
  assert.equal(indexed.queue.enableNotifications(), false);
  assert.equal(indexed.driver.availableEvent, 1);
});
