/**
 * Hosts whose /dev/kvm is missing, forbidden or something else, as the command meets them: in a mount namespace of its own,
 * with a /dev made for it.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { debugExit, print, writeSmallKernel } from './small-kernel.ts';
import { lodgerCommand, noProgram, scratchFolder } from './support.ts';

const folder = scratchFolder();
chmodSync(folder, 0o755);
const kernel = join(folder, 'kernel');
writeSmallKernel(kernel, [...print('hello\n'), ...debugExit(1)]);
const isRoot = process.getuid?.() === 0;

/** nobody, on most systems; all that counts is that nothing belongs to it. */
const StrangerId = 65534;
/** A group that every Debian has and nobody is in. */
const Group = { name: 'games', id: 60 } as const;

/** Shell lines that put KVM's place in `$dev`. */
const Devices = {
  absent: '',
  'another device': ': > $dev/kvm; mount --bind /dev/null $dev/kvm',
  'a file': ': > $dev/kvm',
  "a group's": `mknod $dev/kvm c 10 232; chgrp ${Group.id} $dev/kvm; chmod 660 $dev/kvm`,
  "root's": 'mknod $dev/kvm c 10 232; chmod 600 $dev/kvm',
} as const;

/** A shell's lines that run `"$@"` with a /dev in which nothing but what Node needs and KVM's place is. */
function script(device: keyof typeof Devices, asStranger: boolean): string {
  return `
    dev=${folder}/dev
    mkdir -p $dev
    mount -t tmpfs -o mode=755 tmpfs $dev
    for name in null zero urandom; do : > $dev/$name; mount --bind /dev/$name $dev/$name; done
    ${Devices[device]}
    mount --rbind $dev /dev
    exec ${asStranger ? `setpriv --reuid=${StrangerId} --regid=${StrangerId} --clear-groups` : ''} "$@"`;
}

interface Host {
  readonly device: keyof typeof Devices;
  readonly asStranger?: boolean;
}

function on({ device, asStranger = false }: Host, ...command: string[]) {
  const namespaces = isRoot ? ['--mount'] : ['--map-root-user', '--mount'];
  const words = ['sh', '-ec', script(device, asStranger), 'sh', ...command];
  const env = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache') };
  delete (env as NodeJS.ProcessEnv)['LODGER_ENGINE'];
  return spawnSync('unshare', [...namespaces, ...words], { env, encoding: 'utf8', timeout: 60_000 });
}

const lodger = (host: Host, ...args: string[]) => on(host, process.execPath, lodgerCommand, ...args);

/** A reason to skip, or false. */
function impossible(host: Host): string | false {
  const missing = noProgram('unshare', 'mount', 'setpriv');
  if (missing) return missing;
  if (host.device in { "a group's": 1, "root's": 1 } && !isRoot) return 'making device nodes takes root';
  const { status, stderr } = on(host, process.execPath, lodgerCommand, '--version');
  return status === 0 ? false : `no such host can be made here: ${stderr.trim()}`;
}

for (const { what, host, message, kind } of [
  { what: 'no /dev/kvm', host: { device: 'absent' }, message: /there is no \/dev\/kvm/, kind: 'absent' },
  { what: 'a file in its place', host: { device: 'a file' }, message: /no character device/, kind: 'unusable' },
  { what: 'another device', host: { device: 'another device' }, message: /is not a KVM device/, kind: 'usable' },
  {
    what: 'a device for a group',
    host: { device: "a group's", asStranger: true },
    message: new RegExp(`group ${Group.name}.*usermod -aG ${Group.name}`),
    kind: 'not-permitted',
  },
  {
    what: 'a device for root',
    host: { device: "root's", asStranger: true },
    message: /group root, mode 0600.*chgrp kvm .*chmod 660/,
    kind: 'not-permitted',
  },
] as const satisfies readonly { what: string; host: Host; message: RegExp; kind: string }[]) {
  const skip = impossible(host);

  test(`${what}: --engine kvm is one clear line and exit code 68`, { skip }, () => {
    const { status, stdout, stderr } = lodger(host, 'run', '--engine', 'kvm', '--kernel', kernel);
    assert.equal(status, 68, stderr);
    assert.match(stderr, /^lodger: [^\n]+--engine wasm[^\n]*\n$/);
    assert.match(stderr, message);
    assert.equal(stdout, '');
  });

  test(`${what}: auto takes wasm without a word`, { skip }, () => {
    const { status, stdout, stderr } = lodger(host, 'run', '--kernel', kernel);
    assert.equal(status, 3, stderr);
    assert.equal(stdout, 'hello\n');
    assert.doesNotMatch(stderr, /kvm/i);
  });

  test(`${what}: lodger doctor says why, and that machines can run`, { skip }, () => {
    const { status, stdout, stderr } = lodger(host, 'doctor');
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout.replaceAll(/\n\s+->/g, ';'), message);
    assert.match(stdout, /auto +takes wasm: /);
    const json = lodger(host, 'doctor', '--json');
    const report = JSON.parse(json.stdout) as { ok: boolean; kvm: { device: { kind: string } } };
    assert.equal(report.ok, true);
    assert.equal(report.kvm.device.kind, kind);
  });
}

test('lodger doctor on this host: within its time, nothing changed, JSON that says the same', () => {
  const cache = join(folder, 'untouched');
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [lodgerCommand, 'doctor', ...args], {
      env: { ...process.env, XDG_CACHE_HOME: cache },
      encoding: 'utf8',
      timeout: 60_000,
    });
  const text = run();
  assert.deepEqual([text.status, text.stderr], [0, '']);
  for (const section of ['KVM', 'Engines', 'Memory', 'Limits', 'Control groups', 'Network', 'System']) {
    assert.match(text.stdout, new RegExp(`^${section}`, 'm'));
  }
  const report = JSON.parse(run('--json').stdout) as { auto: { engine: string }; memory: { total: number } };
  assert.ok(report.memory.total > 0);
  assert.match(text.stdout, new RegExp(`takes ${report.auto.engine}: `));
  assert.equal(existsSync(cache), false);
});

const noRoom = { device: 'another device' } as const;

test(
  'lodger doctor on a host that can run nothing: exit code 68',
  { skip: impossible(noRoom) || noProgram('prlimit') },
  () => {
    const limited = ['prlimit', `--as=${4 * 2 ** 30}`, process.execPath, lodgerCommand, 'doctor'];
    const { status, stdout, stderr } = on(noRoom, ...limited);
    assert.deepEqual([status, stderr], [68, '']);
    assert.match(stdout, /no +wasm .*ulimit -v unlimited/);
    assert.match(stdout, /no +auto +no engine can run here/);
  },
);

test('LODGER_ENGINE that is no engine is wrong usage', () => {
  const env = { ...process.env, LODGER_ENGINE: 'qemu' };
  const { status, stderr } = spawnSync(process.execPath, [lodgerCommand, 'run'], { env, encoding: 'utf8' });
  assert.equal(status, 2);
  assert.match(stderr, /^lodger: LODGER_ENGINE is "qemu": [^\n]+\n$/);
});
