import assert from 'node:assert/strict';
import { test } from 'node:test';
import { array, bytes, flexible, s32, struct, u16, u32, u64, u8, union, viewOfBytes } from './struct.ts';

const Point = struct('struct point', { x: u16, y: u16 });

test('fields lie at their natural places', () => {
  const Sample = struct('struct sample', { a: u8, pad: bytes(3), point: Point, big: u64, list: array(Point, 2) });
  assert.deepEqual(Sample.offset, { a: 0, pad: 1, point: 4, big: 8, list: 16 });
  assert.equal(Sample.size, 24);
  assert.equal(Sample.align, 8);
});

test('padding without a name is refused, between fields and at the end', () => {
  assert.throws(() => struct('struct gap', { a: u8, b: u32 }), /struct gap: name the padding before b/);
  assert.throws(() => struct('struct tail', { a: u32, b: u8 }), /struct tail: name the padding at the end/);
});

test('values are read as they were written, little-endian', () => {
  const Sample = struct('', {
    small: u8,
    pad: u8,
    port: u16,
    fd: s32,
    big: u64,
    raw: bytes(8),
    points: array(Point, 2),
  });
  const value = {
    small: 0xff,
    pad: 0,
    port: 0x1234,
    fd: -1,
    big: 0xfedc_ba98_7654_3210n,
    raw: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    points: [
      { x: 1, y: 2 },
      { x: 3, y: 0xffff },
    ],
  };
  const buffer = Sample.create(value);
  assert.equal(Buffer.from(buffer).toString('hex'), 'ff003412ffffffff1032547698badcfe0102030405060708010002000300ffff');
  assert.deepEqual(Sample.decode(buffer), value);
});

test('an update leaves other fields, other elements and other structures as they are', () => {
  const Sample = struct('', { a: u32, points: array(Point, 2), end: u32 });
  const buffer = new Uint8Array(3 + 2 * Sample.size).fill(0xee);
  Sample.update(viewOfBytes(buffer.subarray(3)), { a: 1, points: [{ x: 2, y: 3 }] }, Sample.size);
  const kept = 'ee'.repeat(3 + Sample.size);
  assert.equal(Buffer.from(buffer).toString('hex'), `${kept}0100000002000300${'ee'.repeat(8)}`);
  assert.throws(() => Sample.create({ points: [1, 2, 3].map((x) => ({ x, y: x })) }), /3 elements do not fit into 2/);
});

test('members of a union start at the same place', () => {
  const Sample = struct('', { kind: u32, u: union({ port: u16, raw: bytes(8) }) });
  assert.equal(Sample.size, 12);
  const buffer = Sample.create({ kind: 1 });
  buffer.set([0x34, 0x12, 0xff], Sample.offset.u);
  const { u } = Sample.decode(buffer);
  assert.equal(u.port, 0x1234);
  assert.deepEqual(u.raw, Uint8Array.of(0x34, 0x12, 0xff, 0, 0, 0, 0, 0));
});

test('a flexible last field has room by count', () => {
  const Sample = struct('', { count: u32, pad: u32, entries: flexible(Point) });
  assert.equal(Sample.size, 8);
  assert.equal(Sample.sizeWith(3), 20);
  const buffer = Sample.create({ count: 3 }, 3);
  assert.equal(buffer.length, 20);
  Point.write(viewOfBytes(buffer), Sample.offset.entries + 2 * Point.size, { x: 7, y: 8 });
  assert.deepEqual(Point.decode(buffer, 16), { x: 7, y: 8 });
});
