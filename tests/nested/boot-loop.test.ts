/** A hundred machines, one after the other, on a KVM that is as on real hardware: nothing of them stays. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualMachine } from 'lodger';
import { hang, print, writeSmallKernel } from '../boot/small-kernel.ts';
import { scratchFolder } from '../boot/support.ts';

const Machines = 100;
/** Before the count starts: the runtime's own heap, code and threads come with the first ones. */
const WarmUp = 5;
/** V8's heap comes and goes by a few dozen mappings; one of each machine's would be a hundred. */
const HeapMappings = 90;

/** What this process has of the host. */
function resources() {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, '');
    } catch {
      return 'gone'; // The one that read the folder.
    }
  });
  return {
    descriptors: links.sort(),
    threads: readdirSync('/proc/self/task').length,
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
  };
}

test(`${Machines} boots and stops leave no descriptor, mapping or thread`, async () => {
  const kernel = join(scratchFolder(), 'kernel');
  writeSmallKernel(kernel, [...print('up'), ...hang]);
  const bootAndStop = async () => {
    await using vm = await VirtualMachine.create({ engine: 'kvm', kernel, memory: '16M' });
    await vm.start();
    await vm.console.waitFor(/up/);
    await vm.stop();
  };
  for (let count = 0; count < WarmUp; count++) await bootAndStop();
  const before = resources();
  for (let count = 0; count < Machines; count++) await bootAndStop();
  const after = resources();
  assert.deepEqual(after.descriptors, before.descriptors);
  assert.equal(after.threads, before.threads);
  assert.ok(after.mappings - before.mappings < HeapMappings, `${before.mappings} mappings, then ${after.mappings}`);
  assert.doesNotMatch(readFileSync('/proc/self/maps', 'latin1'), /kvm-v/);
});
