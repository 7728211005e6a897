import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BusDevice } from './bus-device.ts';
import { PioBus } from './pio-bus.ts';

/** A device of registers that remembers the accesses it saw. */
function registers(size: number, maxAccess: 1 | 2 | 4 = 4): BusDevice & { bytes: Uint8Array; seen: string[] } {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const seen: string[] = [];
  return {
    bytes,
    seen,
    maxAccess,
    read(offset, accessSize) {
      seen.push(`r${accessSize}@${offset}`);
      if (accessSize === 1) return view.getUint8(offset);
      return accessSize === 2 ? view.getUint16(offset, true) : view.getInt32(offset, true);
    },
    write(offset, accessSize, value) {
      seen.push(`w${accessSize}@${offset}`);
      if (accessSize === 1) view.setUint8(offset, value);
      else if (accessSize === 2) view.setUint16(offset, value, true);
      else view.setUint32(offset, value, true);
    },
  };
}

test('ports without a device read all ones and drop writes', () => {
  const bus = new PioBus();
  assert.equal(bus.read(0x80, 1), 0xff);
  assert.equal(bus.read(0x80, 2), 0xffff);
  assert.equal(bus.read(0x80, 4), 0xffff_ffff);
  bus.write(0x80, 4, 1);
  assert.equal(bus.has(0x80, 1), false);
});

test('a device sees offsets, and values come back unsigned and cut to the access', () => {
  const bus = new PioBus();
  const device = registers(8);
  bus.attach({ start: 0xcf8, size: 8 }, device);
  bus.write(0xcfc, 4, 0xffee_ddcc);
  assert.equal(bus.read(0xcfc, 4), 0xffee_ddcc);
  assert.deepEqual(device.seen, ['w4@4', 'r4@4']);
  const loud: BusDevice = { read: () => -1, write() {} };
  bus.attach({ start: 0x10, size: 4 }, loud);
  assert.equal(bus.read(0x10, 1), 0xff);
  assert.equal(bus.read(0x10, 4), 0xffff_ffff);
});

test('overlaps and ranges beyond the bus are refused', () => {
  const bus = new PioBus();
  bus.attach({ start: 0x60, size: 1 }, registers(1));
  assert.throws(() => bus.attach({ start: 0x5f, size: 2 }, registers(2)), { code: 'Internal' });
  assert.throws(() => bus.attach({ start: 0xffff, size: 2 }, registers(2)), { code: 'Internal' });
  assert.equal(bus.tryAttach({ start: 0x60, size: 1 }, registers(1)), undefined);
  bus.attach({ start: 0x61, size: 1 }, registers(1));
});

test('an access beyond the end of a device is split between the neighbours', () => {
  const bus = new PioBus();
  const data = registers(1);
  const control = registers(1);
  bus.attach({ start: 0x60, size: 1 }, data);
  bus.attach({ start: 0x61, size: 1 }, control);
  bus.write(0x60, 2, 0x1234);
  assert.deepEqual([data.bytes[0], control.bytes[0]], [0x34, 0x12]);
  assert.equal(bus.read(0x60, 4), 0xffff_1234);
});

test('the last port', () => {
  const bus = new PioBus();
  const device = registers(1);
  bus.attach({ start: 0xffff, size: 1 }, device);
  bus.write(0xffff, 4, 0x42);
  assert.equal(bus.read(0xffff, 4), 0xffff_ff42);
});

test('8-bit devices see bytes only', () => {
  const bus = new PioBus();
  const pic = registers(2, 1);
  bus.attach({ start: 0x20, size: 2 }, pic);
  bus.write(0x20, 2, 0xab12);
  assert.deepEqual(pic.seen, ['w1@0', 'w1@1']);
  assert.equal(bus.read(0x20, 2), 0xab12);
});

test('PCI 3.0 §3.2.2.3.2: a byte at 0xCF9 is reset control, wider accesses at 0xCF8 are configuration', () => {
  const bus = new PioBus();
  const config = registers(8);
  const reset = registers(1, 1);
  bus.attach({ start: 0xcf9, size: 1 }, reset, { byteOnly: true });
  bus.attach({ start: 0xcf8, size: 8 }, config);
  bus.write(0xcf8, 4, 0x8000_0810);
  bus.write(0xcf9, 1, 0x06);
  assert.equal(bus.read(0xcf8, 4), 0x8000_0810);
  assert.equal(reset.bytes[0], 0x06);
  assert.throws(() => bus.attach({ start: 0xcf9, size: 1 }, reset, { byteOnly: true }), { code: 'Internal' });
});

test('a detached range is free again, once', () => {
  const bus = new PioBus();
  const first = bus.attach({ start: 0xc000, size: 0x20 }, registers(0x20));
  first.detach();
  const second = registers(0x20);
  bus.attach({ start: 0xc010, size: 0x20 }, second);
  first.detach();
  bus.write(0xc010, 1, 7);
  assert.equal(second.bytes[0], 7);
  assert.equal(bus.has(0xc000, 1), false);
});
