/** Assertions on what a system guest stopped with. */
import assert from 'node:assert/strict';
import type { Frame, Stop, SystemGuest } from './system-guest.ts';

/** Runs to an event and checks the named fields of its frame. */
export function expectEvent(guest: SystemGuest, expected: Partial<Omit<Frame, 'kind'>>): Frame {
  const stop = guest.run();
  assert.equal(stop.kind, 'event', `expected an event, got ${JSON.stringify(stop)}`);
  const frame = stop as Frame;
  const actual = Object.fromEntries(Object.keys(expected).map((key) => [key, frame[key as keyof Frame]]));
  assert.deepEqual(actual, expected, `frame ${JSON.stringify(frame)}`);
  return frame;
}

export function expectDone(guest: SystemGuest, value?: number): void {
  const stop = guest.run();
  assert.equal(stop.kind, 'done', `expected the end, got ${JSON.stringify(stop)}`);
  if (value !== undefined) assert.equal((stop as Extract<Stop, { kind: 'done' }>).value, value);
}

export function expectShutdown(guest: SystemGuest): void {
  assert.deepEqual(guest.run(), { kind: 'shutdown' });
}
