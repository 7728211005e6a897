import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../errors/host-error.ts';
import { ClaimNames, CpuFeatureNames, isBaseline, placeOf } from './cpu-features.ts';
import { PortableModels, formatCpuChoice, parseCpuChoice, requireSameProcessor } from './cpu-models.ts';

test('features have names and bits of their own', () => {
  assert.equal(new Set(CpuFeatureNames).size, CpuFeatureNames.length);
  const places = CpuFeatureNames.map((name) => Object.values(placeOf(name)).join(' '));
  assert.equal(new Set(places).size, places.length);
  assert.deepEqual(ClaimNames.filter(isBaseline), []);
});

test('the levels of the psABI are in the models', () => {
  const v2 = ['cx16', 'lahf_lm', 'popcnt', 'sse3', 'sse4.1', 'sse4.2', 'ssse3'] as const;
  const v3 = [...v2, 'avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'lzcnt', 'movbe', 'xsave'] as const;
  for (const name of v2) assert.ok(PortableModels['x86-64-v2'].features.has(name), name);
  for (const name of v3) assert.ok(PortableModels['x86-64-v3'].features.has(name), name);
  for (const name of CpuFeatureNames.filter(isBaseline))
    assert.ok(PortableModels['x86-64-v2'].features.has(name), name);
});

test('a choice is parsed and written back', () => {
  assert.deepEqual(parseCpuChoice('host'), { model: 'host', without: [] });
  for (const text of ['x86-64-v2', 'x86-64-v3,-avx2,-invtsc', 'host,-sse4.2']) {
    assert.equal(formatCpuChoice(parseCpuChoice(text)), text);
  }
});

test('what is wrong with a choice is said with what to do', () => {
  const cases: [text: string, message: RegExp][] = [
    ['', /^the CPU model is one of host, x86-64-v2, x86-64-v3$/],
    ['skylake', /one of host, x86-64-v2, x86-64-v3, not "skylake"/],
    ['x86-64-v2,avx', /write "-avx" to take avx away/],
    ['x86-64-v2,+avx', /write for example "x86-64-v2,-aes"/],
    ['x86-64-v2,-avx512', /no CPU feature "avx512": take away one of .*aes/],
    ['x86-64-v2,-lm', /every x86-64 guest needs lm: leave "-lm" out/],
  ];
  for (const [text, message] of cases) {
    assert.throws(
      () => parseCpuChoice(text),
      (error) => error instanceof HostError && error.code === 'InvalidArgument' && message.test(error.message),
      text,
    );
  }
});

test('a saved guest goes on with the processor that it was shown only', () => {
  const check = (saved: string, given: string) => requireSameProcessor(parseCpuChoice(saved), parseCpuChoice(given));
  check('host', 'host');
  check('x86-64-v2,-invtsc,-aes', 'x86-64-v2,-aes,-invtsc');
  // What is nothing without another feature need not be named
  check('x86-64-v2,-sse4.1,-sse4.2', 'x86-64-v2,-sse4.1');
  const cases: [saved: string, given: string, message: RegExp][] = [
    [
      'x86-64-v2',
      'x86-64-v2,-autoibrs',
      /cannot give it autoibrs: .*start it with --cpu x86-64-v2,-autoibrs to be able/,
    ],
    ['x86-64-v2,-autoibrs', 'x86-64-v2', /this machine has x86-64-v2: give it --cpu x86-64-v2,-autoibrs$/],
    ['host', 'x86-64-v2', /processor host, and this machine has x86-64-v2: give it --cpu host$/],
  ];
  for (const [saved, given, message] of cases) {
    assert.throws(() => check(saved, given), { code: 'InvalidArgument', message });
  }
});
