/** A machine that is paused on one engine continues on the other. */
import { describe, test } from 'node:test';
import { isEmulatedByQemu } from './emulated-host.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import { moveCases } from './engine-move-cases.ts';
import { emulatesKernelCode, kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';
import { wasmUnderTest } from './wasm-under-test.ts';

type Create = () => EngineUnderTest;

/** Cases that an engine cannot play its part in. */
interface Skip {
  readonly reason: string;
  readonly tests: readonly string[];
  readonly as: 'first' | 'second' | 'either';
}

interface Engine {
  readonly name: string;
  readonly create: Create;
  readonly skip: readonly Skip[];
}

function whySkipped(title: string, from: Engine, to: Engine): string | false {
  const named = ({ tests }: Skip): boolean => tests.includes(title);
  const first = from.skip.find((skip) => skip.as !== 'second' && named(skip));
  const second = to.skip.find((skip) => skip.as !== 'first' && named(skip));
  return (first ?? second)?.reason ?? false;
}

function moves(from: Engine, to: Engine): void {
  for (const [section, cases] of Object.entries(moveCases)) {
    describe(`${from.name} to ${to.name}: ${section}`, () => {
      for (const [title, body] of Object.entries(cases)) {
        test(title, { skip: whySkipped(title, from, to) }, () => {
          const pair = { from: from.create(), to: to.create() };
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
    return engine
      .createVm({ memorySize: 1 << 20, vcpus: 1 })
      .createVcpu(0)
      .state().tscKhz;
  } finally {
    engine.close?.();
  }
}

/** What a KVM does not do that emulates guests' kernel code. */
const underEmulation: readonly Skip[] = [
  {
    reason: 'this host’s KVM emulates kernel code, and ends interrupts by itself when it delivers them',
    tests: ['an interrupt in service, with a lower one behind it'],
    as: 'first',
  },
  {
    reason: 'this host’s KVM emulates kernel code, and ends interrupts by itself when it delivers them',
    tests: ['a level-triggered interrupt of the IOAPIC in service: again after its end while the line is high'],
    as: 'either',
  },
  {
    reason: 'this host’s KVM emulates kernel code, and gives every guest the host’s own TSC',
    tests: ['the TSC goes on where it was', 'a deadline of the TSC'],
    as: 'either',
  },
];

const underQemu: readonly Skip[] = [
  {
    reason: 'this host is emulated by QEMU, whose VMRUN forgets the interrupt shadow',
    tests: ['the interrupt shadow: one more instruction goes first'],
    as: 'second',
  },
  {
    reason: 'this host is emulated by QEMU: too slow to stop a guest before its timer of 55 ms fires',
    tests: ['the PIT: a one-shot', 'the PIT: its periodic mode'],
    as: 'first',
  },
];

const reason = whyNoKvm();
const tscKhz = reason === undefined ? kvmTscKhz() : undefined;
const wasm: Engine = { name: 'wasm', create: () => wasmUnderTest(tscKhz), skip: [] };
moves(wasm, wasm);
if (reason !== undefined) test('moves from and to kvm', { skip: reason }, () => {});
else {
  const skip = [...(emulatesKernelCode() ? underEmulation : []), ...(isEmulatedByQemu() ? underQemu : [])];
  const kvm: Engine = { name: 'kvm', create: () => kvmUnderTest({ irqchip: 'kernel' }), skip };
  const split: Engine = { name: 'kvm with split controllers', create: () => kvmUnderTest({ irqchip: 'split' }), skip };
  moves(wasm, kvm);
  moves(kvm, wasm);
  moves(kvm, kvm);
  moves(kvm, split);
  moves(split, wasm);
}
