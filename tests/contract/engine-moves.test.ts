/** A machine that is paused on one engine continues on the other. */
import { describe, test } from 'node:test';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { ManualClock } from '@lodger/vmm/time/manual-clock.js';
import type { EngineUnderTest } from './engine-guest.ts';
import { moveCases } from './engine-move-cases.ts';
import { kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';

const Start = 1e9;

/** A wasm engine whose TSCs run at `tscKhz`: a host's KVM may not be able to give a guest any other than its own. */
function wasmUnderTest(tscKhz: number | undefined): EngineUnderTest {
  const clock = new ManualClock();
  clock.advance(Start);
  return {
    clock,
    createVm: (config) => new WasmEngine().createVm({ ...config, clock, tscKhz }),
    advance: (nanoseconds) => clock.advance(nanoseconds),
  };
}

type Create = () => EngineUnderTest;

function moves(name: string, from: Create, to: Create): void {
  for (const [section, cases] of Object.entries(moveCases)) {
    describe(`${name}: ${section}`, () => {
      for (const [title, body] of Object.entries(cases)) {
        test(title, () => {
          const pair = { from: from(), to: to() };
          try {
            body(pair);
          } finally {
            pair.from.close?.();
            pair.to.close?.();
          }
        });
      }
    });
  }
}

/** The rate of TSCs that this host's KVM gives. */
function kvmTscKhz(): number | undefined {
  const engine = kvmUnderTest({});
  try {
    return engine.createVm({ memorySize: 1 << 20, vcpus: 1 }).createVcpu(0).state().tscKhz;
  } finally {
    engine.close?.();
  }
}

const reason = whyNoKvm();
const tscKhz = reason === undefined ? kvmTscKhz() : undefined;
const wasm: Create = () => wasmUnderTest(tscKhz);
moves('wasm to wasm', wasm, wasm);
if (reason !== undefined) test('moves from and to kvm', { skip: reason }, () => {});
else {
  const kvm: Create = () => kvmUnderTest({ irqchip: 'kernel' });
  const split: Create = () => kvmUnderTest({ irqchip: 'split' });
  moves('wasm to kvm', wasm, kvm);
  moves('kvm to wasm', kvm, wasm);
  moves('kvm to kvm', kvm, kvm);
  moves('kvm to kvm with split interrupt controllers', kvm, split);
  moves('kvm with split interrupt controllers to wasm', split, wasm);
}
