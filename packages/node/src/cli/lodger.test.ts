/** The command as a process: what needs no guest. Whole guests are in tests/boot. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HelpText } from './help.ts';

const command = fileURLToPath(new URL('../../bin/lodger.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'lodger-cli-'));
after(() => rmSync(folder, { recursive: true }));

function lodger(...args: string[]) {
  const env = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache') };
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], { env, encoding: 'utf8' });
  return { status, stdout, stderr };
}

function file(name: string, size: number): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(size));
  return path;
}

test('--help names every command, and each command its options, on stdout', () => {
  const texts = { '': [/\n {2}run /, /\n {2}doctor /, /LODGER_ENGINE/], doctor: [/--json\b/] };
  for (const [command, patterns] of Object.entries(texts)) {
    const { status, stdout, stderr } = lodger(...(command ? [command] : []), '--help');
    assert.deepEqual([status, stderr], [0, '']);
    for (const pattern of patterns) assert.match(stdout, pattern);
  }
  const { status, stdout } = lodger('run', '--help');
  assert.equal(status, 0);
  for (const option of [
    'kernel',
    'initrd',
    'append',
    'memory',
    'cpus',
    'disk',
    'engine',
    'timeout',
    'prefault',
    'huge-pages',
    'irqchip',
    'cpu',
    'halt-polling',
    'disable-exits',
  ]) {
    assert.match(stdout, new RegExp(`--${option}\\b`));
  }
});

test('help fits a terminal of 100 columns and names no exit code that docs/exit-codes.md has not', () => {
  const table = readFileSync(new URL('../../../../docs/exit-codes.md', import.meta.url), 'utf8');
  const documented = [...table.matchAll(/^\| (\d+) /gm)].map(([, code]) => code!);
  for (const text of Object.values(HelpText)) {
    assert.ok(text.split('\n').every((line) => line.length <= 100));
    const codes = text.slice(text.indexOf('exit code:')).matchAll(/\b(\d+) [a-z]/g);
    for (const [, code] of codes) if (Number(code) > 2) assert.ok(documented.includes(code!), code);
  }
});

test('--version', () => {
  assert.match(lodger('--version').stdout, /^lodger \d+\.\d+\.\d+\n$/);
});

for (const { what, args, status, message } of [
  { what: 'an unknown option', args: ['run', '--bogus'], status: 2, message: /--bogus.*lodger --help/ },
  { what: 'no command', args: [], status: 2, message: /lodger --help/ },
  { what: 'a size that is none', args: ['run', '--memory', 'lots'], status: 2, message: /"lots".*256M/ },
  {
    what: 'too many processors',
    args: ['run', '--engine', 'wasm', '--cpus', '500'],
    status: 2,
    message: /1 to \d+ processors.*--engine kvm.*lodger doctor/,
  },
  {
    what: 'too much memory',
    args: ['run', '--engine', 'wasm', '--memory', '8G'],
    status: 65,
    message: /8 GiB.*at most.*--engine kvm.*lodger doctor/,
  },
  ...[['--huge-pages', 'hugetlb'], ['--prefault'], ['--irqchip', 'split'], ['--halt-polling', '0']].map((option) => ({
    what: `${option.join(' ')} with the wasm engine`,
    args: ['run', '--engine', 'wasm', ...option],
    status: 2,
    message: new RegExp(`${option[0]} is for the kvm engine.*--engine kvm`),
  })),
  {
    what: '--cpu host with the wasm engine',
    args: ['run', '--engine', 'wasm', '--cpu', 'host'],
    status: 2,
    message: /--cpu host is for the kvm engine.*--cpu x86-64-v2 or x86-64-v3, or --engine kvm/,
  },
  {
    what: 'a processor that there is not',
    args: ['run', '--cpu', 'i486'],
    status: 2,
    message: /one of host, x86-64-v2, x86-64-v3, not "i486"/,
  },
  {
    what: 'a feature that there is not',
    args: ['run', '--cpu', 'host,-3dnow'],
    status: 2,
    message: /no CPU feature "3dnow": take away one of .*aes/,
  },
  { what: 'too little memory', args: ['run', '--memory', '64K'], status: 65, message: /64 KiB.*--memory/ },
  { what: 'a missing disk', args: ['run', '--disk', 'missing.img'], status: 66, message: /missing\.img.*no such file/ },
  { what: 'an odd-sized disk', args: ['run', '--disk', file('odd', 1000)], status: 66, message: /multiple of 512/ },
  { what: 'an empty disk', args: ['run', '--disk', file('empty', 0)], status: 66, message: /truncate -s/ },
  { what: 'a missing kernel', args: ['run', '--kernel', 'missing'], status: 64, message: /missing.*no such file/ },
  {
    what: 'a kernel that is none',
    args: ['run', '--kernel', file('zeroes', 100_000)],
    status: 64,
    message: /zeroes/,
  },
  {
    what: 'an initrd that is none',
    args: ['run', '--kernel', file('kernel', 100_000), '--initrd', file('initrd', 5000)],
    status: 64,
    message: /initrd/,
  },
]) {
  test(`${what} is one clear line on stderr and exit code ${status}`, () => {
    const result = lodger(...args);
    assert.equal(result.status, status, result.stderr);
    assert.match(result.stderr, /^lodger: [^\n]+\n$/);
    assert.match(result.stderr, message);
    assert.equal(result.stdout, '');
  });
}

test('the same disk twice is locked', () => {
  const disk = file('twice', 512);
  const result = lodger('run', '--disk', disk, '--disk', disk);
  assert.equal(result.status, 66);
  assert.match(result.stderr, /in use by another process/);
});
