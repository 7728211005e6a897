/** Portable models on hosts that lack parts of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { type CpuFeatureName, ClaimNames, CpuFeatureNames, placeOf } from '@lodger/vmm/x86/cpu-features.js';
import { PortableModels } from '@lodger/vmm/x86/cpu-models.js';
import type { CpuidEntry, CpuidResult } from '@lodger/vmm/x86/cpuid.js';
import { type KvmOffer, missingFeatures, shownModel } from './portable-model.ts';

/** A KVM that offers all features but some. */
function offerWithout(...names: CpuFeatureName[]): KvmOffer {
  const supported: CpuidEntry[] = [];
  for (const name of CpuFeatureNames.filter((feature) => !names.includes(feature))) {
    const { leaf, subleaf, register, mask } = placeOf(name);
    const old = supported.find((entry) => entry.leaf === leaf && entry.subleaf === subleaf);
    const entry: CpuidEntry = old ?? { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    if (!old) supported.push(entry);
    (entry as { -readonly [K in keyof CpuidResult]: number })[register] |= mask;
  }
  return { supported, tscDeadline: true, tscFixed: true };
}

const v2 = { model: 'x86-64-v2', without: [] } as const;
const v3 = { model: 'x86-64-v3', without: [] } as const;

test('a host with everything gives the whole model', () => {
  for (const choice of [v2, v3]) {
    const shown = shownModel(choice, offerWithout());
    assert.deepEqual(shown.choice, choice);
    assert.deepEqual(shown.model.features, PortableModels[choice.model].features);
  }
});

test('what KVM emulates need not be listed', () => {
  const unlisted = ['hypervisor', 'topoext', 'x2apic', 'tsc_adjust', 'arat', 'mmxext', 'tsc_deadline_timer'] as const;
  assert.deepEqual(shownModel(v2, offerWithout(...unlisted)).choice, v2);
  const old = { ...offerWithout('tsc_deadline_timer'), tscDeadline: false };
  assert.deepEqual(missingFeatures(PortableModels['x86-64-v2'], old), ['tsc_deadline_timer']);
});

test('claims that the host does not make are not shown, and are part of what to ask another host for', () => {
  const shown = shownModel({ ...v3, without: ['aes'] }, offerWithout('autoibrs', 'srso_no', 'fsrm'));
  assert.deepEqual(shown.choice, { model: 'x86-64-v3', without: ['aes', 'fsrm', 'autoibrs', 'srso_no'] });
  for (const name of shown.choice.without) assert.ok(!shown.model.features.has(name), name);
  // The same question there has the same answer on a host with everything
  assert.deepEqual(shownModel(shown.choice, offerWithout()).model, shown.model);
  assert.ok(shownModel(v2, offerWithout(...ClaimNames)).model.features.has('aes'));
});

test('an invariant TSC is shown only with a frequency that was asked for', () => {
  assert.deepEqual(shownModel(v2, { ...offerWithout(), tscFixed: false }).choice.without, ['invtsc']);
});

test('a model that the host cannot give is refused, with what is missing and what to use', () => {
  const cases = [
    [v3, offerWithout('avx2', 'fma'), 'the CPU model x86-64-v3 needs fma avx2, which this host\'s KVM does not offer: use --cpu x86-64-v2'],
    [v3, offerWithout('avx2', 'sse4.2'), 'the CPU model x86-64-v3 needs sse4.2 avx2, which this host\'s KVM does not offer: use --cpu host'],
    [v2, offerWithout('smep', 'rdseed'), 'the CPU model x86-64-v2 needs smep rdseed, which this host\'s KVM does not offer: use --cpu x86-64-v2,-smep,-rdseed, or --cpu host'],
  ] as const; // prettier-ignore
  for (const [choice, offer, message] of cases) {
    assert.throws(
      () => shownModel(choice, offer),
      (error) => error instanceof HostError && error.code === 'InvalidArgument' && error.message === message,
    );
  }
  // Who can do without says so
  assert.ok(!shownModel({ ...v2, without: ['smep'] }, offerWithout('smep')).model.features.has('smep'));
});
