import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCommandLine } from './arguments.ts';

test('every option of lodger run', () => {
  const args = ['run', '--kernel', 'k', '--initrd=i', '--append', 'quiet a=b', '--memory', '1G', '--cpus', '2'];
  args.push('--disk', 'a.img', '--disk', 'b,c.img,readonly', '--engine', 'wasm', '--timeout', '1.5');
  args.push('--cpu', 'host,-aes', '--halt-polling', '0', '--disable-exits', 'hlt,pause');
  args.push('--prefault', '--huge-pages', 'hugetlb', '--irqchip', 'split');
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
      cpu: 'host,-aes',
      haltPolling: 0,
      disableExits: ['hlt', 'pause'],
      prefault: true,
      hugePages: 'hugetlb',
      irqchip: 'split',
    },
  });
});

test('defaults are left to the library', () => {
  assert.deepEqual(parseCommandLine(['run']), { kind: 'run', options: { disks: [] } });
});

test('help and version win over the rest', () => {
  assert.deepEqual(parseCommandLine(['--help']), { kind: 'help', topic: 'lodger' });
  assert.deepEqual(parseCommandLine(['run', '--help']), { kind: 'help', topic: 'run' });
  assert.deepEqual(parseCommandLine(['doctor', '-h', '--json']), { kind: 'help', topic: 'doctor' });
  assert.deepEqual(parseCommandLine(['help', 'run']), { kind: 'help', topic: 'run' });
  assert.deepEqual(parseCommandLine(['help']), { kind: 'help', topic: 'lodger' });
  assert.equal(parseCommandLine(['--version']).kind, 'version');
});

test('lodger doctor', () => {
  assert.deepEqual(parseCommandLine(['doctor']), { kind: 'doctor', json: false });
  assert.deepEqual(parseCommandLine(['doctor', '--json']), { kind: 'doctor', json: true });
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
  ['run', '--huge-pages', 'large'],
  ['run', '--irqchip', 'off'],
  ['run', '--halt-polling', '1ms'],
  ['run', '--disable-exits', 'io'],
  ['run', '--prefault=yes'],
  ['run', '--timeout', '-1'],
  ['run', '--timeout', '0'],
  ['run', '--disk', ',readonly'],
  ['run', '--json'],
  ['doctor', '--memory', '1G'],
  ['doctor', 'kvm'],
  ['help', 'walk'],
  ['constructor'],
]) {
  test(`usage error: lodger ${args.join(' ')}`, () => {
    assert.throws(() => parseCommandLine(args), {
      code: 'InvalidArgument',
      exitCode: 2,
      message: /see lodger( run| doctor)? --help$/,
    });
  });
}
