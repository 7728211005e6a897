/** KVM as its API shows it, on a host that has it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmCapabilityName } from '@lodger/kvm/api/capabilities.js';
import { chooseEngine, decideEngine } from './choose-engine.ts';
import { HostFiles } from './host-files.ts';
import { probeKvmDevice } from './kvm-device.ts';
import { inspectKvm } from './kvm-inspection.ts';
import { measureKvm } from './kvm-speed.ts';

const noKvm = await chooseEngine('kvm').then(
  () => false as const,
  (error: Error) => error.message,
);

test('what the engine needs is here, with the values of what it can use', { skip: noKvm }, async () => {
  const inspection = await inspectKvm();
  assert.equal(inspection.kind, 'usable');
  if (inspection.kind !== 'usable') return;
  assert.ok(inspection.capabilities.every(({ required, value }) => !required || value > 0));
  const slots = inspection.capabilities.find(({ name }) => name === 'NrMemslots');
  assert.ok(slots!.value >= 32, `${slots!.value} memory slots`);
});

test(
  'a KVM without something that the engine needs is named, and auto takes wasm',
  { skip: noKvm },
  async (context) => {
    // Every kernel lacks some of them.
    const candidates: KvmCapabilityName[] = ['TscControl', 'XenHvm', 'X86GuestMode', 'PreFaultMemory'];
    for (const name of candidates) {
      const inspection = await inspectKvm({ required: ['UserMemory', name] });
      if (inspection.kind === 'usable') continue;
      assert.match(inspection.reason, /^\/dev\/kvm lacks KVM_CAP_[A-Z0-9_]+: .*kernel.*--engine wasm/);
      const { engine, reason } = decideEngine(probeKvmDevice(new HostFiles()), inspection, undefined);
      assert.equal(engine, 'wasm');
      assert.equal(reason, inspection.reason);
      return;
    }
    context.skip('this KVM has everything');
  },
);

test('the measuring guest runs, and gives everything back', { skip: noKvm }, async () => {
  const descriptors = () => new HostFiles().list('/proc/self/fd').length;
  const mappings = () => new HostFiles().text('/proc/self/maps')!.match(/kvm/g)?.length ?? 0;
  await measureKvm();
  const before = descriptors();
  for (let i = 0; i < 5; i++) {
    const measurement = await measureKvm({ enough: 1 });
    assert.equal(measurement.kind, 'measured', measurement.kind === 'failed' ? measurement.reason : '');
    if (measurement.kind !== 'measured') return;
    assert.ok(measurement.speed.ring0Rate > 0);
    assert.ok(measurement.speed.exitMicroseconds > 0);
  }
  assert.equal(descriptors(), before);
  assert.equal(mappings(), 0);
});
