/** CPU models on this host's /dev/kvm: what a guest's CPUID answers, leaf by leaf. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { CpuidResult } from '@lodger/vmm/x86/cpu-features.js';
import { Leaf, placeOf } from '@lodger/vmm/x86/cpu-features.js';
import type { PortableModelName } from '@lodger/vmm/x86/cpu-models.js';
import { PortableModels, parseCpuChoice, reducedModel } from '@lodger/vmm/x86/cpu-models.js';
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import { cpuid } from '@lodger/vmm/x86/cpuid.js';
import { ClockFeatures, kvmCpuid } from '@lodger/vmm/x86/kvm-interface.js';
import { findEntry, isAmd, supportedCpuid, vcpuCpuid } from './cpuid.ts';
import { msrIndexList, readMsrs, savedMsrs, writeMsrs } from './msrs.ts';
import type { KvmCpuOptions } from './options.ts';
import { portableCpuid } from './portable-model.ts';
import { CpuidGuest, type Question, kvmUnusable } from './testing/cpuid-guest.ts';
import { tscKhz } from './tsc.ts';

const skip = kvmUnusable() ?? false;

function withGuest(vcpus: number, options: KvmCpuOptions, body: (guest: CpuidGuest) => void): void {
  const guest = new CpuidGuest(vcpus, options);
  try {
    body(guest);
  } finally {
    guest.close();
  }
}

/** Every leaf of the ranges that a model has, and some past their ends; subleaves where a guest would look for them. */
const questions: Question[] = [0, 0x4000_0000, 0x8000_0000].flatMap((first) =>
  Array.from({ length: 0x30 }, (_, i) => first + i).flatMap((leaf): Question[] => {
    const indexed: number[] = [
      Leaf.CacheParameters,
      Leaf.Structured,
      Leaf.Topology,
      Leaf.ExtendedState,
      Leaf.TopologyV2,
    ];
    const many = indexed.includes(leaf) || leaf === Leaf.CacheProperties;
    return Array.from({ length: many ? 64 : 2 }, (_, subleaf) => [leaf, subleaf]);
  }),
);

/**
 * Leaves that this host's KVM answers as its processor does, whatever it was told: kvm-pvm, whose guests' programs run CPUID
 * without an exit, adds the processor's own features. Empty on hardware virtualization.
 */
const beyondControl: readonly number[] = existsSync('/sys/module/kvm_pvm') ? [1, 7, 0xd] : [];
const controlled = questions.filter(([leaf]) => !beyondControl.includes(leaf));

/** What KVM was told to answer, by its own rules for leaves that are not listed. */
function told(entries: readonly CpuidEntry[], [leaf, subleaf]: Question): CpuidResult {
  const { eax = 0, ebx = 0, ecx = 0, edx = 0 } = findEntry(entries, leaf, subleaf) ?? {};
  const level = leaf === Leaf.Topology && subleaf > 1 ? findEntry(entries, leaf, 1) : undefined;
  return level ? { eax, ebx, ecx: subleaf, edx: level.edx } : { eax, ebx, ecx, edx };
}

const show = ([leaf, subleaf]: Question, { eax, ebx, ecx, edx }: CpuidResult): string =>
  [leaf, subleaf, eax, ebx, ecx, edx].map((value) => value.toString(16)).join(' ');

for (const name of Object.keys(PortableModels) as PortableModelName[]) {
  for (const vcpus of [1, 3]) {
    test(`${name} with ${vcpus} vCPUs is the wasm engine's, leaf for leaf`, { skip }, (t) => {
      if (beyondControl.length > 0)
        t.diagnostic(`KVM answers leaves ${beyondControl.join(', ')} by itself on this host`);
      // A host's KVM need not have all of the model for its CPUID to show it
      withGuest(vcpus, { cpu: { model: name, without: [] }, unchecked: true }, (guest) => {
        for (let apicId = 0; apicId < vcpus; apicId++) {
          const context = { apicId, vcpus, osxsave: false, apicEnabled: true, xcr0: 1n };
          const expected = (question: Question): string => {
            const [leaf, subleaf] = question;
            const hypervisor = kvmCpuid(leaf, ClockFeatures);
            return show(question, hypervisor ?? cpuid(PortableModels[name], leaf, subleaf, context));
          };
          const executed = guest.ask(apicId, controlled).map((answer, i) => show(controlled[i]!, answer));
          assert.deepEqual(executed, controlled.map(expected));
          const entries = portableCpuid(PortableModels[name], { apicId, vcpus }, supportedCpuid(guest.system.fd));
          assert.deepEqual(
            questions.map((question) => show(question, told(entries, question))),
            questions.map(expected),
          );
        }
      });
    });
  }
}

test('a model as this host can give it is the wasm engine’s without what the host lacks', { skip }, (t) => {
  const options = { cpu: parseCpuChoice('x86-64-v2') };
  let guest: CpuidGuest;
  try {
    guest = new CpuidGuest(1, options);
  } catch (error) {
    t.skip((error as Error).message);
    return;
  }
  try {
    const { choice } = guest.cpus;
    t.diagnostic(`without: ${choice.without.join(' ')}`);
    const model = reducedModel(PortableModels['x86-64-v2'], choice.without);
    const context = { apicId: 0, vcpus: 1, osxsave: false, apicEnabled: true, xcr0: 1n };
    const asked = controlled.filter(([leaf]) => leaf < Leaf.Hypervisor || leaf >= Leaf.Extended);
    assert.deepEqual(
      guest.ask(0, asked).map((answer, i) => show(asked[i]!, answer)),
      asked.map((question) => show(question, cpuid(model, question[0], question[1], context))),
    );
  } finally {
    guest.close();
  }
});

test('host: every feature is one that KVM supports, and the topology is the machine’s', { skip }, () => {
  withGuest(3, {}, (guest) => {
    const supported = supportedCpuid(guest.system.fd);
    for (let id = 0; id < 3; id++) {
      const ask = (leaf: number, subleaf = 0): CpuidResult => guest.ask(id, [[leaf, subleaf]])[0]!;
      const version = ask(Leaf.Version);
      assert.equal(version.ebx >>> 16, (id << 8) | 3, 'APIC ID and processors');
      assert.ok((version.edx >>> 28) & 1, 'HTT');
      for (const name of ['hypervisor', 'x2apic', 'apic'] as const) {
        const { register, mask } = placeOf(name);
        assert.ok(version[register] & mask, name);
      }
      assert.equal((version.ecx >>> 27) & 1, 0, 'OSXSAVE follows CR4');
      assert.deepEqual(ask(Leaf.Topology, 0), { eax: 0, ebx: 1, ecx: 0x100, edx: id });
      assert.deepEqual(ask(Leaf.Topology, 1), { eax: 2, ebx: 3, ecx: 0x201, edx: id });
      assert.deepEqual(ask(Leaf.Topology, 2), { eax: 0, ebx: 0, ecx: 2, edx: id });
      if (isAmd(supported)) {
        assert.equal(ask(Leaf.Addresses).ecx, (2 << 12) | 2);
        assert.equal(ask(Leaf.ExtendedTopology).eax, id);
        const third = ask(Leaf.CacheProperties, 3);
        assert.equal(((third.eax >>> 14) & 0xfff) + 1, third.eax === 0 ? 1 : 4, 'processors that share the L3 cache');
      }
      const words: number[] = [Leaf.Structured, Leaf.ExtendedVersion, Leaf.Extended2];
      for (const leaf of words.filter((leaf) => !beyondControl.includes(leaf))) {
        const offered = findEntry(supported, leaf) ?? { eax: 0, ebx: 0, ecx: 0, edx: 0 };
        const shown = ask(leaf);
        const emulated = leaf === Leaf.Structured ? 1 << 1 : leaf === Leaf.ExtendedVersion ? 1 << 1 : 0;
        assert.equal(shown.ebx & ~offered.ebx & ~emulated, 0, `leaf ${leaf.toString(16)} EBX`);
        assert.equal(shown.ecx & ~offered.ecx & ~emulated, 0, `leaf ${leaf.toString(16)} ECX`);
        assert.equal(shown.edx & ~offered.edx, 0, `leaf ${leaf.toString(16)} EDX`);
      }
    }
  });
});

test('host: the hypervisor’s leaves have what KVM offers, and the hint only when asked for', { skip }, () => {
  withGuest(1, {}, (guest) => {
    const offered = findEntry(supportedCpuid(guest.system.fd), Leaf.HypervisorFeatures)!;
    const [signature, features] = guest.ask(0, [
      [Leaf.Hypervisor, 0],
      [Leaf.HypervisorFeatures, 0],
    ]) as [CpuidResult, CpuidResult];
    assert.deepEqual([signature.ebx, signature.ecx, signature.edx], [0x4b4d564b, 0x564b4d56, 0x4d]);
    assert.equal(features.eax & ~0x0003_8000, offered.eax & ~0x0003_8000);
    assert.equal(features.eax & ClockFeatures, ClockFeatures);
    assert.equal(features.edx, 0);
    if (signature.eax === Leaf.HypervisorFrequency) {
      const [frequency] = guest.ask(0, [[Leaf.HypervisorFrequency, 0]]) as [CpuidResult];
      assert.deepEqual([frequency.eax, frequency.ebx], [tscKhz(guest.vcpus[0]!), 1_000_000]);
    }
  });
  withGuest(1, { realtimeHint: true }, (guest) => {
    assert.equal(guest.ask(0, [[Leaf.HypervisorFeatures, 0]])[0]!.edx, 1);
  });
});

test('features are taken away from host', { skip }, () => {
  const bits = (guest: CpuidGuest): number => guest.ask(0, [[1, 0]])[0]!.ecx;
  withGuest(1, { cpu: parseCpuChoice('host') }, (whole) => {
    withGuest(1, { cpu: parseCpuChoice('host,-cx16,-x2apic') }, (reduced) => {
      assert.equal(bits(whole) ^ bits(reduced), (1 << 13) | (1 << 21));
    });
  });
});

test('KVM keeps what it was given', { skip }, () => {
  withGuest(2, {}, (guest) => {
    const [first, second] = guest.vcpus.map(vcpuCpuid) as [ReturnType<typeof vcpuCpuid>, ReturnType<typeof vcpuCpuid>];
    const differing = first.filter((entry, i) => JSON.stringify(entry) !== JSON.stringify(second[i]));
    const own: number[] = [Leaf.Version, Leaf.Topology, Leaf.TopologyV2, Leaf.ExtendedTopology];
    assert.ok(differing.length >= 3);
    for (const { leaf } of differing) assert.ok(own.includes(leaf), leaf.toString(16));
  });
});

test('saved MSRs can be read and written back, deadlines last', { skip }, () => {
  for (const options of [{}, { cpu: parseCpuChoice('x86-64-v2'), unchecked: true }] satisfies KvmCpuOptions[]) {
    withGuest(1, options, (guest) => {
      const indices = savedMsrs(guest.system.fd);
      const listed = msrIndexList(guest.system.fd);
      assert.ok(indices.every((index) => listed.includes(index)) && new Set(indices).size === indices.length);
      for (const index of [0x10, 0x174, 0x277, 0xc000_0081, 0xc000_0102]) assert.ok(indices.includes(index));
      if (indices.includes(0x6e0)) assert.equal(indices.at(-1), 0x6e0);
      const values = readMsrs(guest.vcpus[0]!, indices);
      assert.ok(values.length > 10);
      assert.deepEqual(writeMsrs(guest.vcpus[0]!, values), []);
    });
  }
});
