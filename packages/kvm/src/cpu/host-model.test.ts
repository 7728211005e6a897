/** The model `host` on hosts that are not at hand: made from what their KVM would answer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CpuidResult } from '@lodger/vmm/x86/cpu-features.js';
import { Leaf, bitOf } from '@lodger/vmm/x86/cpu-features.js';
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import { findEntry } from './cpuid.ts';
import { type HostModelContext, hostCpuid } from './host-model.ts';

const entry = (leaf: number, registers: Partial<CpuidResult> = {}, subleaf?: number): CpuidEntry => {
  return { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
};

function word(text: string): number {
  return new DataView(new TextEncoder().encode(text).buffer).getUint32(0, true);
}
const intelVendor = { ebx: word('Genu'), edx: word('ineI'), ecx: word('ntel') };
const amdVendor = { ebx: word('Auth'), edx: word('enti'), ecx: word('cAMD') };

const all = 0xffff_ffff;
/** x87, SSE, AVX, AVX-512 and protection keys. */
const components: readonly [component: number, size: number, offset: number][] = [
  [2, 256, 576],
  [5, 64, 1088],
  [6, 512, 1152],
  [7, 1024, 1664],
  [9, 8, 2688],
];

/** Everything supported: what is hidden shows. */
const common = [
  entry(Leaf.Version, { eax: 0x50657, ebx: 0x0c20_0800, ecx: all, edx: all }),
  entry(Leaf.Structured, { eax: 1, ebx: all, ecx: all, edx: all }, 0),
  entry(Leaf.Structured, { eax: all }, 1),
  entry(Leaf.Topology, { edx: 12 }, 0),
  entry(Leaf.ExtendedState, { eax: 0x2e7, ebx: 2696, ecx: 2696 }, 0),
  entry(Leaf.ExtendedState, { eax: 0xf }, 1),
  ...components.map(([component, size, offset]) => entry(Leaf.ExtendedState, { eax: size, ebx: offset }, component)),
  entry(Leaf.Sgx, { eax: all }, 0),
  entry(Leaf.IntelPt, { eax: all }, 0),
  entry(Leaf.HypervisorFeatures, { eax: all }),
  entry(Leaf.ExtendedVersion, { ecx: all, edx: all }),
  entry(Leaf.Advanced, { edx: bitOf('invtsc') }),
  entry(Leaf.Addresses, { eax: 0x3030, ecx: 0x7001 }),
];

const intel = [
  entry(Leaf.Basic, { eax: 0x1f, ...intelVendor }),
  ...common,
  // 32 KiB data, 32 KiB instructions, 1 MiB: of 2 threads; 22 MiB of 32 threads
  entry(Leaf.CacheParameters, { eax: 0x1c00_4121, ebx: 0x01c0_003f, ecx: 63 }, 0),
  entry(Leaf.CacheParameters, { eax: 0x1c00_4122, ebx: 0x01c0_003f, ecx: 63 }, 1),
  entry(Leaf.CacheParameters, { eax: 0x1c00_4143, ebx: 0x03c0_003f, ecx: 1023 }, 2),
  entry(Leaf.CacheParameters, { eax: 0x1c07_c163, ebx: 0x0280_003f, ecx: 32767 }, 3),
  entry(Leaf.CacheParameters, {}, 4),
  entry(Leaf.TscFrequency),
  entry(Leaf.ProcessorFrequency),
  entry(Leaf.TopologyV2, { edx: 12 }, 0),
  entry(Leaf.Extended, { eax: 0x8000_0008 }),
];

const amd = [
  entry(Leaf.Basic, { eax: 0x10, ...amdVendor }),
  ...common,
  entry(Leaf.Svm, { eax: 1, ebx: 8 }),
  ...[0x121, 0x122, 0x143].map((eax, i) => entry(Leaf.CacheProperties, { eax: eax | (1 << 14), ebx: 63 }, i)),
  entry(Leaf.CacheProperties, { eax: 0x163 | (15 << 14), ebx: 63 }, 3),
  entry(Leaf.CacheProperties, {}, 4),
  entry(Leaf.ExtendedTopology),
  entry(Leaf.Encryption, { eax: all }),
  entry(Leaf.Extended, { eax: 0x8000_0021 }),
];

const context: HostModelContext = {
  apicId: 5,
  vcpus: 6,
  without: [],
  tscDeadline: true,
  tscKhz: 2_500_000,
  nested: false,
  haltsInGuest: false,
  mwait: false,
  realtimeHint: false,
};

const registers = (entries: readonly CpuidEntry[], leaf: number, subleaf = 0): CpuidResult | undefined => {
  const found = findEntry(entries, leaf, subleaf);
  return found && { eax: found.eax, ebx: found.ebx, ecx: found.ecx, edx: found.edx };
};

test('an Intel host: its topology and caches are the machine’s', () => {
  const shown = hostCpuid(intel, context);
  assert.equal(registers(shown, Leaf.Version)!.ebx, (5 << 24) | (6 << 16) | 0x800);
  for (const leaf of [Leaf.Topology, Leaf.TopologyV2]) {
    assert.deepEqual(registers(shown, leaf, 0), { eax: 0, ebx: 1, ecx: 0x100, edx: 5 });
    assert.deepEqual(registers(shown, leaf, 1), { eax: 3, ebx: 6, ecx: 0x201, edx: 5 });
  }
  // Sizes stay; 8 APIC IDs in the package, which the last level belongs to
  const caches = [0, 1, 2, 3, 4].map((subleaf) => registers(shown, Leaf.CacheParameters, subleaf)!.eax.toString(16));
  assert.deepEqual(caches, ['1c000121', '1c000122', '1c000143', '1c01c163', '0']);
  assert.equal(registers(shown, Leaf.CacheParameters, 3)!.ecx, 32767);
  assert.equal(registers(shown, Leaf.Addresses)!.ecx, 0);
  assert.equal(registers(shown, Leaf.CacheProperties), undefined);
});

test('an Intel host: frequencies are told', () => {
  const shown = hostCpuid(intel, context);
  const crystal = registers(shown, Leaf.TscFrequency)!;
  assert.equal((crystal.ecx * crystal.ebx) / crystal.eax, 2.5e9);
  assert.deepEqual(registers(shown, Leaf.ProcessorFrequency), { eax: 2500, ebx: 2500, ecx: 100, edx: 0 });
  assert.equal(registers(shown, Leaf.Hypervisor)!.eax, Leaf.HypervisorFrequency);
  assert.deepEqual(registers(shown, Leaf.HypervisorFrequency), { eax: 2_500_000, ebx: 1_000_000, ecx: 0, edx: 0 });
  const unknown = hostCpuid(intel, { ...context, tscKhz: undefined });
  assert.equal(registers(unknown, Leaf.Hypervisor)!.eax, Leaf.HypervisorFeatures);
  assert.equal(registers(unknown, Leaf.TscFrequency)!.ebx, 0);
});

test('an AMD host: its topology and caches are the machine’s', () => {
  const shown = hostCpuid(amd, context);
  assert.deepEqual(registers(shown, Leaf.ExtendedTopology), { eax: 5, ebx: 5, ecx: 0, edx: 0 });
  assert.equal(registers(shown, Leaf.Addresses)!.ecx, (3 << 12) | 5);
  const caches = [0, 1, 2, 3, 4].map((subleaf) => registers(shown, Leaf.CacheProperties, subleaf)!.eax);
  assert.deepEqual(caches, [0x121, 0x122, 0x143, 0x163 | (7 << 14), 0]);
  assert.equal(registers(shown, Leaf.TopologyV2), undefined);
  assert.ok(registers(shown, Leaf.ExtendedVersion)!.ecx & 2, 'CmpLegacy');
  assert.equal(registers(hostCpuid(amd, { ...context, vcpus: 1, apicId: 0 }), Leaf.ExtendedVersion)!.ecx & 2, 0);
});

test('what the VMM does not give is hidden', () => {
  for (const supported of [intel, amd]) {
    const shown = hostCpuid(supported, context);
    const version = registers(shown, Leaf.Version)!;
    const structured = registers(shown, Leaf.Structured)!;
    assert.equal(version.ecx >>> 0, (all & ~((1 << 5) | (1 << 27))) >>> 0, 'all but VMX and OSXSAVE');
    assert.equal(structured.ebx, (all & ~((1 << 2) | (1 << 25))) >>> 0, 'all but SGX and PT');
    assert.equal(structured.ecx, (all & ~((1 << 4) | (1 << 30))) >>> 0, 'all but OSPKE and SGX_LC');
    assert.equal(registers(shown, Leaf.ExtendedVersion)!.ecx & 4, 0, 'SVM');
    for (const leaf of [Leaf.Sgx, Leaf.IntelPt, Leaf.Svm, Leaf.Encryption])
      assert.equal(registers(shown, leaf), undefined);
  }
  assert.equal(registers(hostCpuid(amd, context), Leaf.Structured)!.edx >>> 29, 0b110, 'ARCH_CAPABILITIES');
  assert.equal(registers(hostCpuid(intel, context), Leaf.Structured)!.edx >>> 29, 0b111);
});

test('nested virtualization, MWAIT and the hint come when asked for', () => {
  const shown = hostCpuid(amd, { ...context, nested: true, mwait: true, realtimeHint: true });
  assert.ok(registers(shown, Leaf.ExtendedVersion)!.ecx & 4, 'SVM');
  assert.equal(registers(shown, Leaf.Svm)!.ebx, 8);
  assert.ok(registers(shown, Leaf.Version)!.ecx & 8, 'MONITOR');
  assert.equal(registers(shown, Leaf.HypervisorFeatures)!.edx, 1);
  assert.equal(registers(hostCpuid(amd, context), Leaf.HypervisorFeatures)!.edx, 0);
});

test('paravirtual features: all that KVM does by itself; nothing to kick where HLT does not exit', () => {
  const forUs = (1 << 15) | (1 << 16) | (1 << 17);
  assert.equal(registers(hostCpuid(amd, context), Leaf.HypervisorFeatures)!.eax, (all & ~forUs) >>> 0);
  const halting = hostCpuid(amd, { ...context, haltsInGuest: true });
  assert.equal(registers(halting, Leaf.HypervisorFeatures)!.eax, (all & ~(forUs | (1 << 7))) >>> 0);
});

test('without AVX, XCR0 has no vectors; without XSAVE there is no leaf 0xD', () => {
  const bits = (entries: readonly CpuidEntry[]) => registers(entries, Leaf.ExtendedState)?.eax;
  assert.equal(bits(hostCpuid(amd, context)), 0x2e7);
  const plain = hostCpuid(amd, { ...context, without: ['avx'] });
  assert.deepEqual(registers(plain, Leaf.ExtendedState), { eax: 0x203, ebx: 576, ecx: 2696, edx: 0 });
  assert.deepEqual(
    plain.filter(({ leaf }) => leaf === Leaf.ExtendedState).map(({ subleaf }) => subleaf),
    [0, 1, 9],
  );
  const gone = bitOf('avx') | bitOf('fma') | bitOf('f16c');
  assert.equal(registers(plain, Leaf.Version)!.ecx & gone, 0);
  assert.equal(registers(plain, Leaf.Structured)!.ebx & bitOf('avx2'), 0);
  assert.equal(bits(hostCpuid(amd, { ...context, without: ['xsave'] })), undefined);
});

test('every vCPU has an entry for a leaf once', () => {
  for (const supported of [intel, amd]) {
    const keys = hostCpuid(supported, context).map(({ leaf, subleaf }) => `${leaf} ${subleaf}`);
    assert.equal(new Set(keys).size, keys.length);
  }
});
