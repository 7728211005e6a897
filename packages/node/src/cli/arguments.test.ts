import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCommandLine } from './arguments.ts';

test('every option of lodger run', () => {
  const args = ['run', '--kernel', 'k', '--initrd=i', '--append', 'quiet a=b', '--memory', '1G', '--cpus', '2'];
  args.push('--disk', 'a.img', '--disk', 'b,c.img,readonly', '--engine', 'wasm', '--timeout', '1.5');
  assert.deepEqual(parseCommandLine(args), {
    kind: 'run',
    options: {
      kernel: 'k',
      initrd: 'i',
      append: 'quiet a=b',
      memory: '1G',
      cpus: 2,
      disks: [
        { path: 'a.img', readOnly: false },
        { path: 'b,c.img', readOnly: true },
      ],
      engine: 'wasm',
      timeout: 1.5,
    },
  });
});

test('defaults are left to the library', () => {
  assert.deepEqual(parseCommandLine(['run']), { kind: 'run', options: { disks: [] } });
});

test('help and version win over the rest', () => {
  assert.equal(parseCommandLine(['run', '--help']).kind, 'help');
  assert.equal(parseCommandLine(['--version']).kind, 'version');
});

for (const args of [
  [],
  ['walk'],
  ['run', 'extra'],
  ['run', '--bogus'],
  ['run', '--memory'],
  ['run', '--cpus', '0'],
  ['run', '--cpus', 'two'],
  ['run', '--engine', 'qemu'],
  ['run', '--timeout', '-1'],
  ['run', '--timeout', '0'],
  ['run', '--disk', ',readonly'],
]) {
  test(`usage error: lodger ${args.join(' ')}`, () => {
    assert.throws(() => parseCommandLine(args), { code: 'InvalidArgument', exitCode: 2, message: /lodger --help$/ });
  });
}
