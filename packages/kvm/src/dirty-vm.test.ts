/** Written pages of a VM of the engine: the same answer by dirty log and by dirty rings, whose filling the vCPU sees to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpa, PageSize } from '@lodger/vmm/memory/address.js';
import { KvmEngine, type KvmEngineOptions } from './engine.ts';
import { largestDirtyRing } from './dirty-ring.ts';
import { KvmSystem } from './system.ts';
import { Code, noKvm } from './testing/tiny-guest.ts';

const MiB = 1024 * 1024;
const CodeAt = 0x1000;
const DonePort = 0x81;
const clock = { now: () => performance.now() * 1e6, wallClock: () => BigInt(Date.now()) * 1_000_000n };

/** Runs 32-bit code that touches `count` pages; the answer is what the tracker says. */
function touch(options: KvmEngineOptions, first: number, count: number): string[] {
  const vm = new KvmEngine(options).createVm({ memorySize: 64 * MiB, vcpus: 1, clock });
  try {
    const vcpu = vm.createVcpu(0);
    vm.memory.write(gpa(CodeAt), Uint8Array.from([...Code.touchPages(first, count), 0xe6, DonePort]));
    const state = vcpu.state();
    const flat = {
      base: 0n,
      limit: 0xffff_ffff,
      present: true,
      dpl: 0,
      db: true,
      s: true,
      l: false,
      g: true,
      avl: false,
    };
    const data = { ...flat, selector: 16, type: 3, unusable: false };
    const { sregs, regs } = state;
    const segments = { cs: { ...data, selector: 8, type: 0xb }, ds: data, es: data, ss: data };
    const start = { ...regs, rip: BigInt(CodeAt), rflags: 2n };
    vcpu.setState({ ...state, regs: start, sregs: { ...sregs, ...segments, cr0: sregs.cr0 | 1n } });
    const tracker = vm.dirtyTracker();
    tracker.start();
    for (let port = 0; port !== DonePort;) {
      const exit = vcpu.run();
      assert.equal(exit.kind, 'pio-write');
      if (exit.kind === 'pio-write') port = exit.port;
    }
    // Where the guest's page tables are the processor's, its code is mapped writable and so counts as written
    const touched = tracker.collect().filter((range) => range.start !== CodeAt);
    const ranges = touched.map(({ start: at, length }) => `${at / PageSize}+${length / PageSize}`);
    tracker.stop();
    return ranges;
  } finally {
    vm.close();
  }
}

test('by the dirty log', { skip: noKvm() }, () => {
  assert.deepEqual(touch({}, 0x20_0000, 3000), ['512+3000']);
});

test('by dirty rings that are full several times', { skip: noKvm() }, (context) => {
  const system = KvmSystem.open();
  const largest = largestDirtyRing(system.fd);
  system.close();
  if (largest === 0) return context.skip('this host’s KVM lacks KVM_CAP_DIRTY_LOG_RING');
  assert.deepEqual(touch({ dirtyRingSize: 16 * 1024 }, 0x20_0000, 3000), ['512+3000']);
});
