import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../time/manual-clock.ts';
import { ConsoleInput } from './console-input.ts';

const Second = 1e9;

/** A console whose guest reads at once what it gets, over a source that holds `typed`. */
function console(typed: string, { interactive = false, listening = true } = {}) {
  const clock = new ManualClock();
  let left = [...new TextEncoder().encode(typed)];
  const got: number[] = [];
  const device = { room: 1000, listening, receive: (byte: number) => void got.push(byte) };
  const source = {
    get available() {
      return left.length;
    },
    read(target: Uint8Array) {
      const taken = left.slice(0, target.length);
      target.set(taken);
      left = left.slice(taken.length);
      return taken.length;
    },
  };
  const input = new ConsoleInput({ device, source, clock, interactive });
  return {
    clock,
    device,
    input,
    prints: (text: string) => new TextEncoder().encode(text).forEach((byte) => input.observe(byte)),
    /** The guest is idle for so long, or until input arrives. */
    idle(nanoseconds = 0) {
      const before = got.length;
      const end = clock.now() + nanoseconds;
      for (;;) {
        input.guestIsIdle();
        const deadline = input.nextDeadline();
        if (got.length > before || clock.now() >= end) return;
        clock.skip(Math.max(Math.min(deadline, end) - clock.now(), 0));
      }
    },
    get got() {
      return new TextDecoder().decode(Uint8Array.from(got));
    },
  };
}

test('keys of a person go to the guest at once, as far as there is room', () => {
  const guest = console('abc\ndef', { interactive: true, listening: false });
  guest.device.room = 0;
  guest.input.feed();
  assert.equal(guest.got, '');
  guest.device.room = 1;
  guest.input.feed();
  assert.equal(guest.got, 'abc\ndef');
});

test('nothing is given to a guest that does not listen', () => {
  const guest = console('ls\n', { listening: false });
  guest.prints('booting\n');
  guest.idle(100 * Second);
  assert.equal(guest.got, '');
  assert.equal(guest.input.nextDeadline(), Infinity);
});

test('a prompt gets one line, the next prompt the next', () => {
  const guest = console('uname\npoweroff\n');
  guest.prints('booting\n');
  guest.idle(1 * Second);
  assert.equal(guest.got, '', 'a pause while starting is no prompt');
  guest.prints('/ # ');
  guest.idle(1 * Second);
  assert.equal(guest.got, 'uname\n');
  guest.prints('uname\r\nLinux\r\n');
  guest.input.guestIsIdle();
  assert.equal(guest.got, 'uname\n', 'no prompt yet');
  guest.prints('/ # ');
  guest.input.guestIsIdle();
  assert.equal(guest.got, 'uname\npoweroff\n');
});

test('the first line of the default guest makes a prompt unnecessary', () => {
  const guest = console('a\nb\nc\n');
  guest.prints('lodger: init\n');
  guest.idle(0.1 * Second);
  assert.equal(guest.got, 'a\n');
});

test('a guest that reads without prompts waits once, then gets line after line', () => {
  const guest = console('a\nb\nc\nd\n');
  guest.prints('lodger: init\n');
  guest.idle(0.1 * Second);
  guest.input.guestIsIdle();
  guest.input.guestIsIdle();
  guest.input.guestIsIdle();
  assert.equal(guest.got, 'a\nb\nc\nd\n');
});

test('a guest that says nothing at all gets its input after a while', () => {
  const guest = console('x\n');
  guest.prints('hello\n');
  guest.idle(2.9 * Second);
  assert.equal(guest.got, '');
  guest.idle(0.2 * Second);
  assert.equal(guest.got, 'x\n');
});

test('a line longer than the device has room for goes on as room appears', () => {
  const guest = console('long line\nnext\n');
  guest.device.room = 0;
  guest.prints('# ');
  guest.idle(1 * Second);
  assert.equal(guest.got, '');
  guest.device.room = 1;
  guest.input.feed();
  assert.equal(guest.got, 'long line\n');
});
