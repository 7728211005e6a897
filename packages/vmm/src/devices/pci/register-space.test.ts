import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RegisterSpace, constant, register, reserved } from './register-space.ts';

function sample() {
  const values = { byte: 0, word: 0, long: 0, cleared: 0xffff };
  const space = new RegisterSpace(0x20, [
    constant('id', 2, 0x1234),
    register('byte', 1, { get: () => values.byte, set: (value) => (values.byte = value) }),
    reserved(1),
    register('long', 4, { get: () => values.long, set: (value) => (values.long = value), writable: 0x00ff_ffff }),
    register('word', 2, { get: () => values.word, set: (value) => (values.word = value) }),
    { name: 'cleared', bytes: 2, read: () => values.cleared, write: (value) => void (values.cleared &= ~value) },
    reserved(7),
  ]);
  return { values, space };
}

test('a read spans fields of any width', () => {
  const { space, values } = sample();
  Object.assign(values, { byte: 0xab, word: 0x5678, long: 0x8765_4321 });
  assert.equal(space.read(0, 4), 0x00ab_1234);
  assert.equal(space.read(1, 2), 0xab12);
  assert.equal(space.read(4, 4), 0x8765_4321);
  assert.equal(space.read(5, 4), 0x7887_6543);
  assert.equal(space.read(7, 2), 0x7887);
});

test('a write changes the bytes that it covers and no others', () => {
  const { space, values } = sample();
  space.write(4, 4, 0xffff_ffff);
  assert.equal(values.long, 0x00ff_ffff);
  space.write(5, 1, 0x11);
  assert.equal(values.long, 0x00ff_11ff);
  space.write(9, 2, 0x0103);
  assert.equal(values.word, 0x0300);
  assert.equal(values.cleared, 0xfffe, 'the untouched half of a write-one-to-clear register sees zeroes');
  space.write(0, 4, 0xffff_ffff);
  assert.equal(space.read(0, 4), 0x00ff_1234);
});

test('what lies beyond the fields or the space reads as zero', () => {
  const { space } = sample();
  space.write(0x1c, 4, 0xffff_ffff);
  assert.equal(space.read(0x1c, 4), 0);
  assert.equal(space.read(0x1f, 4), 0);
  assert.equal(space.read(0x40, 4), 0);
});

test('fields that do not fit are refused', () => {
  assert.throws(() => new RegisterSpace(4, [reserved(5)]), /do not fit/);
});
