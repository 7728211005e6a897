/** Encodings are checked against what Intel's compiler (iasl) makes of the same ASL. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as aml from './aml.ts';
import * as resources from './resources.ts';

const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

test('§20.2.2 names', () => {
  assert.equal(hex(aml.nameString('CRS')), '43 52 53 5f');
  assert.equal(hex(aml.nameString('\\_SB')), '5c 5f 53 42 5f');
  assert.equal(hex(aml.nameString('\\_SB.PCI0')), '5c 2e 5f 53 42 5f 50 43 49 30');
  assert.equal(hex(aml.nameString('^A.B.C')), '5e 2f 03 41 5f 5f 5f 42 5f 5f 5f 43 5f 5f 5f');
});

test('§20.2.3 integers take the shortest form', () => {
  assert.deepEqual(
    [0, 1, 2, 0xff, 0x100, 0x1_0000, 0xffff_ffff, 2 ** 32].map((value) => hex(aml.integer(value))),
    ['00', '01', '0a 02', '0a ff', '0b 00 01', '0c 00 00 01 00', '0c ff ff ff ff', '0e 00 00 00 00 01 00 00 00'],
  );
});

test('§20.2.4 package lengths count themselves and grow at 64, 4096 and 2^20', () => {
  const lead = (length: number): string => hex(aml.scope('X', [new Uint8Array(length)]).subarray(0, 5));
  // Scope(X) has four bytes of name in front of its body.
  assert.equal(lead(0x3f - 5).slice(0, 5), '10 3f');
  assert.equal(lead(0x40 - 5).slice(0, 8), '10 41 04');
  assert.equal(lead(0xfff - 6).slice(0, 8), '10 4f ff');
  assert.equal(lead(0x1000 - 6).slice(0, 11), '10 81 00 01');
  assert.equal(lead(0x10_0000 - 7).slice(0, 14), '10 c1 00 00 01');
});

test('§19.6.37 EISA IDs and §19.6.142 UUIDs', () => {
  assert.equal(hex(aml.eisaId('PNP0A08')), '0c 41 d0 0a 08');
  assert.equal(hex(aml.eisaId('PNP0501')), '0c 41 d0 05 01');
  assert.equal(
    hex(aml.uuid('33db4d5b-1ff7-401c-9657-7441c03dd766')),
    '11 13 0a 10 5b 4d db 33 f7 1f 1c 40 96 57 74 41 c0 3d d7 66',
  );
});

test('§6.4 resource descriptors', () => {
  assert.equal(hex(resources.ioPorts(0x3f8, 8)), '47 01 f8 03 f8 03 01 08');
  assert.equal(hex(resources.irq(4)), '22 10 00');
  assert.equal(hex(resources.busNumbers(0, 255)), '88 0d 00 02 0c 00 00 00 00 00 ff 00 00 00 00 01');
  assert.equal(hex(resources.fixedMemory(0xc000_0000, 0x1000)), '86 09 00 01 00 00 00 c0 00 10 00 00');
  assert.equal(hex(resources.resourceTemplate([resources.irq(8)])), '11 08 0a 05 22 00 01 79 00');
});
