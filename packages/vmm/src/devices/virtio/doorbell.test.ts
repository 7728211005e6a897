import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FutexDoorbell, type WorkerBell, runIoWorker } from './doorbell.ts';

/** Stops the worker at the start of a look: the ring that belongs to it is one of those that the look takes. */
class StoppingBell implements WorkerBell {
  stopped = false;

  look(): number {
    this.stopped = true;
    return 0;
  }
  sleep(): void {
    throw new Error('the worker sleeps, and nobody will ring again');
  }
}

test('a worker that is stopped just before it looks at its doorbell does not go to sleep', () => {
  const bell = new StoppingBell();
  runIoWorker(bell, [], () => bell.stopped);
  assert.ok(bell.stopped);
});

test('a ring between look and sleep ends the sleep', () => {
  const bell = new FutexDoorbell(new SharedArrayBuffer(4));
  const seen = bell.look();
  bell.ring();
  bell.sleep(seen);
  assert.notEqual(bell.look(), seen);
});
