/** Port writes that the kvm engine does not stop for (engine/posted-writes.ts), on a whole machine. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualMachine } from '#lodger/index.js';
import { kvmMissing } from '../contract/kvm-host.ts';
import { hang, print, writeSmallKernel } from './small-kernel.ts';

const skip = kvmMissing();

async function machine(code: readonly number[]): Promise<VirtualMachine> {
  const directory = mkdtempSync(join(tmpdir(), 'lodger-posted-'));
  const kernel = join(directory, 'kernel.elf');
  writeSmallKernel(kernel, code);
  const vm = await VirtualMachine.create({ engine: 'kvm', kernel, memory: '16M', timeout: 60 });
  await vm.start();
  void vm.exited.then(() => rmSync(directory, { recursive: true }));
  return vm;
}

const movDx = (port: number): number[] => [0x66, 0xba, port & 0xff, port >>> 8];

test('configuration space through 0xCF8 and 0xCFC', { skip }, async () => {
  await using vm = await machine([
    ...[0xb8, 0x00, 0x00, 0x00, 0x80, ...movDx(0xcf8), 0xef], // mov eax, 0x80000000; out dx, eax
    ...[...movDx(0xcfc), 0xed], // in eax, dx: the bridge's identity
    ...[0x3d, 0x36, 0x1b, 0x08, 0x00, 0x0f, 0x94, 0xc0, 0xe6, 0xf4], // cmp eax, 0x00081b36; sete al; out 0xf4, al
    ...hang,
  ]);
  assert.equal((await vm.exited).exitCode, 3);
});

test('the index of the RTC, and its data', { skip }, async () => {
  await using vm = await machine([
    ...[0xb0, 0x0b, 0xe6, 0x70, 0xe4, 0x71], // mov al, 0x0b (status B); out 0x70, al; in al, 0x71
    ...[0x24, 0x06, 0x3c, 0x02, 0x0f, 0x94, 0xc0, 0xe6, 0xf4], // and al, 6; cmp al, 2 (24 hours, BCD); sete al; out 0xf4
    ...hang,
  ]);
  assert.equal((await vm.exited).exitCode, 3);
});

test('a reset by a byte at 0xCF9, within the address register, and nothing after it', { skip }, async () => {
  await using vm = await machine([
    ...print('start\n'),
    ...[...movDx(0xcf9), 0xb0, 0x02, 0xee, 0xb0, 0x06, 0xee], // mov al, 2; out dx, al; mov al, 6; out dx, al
    ...hang,
  ]);
  await vm.console.waitFor(/start[^]*start/);
});
