import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { ManualClock } from '../time/manual-clock.ts';
import { PitFrequency } from './pit-8254-counter.ts';
import { Pit8254 } from './pit-8254.ts';
import { SpeakerPort } from './speaker-port.ts';

const Control = 3;
const tick = 1e9 / PitFrequency;
const Gate = 0x01;
const Refresh = 0x10;
const Output = 0x20;

let clock: ManualClock;
let pit: Pit8254;
let speaker: SpeakerPort;
/** Times at which the timer interrupt's line rose. */
let rises: number[];
let level: boolean;

beforeEach(() => {
  clock = new ManualClock();
  rises = [];
  level = false;
  const line = {
    setLevel(asserted: boolean) {
      if (asserted && !level) rises.push(clock.now());
      level = asserted;
    },
  };
  pit = new Pit8254(clock, clock.timers, line);
  speaker = new SpeakerPort(pit, clock);
});

function program(counter: number, mode: number, count: number, bcd = 0): void {
  pit.write(Control, 1, (counter << 6) | 0x30 | (mode << 1) | bcd);
  pit.write(counter, 1, count & 0xff);
  pit.write(counter, 1, count >> 8);
}

function latched(counter: number): number {
  pit.write(Control, 1, counter << 6);
  const low = pit.read(counter);
  return (pit.read(counter) << 8) | low;
}

const ticks = (count: number): void => clock.advance(count * tick);

suite('8254 "Mode Definitions", as the timer interrupt', () => {
  test('"Mode 2: Rate Generator" interrupts once a period, without drift', () => {
    program(0, 2, 11932);
    rises = [];
    clock.advance(10e9);
    assert.equal(rises.length, Math.floor((10 * PitFrequency) / 11932));
    assert.ok(Math.abs(rises.at(-1)! - rises.length * 11932 * tick) < 10);
  });

  test('"Mode 3: Square Wave Mode" interrupts once a period', () => {
    program(0, 3, 0);
    rises = [];
    clock.advance(1e9);
    assert.equal(rises.length, 18);
  });

  test('"Mode 0: Interrupt on Terminal Count" rises once and stays high', () => {
    program(0, 0, 1000);
    assert.equal(level, false);
    ticks(999);
    assert.equal(level, false);
    ticks(2);
    assert.equal(level, true);
    clock.advance(1e9);
    assert.equal(rises.length, 1);
    pit.write(0, 1, 10);
    assert.equal(level, false, 'the first byte of the next count lowers the output');
    pit.write(0, 1, 0);
    ticks(11);
    assert.equal(rises.length, 2);
  });

  test('"Mode 4: Software Triggered Strobe" strobes once, after the count', () => {
    program(0, 4, 500);
    rises = [];
    ticks(500.5);
    assert.equal(rises.length, 0);
    clock.advance(1e9);
    assert.equal(rises.length, 1);
  });

  test('a new count in mode 2 takes effect with the next period', () => {
    program(0, 2, 10_000);
    rises = [];
    ticks(5_000);
    pit.write(0, 1, 2_000 & 0xff);
    pit.write(0, 1, 2_000 >> 8);
    ticks(9_001);
    assert.deepEqual(
      rises.map((time) => Math.round(time / tick)),
      [10_000, 12_000, 14_000],
    );
  });

  test('a mode word stops the counter', () => {
    program(0, 2, 11932);
    pit.write(Control, 1, 0x30);
    rises = [];
    clock.advance(1e9);
    assert.equal(rises.length, 0);
    assert.equal(clock.timers.nextDeadline(), Infinity);
  });

  test('the shortest periods do not flood the host', () => {
    program(0, 2, 2);
    rises = [];
    clock.advance(10e6);
    assert.ok(rises.length >= 90 && rises.length <= 101, `${rises.length} interrupts in 10 ms`);
  });

  test('interrupts missed by a busy host come as one', () => {
    program(0, 2, 11932);
    rises = [];
    clock.skip(100e6);
    clock.timers.fire(clock.now());
    assert.equal(rises.length, 1);
    clock.advance(10e6);
    assert.equal(rises.length, 2);
  });
});

suite('8254 "Read Operations"', () => {
  test('"Counter Latch Command" holds the count until both bytes are read', () => {
    program(0, 2, 0x4000);
    ticks(0x10);
    pit.write(Control, 1, 0x00);
    ticks(0x100);
    pit.write(Control, 1, 0x00);
    assert.equal(pit.read(0), 0xf0);
    assert.equal(pit.read(0), 0x3f);
    assert.equal(latched(0), 0x4000 - 0x110);
  });

  test('an unlatched count is read low byte first', () => {
    program(0, 2, 0x1234);
    assert.deepEqual([pit.read(0), pit.read(0), pit.read(0)], [0x34, 0x12, 0x34]);
  });

  test('one-byte access modes', () => {
    pit.write(Control, 1, 0x14);
    pit.write(0, 1, 0x80);
    assert.deepEqual([pit.read(0), pit.read(0)], [0x80, 0x80]);
    pit.write(Control, 1, 0x24);
    pit.write(0, 1, 0x80);
    ticks(0x100);
    assert.equal(pit.read(0), 0x7f);
  });

  test('a one-shot counter goes on below zero', () => {
    program(0, 0, 10);
    ticks(12);
    assert.equal(latched(0), 0xfffe);
  });

  test('mode 3 counts by two, twice a period', () => {
    program(0, 3, 1000);
    ticks(100);
    assert.equal(latched(0), 800);
    ticks(500);
    assert.equal(latched(0), 800);
  });

  test('BCD counts in decimal, 0 being 10000', () => {
    program(0, 2, 0x0100, 1);
    ticks(1);
    assert.equal(latched(0), 0x0099);
    program(0, 2, 0, 1);
    ticks(1);
    assert.equal(latched(0), 0x9999);
  });

  test('"Read-Back Command" latches status before count', () => {
    program(0, 2, 0x1234);
    program(2, 3, 0x5678);
    pit.write(Control, 1, 0xc2);
    assert.equal(pit.read(0), 0xb4);
    assert.deepEqual([pit.read(0), pit.read(0)], [0x34, 0x12]);
    pit.write(Control, 1, 0xe8);
    assert.equal(pit.read(2), 0xb6);
    pit.write(Control, 1, 0x34);
    pit.write(Control, 1, 0xe2);
    assert.equal(pit.read(0), 0xf4, 'null count until a count is written');
  });

  test('the control word cannot be read', () => {
    assert.equal(pit.read(Control), 0xff);
  });
});

suite('PIIX4 "NMISC": counter 2 through port 0x61', () => {
  test('Linux pit_calibrate_tsc: gate on, mode 0, OUT2 after the count', () => {
    speaker.write(0, 1, (speaker.read() & ~0x02) | Gate);
    pit.write(Control, 1, 0xb0);
    pit.write(2, 1, 59659 & 0xff);
    pit.write(2, 1, 59659 >> 8);
    assert.equal(speaker.read() & Output, 0);
    clock.advance(49.9e6);
    assert.equal(speaker.read() & Output, 0);
    clock.advance(0.2e6);
    assert.equal(speaker.read() & Output, Output);
  });

  test('Linux quick_pit_calibrate: the high byte counts down', () => {
    speaker.write(0, 1, Gate);
    program(2, 0, 0xffff);
    for (const expected of [0xff, 0xfe, 0xfd]) {
      pit.read(2);
      assert.equal(pit.read(2), expected);
      ticks(256);
    }
  });

  test('a low gate holds mode 0 and the count goes on from there', () => {
    speaker.write(0, 1, Gate);
    program(2, 0, 1000);
    ticks(400);
    speaker.write(0, 1, 0);
    ticks(5000);
    assert.equal(latched(2), 600);
    speaker.write(0, 1, Gate);
    ticks(599);
    assert.equal(speaker.read() & Output, 0);
    ticks(2);
    assert.equal(speaker.read() & Output, Output);
  });

  test('a rising gate restarts modes 2 and 3; a low one forces the output high', () => {
    speaker.write(0, 1, Gate);
    program(2, 3, 1000);
    ticks(700);
    assert.equal(speaker.read() & Output, 0);
    speaker.write(0, 1, 0);
    assert.equal(speaker.read() & Output, Output);
    ticks(700);
    speaker.write(0, 1, Gate);
    ticks(100);
    assert.equal(latched(2), 800);
  });

  test('"Mode 1" starts with the gate and can be retriggered', () => {
    program(2, 1, 1000);
    assert.equal(speaker.read() & Output, Output);
    ticks(2000);
    assert.equal(speaker.read() & Output, Output);
    speaker.write(0, 1, Gate);
    assert.equal(speaker.read() & Output, 0);
    ticks(900);
    speaker.write(0, 1, 0);
    speaker.write(0, 1, Gate);
    ticks(900);
    assert.equal(speaker.read() & Output, 0);
    ticks(101);
    assert.equal(speaker.read() & Output, Output);
  });

  test('the refresh bit toggles every 15 µs; control bits are kept, status bits are not written', () => {
    const seen = new Set<number>();
    for (let step = 0; step < 4; step++) {
      seen.add(speaker.read() & Refresh);
      clock.advance(15_085);
    }
    assert.equal(seen.size, 2);
    speaker.write(0, 1, 0xfe);
    assert.equal(speaker.read() & 0xcf, 0x0e);
  });
});

test('saved state goes on from the same point', () => {
  program(0, 2, 11932);
  speaker.write(0, 1, Gate);
  program(2, 0, 1000);
  pit.write(0, 1, 0x55);
  ticks(300);
  pit.write(Control, 1, 0x80);
  const saved = structuredClone([pit.save(), speaker.save()] as const);
  const otherClock = new ManualClock();
  otherClock.skip(77e9);
  let pulses = 0;
  let otherLevel = true;
  const otherLine = {
    setLevel(asserted: boolean) {
      if (asserted && !otherLevel) pulses++;
      otherLevel = asserted;
    },
  };
  const other = new Pit8254(otherClock, otherClock.timers, otherLine);
  const otherSpeaker = new SpeakerPort(other, otherClock);
  other.restore(saved[0]);
  otherSpeaker.restore(saved[1]);
  assert.equal(other.read(2) | (other.read(2) << 8), 700);
  assert.equal(otherSpeaker.read() & Gate, Gate);
  otherClock.advance((11932 - 300) * tick + 2);
  assert.equal(pulses, 1);
  other.write(0, 1, 0x10);
  otherClock.advance(11932 * tick);
  otherClock.advance(0x1055 * tick);
  assert.equal(pulses, 3);
  assert.throws(() => other.restore({ version: 9 }), { code: 'Internal' });
});
