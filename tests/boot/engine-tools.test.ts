/** What users look at the wasm engine with: statistics, the translator's switch. With kernels of a few bytes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualMachine } from 'lodger';
import { debugExit, print, repeat, store, writeSmallKernel } from './small-kernel.ts';
import { scratchFolder, startLodger } from './support.ts';

const folder = scratchFolder();
const Rounds = 1_000_000;
const loops = join(folder, 'loops');
// a write; then add eax, ebx, a million times
writeSmallKernel(loops, [...print('up'), ...store(0x9000, 1), ...repeat(Rounds, [0x01, 0xd8]), ...debugExit(5)]);

test('--statistics says at the end what the engine did', async () => {
  const lodger = startLodger('--engine', 'wasm', '--kernel', loops, '--statistics', '--translator', 'off');
  assert.equal(await lodger.ended, 11, lodger.stderr());
  assert.equal(lodger.stdout(), 'up');
  assert.match(lodger.stderr(), /^lodger: engine wasm: 3,000,0\d\d instructions$/m);
  assert.match(lodger.stderr(), /^lodger: interpreter: 3,000,0\d\d instructions \(100\.0 %\)$/m);
  assert.match(lodger.stderr(), /^lodger: translator: off$/m);
  assert.match(lodger.stderr(), /^lodger: exits to devices: .*pio-write 3\b/m);
});

test('statistics of a machine without its translator have none of it', async () => {
  for (const translator of [true, false]) {
    await using vm = await VirtualMachine.create({ engine: 'wasm', kernel: loops, translator });
    await vm.start();
    await vm.exited;
    const statistics = await vm.statistics();
    assert.ok(statistics?.engine === 'wasm');
    assert.equal(statistics.translator !== undefined, translator);
    assert.ok(statistics.instructions > 3 * Rounds);
    assert.equal(statistics.tlbMisses, 1);
    assert.equal(statistics.exits['pio-write'], 3);
  }
});
