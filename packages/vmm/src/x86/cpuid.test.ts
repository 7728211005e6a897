import assert from 'node:assert/strict';
import { test } from 'node:test';
import { semantics } from '../engine/wasm/semantics-table.ts';
import type { CpuFeatureName } from './cpu-features.ts';
import { PortableModels, reducedModel } from './cpu-models.ts';
import { type CpuidContext, cpuidTable, cpuid as cpuidOf } from './cpuid.ts';
import { CpuFeatures } from './instructions/table/notation.ts';
import { allRows } from './instructions/table/rows.ts';
import { EferWritable, constantMsrs, readConstantMsr, writeConstantMsr } from './msr.ts';

const context: CpuidContext = { apicId: 2, vcpus: 3, osxsave: false, apicEnabled: true, xcr0: 1n };
const v2 = PortableModels['x86-64-v2'];
const v3 = PortableModels['x86-64-v3'];
const cpuid = (leaf: number, subleaf: number, context: CpuidContext) => cpuidOf(v2, leaf, subleaf, context);
const hasFeature = (name: string): boolean => v2.features.has(name as CpuFeatureName);

const text = (...words: number[]): string => String.fromCharCode(...new Uint8Array(new Uint32Array(words).buffer));

test('vendor, brand and highest leaves', () => {
  const basic = cpuid(0, 0, context);
  assert.equal(text(basic.ebx, basic.edx, basic.ecx), 'AuthenticAMD');
  assert.equal(basic.eax, 0xd);
  assert.equal(cpuid(0x80000000, 0, context).eax, 0x80000021);
  const brand = [2, 3, 4].map((n) => cpuid(0x80000000 + n, 0, context));
  const name = text(...brand.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx]));
  assert.equal(name.replaceAll('\0', ''), 'Lodger-v2 virtual processor');
  assert.equal(name.length, 48);
});

test('the leaves of the model are what they were: a change needs a new model name', () => {
  const one = { ...context, apicId: 0, vcpus: 1 };
  const leaves = [[1], [6], [7, 0], [7, 1], [0xd, 0], [0xd, 1], [0x80000001], [0x80000007], [0x80000008], [0x80000021]];
  const shown = leaves.map(([leaf, subleaf = 0]) => {
    const { eax, ebx, ecx, edx } = cpuid(leaf!, subleaf, one);
    return [leaf!, eax, ebx, ecx, edx].map((value) => value.toString(16)).join(' ');
  });
  assert.deepEqual(shown, [
    '1 a10f11 10800 c7f82203 78bab7d',
    '6 4 0 0 0',
    '7 1 84038b 4 10',
    '7 c00 0 0 0',
    'd 3 240 240 0',
    'd 1 0 0 0',
    '80000001 a10f11 0 400121 2dd3ab7d',
    '80000007 0 0 0 100',
    '80000008 3030 24000004 0 0',
    '80000021 20000144 0 6 0',
  ]);
});

test('x86-64-v2 is there, and nothing that the model leaves out', () => {
  const { ecx, edx } = cpuid(1, 0, context);
  const extended = cpuid(0x80000001, 0, context);
  for (const bit of [0, 9, 13, 19, 20, 23]) assert.ok((ecx >>> bit) & 1, `leaf 1 ECX bit ${bit}`);
  for (const bit of [0, 8, 15, 23, 24, 25, 26]) assert.ok((edx >>> bit) & 1, `leaf 1 EDX bit ${bit}`);
  assert.ok(extended.ecx & 1, 'LAHF');
  // MONITOR, SMX/VMX, FMA, PCID, AVX, F16C; VME, MCE, MTRR, MCA
  for (const bit of [3, 5, 6, 12, 17, 28, 29]) assert.ok(!((ecx >>> bit) & 1), `leaf 1 ECX bit ${bit}`);
  for (const bit of [1, 7, 12, 14]) assert.ok(!((edx >>> bit) & 1), `leaf 1 EDX bit ${bit}`);
  assert.equal(cpuid(7, 0, context).ebx & ((1 << 5) | (1 << 20) | (1 << 10)), 0, 'AVX2, SMAP, INVPCID');
  assert.equal(extended.ecx & (1 << 2), 0, 'SVM');
});

test('every instruction of an advertised feature is implemented', () => {
  const advertised = CpuFeatures.filter(hasFeature);
  assert.ok(advertised.includes('sse4.2') && advertised.includes('fsgsbase'));
  for (const { feature, mnemonic, notation } of allRows) {
    if (feature === undefined || hasFeature(feature)) {
      assert.ok(semantics.has(mnemonic) || mnemonic === 'PREFETCH', `${notation} has no semantic`);
    }
  }
});

test('CR4.OSXSAVE and a disabled local APIC show in leaf 1', () => {
  assert.equal((cpuid(1, 0, { ...context, osxsave: true }).ecx >>> 27) & 1, 1);
  assert.equal((cpuid(1, 0, context).ecx >>> 27) & 1, 0);
  assert.equal((cpuid(1, 0, { ...context, apicEnabled: false }).edx >>> 9) & 1, 0);
  assert.equal((cpuid(0x80000001, 0, { ...context, apicEnabled: false }).edx >>> 9) & 1, 0);
});

test('topology leaves agree: three cores of one thread in one package', () => {
  assert.deepEqual(cpuid(0xb, 0, context), { eax: 0, ebx: 1, ecx: 0x100, edx: 2 });
  assert.deepEqual(cpuid(0xb, 1, context), { eax: 2, ebx: 3, ecx: 0x201, edx: 2 });
  assert.deepEqual(cpuid(0xb, 2, context), { eax: 0, ebx: 0, ecx: 2, edx: 2 });
  assert.equal(cpuid(0x80000008, 0, context).ecx, (2 << 12) | 2);
  assert.equal(cpuid(1, 0, context).ebx >>> 16, (2 << 8) | 3);
  assert.equal(cpuid(0x8000001e, 0, context).eax, 2);
  const third = cpuid(0x8000001d, 3, context);
  assert.equal(((third.eax >>> 14) & 0xfff) + 1, 4);
  assert.equal((third.ecx + 1) * ((third.ebx >>> 22) + 1) * 64, 16 << 20);
  assert.equal(cpuid(0x8000001d, 4, context).eax, 0);
  assert.deepEqual(cpuid(0xb, 1, { ...context, vcpus: 1, apicId: 0 }), { eax: 0, ebx: 1, ecx: 0x201, edx: 0 });
});

test('reserved leaves read as zero', () => {
  for (const leaf of [2, 5, 0xe, 0x40000000, 0x80000022, 0xffffffff]) {
    assert.deepEqual(cpuid(leaf, 0, context), { eax: 0, ebx: 0, ecx: 0, edx: 0 }, leaf.toString(16));
  }
});

test('x86-64-v3 is x86-64-v2 with AVX, AVX2, FMA and F16C, and the state that goes with them', () => {
  const one = { ...context, apicId: 0, vcpus: 1 };
  const differing = cpuidTable(v3, one).filter(({ leaf, subleaf, ...registers }) => {
    const { eax, ebx, ecx, edx } = registers;
    return JSON.stringify(cpuidOf(v2, leaf, subleaf ?? 0, one)) !== JSON.stringify({ eax, ebx, ecx, edx });
  });
  const brandLeaves = [0x80000002];
  assert.deepEqual(
    differing.map(({ leaf, subleaf }) => [leaf, subleaf]).filter(([leaf]) => !brandLeaves.includes(leaf!)),
    [
      [1, undefined],
      [7, 0],
      [0xd, 0],
      [0xd, 2],
    ],
  );
  const added = (leaf: number, register: 'ebx' | 'ecx'): number =>
    cpuidOf(v3, leaf, 0, one)[register] ^ cpuidOf(v2, leaf, 0, one)[register];
  assert.equal(added(1, 'ecx'), (1 << 12) | (1 << 28) | (1 << 29), 'FMA, AVX, F16C');
  assert.equal(added(7, 'ebx'), 1 << 5, 'AVX2');
  assert.deepEqual(cpuidOf(v3, 0xd, 0, one), { eax: 7, ebx: 576, ecx: 832, edx: 0 });
  assert.deepEqual(cpuidOf(v3, 0xd, 0, { ...one, xcr0: 7n }), { eax: 7, ebx: 832, ecx: 832, edx: 0 });
  assert.deepEqual(cpuidOf(v3, 0xd, 2, one), { eax: 256, ebx: 576, ecx: 0, edx: 0 });
});

test('a model without features, and what is nothing without them', () => {
  const reduced = reducedModel(v3, ['xsave', 'invtsc', 'sse4.1']);
  for (const name of ['xsave', 'xsaveopt', 'avx', 'avx2', 'fma', 'f16c', 'invtsc', 'sse4.1', 'sse4.2'] as const) {
    assert.ok(v3.features.has(name) && !reduced.features.has(name), name);
  }
  assert.equal(v3.features.size - reduced.features.size, 9);
  const shown = (leaf: number, subleaf = 0) => cpuidOf(reduced, leaf, subleaf, context);
  assert.equal(shown(1).ecx & ((1 << 26) | (1 << 28)), 0);
  assert.equal(shown(0x80000007).edx, 0);
  for (const subleaf of [0, 1, 2]) assert.deepEqual(shown(0xd, subleaf), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('the table has every leaf that is not zero', () => {
  for (const model of [v2, v3]) {
    const table = cpuidTable(model, context);
    const listed = (leaf: number, subleaf: number) =>
      table.some((entry) => entry.leaf === leaf && (entry.subleaf ?? subleaf) === subleaf);
    for (const first of [0, 0x40000000, 0x80000000]) {
      for (let leaf = first; leaf < first + 0x40; leaf++) {
        for (let subleaf = 0; subleaf < 70; subleaf++) {
          const { eax, ebx, ecx, edx } = cpuidOf(model, leaf, subleaf, context);
          const pastLastLevel = leaf === 0xb && ecx >>> 8 === 0;
          if ((eax | ebx | ecx | edx) === 0 || pastLastLevel) continue;
          assert.ok(listed(leaf, subleaf), `leaf ${leaf.toString(16)} subleaf ${subleaf}`);
        }
      }
    }
  }
});

test('constant MSRs: reads, ignored and refused writes', () => {
  assert.equal(readConstantMsr(0xc0010015), 1n << 24n);
  assert.equal(writeConstantMsr(0xc0010015, (1n << 24n) | 8n), true);
  assert.equal(writeConstantMsr(0xc0010015, 1n << 30n), false);
  assert.equal(writeConstantMsr(0xc0010010, 0n), false);
  assert.equal(readConstantMsr(0x179), undefined);
  assert.equal(writeConstantMsr(0x179, 0n), false);
  assert.equal(EferWritable, 0x200901n);
  const indices = constantMsrs.map(({ index }) => index);
  assert.deepEqual(
    indices,
    [...new Set(indices)].sort((a, b) => a - b),
  );
});
