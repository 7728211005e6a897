/** What is said when KVM can't be used, with real devices and files. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { KvmCapability, type KvmCapabilityName } from './api/capabilities.ts';
import { constantName } from './api/exits.ts';
import { close } from './linux/libc.ts';
import { KvmSystem, RequiredCapabilities } from './system.ts';
import { noKvm } from './testing/tiny-guest.ts';

const unavailable = (message: RegExp) => ({ name: 'HostError', code: 'EngineUnavailable', message });

test('a device that does not exist: what to enable and load, and the other engine', () => {
  const wanted = unavailable(/^there is no \/nonexistent\/kvm: enable virtualization.*modprobe kvm_amd.*--engine wasm/);
  assert.throws(() => KvmSystem.open('/nonexistent/kvm'), wanted);
});

test('a device that is not KVM’s', () => {
  assert.throws(() => KvmSystem.open('/dev/null'), unavailable(/^\/dev\/null is not a KVM device/));
});

test('a directory', () => {
  assert.throws(() => KvmSystem.open('/dev'), unavailable(/^cannot open \/dev \(EISDIR\): check it with ls -l \/dev/));
});

describe('no permission', { skip: process.getuid?.() !== 0 && 'needs root, to become somebody else' }, () => {
  const nobody = 65534;
  let directory = '';
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'lodger-kvm-system-'));
    chmodSync(directory, 0o755);
  });
  after(() => rmSync(directory, { recursive: true }));

  /** The message that another user gets for a file of this group and mode. */
  function asNobody(gid: number, mode: number, folder = ''): string {
    const path = join(directory, `${folder}device-${gid}-${mode.toString(8)}`);
    writeFileSync(path, '');
    chownSync(path, 0, gid);
    chmodSync(path, mode);
    const module = new URL('./system.js', import.meta.url).href;
    const script = `
      const { KvmSystem } = await import(${JSON.stringify(module)});
      process.setgroups([]); process.setgid(${nobody}); process.setuid(${nobody});
      try { KvmSystem.open(${JSON.stringify(path)}); } catch (error) { console.log(error.code + ': ' + error.message); }
    `;
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.equal(child.stderr, '');
    return child.stdout;
  }

  test('names the group to join', () => {
    const groups = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .map((line) => line.split(':'));
    const [name, , gid] = groups.find(([, , id]) => id !== '0')!;
    const message = asNobody(Number(gid), 0o660);
    assert.match(message, new RegExp(`^EngineUnavailable: no permission to use \\S+ \\(group ${name}, mode 660\\)`));
    assert.match(message, new RegExp(`"sudo usermod -aG ${name} \\$USER" and log in again, or use --engine wasm`));
  });

  test('a group without a name is shown by its number', () => {
    assert.match(asNobody(43_210, 0o660), /\(group 43210, mode 660\)/);
  });

  test('a device in a folder that is closed', () => {
    mkdirSync(join(directory, 'closed'), { mode: 0o700 });
    assert.match(
      asNobody(0, 0o660, 'closed/'),
      /^EngineUnavailable: no permission to use \S+ \(nor to see it: a folder/,
    );
  });

  test('a device that is only root’s needs a group first', () => {
    const message = asNobody(0, 0o600);
    assert.match(
      message,
      /\(group root, mode 600\): give it a group of its own with "sudo chgrp kvm \S+; sudo chmod 660/,
    );
  });
});

describe('a working KVM', { skip: noKvm() }, () => {
  test('opens, makes a VM, and leaves nothing open', () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    const earlier = open();
    const system = KvmSystem.open();
    const vm = system.createVm();
    assert.equal(open(), earlier + 2);
    assert.ok(system.vcpuMapSize >= 3 * 4096);
    assert.equal(system.capability('ImmediateExit'), 1);
    close(vm);
    system.close();
    assert.equal(open(), earlier);
  });

  test('each capability that is missing is named', () => {
    const system = KvmSystem.open();
    const names = Object.keys(KvmCapability) as KvmCapabilityName[];
    // KVM_CAP_MANUAL_DIRTY_LOG_PROTECT was withdrawn: no kernel has it
    const missing = names.filter((name) => !system.has(name));
    assert.ok(missing.includes('ManualDirtyLogProtect'));
    system.close();
    const message = new RegExp(`lacks ${missing.map((name) => `KVM_CAP_${constantName(name)}`).join(', ')}: update`);
    assert.throws(
      () => KvmSystem.open('/dev/kvm', { required: [...RequiredCapabilities, ...missing] }),
      unavailable(message),
    );
  });

  test('another path to the device will do', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'lodger-kvm-')), 'link');
    symlinkSync('/dev/kvm', path);
    assert.ok(existsSync(path));
    KvmSystem.open(path).close();
    rmSync(path);
  });

  test('too many open files are named as the reason', () => {
    // A process of its own, whose limit is reached by the device file itself
    const module = new URL('./system.js', import.meta.url).href;
    const script = `
      const { KvmSystem } = await import(${JSON.stringify(module)});
      const { openSync } = await import('node:fs');
      try { for (;;) openSync('/dev/null'); } catch {}
      try { KvmSystem.open(); } catch (error) { process.stdout.write(error.message); process.reallyExit(0); }
    `;
    const command = ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, script];
    const child = spawnSync('sh', command, { encoding: 'utf8' });
    assert.match(child.stdout, /cannot open \/dev\/kvm: too many open files: raise the limit/);
  });
});
