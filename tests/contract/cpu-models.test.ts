/**
 * A guest is shown the same processor by both engines, whatever it asks CPUID: it can move between them.
 *
 * KVM need not offer a feature to show it, so the whole models are compared on every host. kvm-pvm alone answers some leaves
 * from the processor: those are left out there.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { KvmSystem } from '@lodger/kvm/system.js';
import { offeredChoice } from '@lodger/kvm/cpu/configure.js';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { ManualClock } from '@lodger/vmm/time/manual-clock.js';
import type { CpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { parseCpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { at, eax, ebx, ecx, edx } from '../guest/assembler.ts';
import { At, EngineGuest, done } from './engine-guest.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import { kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';

const skip = whyNoKvm() ?? false;
/** Leaves that kvm-pvm answers by itself, since programs of its guests run CPUID without an exit. */
const processors = existsSync('/sys/module/kvm_pvm') ? [1, 7, 0xd] : [];

const indexed = [4, 7, 0xb, 0xd, 0x8000_001d];
const questions = [0, 0x4000_0000, 0x8000_0000]
  .flatMap((first) => Array.from({ length: 0x28 }, (_, i) => first + i))
  .filter((leaf) => !processors.includes(leaf))
  .flatMap((leaf) => Array.from({ length: indexed.includes(leaf) ? 9 : 1 }, (_, subleaf) => [leaf, subleaf] as const));
/** Answers of this many questions fit into the guest's results. */
const Batch = 64;

function answers(engine: EngineUnderTest, cpu: CpuChoice): string[] {
  try {
    const guest = new EngineGuest({ ...engine, createVm: (config) => engine.createVm({ ...config, cpu }) });
    const lines: string[] = [];
    for (let first = 0; first < questions.length; first += Batch) {
      const batch = questions.slice(first, first + Batch);
      guest.start((a) => {
        batch.forEach(([leaf, subleaf], index) => {
          a.mov(eax, leaf).mov(ecx, subleaf).cpuid();
          [eax, ebx, ecx, edx].forEach((register, i) => a.mov(at(At.Results + index * 16 + i * 4), register));
        });
        done(a);
      });
      guest.run();
      batch.forEach(([leaf, subleaf], index) => {
        const [low, high] = [guest.result(index * 2), guest.result(index * 2 + 1)];
        lines.push(`${leaf.toString(16)}.${subleaf.toString(16)}: ${high.toString(16)} ${low.toString(16)}`);
      });
    }
    return lines;
  } finally {
    engine.close?.();
  }
}

function wasmUnderTest(): EngineUnderTest {
  const clock = new ManualClock();
  const engine = new WasmEngine();
  return { clock, createVm: (config) => engine.createVm({ ...config, clock }), advance: (ns) => clock.advance(ns) };
}

for (const text of ['x86-64-v2', 'x86-64-v2,-aes,-invtsc,-autoibrs,-sse4.2', 'x86-64-v3', 'x86-64-v3,-avx2,-rdseed']) {
  test(`CPUID of ${text} is the same on wasm and kvm`, { skip }, () => {
    const cpu = parseCpuChoice(text);
    assert.deepEqual(answers(kvmUnderTest({ unchecked: true }), cpu), answers(wasmUnderTest(), cpu));
  });
}

test('what this host offers of x86-64-v2 is the same on wasm and kvm', { skip }, () => {
  const system = KvmSystem.open();
  const cpu = offeredChoice(system, 'x86-64-v2');
  system.close();
  assert.deepEqual(answers(kvmUnderTest({}), cpu), answers(wasmUnderTest(), cpu));
});

test('wasm: an instruction of a feature that is left out is an invalid opcode', () => {
  const popcnt = [0xf3, 0x0f, 0xb8, 0xc0];
  const firstEvent = (text: string): string | undefined => {
    const engine = wasmUnderTest();
    const cpu = parseCpuChoice(text);
    const guest = new EngineGuest({ ...engine, createVm: (config) => engine.createVm({ ...config, cpu }) });
    guest.start((a) => done(a.db(...popcnt)));
    return guest.run({ after: () => guest.giveUp() }).log[0];
  };
  assert.equal(firstEvent('x86-64-v2'), undefined);
  assert.equal(firstEvent('x86-64-v2,-popcnt'), 'event 6');
});

test('wasm: other models are refused, with what to do', () => {
  assert.throws(
    () => wasmUnderTest().createVm({ memorySize: 1 << 20, vcpus: 1, cpu: { model: 'host', without: [] } }),
    {
      code: 'InvalidArgument',
      message: 'the wasm engine has no CPU model host: pass --cpu x86-64-v2 or x86-64-v3, or choose --engine kvm',
    },
  );
});
