import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { gpa } from '@lodger/vmm/memory/address.js';
import { KvmEngine } from './engine.ts';
import { attachKvmVcpu } from './attached-vcpu.ts';
import { kickKvm } from './shared-vm.ts';
import { KickerWord } from './testing/kicker.ts';
import type { KickerData } from './testing/kicker.ts';
import { noKvm } from './testing/tiny-guest.ts';
import type { KvmVcpu } from './vcpu.ts';
import type { KvmVm } from './vm.ts';

const Code = 0x1000;
/** A kick takes a hundred times longer in the nested host. */
const Kicks = process.env['LODGER_NESTED_HOST'] ? 400 : 4_100;
/** Nanoseconds after which a kick counts as lost. */
const Patience = 120e9;
/** Kicks between which the vCPU's thread lets go of the vCPU and takes it again. */
const LeaveEvery = 50;

const clock = { now: () => performance.now() * 1e6, wallClock: () => BigInt(Date.now()) * 1_000_000n };

/** 16-bit code of guests that stay in KVM_RUN, each in its way. */
const guests = {
  'spins (jmp $)': [0xeb, 0xfe],
  'is halted with interrupts off (cli; hlt)': [0xfa, 0xf4],
  'exits all the time (1: out 0x80, al; jmp 1b)': [0xe6, 0x80, 0xeb, 0xfc],
  'asks a device all the time (1: in al, 0x80; jmp 1b)': [0xe4, 0x80, 0xeb, 0xfc],
} as const;

function createVm(vcpus = 1): { vm: KvmVm; vcpus: KvmVcpu[] } {
  const vm = new KvmEngine().createVm({ memorySize: 1 << 20, vcpus, clock });
  return { vm, vcpus: Array.from({ length: vcpus }, (_, id) => vm.createVcpu(id)) };
}

function load(vm: KvmVm, vcpu: KvmVcpu, code: readonly number[]): void {
  vm.memory.write(gpa(Code), Uint8Array.from(code));
  const state = vcpu.state();
  Object.assign(state.sregs.cs, { base: 0n, selector: 0 });
  Object.assign(state.regs, { rip: BigInt(Code), rflags: 2n });
  vcpu.setState(state);
}

/** Runs the vCPU while another thread kicks it: how often it came back as `interrupted`. */
async function runKicked(vm: KvmVm, vcpu: KvmVcpu): Promise<number> {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const workerData: KickerData = { shared: vm.shared, vcpu: vcpu.id, kicks: Kicks, words, seed: 7 };
  const worker = new Worker(new URL('./testing/kicker.js', import.meta.url), { workerData });
  await once(worker, 'online');
  const limit = clock.now() + Patience;
  let interrupted = 0;
  while (words[KickerWord.Seen] !== Kicks) {
    const exit = vcpu.run(limit);
    if (exit.kind !== 'interrupted') {
      assert.match(exit.kind, /^pio-/);
      continue;
    }
    assert.ok(clock.now() < limit, `kick ${Atomics.load(words, KickerWord.Sent)} was lost`);
    interrupted++;
    if (interrupted % LeaveEvery === 0) vcpu.leaveThread();
    Atomics.store(words, KickerWord.Seen, Atomics.load(words, KickerWord.Sent));
    Atomics.notify(words, KickerWord.Seen);
  }
  await once(worker, 'exit');
  return interrupted;
}

describe('kicks from another thread', { skip: noKvm() }, () => {
  for (const [name, code] of Object.entries(guests)) {
    test(`a guest that ${name}: each kick counts once`, async () => {
      const { vm, vcpus } = createVm();
      try {
        load(vm, vcpus[0]!, code);
        assert.equal(await runKicked(vm, vcpus[0]!), Kicks);
      } finally {
        vcpus[0]!.leaveThread();
        vm.close();
      }
    });
  }

  test('a processor that waits for its start-up', async () => {
    const { vm, vcpus } = createVm(2);
    try {
      assert.equal(await runKicked(vm, vcpus[1]!), Kicks);
    } finally {
      vcpus[1]!.leaveThread();
      vm.close();
    }
  });
});

describe('one thread', { skip: noKvm() }, () => {
  const withGuest = (code: readonly number[], body: (vm: KvmVm, vcpu: KvmVcpu) => void) => () => {
    const { vm, vcpus } = createVm();
    try {
      load(vm, vcpus[0]!, code);
      body(vm, vcpus[0]!);
    } finally {
      vcpus[0]!.leaveThread();
      vm.close();
    }
  };

  test(
    'kicks before run(), in any number, make one run() come back',
    withGuest(guests['exits all the time (1: out 0x80, al; jmp 1b)'], (vm, vcpu) => {
      for (let i = 0; i < 5; i++) vcpu.kick();
      assert.equal(vcpu.run().kind, 'interrupted');
      assert.equal(vcpu.run().kind, 'pio-write');
      for (let i = 0; i < 5; i++) kickKvm(vm.shared, 0);
      assert.equal(vcpu.run().kind, 'interrupted');
      assert.equal(vcpu.run().kind, 'pio-write', 'signals that are left do not count');
    }),
  );

  test(
    'a kick of a vCPU that nobody runs yet is kept for its thread',
    withGuest(guests['spins (jmp $)'], (vm) => {
      kickKvm(vm.shared, 0);
      const attached = attachKvmVcpu(vm.shared, 0, clock);
      assert.equal(attached.run(clock.now() + Patience).kind, 'interrupted');
      attached.leaveThread();
    }),
  );

  test(
    'run() comes back at its deadline, not before it',
    withGuest(guests['is halted with interrupts off (cli; hlt)'], (_, vcpu) => {
      for (const milliseconds of [20, 1, 5, 0.01, 0, -1]) {
        const deadline = clock.now() + milliseconds * 1e6;
        assert.equal(vcpu.run(deadline).kind, 'interrupted');
        assert.ok(clock.now() >= deadline);
        assert.equal(vcpu.run(deadline).kind, 'interrupted', 'a deadline that has passed');
      }
    }),
  );

  test(
    'a deadline that was never reached does not end a later run()',
    withGuest(guests['exits all the time (1: out 0x80, al; jmp 1b)'], (_, vcpu) => {
      const soon = clock.now() + 300e6;
      assert.equal(vcpu.run(soon).kind, 'pio-write');
      while (clock.now() < soon + 1e6);
      assert.equal(vcpu.run().kind, 'pio-write', 'the timer has fired, but nobody wants it any more');
      assert.equal(vcpu.run(clock.now() + Patience).kind, 'pio-write');
      assert.equal(vcpu.run(soon).kind, 'interrupted');
    }),
  );
});
