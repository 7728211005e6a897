import assert from 'node:assert/strict';
import { test } from 'node:test';
import { statisticsText } from './statistics-text.ts';

const wasm = {
  engine: 'wasm',
  exits: { 'pio-write': 1200, halt: 3 },
  instructions: 2_000_000,
  translatedInstructions: 1_500_000,
  regionEntries: 12_345,
  droppedBlocks: 7,
  flushes: 0,
  forms: 321,
  tlbMisses: 4567,
} as const;

test('the wasm engine, by tier', () => {
  const translator = {
    regions: 40,
    instructions: 3000,
    modules: 9,
    moduleBytes: 2 * 1024 * 1024,
    compileTime: 1234,
    left: 2,
    dropped: 5,
    evictions: 1,
  };
  const text = statisticsText({ ...wasm, translator }).join('\n');
  assert.match(text, /^interpreter: 500,000 instructions \(25\.0 %\)$/m);
  assert.match(text, /^translated: 1,500,000 instructions \(75\.0 %\) in 12,345 calls$/m);
  assert.match(text, /40 regions of 3,000 instructions, 9 modules of 2,048 KiB, 1\.23 s/);
  assert.match(text, /5 regions whose code was written; all of them 1 times/);
  assert.match(text, /^TLB misses: 4,567$/m);
  assert.match(text, /^exits to devices: pio-write 1,200, halt 3$/m);
});

test('without translator, and before anything ran', () => {
  const text = statisticsText({
    ...wasm,
    instructions: 0,
    translatedInstructions: 0,
    exits: {},
    translator: undefined,
  });
  assert.ok(text.includes('translator: off'));
  assert.ok(text.includes('interpreter: 0 instructions (0.0 %)'));
  assert.ok(text.includes('exits to devices: none'));
});

test('the kvm engine, by vCPU', () => {
  const halt = { exits: { halt: 2 } };
  assert.deepEqual(statisticsText({ engine: 'kvm', exits: { halt: 4 }, vcpus: [halt, halt] }), [
    'engine kvm',
    'exits to devices: halt 4',
    '  vcpu0: halt 2',
    '  vcpu1: halt 2',
  ]);
});
