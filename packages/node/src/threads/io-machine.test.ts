import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventWiring } from '@lodger/vmm/interrupts/event-wiring.js';
import type { IoWorkerPlan } from './io-links.ts';
import { setUpIo } from './io-machine.ts';

const Disk = { descriptor: -1, size: 4096, readOnly: true, serial: 'd' };
const Activation = { features: 0n, queues: [] };

/** Events that nobody waits for. */
function wiring(): EventWiring {
  let created = 0;
  return {
    create: () => created++,
    raise() {},
    bindWrite: () => true,
    unbindWrite() {},
    bindInterrupt: () => true,
    unbindInterrupt() {},
    isRaised: () => false,
    clear: () => false,
  };
}

test('without disks the worker is asked for once, when a driver is ready', () => {
  const asked: IoWorkerPlan[] = [];
  const io = setUpIo([], wiring(), (plan) => asked.push(plan));
  assert.deepEqual(io.workers, []);
  io.rngRunner!.reset();
  assert.equal(asked.length, 0);
  io.rngRunner!.activate(Activation);
  io.consolePort!.runner.activate(Activation);
  assert.deepEqual(
    asked.map(({ name, devices }) => [name, devices.map(({ kind }) => kind)]),
    [['io-virtio', ['console', 'entropy']]],
  );
});

test('with disks the workers start with the machine', () => {
  const io = setUpIo([Disk, Disk], wiring(), ({ name }) => assert.fail(name));
  assert.deepEqual(
    io.workers.map(({ name, devices }) => [name, devices.map(({ kind }) => kind)]),
    [
      ['io-virtio', ['console', 'entropy', 'disk']],
      ['io-disk1', ['disk']],
    ],
  );
  io.disks[0]!.runner.activate(Activation);
});
