/**
 * Debian's unmodified kernels on the kvm engine. Only the nested host (tools/nested-host.js) runs this: what a Linux
 * guest needs of KVM is as on real hardware there, whatever the host outside has.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ensureGuestImage } from '#lodger/images/index.js';
import type { Flavour } from '#lodger/images/index.js';
import { bootedGuest, scratchFolder, shell } from '../boot/support.ts';

const folder = scratchFolder();
/** Messages about the host: its silicon's microcode, and that it had no time for the guest. */
const AboutHost = 'Speculative Return Stack Overflow|Long readout interval|hrtimer: interrupt took';
const DiskSize = 64 * 1024 * 1024;

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Names of this process's threads. */
function threadNames(): string[] {
  return readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim());
}

/** A disk of `content` as the file /file of an ext4 file system, made by the host. */
function ext4Disk(name: string, content: Uint8Array): string {
  const tree = join(folder, `${name}-tree`);
  const path = join(folder, `${name}.img`);
  mkdirSync(tree);
  writeFileSync(join(tree, 'file'), content);
  writeFileSync(path, '');
  truncateSync(path, DiskSize);
  run('mkfs.ext4', '-q', '-d', tree, path);
  return path;
}

for (const flavour of ['cloud-amd64', 'amd64'] satisfies Flavour[]) {
  for (const cpus of [1, 2]) {
    test(`linux-image-${flavour}, ${cpus} vCPU: shell, clock, ext4 disk, power-off`, async () => {
      const content = randomBytes(1_000_000);
      const path = ext4Disk(`${flavour}-${cpus}`, content);
      const { kernel, initrd, release } = await ensureGuestImage({ flavour });
      // One of them tells everything on its serial console, which takes the nested host a millisecond for each byte.
      const append = cpus === 1 && flavour === 'cloud-amd64' ? '' : 'quiet';
      await using vm = await bootedGuest({ engine: 'kvm', kernel, initrd, cpus, append, disks: [{ path }] });

      assert.equal((await shell(vm, 'uname -r; nproc')).trim(), `${release}\n${cpus}`);
      const clockSource = 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource';
      assert.equal((await shell(vm, clockSource)).trim(), 'kvm-clock');
      assert.match(await shell(vm, 'dmesg | grep kvm-clock'), /kvm-clock: Using msrs/);
      const complaints = `dmesg -r | grep "^<[0-4]>" | grep -Ev "${AboutHost}" || true`;
      assert.equal((await shell(vm, complaints)).trim(), '');
      const guestTime = Number(await shell(vm, 'date +%s'));
      assert.ok(Math.abs(guestTime - Date.now() / 1000) < 10, `guest ${guestTime}, host ${Date.now() / 1000}`);
      for (let vcpu = 0; vcpu < cpus; vcpu++) assert.ok(threadNames().includes(`vcpu${vcpu}`), threadNames().join());
      // Each processor has done work of its own and has had timer interrupts.
      const work = Array.from({ length: cpus }, (_, cpu) => `taskset ${1 << cpu} sh -c "seq 1000 | tail -n 1" & `);
      assert.equal((await shell(vm, `${work.join('')}wait`)).match(/^1000$/gm)?.length, cpus);
      const ticks = (await shell(vm, 'grep LOC: /proc/interrupts'))
        .trim()
        .split(/\s+/)
        .slice(1, 1 + cpus);
      for (const count of ticks) assert.ok(Number(count) > 0, ticks.join());

      await shell(vm, 'mkdir -p /mnt && mount -t ext4 /dev/vda /mnt');
      assert.match(await shell(vm, 'sha256sum /mnt/file'), new RegExp(`^${sha256(content)}`));
      await shell(vm, 'dd if=/mnt/file of=/mnt/copy bs=64k 2>/dev/null; sync; mkdir /mnt/made; rm /mnt/file');
      await shell(vm, 'umount /mnt');
      vm.console.write('poweroff\n');
      assert.deepEqual((await vm.exited).reason, { kind: 'power-off' });

      run('e2fsck', '-fn', path);
      run('debugfs', '-R', `dump /copy ${join(folder, 'copy')}`, path);
      assert.equal(sha256(readFileSync(join(folder, 'copy'))), sha256(content));
      assert.deepEqual(
        threadNames().filter((name) => /^(vcpu|io-)/.test(name)),
        [],
      );
    });
  }
}
