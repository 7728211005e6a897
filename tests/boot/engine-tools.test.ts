/** What users look at the wasm engine with: statistics, profiles, listings of translated code. With kernels of a few bytes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { buildElf, LinuxNote } from '@lodger/vmm/boot/testing/kernel-builder.js';
import { ensureGuestImage } from '#lodger/images/index.js';
import { readKernelSymbols } from '#lodger/vm/guest-symbols.js';
import { VirtualMachine } from 'lodger';
import { Assembler, al, eax, ecx, rax, rbx } from '../guest/assembler.ts';
import { debugExit, print, repeat, spin, store, writeSmallKernel } from './small-kernel.ts';
import { lodgerCommand, noLinux, scratchFolder, startLodger } from './support.ts';

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

const Physical = 0x100_0000;
const HotLoop = 0x40;

/** A 64-bit kernel with symbols: `start` runs `hot_loop` so often, and ends the machine with code 11. */
function symbolKernel(name: string, rounds: number): string {
  const a = new Assembler({ origin: Physical, bits: 64 });
  a.mov(ecx, rounds)
    .jmp('hot')
    .org(Physical + HotLoop);
  a.label('hot').add(rax, rbx).dec(ecx).jcc('nz', 'hot').mov(eax, 5).out(0xf4, al);
  const path = join(folder, name);
  const symbols = [
    { name: 'start', address: BigInt(Physical), size: HotLoop },
    { name: 'hot_loop', address: BigInt(Physical + HotLoop) },
  ];
  const segments = [{ physical: Physical, bytes: a.finish() }];
  writeFileSync(path, buildElf({ entry: BigInt(Physical), segments, notes: [LinuxNote], symbols }));
  return path;
}

const hot = symbolKernel('hot', 400_000_000);
const cold = symbolKernel('cold', 1000);
const endless = join(folder, 'endless');
writeSmallKernel(endless, spin);

test("a distribution's kernel has names, though it is stripped", { skip: noLinux }, async () => {
  const { kernel } = await ensureGuestImage();
  const symbols = await readKernelSymbols(kernel);
  for (const name of ['start_kernel', 'schedule', 'memset', 'entry_SYSCALL_64', 'do_syscall_64']) {
    const address = symbols!.addressOf(name);
    assert.ok(address !== undefined && address > 0xffff_ffff_8100_0000n, name);
    assert.equal(symbols!.find(address + 1n)!.offset, 1);
  }
  // Where it starts, before it turns to the addresses that it was linked for
  assert.equal(symbols!.find(BigInt(Physical))?.name, 'startup_64');
});

describe('--profile', () => {
  test('finds the hot symbol, in both tiers', async () => {
    const path = join(folder, 'profile.json');
    const lodger = startLodger('--engine', 'wasm', '--kernel', hot, '--profile', path);
    assert.equal(await lodger.ended, 11, lodger.stderr());
    assert.match(lodger.stderr(), /hottest: hot_loop \d+\.\d %/);
    interface Part {
      readonly name: string;
      readonly endValue: number;
      readonly samples: readonly (readonly number[])[];
      readonly weights: readonly number[];
    }
    const file = JSON.parse(readFileSync(path, 'utf8')) as {
      readonly shared: { readonly frames: readonly { readonly name: string }[] };
      readonly profiles: readonly Part[];
    };
    const hotLoop = file.shared.frames.findIndex(({ name }) => name === 'hot_loop');
    const part = (name: string): Part => file.profiles.find((one) => one.name === name)!;
    const inLoop = ({ samples, weights }: Part): number =>
      samples.reduce((sum, stack, i) => sum + (stack.at(-1) === hotLoop ? weights[i]! : 0), 0);
    const time = part('time');
    assert.ok(inLoop(time) > 0.9 * time.endValue, `${inLoop(time)} of ${time.endValue} ms`);
    const translated = part('translated: instructions');
    assert.ok(inLoop(translated) > 0.5 * 3 * 400_000_000, `${inLoop(translated)} instructions`);
    assert.ok(part('interpreter: instructions').endValue > 0);
  });

  test("in Chrome's format; names of another file win over the kernel's", async () => {
    const path = join(folder, 'profile.cpuprofile');
    const program = join(folder, 'program');
    const bytes = new Uint8Array(0x1000);
    const symbols = [{ name: 'my_loop', address: 0x40_0000n + BigInt(HotLoop) }];
    writeFileSync(program, buildElf({ entry: 0n, segments: [{ physical: 0x40_0000, bytes }], symbols }));
    const at = `${program}@0x${Physical.toString(16)}`;
    const lodger = startLodger('--engine', 'wasm', '--kernel', hot, '--profile', path, '--symbols', at);
    assert.equal(await lodger.ended, 11, lodger.stderr());
    const { nodes } = JSON.parse(readFileSync(path, 'utf8')) as { nodes: { callFrame: { functionName: string } }[] };
    const names = nodes.map(({ callFrame }) => callFrame.functionName);
    assert.ok(names.includes('my_loop') && !names.includes('hot_loop'), names.join());
  });

  test('a file that cannot be written is told of before the guest runs, and what was there stays', async () => {
    const directory = join(folder, 'directory');
    mkdirSync(directory);
    for (const path of [join(folder, 'missing', 'profile.json'), join(loops, 'profile.json')]) {
      const lodger = startLodger('--engine', 'wasm', '--kernel', loops, '--profile', path);
      assert.equal(await lodger.ended, 73, lodger.stderr());
      assert.equal(lodger.stdout(), '');
      assert.match(lodger.stderr(), /^lodger: cannot write the profile .*profile\.json: [^\n]+\n$/);
    }
    const kept = join(folder, 'kept.json');
    writeFileSync(kept, 'before');
    assert.equal(await startLodger('--engine', 'wasm', '--kernel', 'missing', '--profile', kept).ended, 64);
    assert.equal(readFileSync(kept, 'utf8'), 'before');
    assert.ok(!existsSync(`${kept}.part`));
  });

  test('a file without symbols is told of', async () => {
    for (const [path, message] of [
      [join(folder, 'nowhere'), /no symbols can be read from .*nowhere: there is no such file/],
      [loops, /no symbols can be read from .*loops/],
    ] as const) {
      const args = ['--engine', 'wasm', '--kernel', loops, '--profile', join(folder, 'unused.json'), '--symbols', path];
      const lodger = startLodger(...args);
      assert.equal(await lodger.ended, 2);
      assert.match(lodger.stderr(), message);
    }
  });
});

describe('lodger jit dump', () => {
  function jitDump(...args: string[]) {
    const command = [lodgerCommand, 'jit', 'dump', ...args];
    return spawnSync(process.execPath, command, { encoding: 'utf8', input: '' });
  }

  test('prints the region at a symbol, guest code beside WebAssembly', () => {
    const { status, stdout, stderr } = jitDump('--kernel', hot, 'hot_loop');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^;; region at 0x1000040 <hot_loop>, CPL 0 to 2: \d+ instructions in \d+ blocks/);
    assert.match(stdout, /^;; 0x1000040 <hot_loop>: add rax, rbx\n +\(local\.set/m);
    assert.match(stdout, /^;; 0x1000043 <hot_loop\+0x3>: dec ecx$/m);
  });

  test('and at an address inside', () => {
    const { status, stdout } = jitDump('--kernel', hot, `0x${(Physical + HotLoop + 3).toString(16)}`);
    assert.equal(status, 0);
    assert.match(stdout, /<hot_loop\+0x3>: dec ecx$/m);
  });

  for (const { what, args, status, message } of [
    {
      what: 'a symbol that there is not',
      args: ['--kernel', hot, 'lukewarm'],
      status: 2,
      message: /the symbol "lukewarm"/,
    },
    {
      what: 'a kernel without symbols',
      args: ['--kernel', loops, 'main'],
      status: 2,
      message: /the kernel has no symbols/,
    },
    {
      what: 'code that is not hot',
      args: ['--kernel', cold, 'hot_loop'],
      status: 69,
      message: /machine ended .*before hot_loop/,
    },
    {
      what: 'code that is not reached in time',
      args: ['--kernel', endless, '--timeout', '0.5', '0x1234'],
      status: 69,
      message: /0x1234 was not translated in 0\.5 s.*--timeout/,
    },
  ]) {
    test(`${what} is one clear line and exit code ${status}`, () => {
      const result = jitDump(...args);
      assert.equal(result.status, status, result.stderr);
      assert.match(result.stderr, /^lodger: [^\n]+\n$/);
      assert.match(result.stderr, message);
      assert.equal(result.stdout, '');
    });
  }
});
