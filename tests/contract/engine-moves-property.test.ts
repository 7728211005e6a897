/** State that is set and read again is the same state, for random legal ones, on every engine. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { VcpuState, VmState } from '@lodger/vmm/engine/state.js';
import { Gsi } from '@lodger/vmm/machine/memory-map.js';
import { Random } from '../differential/random.ts';
import { EngineGuest } from './engine-guest.ts';
import { save } from './engine-move.ts';
import { randomVcpuState, randomVmState } from './engine-random-state.ts';
import { kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';
import { wasmUnderTest } from './wasm-under-test.ts';
import type { EngineUnderTest } from './engine-guest.ts';

const Rounds = 60;
const Seed = 5;

type Create = () => EngineUnderTest;

/** What time changes between a write and a read is left out, or compared roughly by its own tests. */
function timeless(state: VcpuState): unknown {
  const { msrs, tscKhz: _rate, localApic, ...rest } = state;
  const Tsc = 0x10;
  const named = new Map(msrs.filter(([index]) => index !== Tsc));
  return { ...rest, msrs: Object.fromEntries([...named].filter(([, value]) => value !== 0n)), localApic };
}

/** KVM keeps neither ICW3 nor how far the PIT's cycles are; the PIT's line moves while it is looked at. */
function comparable({ ioapic, pic, pit, speaker }: VmState): unknown {
  const chip = ({ cascade: _cascade, ...rest }: VmState['pic']['master']) => rest;
  const pitIrq = 1;
  const master = { ...pic.master, lines: pic.master.lines & ~pitIrq, requests: pic.master.requests & ~pitIrq };
  const lines = ioapic.lines & ~(1 << Gsi.PitTimer);
  const counters = pit.counters.map(({ mode, bcd, gate, modulus, loaded }) => ({ mode, bcd, gate, modulus, loaded }));
  return {
    ioapic: { ...ioapic, lines },
    master: chip(master),
    slave: chip(pic.slave),
    counters,
    ports: pit.ports,
    speaker,
  };
}

function checkEngine(name: string, create: Create): void {
  describe(name, () => {
    test(`${Rounds} random states of two processors`, () => {
      const engine = create();
      try {
        const guest = new EngineGuest(engine, 2);
        guest.start((a) => a.hlt());
        const random = new Random(Seed);
        const starts = guest.vcpus.map((vcpu) => vcpu.state());
        for (let round = 0; round < Rounds; round++) {
          guest.vcpus.forEach((vcpu, id) => {
            const wanted = randomVcpuState(random, starts[id]!, id);
            vcpu.setState(structuredClone(wanted));
            assert.deepEqual(timeless(vcpu.state()), timeless(wanted), `vCPU ${id}, round ${round}`);
          });
        }
      } finally {
        engine.close?.();
      }
    });

    test(`${Rounds} random states of the interrupt controllers`, () => {
      const engine = create();
      try {
        const guest = new EngineGuest(engine);
        const random = new Random(Seed);
        const start = save(guest).vm;
        for (let round = 0; round < Rounds; round++) {
          const wanted = randomVmState(random, start);
          guest.vm.setState(structuredClone(wanted));
          const found = guest.vm.state();
          assert.deepEqual(comparable(found), comparable(wanted), `round ${round}`);
          const passed = found.clock.kvmClock - wanted.clock.kvmClock;
          assert.ok(passed >= 0n && passed < 10_000_000_000n, `kvm-clock moved by ${passed} ns`);
        }
      } finally {
        engine.close?.();
      }
    });
  });
}

checkEngine('wasm', () => wasmUnderTest());
const reason = whyNoKvm();
if (reason !== undefined) test('kvm', { skip: reason }, () => {});
else {
  checkEngine('kvm', () => kvmUnderTest({ irqchip: 'kernel' }));
  checkEngine('kvm with split controllers', () => kvmUnderTest({ irqchip: 'split' }));
}
