import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceStatus, nextStatus } from './status.ts';
import type { StatusAction } from './status.ts';

const { Acknowledge, Driver, DriverOk, FeaturesOk, Failed, NeedsReset } = DeviceStatus;

function walk(writes: readonly number[], refuse: readonly StatusAction[] = []): { status: number; actions: string[] } {
  const actions: string[] = [];
  let status = 0;
  for (const written of writes) {
    status = nextStatus(status, written, (action) => {
      if (action !== 'none') actions.push(action);
      return !refuse.includes(action);
    });
  }
  return { status, actions };
}

test('§3.1.1 the steps of initialization', () => {
  const { status, actions } = walk([
    Acknowledge,
    Acknowledge | Driver,
    Acknowledge | Driver | FeaturesOk,
    Acknowledge | Driver | FeaturesOk | DriverOk,
  ]);
  assert.equal(status, 15);
  assert.deepEqual(actions, ['check-features', 'activate']);
});

test('several steps in one write are taken in order', () => {
  assert.deepEqual(walk([Acknowledge | Driver, 15]), { status: 15, actions: ['check-features', 'activate'] });
});

test('a step without its predecessors is ignored', () => {
  assert.deepEqual(walk([DriverOk]), { status: 0, actions: [] });
  assert.deepEqual(walk([Acknowledge, Acknowledge | DriverOk]), { status: Acknowledge, actions: [] });
});

test('features that are refused leave FEATURES_OK clear and DRIVER_OK out of reach', () => {
  const { status, actions } = walk([3, 11, 15], ['check-features']);
  assert.equal(status, 3);
  assert.ok(!actions.includes('activate'));
});

test('no bit is cleared by a write, no step is taken twice', () => {
  assert.deepEqual(walk([15, Acknowledge, 15]), { status: 15, actions: ['check-features', 'activate'] });
  assert.equal(
    nextStatus(15 | NeedsReset, 15, () => true),
    15 | NeedsReset,
  );
});

test('after FAILED there is only a reset', () => {
  assert.equal(walk([Acknowledge, Failed]).status, Acknowledge | Failed);
  assert.deepEqual(walk([Acknowledge | Failed, 15]), { status: Acknowledge | Failed, actions: [] });
});
