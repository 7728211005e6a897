import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsoleChoice } from './console-choice.ts';

function device(room: number) {
  const received: number[] = [];
  return { room, listening: room > 1, received, receive: (byte: number) => void received.push(byte) };
}

test('typed bytes go to the last console of the command line', () => {
  const [serial, virtio] = [device(1), device(2)];
  const choice = new ConsoleChoice(serial, virtio);
  choice.receive(1);
  for (const [commandLine, room] of [
    ['console=ttyS0 panic=-1', 1],
    ['console=ttyS0 panic=-1 console=hvc0', 2],
    ['console=hvc0 console=ttyS0,115200', 1],
    ['quiet', 1],
    ['xconsole=hvc0', 1],
    ['console=hvc0', 2],
  ] as const) {
    choice.choose(commandLine);
    assert.equal(choice.room, room, commandLine);
    assert.equal(choice.listening, room === 2);
  }
  choice.receive(2);
  assert.deepEqual([serial.received, virtio.received], [[1], [2]]);
});
