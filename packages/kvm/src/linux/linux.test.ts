/** Eventfds, signals and timers of Linux as this package calls them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createEventFd, drainEventFd, PollSet, signalEventFd } from './eventfd.ts';
import { close, LinuxError, mmap, munmap, MapFlag, Prot, tryIoctl, viewOf } from './libc.ts';

describe('eventfds', () => {
  test('count signals, and are empty when drained', () => {
    const fd = createEventFd(3);
    assert.equal(drainEventFd(fd), 3n);
    assert.equal(drainEventFd(fd), 0n);
    signalEventFd(fd);
    signalEventFd(fd);
    assert.equal(drainEventFd(fd), 2n);
    close(fd);
    assert.throws(() => signalEventFd(fd), new LinuxError('write (eventfd)', 9));
    assert.throws(() => close(fd), { message: 'close: EBADF', code: 'EBADF' });
  });

  test('poll tells which of several are signalled', () => {
    const fds = [createEventFd(), createEventFd(), createEventFd()];
    const set = new PollSet(fds);
    assert.equal(set.wait(0), 0);
    signalEventFd(fds[1]!);
    assert.equal(set.wait(-1), 1);
    assert.deepEqual(
      fds.map((_, index) => set.isReady(index)),
      [false, true, false],
    );
    drainEventFd(fds[1]!);
    assert.equal(set.wait(0), 0);
    assert.equal(set.isReady(1), false);
    fds.forEach(close);
  });
});

test('a failed call says which and why', () => {
  assert.throws(() => mmap(4096, Prot.Read, MapFlag.Shared, -1), { name: 'LinuxError', call: 'mmap', code: 'EBADF' });
  assert.equal(tryIoctl(-1, 0), -9);
});

test('a mapping is memory of the process', () => {
  const address = mmap(8192, Prot.ReadWrite, MapFlag.Private | MapFlag.Anonymous);
  new Uint32Array(viewOf(address, 8192))[1024] = 5;
  assert.equal(new Uint32Array(viewOf(address + 4096n, 4096))[0], 5);
  assert.match(readFileSync('/proc/self/maps', 'utf8'), new RegExp(`${address.toString(16)}-`));
  munmap(address, 8192);
});

test('a thread has a name, blocks a signal, and takes it when a timer of its own or another thread sent it', async () => {
  const module = new URL('./thread.js', import.meta.url).href;
  const source = `
    const { parentPort } = require('node:worker_threads');
    const { readFileSync } = require('node:fs');
    const pending = () => BigInt('0x' + /SigPnd:\\s+(\\w+)/.exec(readFileSync('/proc/thread-self/status', 'utf8'))[1]);
    import(${JSON.stringify(module)}).then((thread) => {
      const signal = 45;
      const bit = 1n << 44n;
      thread.nameThread('a name that is too long');
      thread.blockSignal(signal);
      const taker = new thread.PendingSignal(signal);
      const log = [readFileSync('/proc/thread-self/comm', 'utf8').trim(), pending() & bit];
      const timer = new thread.ThreadTimer(signal);
      timer.set(1e6);
      while ((pending() & bit) === 0n);
      taker.take();
      log.push(pending() & bit);
      timer.set(3600e9);
      timer.set(0);
      timer.delete();
      log.push(thread.signalThread(thread.currentThread(), signal), (pending() & bit) !== 0n);
      taker.take();
      log.push(pending() & bit);
      parentPort.postMessage(log);
    });
  `;
  const worker = new Worker(source, { eval: true });
  const log = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await worker.terminate();
  assert.deepEqual(log, ['a name that is', 0n, 0n, true, true, 0n]);
});
