/** Guests that KVM cannot go on with, and memory that cannot be had, as the command ends with them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { chooseEngine } from '#lodger/host/choose-engine.js';
import { debugExit, print, writeSmallKernel } from './small-kernel.ts';
import { lodgerCommand, noProgram, scratchFolder } from './support.ts';

const folder = scratchFolder();
const GiB = 2 ** 30;

const noKvm = await chooseEngine('kvm').then(
  () => false as const,
  (error: Error) => error.message,
);

function kernel(name: string, code: readonly number[]): string {
  const path = join(folder, name);
  writeSmallKernel(path, code);
  return path;
}

const hello = kernel('hello', [...print('hello\n'), ...debugExit(1)]);

/** `prefix`: a program that starts the command. */
function lodger(prefix: readonly string[], ...args: string[]) {
  const [program, ...words] = [...prefix, process.execPath, lodgerCommand, 'run', ...args];
  return spawnSync(program!, words, { encoding: 'utf8', timeout: 60_000 });
}

test('KVM_EXIT_INTERNAL_ERROR: registers and the bytes at RIP, exit code 71', { skip: noKvm }, () => {
  // fninit; fadd dword [0xd0000000], where a device could be: KVM's emulator has no FADD.
  const code = [...print('up\n'), 0xdb, 0xe3, 0xd8, 0x05, 0x00, 0x00, 0x00, 0xd0, 0xf4];
  const { status, stdout, stderr } = lodger([], '--engine', 'kvm', '--kernel', kernel('fadd', code));
  assert.equal(status, 71, stderr);
  assert.equal(stdout, 'up\n');
  assert.match(stderr, /^lodger: the engine cannot go on with this guest.*KVM_EXIT_INTERNAL_ERROR/m);
  assert.match(stderr, /\brax=0x[0-9a-f]+ rbx=/);
  assert.match(stderr, /\bcode at RIP: d8 05 00 00 00 d0 f4/);
  assert.doesNotMatch(stderr, /\.js:\d+/);
});

test('code where there is no memory: exit code 71 on kvm', { skip: noKvm }, () => {
  // mov eax, 0xd0000000; jmp eax
  const path = kernel('nowhere', [0xb8, 0x00, 0x00, 0x00, 0xd0, 0xff, 0xe0]);
  const { status, stderr } = lodger([], '--engine', 'kvm', '--kernel', path);
  assert.equal(status, 71, stderr);
  assert.match(stderr, /rip=0xd0000000\b[^]*code at RIP: not readable/);
});

const noPrlimit = noProgram('prlimit');

for (const { engine, limit, memory } of [
  { engine: 'kvm', limit: 4, memory: '6G' },
  { engine: 'kvm', limit: 8, memory: '6G' },
  { engine: 'wasm', limit: 6, memory: '64M' },
]) {
  const skip = noPrlimit || (engine === 'kvm' && noKvm);
  test(`${memory} on ${engine} with ${limit} GiB of address space: exit code 65`, { skip }, () => {
    const prefix = ['prlimit', `--as=${limit * GiB}`];
    const { status, signal, stderr } = lodger(prefix, '--engine', engine, '--memory', memory, '--kernel', hello);
    assert.deepEqual([status, signal], [65, null], stderr);
    assert.match(stderr, /^lodger: [^\n]+ulimit -v[^\n]*\n$/);
  });
}

const largeHost = totalmem() > 400 * GiB && 'this host has it';

test('more memory than the host has: exit code 65', { skip: noKvm || largeHost }, () => {
  const { status, stderr } = lodger([], '--engine', 'kvm', '--memory', '500G', '--kernel', hello);
  assert.equal(status, 65, stderr);
  assert.match(stderr, /^lodger: [^\n]+--memory[^\n]*\n$/);
});

test('huge pages that the host has not reserved: exit code 65', { skip: noKvm }, () => {
  const pages = Number(readFileSync('/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages', 'utf8')) + 64;
  const args = ['--engine', 'kvm', '--huge-pages', 'hugetlb', '--memory', `${pages * 2}M`, '--kernel', hello];
  const { status, stderr } = lodger([], ...args);
  assert.equal(status, 65, stderr);
  assert.match(stderr, /^lodger: [^\n]+vm\.nr_hugepages[^\n]*\n$/);
});
