import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeapTimerQueue } from './timer-queue.ts';

test('timers run in the order of their deadlines, not before them', () => {
  const queue = new HeapTimerQueue();
  const ran: number[] = [];
  // A fixed shuffle: 0 to 99 multiplied by a number coprime to 100.
  for (let index = 0; index < 100; index++) {
    const deadline = (index * 37) % 100;
    queue.createTimer(() => ran.push(deadline)).arm(deadline);
  }
  assert.equal(queue.nextDeadline(), 0);
  assert.equal(queue.fire(49), 50);
  assert.equal(queue.nextDeadline(), 50);
  queue.fire(1000);
  assert.deepEqual(
    ran,
    Array.from({ length: 100 }, (_, index) => index),
  );
  assert.equal(queue.nextDeadline(), Infinity);
});

test('disarming and re-arming anywhere in the heap keeps it in order', () => {
  const queue = new HeapTimerQueue();
  const ran: number[] = [];
  const timers = Array.from({ length: 50 }, (_, index) => queue.createTimer(() => ran.push(index)));
  timers.forEach((timer, index) => timer.arm((index * 17) % 50));
  timers.forEach((timer, index) => {
    if (index % 3 === 0) timer.disarm();
    if (index % 3 === 1) timer.arm(100 - index);
    if (index % 3 === 2) timer.arm(index);
  });
  queue.fire(100);
  const indices = Array.from({ length: 50 }, (_, index) => index);
  assert.deepEqual(ran, [
    ...indices.filter((index) => index % 3 === 2),
    ...indices.filter((index) => index % 3 === 1).reverse(),
  ]);
});

test('a timer knows its deadline while it is armed', () => {
  const queue = new HeapTimerQueue();
  const timer = queue.createTimer(() => {});
  assert.equal(timer.deadline, undefined);
  timer.arm(5);
  assert.equal(timer.deadline, 5);
  queue.fire(5);
  assert.equal(timer.deadline, undefined);
  timer.arm(7);
  timer.disarm();
  assert.equal(timer.deadline, undefined);
  timer.arm(7);
  timer.arm(Infinity);
  assert.equal(queue.nextDeadline(), Infinity);
});

test('a timer that re-arms itself in the past runs once a call', () => {
  const queue = new HeapTimerQueue();
  let runs = 0;
  const timer = queue.createTimer(() => {
    runs++;
    timer.arm(0);
  });
  timer.arm(0);
  assert.equal(queue.fire(10), 1);
  assert.equal(queue.fire(10), 1);
  assert.equal(runs, 2);
});

test('a timer that is disarmed by an earlier one at the same time does not run', () => {
  const queue = new HeapTimerQueue();
  const ran: string[] = [];
  const second = queue.createTimer(() => ran.push('second'));
  const third = queue.createTimer(() => ran.push('third'));
  queue
    .createTimer(() => {
      ran.push('first');
      second.disarm();
      third.arm(20);
    })
    .arm(1);
  second.arm(2);
  third.arm(3);
  assert.equal(queue.fire(10), 1);
  assert.deepEqual(ran, ['first']);
  queue.fire(20);
  assert.deepEqual(ran, ['first', 'third']);
});
