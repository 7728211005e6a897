import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Msix } from './msix.ts';
import { RegisterSpace, reserved } from './register-space.ts';

function sample() {
  const sent: { address: number; data: number }[] = [];
  const msix = new Msix({ vectors: 3, bar: 2, tableOffset: 0x1000, pendingOffset: 0x2000 }, (address, data) =>
    sent.push({ address, data }),
  );
  const config = new RegisterSpace(16, [reserved(2), ...msix.capability().body]);
  const setVector = (vector: number, masked: boolean): void => {
    msix.table.write(vector * 16, 4, 0xfee0_1000);
    msix.table.write(vector * 16 + 4, 4, 0);
    msix.table.write(vector * 16 + 8, 4, 0x30 + vector);
    msix.table.write(vector * 16 + 12, 4, Number(masked));
  };
  return { msix, config, sent, setVector };
}

const Control = 2;
const Enable = 0x8000;
const FunctionMask = 0x4000;

test('§6.8.2.3 the capability tells table size and places', () => {
  const { config } = sample();
  assert.equal(config.read(Control, 2), 2);
  assert.equal(config.read(4, 4), 0x1002);
  assert.equal(config.read(8, 4), 0x2002);
  config.write(Control, 2, 0xffff);
  assert.equal(config.read(Control, 2), 0xc002);
});

test('an enabled, unmasked vector sends its message', () => {
  const { msix, config, sent, setVector } = sample();
  setVector(1, false);
  msix.signal(1);
  assert.deepEqual(sent, [], 'not while MSI-X is off');
  config.write(Control, 2, Enable);
  assert.deepEqual(sent, []);
  msix.signal(1);
  msix.signal(7);
  msix.signal(0xffff);
  assert.deepEqual(sent, [{ address: 0xfee0_1000, data: 0x31 }]);
});

test('§6.8.3.4 a masked vector is pending until it is unmasked', () => {
  const { msix, config, sent, setVector } = sample();
  assert.equal(msix.table.read(12, 4), 1, 'masked after reset');
  setVector(2, true);
  config.write(Control, 2, Enable);
  msix.signal(2);
  msix.signal(2);
  assert.deepEqual(sent, []);
  assert.equal(msix.pendingBits.read(0, 4), 4);
  msix.table.write(2 * 16 + 12, 1, 0);
  assert.deepEqual(sent, [{ address: 0xfee0_1000, data: 0x32 }]);
  assert.equal(msix.pendingBits.read(0, 4), 0);
});

test('§6.8.3.4 the function mask holds all vectors back', () => {
  const { msix, config, sent, setVector } = sample();
  setVector(0, false);
  setVector(1, true);
  config.write(Control, 2, Enable | FunctionMask);
  msix.signal(0);
  msix.signal(1);
  assert.deepEqual(sent, []);
  config.write(Control, 2, Enable);
  assert.deepEqual(sent, [{ address: 0xfee0_1000, data: 0x30 }]);
  assert.equal(msix.pendingBits.read(0, 4), 2);
});

test('table entries take accesses of every width; the pending bits are read-only', () => {
  const { msix } = sample();
  msix.table.write(9, 1, 0xab);
  msix.table.write(10, 2, 0x1234);
  assert.equal(msix.table.read(8, 4), 0x1234_ab00);
  msix.table.write(14, 4, 0xffff_ffff);
  assert.equal(msix.table.read(16, 2), 0xffff);
  assert.equal(msix.table.read(12, 4), 1, 'reserved bits of vector control');
  msix.pendingBits.write(0, 4, 0xffff_ffff);
  assert.equal(msix.pendingBits.read(0, 4), 0);
  assert.equal(msix.table.read(3 * 16, 4), 0);
});

test('messages to anything but the local APICs are dropped', () => {
  const { msix, config, sent, setVector } = sample();
  setVector(0, false);
  config.write(Control, 2, Enable);
  msix.table.write(0, 4, 0x1000);
  msix.signal(0);
  msix.table.write(0, 4, 0xfee0_0000);
  msix.table.write(4, 4, 1);
  msix.signal(0);
  assert.deepEqual(sent, []);
});

test('pending vectors survive saving and restoring', () => {
  const first = sample();
  first.setVector(1, true);
  first.config.write(Control, 2, Enable);
  first.msix.signal(1);
  const second = sample();
  second.msix.restore(structuredClone(first.msix.save()));
  second.msix.table.write(16 + 12, 4, 0);
  assert.deepEqual(second.sent, [{ address: 0xfee0_1000, data: 0x31 }]);
});
