import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { ManualClock } from '../time/manual-clock.ts';
import { RtcMc146818 } from './rtc-mc146818.ts';

const Second = 1e9;
const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const Running = 0x26;
const Uip = 0x80;
const Set = 0x80;
const Pie = 0x40;
const Aie = 0x20;
const Uie = 0x10;
const Binary = 0x04;
const Hours24 = 0x02;

let clock: ManualClock;
let rtc: RtcMc146818;
let level: boolean;

/** A machine that is switched on at `iso`. */
function create(iso: string, memory?: { low: number; high: number }): void {
  clock = new ManualClock(BigInt(Date.parse(iso)) * 1_000_000n);
  level = false;
  const interrupt = { setLevel: (asserted: boolean) => void (level = asserted) };
  rtc = new RtcMc146818({ clock, timers: clock.timers, interrupt, ...(memory && { memory }) });
}

function read(cell: number): number {
  rtc.write(0, 1, cell);
  return rtc.read(1);
}

function write(cell: number, value: number): void {
  rtc.write(0, 1, cell);
  rtc.write(1, 1, value);
}

const calendar = (): number[] => [0x32, 9, 8, 7, 6, 4, 2, 0].map(read);

beforeEach(() => create('2026-11-23T21:09:58.250Z'));

suite('MC146818A "Time, Calendar, and Alarm Locations"', () => {
  test("the host's time in BCD and 24 hours, with century and day of the week (Sunday is 1)", () => {
    assert.deepEqual(calendar(), [0x20, 0x26, 0x11, 0x23, 0x02, 0x21, 0x09, 0x58]);
    clock.advance(2 * Second);
    assert.deepEqual(calendar().slice(-3), [0x21, 0x10, 0x00]);
  });

  test('binary, and 12 hours with PM in bit 7', () => {
    write(B, Binary | Hours24);
    assert.deepEqual(calendar(), [20, 26, 11, 23, 2, 21, 9, 58]);
    write(B, 0);
    assert.equal(read(4), 0x89);
    create('2026-11-23T12:00:00Z');
    write(B, 0);
    assert.equal(read(4), 0x92);
    create('2026-11-23T00:30:00Z');
    write(B, Binary);
    assert.equal(read(4), 12);
  });

  test('Linux mc146818_set_time: halt, reset the divider, write, go on', () => {
    const control = read(B);
    write(B, control | Set);
    write(A, 0x70);
    [0x00, 0x30, 0x08, 0x29, 0x02, 0x28, 0x20].forEach((value, index) =>
      write([0, 2, 4, 7, 8, 9, 0x32][index]!, value),
    );
    clock.advance(10 * Second);
    assert.equal(read(0), 0x00);
    write(B, control);
    write(A, Running);
    assert.deepEqual(calendar(), [0x20, 0x28, 0x02, 0x29, 0x03, 0x08, 0x30, 0x00]);
    clock.advance(0.49 * Second);
    assert.equal(read(0), 0x00);
    clock.advance(0.02 * Second);
    assert.equal(read(0), 0x01);
    clock.advance(86_400 * Second);
    assert.deepEqual(calendar().slice(0, 4), [0x20, 0x28, 0x03, 0x01]);
  });

  test('a byte written while the clock runs counts at once', () => {
    write(4, 0x05);
    clock.advance(2 * Second);
    assert.deepEqual(calendar().slice(-3), [0x05, 0x10, 0x00]);
  });

  test('bytes that are no time do not harm', () => {
    for (const cell of [0, 2, 4, 6, 7, 8, 9, 0x32]) write(cell, 0xff);
    for (const value of calendar()) assert.ok(value >= 0 && value <= 0x99);
    write(B, Set);
    for (const cell of [0, 2, 4, 6, 7, 8, 9, 0x32]) write(cell, 0xee);
    write(B, Binary | Hours24);
    clock.advance(Second);
    for (const value of calendar()) assert.ok(value >= 0 && value <= 99);
  });
});

suite('MC146818A "Update Cycle"', () => {
  test('UIP comes up 244 µs before the update and never while halted', () => {
    assert.equal(read(A), Running);
    clock.advance(0.7495 * Second);
    assert.equal(read(A), Running);
    clock.advance(0.0003 * Second);
    assert.equal(read(A), Running | Uip);
    assert.equal(read(0), 0x58);
    write(B, Set | Hours24);
    assert.equal(read(A), Running);
    write(B, Hours24);
    write(A, Running | Uip);
    clock.advance(0.0002 * Second + 1);
    assert.equal(read(A), Running);
  });
});

suite('MC146818A "Interrupts"', () => {
  test('update-ended: a flag each second, an interrupt if enabled, gone when register C is read', () => {
    assert.equal(read(C), 0x00);
    clock.advance(Second);
    assert.equal(read(C) & 0x90, 0x10);
    assert.equal(clock.timers.nextDeadline(), Infinity);
    write(B, Hours24 | Uie);
    assert.equal(level, false);
    clock.advance(0.74 * Second);
    assert.equal(level, false);
    clock.advance(0.02 * Second);
    assert.equal(level, true);
    assert.equal(read(C) & 0x90, 0x90);
    assert.equal(level, false);
    assert.equal(read(C), 0x00);
    clock.advance(Second);
    assert.equal(level, true);
  });

  test('enabling an interrupt whose flag is up raises it; SET takes UIE back', () => {
    clock.advance(Second);
    write(B, Hours24 | Uie);
    assert.equal(level, true);
    write(B, Hours24 | Uie | Set);
    assert.equal(read(B) & Uie, 0);
    assert.equal(level, false);
  });

  test('alarm at a time of day', () => {
    [0x03, 0x10, 0x21].forEach((value, index) => write([1, 3, 5][index]!, value));
    write(B, Hours24 | Aie);
    clock.advance(4.74 * Second);
    assert.equal(level, false);
    clock.advance(0.02 * Second);
    assert.equal(level, true);
    assert.equal(read(C) & 0xa0, 0xa0);
    clock.advance(86_399 * Second);
    assert.equal(level, false);
    clock.advance(Second);
    assert.equal(level, true);
  });

  test('alarm bytes from 0xC0 on match anything: once a minute, once a second', () => {
    [0x05, 0xff, 0xc0].forEach((value, index) => write([1, 3, 5][index]!, value));
    write(B, Hours24 | Aie);
    let interrupts = 0;
    for (let second = 0; second < 180; second++) {
      clock.advance(Second);
      if ((read(C) & 0x20) !== 0) interrupts++;
    }
    assert.equal(interrupts, 3);
    write(1, 0xff);
    read(C);
    clock.advance(Second);
    assert.equal(level, true);
  });

  test('alarm in 12-hour mode, and one that never matches', () => {
    write(B, Aie);
    [0x00, 0x10, 0x89].forEach((value, index) => write([1, 3, 5][index]!, value));
    clock.advance(2 * Second);
    assert.equal(read(C) & 0xa0, 0xa0);
    write(1, 0x7f);
    assert.equal(clock.timers.nextDeadline(), Infinity);
    clock.advance(100_000 * Second);
    assert.equal(read(C) & 0x20, 0);
  });

  test('periodic: 1024 Hz, 2 Hz, off', () => {
    write(B, Hours24 | Pie);
    const count = (seconds: number): number => {
      let interrupts = 0;
      for (let step = 0; step < seconds * 10_000; step++) {
        clock.advance(100_000);
        if (level && (read(C) & 0x40) !== 0) interrupts++;
      }
      return interrupts;
    };
    assert.ok(Math.abs(count(1) - 1024) <= 1);
    write(A, 0x2f);
    assert.equal(count(2), 4);
    write(A, 0x20);
    read(C);
    assert.equal(count(1), 0);
    assert.equal(clock.timers.nextDeadline(), Infinity);
  });

  test('an interrupt that nobody serves does not wake the host again', () => {
    write(B, Hours24 | Pie);
    clock.advance(Second);
    assert.equal(level, true);
    assert.equal(clock.timers.nextDeadline(), Infinity);
  });
});

suite('battery-backed memory', () => {
  test('bytes keep their values; registers C and D are read-only; the index is 7 bits', () => {
    write(0x0f, 0x0a);
    write(0xff, 0x5a);
    assert.equal(read(0x0f), 0x0a);
    assert.equal(read(0x7f), 0x5a);
    write(0x0d, 0);
    assert.equal(read(0x0d), 0x80);
    assert.equal(rtc.read(0), 0xff);
  });

  test('memory sizes as PC firmware leaves them', () => {
    const MiB = 2 ** 20;
    create('2026-01-01T00:00:00Z', { low: 3072 * MiB, high: 5120 * MiB });
    const word = (cell: number): number => read(cell) | (read(cell + 1) << 8);
    assert.equal(word(0x15), 640);
    assert.equal(word(0x17), 0xffff);
    assert.equal(word(0x30), 0xffff);
    assert.equal(word(0x34), (3072 - 16) * 16);
    assert.equal(word(0x5b) | (read(0x5d) << 16), 5120 * 16);
    create('2026-01-01T00:00:00Z', { low: 8 * MiB, high: 0 });
    assert.equal(word(0x17), 7 * 1024);
    assert.equal(word(0x34), 0);
  });
});

test("saved state follows the host's clock where it is restored", () => {
  write(4, 0x05);
  write(0x40, 0x77);
  write(B, Hours24 | Uie);
  rtc.write(0, 1, 0x40);
  const saved = structuredClone(rtc.save());
  create('2026-11-24T21:00:00.000Z');
  rtc.restore(saved);
  assert.equal(rtc.read(1), 0x77);
  assert.deepEqual(calendar(), [0x20, 0x26, 0x11, 0x24, 0x03, 0x05, 0x00, 0x00]);
  clock.advance(Second + 2000);
  assert.equal(level, true);
  assert.throws(() => rtc.restore({ version: 2 }), { code: 'Internal' });
});
