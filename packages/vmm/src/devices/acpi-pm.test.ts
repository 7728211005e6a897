import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordedLine } from '../testing/recorded-interrupts.ts';
import { AcpiPm } from './acpi-pm.ts';

function sample() {
  const events: string[] = [];
  const time = { now: 0 };
  const sci = new RecordedLine();
  const pm = new AcpiPm({
    clock: { now: () => time.now, wallClock: () => 0n },
    sci,
    powerOff: () => events.push('off'),
    reset: () => events.push('reset'),
  });
  return { pm, sci, time, events };
}

const Status = 0;
const Enable = 2;
const Control = 4;
const Timer = 8;
const Gpe0 = 12;
const Reset = 16;
const PowerButton = 0x100;

test('§4.8.3.3 the timer counts 3.579545 MHz in 32 bits', () => {
  const { pm, time } = sample();
  time.now = 1e9;
  assert.equal(pm.read(Timer, 4), 3_579_545);
  time.now = 1_000_000;
  assert.equal(pm.read(Timer, 4), 3579);
  time.now = 100 * 86_400 * 1e9;
  assert.equal(pm.read(Timer, 4), (100 * 86_400 * 3_579_545) % 2 ** 32);
});

test('the power button raises the SCI while enabled and not acknowledged', () => {
  const { pm, sci } = sample();
  pm.pressPowerButton();
  assert.equal(pm.read(Status, 2), PowerButton);
  assert.equal(sci.asserted, false);
  pm.write(Enable, 2, PowerButton);
  assert.equal(sci.asserted, true);
  pm.write(Status, 1, 0xff);
  assert.equal(sci.asserted, true, 'the low byte acknowledges other events');
  pm.write(Status, 2, PowerButton);
  assert.equal(sci.asserted, false);
  assert.equal(pm.read(Status, 4), PowerButton << 16);
});

test('general-purpose events share the SCI', () => {
  const { pm, sci } = sample();
  pm.write(Gpe0 + 2, 1, 1 << 3);
  pm.raiseEvent(3);
  assert.equal(sci.asserted, true);
  assert.equal(pm.read(Gpe0, 1), 8);
  pm.write(Gpe0, 1, 8);
  assert.equal(sci.asserted, false);
});

test('S5 powers off, other sleep types and a missing enable bit do not', () => {
  const { pm, events } = sample();
  assert.equal(pm.read(Control, 2), 1, 'SCI_EN');
  pm.write(Control, 2, 5 << 10);
  pm.write(Control, 2, (3 << 10) | 0x2000);
  assert.deepEqual(events, []);
  pm.write(Control, 2, (5 << 10) | 0x2000);
  assert.deepEqual(events, ['off']);
  assert.equal(pm.read(Control, 2), (5 << 10) | 1, 'SLP_EN is write-only');
});

test('the reset register resets with its one value', () => {
  const { pm, events } = sample();
  pm.write(Reset, 1, 0);
  pm.write(Reset, 1, 2);
  assert.deepEqual(events, []);
  pm.write(Reset, 1, 1);
  assert.deepEqual(events, ['reset']);
});

test('a restored device goes on where the saved one was', () => {
  const first = sample();
  first.time.now = 5e9;
  first.pm.write(Enable, 2, PowerButton);
  first.pm.pressPowerButton();
  const second = sample();
  second.time.now = 1e9;
  second.pm.restore(structuredClone(first.pm.save()));
  assert.equal(second.sci.asserted, true);
  assert.equal(second.pm.read(Timer, 4), 5 * 3_579_545);
  second.time.now = 2e9;
  assert.equal(second.pm.read(Timer, 4), 6 * 3_579_545);
});
