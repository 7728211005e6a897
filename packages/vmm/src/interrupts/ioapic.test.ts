import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import type { InterruptMessage } from './interrupt-message.ts';
import { IoApic } from './ioapic.ts';

const Select = 0x00;
const Window = 0x10;
const Masked = 0x1_0000;
const Level = 0x8000;
const RemoteIrr = 0x4000;

let sent: InterruptMessage[];
let accepting: boolean;
let ioapic: IoApic;

beforeEach(() => {
  sent = [];
  accepting = true;
  ioapic = new IoApic((message) => {
    sent.push(message);
    return accepting;
  });
});

function readRegister(index: number): number {
  ioapic.write(Select, 4, index);
  return ioapic.read(Window);
}

function writeRegister(index: number, value: number): void {
  ioapic.write(Select, 4, index);
  ioapic.write(Window, 4, value);
}

const readEntry = (pin: number): number => readRegister(0x10 + 2 * pin);

/** The high half first, as Linux writes entries. */
function writeEntry(pin: number, low: number, destination = 0): void {
  writeRegister(0x11 + 2 * pin, (destination << 24) >>> 0);
  writeRegister(0x10 + 2 * pin, low);
}

suite('82093AA §3.2 "IOAPIC Registers"', () => {
  test('identification, version with 24 entries, and arbitration following the identification', () => {
    writeRegister(0x00, 0xffff_ffff);
    assert.equal(readRegister(0x00), 0x0f00_0000);
    assert.equal(readRegister(0x01), 0x0017_0011);
    assert.equal(readRegister(0x02), 0x0f00_0000);
    writeRegister(0x01, 0);
    writeRegister(0x02, 0);
    assert.equal(readRegister(0x01), 0x0017_0011);
    assert.equal(readRegister(0x02), 0x0f00_0000);
  });

  test('the select register is 8 bits wide; indices beyond the table read 0 and drop writes', () => {
    ioapic.write(Select, 4, 0x1_0001);
    assert.equal(ioapic.read(Select), 0x01);
    for (const index of [0x03, 0x0f, 0x40, 0xff]) {
      writeRegister(index, 0xffff_ffff);
      assert.equal(readRegister(index), 0);
    }
    assert.equal(ioapic.read(0x20), 0);
  });

  test('entries start masked; status bits are read-only', () => {
    assert.equal(readEntry(23), Masked);
    writeEntry(23, 0xffff_ffff, 0xff);
    assert.equal(readEntry(23), 0x0001_afff);
    assert.equal(readRegister(0x11 + 46), 0xff00_0000);
  });
});

suite('82093AA §3.2.4 "IOREDTBL"', () => {
  test('edge: one message for each rising edge, with all fields of the entry', () => {
    writeEntry(4, 0x0934, 0x03);
    ioapic.setLine(4, true);
    ioapic.setLine(4, true);
    ioapic.setLine(4, false);
    assert.deepEqual(sent, [{ vector: 0x34, deliveryMode: 1, levelTriggered: false, logical: true, destination: 3 }]);
    ioapic.setLine(4, true);
    assert.equal(sent.length, 2);
    assert.equal(readEntry(4) & RemoteIrr, 0);
  });

  test('edge: what happens while masked is lost', () => {
    writeEntry(4, 0x34 | Masked);
    ioapic.setLine(4, true);
    writeEntry(4, 0x34);
    assert.equal(sent.length, 0);
  });

  test('level: sends once, and again after each EOI while the line is asserted', () => {
    writeEntry(10, 0x51 | Level);
    ioapic.setLine(10, true);
    assert.equal(sent.length, 1);
    assert.equal(sent[0]!.levelTriggered, true);
    assert.equal(readEntry(10) & RemoteIrr, RemoteIrr);
    ioapic.endOfInterrupt(0x50);
    assert.equal(sent.length, 1);
    ioapic.endOfInterrupt(0x51);
    assert.equal(sent.length, 2);
    ioapic.setLine(10, false);
    ioapic.endOfInterrupt(0x51);
    assert.equal(sent.length, 2);
    assert.equal(readEntry(10) & RemoteIrr, 0);
  });

  test('level: an assertion while masked is sent when the pin is unmasked', () => {
    writeEntry(10, 0x51 | Level | Masked);
    ioapic.setLine(10, true);
    assert.equal(sent.length, 0);
    writeEntry(10, 0x51 | Level);
    assert.equal(sent.length, 1);
  });

  test('level: masking while remote IRR is set keeps it; the EOI then waits for the unmasking', () => {
    writeEntry(10, 0x51 | Level);
    ioapic.setLine(10, true);
    writeEntry(10, 0x51 | Level | Masked);
    assert.equal(readEntry(10) & RemoteIrr, RemoteIrr);
    ioapic.endOfInterrupt(0x51);
    assert.equal(sent.length, 1);
    writeEntry(10, 0x51 | Level);
    assert.equal(sent.length, 2);
  });

  test('level: without a taker the interrupt stays with the pin', () => {
    accepting = false;
    writeEntry(10, 0x51 | Level, 0x07);
    ioapic.setLine(10, true);
    assert.equal(readEntry(10) & RemoteIrr, 0);
    accepting = true;
    writeEntry(10, 0x51 | Level, 0x00);
    assert.equal(readEntry(10) & RemoteIrr, RemoteIrr);
  });

  test('switching a pin to edge and back clears its remote IRR, as Linux does without an EOI register', () => {
    writeEntry(10, 0x51 | Level);
    ioapic.setLine(10, true);
    writeEntry(10, 0x51 | Masked);
    assert.equal(readEntry(10) & RemoteIrr, 0);
    writeEntry(10, 0x51 | Level);
    assert.equal(sent.length, 2);
  });

  test('NMI is edge-triggered whatever the entry says', () => {
    writeEntry(3, 0x400 | Level);
    ioapic.setLine(3, true);
    assert.equal(sent[0]!.levelTriggered, false);
    assert.equal(readEntry(3) & RemoteIrr, 0);
  });

  test('destination 0xFF reaches x2APICs too', () => {
    writeEntry(3, 0x41, 0xff);
    ioapic.setLine(3, true);
    assert.equal(sent[0]!.destination, 0xffff_ffff);
  });
});

test('saved state keeps lines: restoring sees no new edge', () => {
  writeEntry(4, 0x34);
  writeEntry(10, 0x51 | Level);
  ioapic.setLine(4, true);
  ioapic.setLine(10, true);
  const other = new IoApic((message) => sent.push(message) > 0);
  other.restore(structuredClone(ioapic.save()));
  sent = [];
  other.setLine(4, true);
  other.setLine(10, true);
  assert.equal(sent.length, 0);
  other.endOfInterrupt(0x51);
  assert.equal(sent.length, 1);
  assert.throws(() => other.restore({ version: 0 }), { code: 'Internal' });
});
