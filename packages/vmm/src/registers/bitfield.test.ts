import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bitfield } from './bitfield.ts';

const Entry = bitfield(32, { Vector: [7, 0], Mode: [10, 8], Reserved11: [30, 11], Mask: 31 });

test('a field is read and replaced in place', () => {
  assert.equal(Entry.Mode.get(0x0000_0512), 5);
  assert.equal(Entry.Mode.set(0x8000_07ff, 2), 0x8000_02ff);
  assert.equal(Entry.Vector.set(0, 0x1ff), 0xff);
});

test('bit 31 stays unsigned', () => {
  assert.equal(Entry.Mask.mask, 0x8000_0000);
  assert.equal(Entry.Mask.get(0x8000_0000), 1);
  assert.equal(Entry.Mask.set(0, true), 0x8000_0000);
  assert.equal(Entry.Mask.isSet(0x7fff_ffff), false);
});

test('a field as wide as the register', () => {
  const Whole = bitfield(32, { Value: [31, 0] });
  assert.equal(Whole.Value.mask, 0xffff_ffff);
  assert.equal(Whole.Value.set(5, 0xdead_beef), 0xdead_beef);
  assert.equal(Whole.Value.get(0xdead_beef), 0xdead_beef);
});

test('a register is composed from named values', () => {
  assert.equal(Entry.of({ Vector: 0x30, Mode: 4, Mask: true }), 0x8000_0430);
});

test('64-bit layouts hold bigints', () => {
  const Command = bitfield(64, { Vector: [7, 0], Reserved8: [31, 8], Destination: [63, 32] });
  assert.equal(Command.Destination.get(0xffff_fffe_0000_0041n), 0xffff_fffen);
  assert.equal(Command.of({ Vector: 0x41, Destination: 3 }), 0x3_0000_0041n);
  assert.equal(Command.Destination.set(0x3_0000_0041n, 0), 0x41n);
});

test('overlaps, gaps and fields beyond the width are refused', () => {
  assert.throws(() => bitfield(8, { Low: [4, 0], High: [7, 4] }), /High overlaps/);
  assert.throws(() => bitfield(8, { Low: [3, 0], High: [7, 5] }), /bits 4 to 4, below High, have no name/);
  assert.throws(() => bitfield(8, { Low: [6, 0] }), /bits 7 to 7 have no name/);
  assert.throws(() => bitfield(8, { All: [8, 0] }), /does not fit/);
  assert.throws(() => bitfield(8, { All: [0, 7] }), /does not fit/);
});
