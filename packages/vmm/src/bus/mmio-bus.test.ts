import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BusDevice } from './bus-device.ts';
import { MmioBus } from './mmio-bus.ts';

/** A device of bytes, each of which holds its own offset plus `base` until it is written. */
function memory(size: number, base = 0): BusDevice & { seen: string[] } {
  const view = new DataView(Uint8Array.from({ length: size }, (_, offset) => base + offset).buffer);
  const seen: string[] = [];
  return {
    seen,
    read(offset, accessSize) {
      seen.push(`r${accessSize}@${offset}`);
      if (accessSize === 1) return view.getUint8(offset);
      return accessSize === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
    },
    write(offset, accessSize, value) {
      seen.push(`w${accessSize}@${offset}`);
      if (accessSize === 1) view.setUint8(offset, value);
      else if (accessSize === 2) view.setUint16(offset, value, true);
      else view.setUint32(offset, value, true);
    },
  };
}

test('addresses without a device read all ones and drop writes', () => {
  const bus = new MmioBus();
  bus.attach({ start: 0x1000, size: 0x1000 }, memory(16));
  assert.equal(bus.read(0xfff, 1), 0xff);
  assert.equal(bus.read(0x2000, 4), 0xffff_ffff);
  assert.equal(bus.readU64(0x80_0000_0000), 0xffff_ffff_ffff_ffffn);
  bus.writeU64(0x2000, 1n);
});

test('devices are found in any order of attachment, above 4 GiB too', () => {
  const bus = new MmioBus();
  const window = 512 * 2 ** 30;
  bus.attach({ start: window, size: 16 }, memory(16, 0x40));
  bus.attach({ start: 0x1000, size: 16 }, memory(16, 0x10));
  bus.attach({ start: 0xfec0_0000, size: 16 }, memory(16, 0x20));
  assert.deepEqual(
    [window + 1, 0x1002, 0xfec0_0003, window, 0x1000].map((address) => bus.read(address, 1)),
    [0x41, 0x12, 0x23, 0x40, 0x10],
  );
});

test('an 8-byte access reaches the device as two halves, low first', () => {
  const bus = new MmioBus();
  const device = memory(16);
  bus.attach({ start: 0x1000, size: 16 }, device);
  assert.equal(bus.readU64(0x1000), 0x0706_0504_0302_0100n);
  bus.writeU64(0x1008, 0x8877_6655_4433_2211n);
  assert.equal(bus.readU64(0x1008), 0x8877_6655_4433_2211n);
  assert.deepEqual(device.seen.slice(0, 4), ['r4@0', 'r4@4', 'w4@8', 'w4@12']);
});

test('an access across two devices is split between them', () => {
  const bus = new MmioBus();
  bus.attach({ start: 0x1000, size: 2 }, memory(2, 0x10));
  bus.attach({ start: 0x1002, size: 4 }, memory(4, 0x20));
  assert.equal(bus.read(0x1000, 4), 0x2120_1110);
  assert.equal(bus.read(0x1004, 4), 0xffff_2322);
  bus.write(0x1001, 2, 0xbeef);
  assert.equal(bus.read(0x1000, 4), 0x21be_ef10);
});

test('overlaps are refused: as an error to the host, as a value to the guest', () => {
  const bus = new MmioBus();
  bus.attach({ start: 0x1000, size: 0x1000 }, memory(16));
  for (const range of [
    { start: 0x1fff, size: 1 },
    { start: 0xfff, size: 2 },
    { start: 0, size: 0x10_0000 },
    { start: 2 ** 52 - 1, size: 2 },
    { start: 0x5000, size: 0 },
  ]) {
    assert.throws(() => bus.attach(range, memory(16)), { code: 'Internal' });
    assert.equal(bus.tryAttach(range, memory(16)), undefined);
  }
  bus.attach({ start: 0x2000, size: 1 }, memory(1));
});

test('a detached device no longer answers, even right after an access', () => {
  const bus = new MmioBus();
  const attachment = bus.attach({ start: 0x1000, size: 16 }, memory(16));
  assert.equal(bus.read(0x1004, 1), 4);
  attachment.detach();
  attachment.detach();
  assert.equal(bus.read(0x1004, 1), 0xff);
  bus.attach({ start: 0x1000, size: 16 }, memory(16, 0x30));
  assert.equal(bus.read(0x1004, 1), 0x34);
});
