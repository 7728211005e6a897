/** Disks: a real file system made on the host, used by the guest, checked on the host. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bootedGuest, noLinux, noProgram, scratchFolder, shell } from './support.ts';

const folder = scratchFolder();
const noExt4 = noLinux || noProgram('mkfs.ext4', 'e2fsck', 'debugfs');

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

test('an ext4 disk: read, write, and clean afterwards', { skip: noExt4 }, async () => {
  const content = randomBytes(3_000_000);
  mkdirSync(join(folder, 'tree'));
  writeFileSync(join(folder, 'tree/file'), content);
  const path = join(folder, 'ext4.img');
  writeFileSync(path, '');
  truncateSync(path, 64 * 1024 * 1024);
  run('mkfs.ext4', '-q', '-d', join(folder, 'tree'), path);

  await using vm = await bootedGuest({ disks: [{ path }] });
  await shell(vm, 'mkdir -p /mnt && mount -t ext4 /dev/vda /mnt');
  assert.match(await shell(vm, 'sha256sum /mnt/file'), new RegExp(`^${sha256(content)}`));
  await shell(vm, 'dd if=/mnt/file of=/mnt/copy bs=64k conv=fsync 2>/dev/null; mkdir /mnt/made; rm /mnt/file');
  await shell(vm, 'umount /mnt');
  vm.console.write('poweroff\n');
  assert.equal((await vm.exited).reason.kind, 'power-off');

  run('e2fsck', '-fn', path);
  run('debugfs', '-R', `dump /copy ${join(folder, 'copy')}`, path);
  assert.equal(sha256(readFileSync(join(folder, 'copy'))), sha256(content));
});

test('raw reads and writes reach the image, and what was synced is there after stop()', { skip: noLinux }, async () => {
  const path = join(folder, 'raw.img');
  const content = randomBytes(4 * 1024 * 1024);
  writeFileSync(path, content);
  await using vm = await bootedGuest({ disks: [{ path }] });
  assert.match(await shell(vm, 'dd if=/dev/vda bs=1M 2>/dev/null | sha256sum'), new RegExp(`^${sha256(content)}`));
  await shell(vm, 'yes lodger | dd of=/dev/vda bs=4096 seek=10 count=20 iflag=fullblock conv=fsync 2>/dev/null');
  await vm.stop();
  const written = readFileSync(path).subarray(10 * 4096, 30 * 4096);
  assert.equal(written.toString('latin1'), 'lodger\n'.repeat(12_000).slice(0, 20 * 4096));
  assert.equal(readFileSync(path).length, content.length);
});

test('a read-only disk cannot be written', { skip: noLinux }, async () => {
  const path = join(folder, 'read-only.img');
  const content = randomBytes(1024 * 1024);
  writeFileSync(path, content);
  await using vm = await bootedGuest({ disks: [{ path, readOnly: true }] });
  assert.equal((await shell(vm, 'cat /sys/block/vda/ro')).trim(), '1');
  assert.match(await shell(vm, 'dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync'), /dd: /);
  await vm.stop();
  assert.ok(readFileSync(path).equals(content));
});

test('several disks come in their order, told apart by their serial', { skip: noLinux }, async () => {
  const paths = ['first', 'second'].map((name, index) => {
    const path = join(folder, `${name}.img`);
    writeFileSync(path, new Uint8Array((index + 1) * 1024 * 1024));
    return path;
  });
  await using vm = await bootedGuest({ disks: paths.map((path) => ({ path })) });
  assert.deepEqual((await shell(vm, 'cat /sys/block/vda/size /sys/block/vdb/size')).trim().split('\n'), [
    '2048',
    '4096',
  ]);
  const serials = (await shell(vm, 'cat /sys/block/vda/serial /sys/block/vdb/serial; echo')).trim();
  assert.match(serials, /^[0-9a-f]{40}$/);
  assert.notEqual(serials.slice(0, 20), serials.slice(20));
});

/** A file system of 2 MiB, or the reason why there is none. */
function smallFileSystem(): { path: string } | { reason: string } {
  const path = join(folder, 'small');
  mkdirSync(path);
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2M', 'tmpfs', path], { encoding: 'utf8' });
  return status === 0 ? { path } : { reason: `cannot mount a tmpfs here: ${stderr.trim()}` };
}

test(
  'a host file system that is full is an I/O error in the guest, and loses nothing acknowledged',
  {
    skip: noLinux,
  },
  async (t) => {
    const small = smallFileSystem();
    if ('reason' in small) return t.skip(small.reason);
    try {
      const path = join(small.path, 'sparse.img');
      writeFileSync(path, '');
      truncateSync(path, 16 * 1024 * 1024);
      await using vm = await bootedGuest({ disks: [{ path }] });
      const fill = 'yes lodger | dd of=/dev/vda bs=64k count=8 iflag=fullblock conv=fsync && echo first is written';
      assert.match(await shell(vm, fill), /first is written/);
      const overflow = 'dd if=/dev/zero of=/dev/vda bs=64k seek=8 count=100 conv=fsync || echo no more';
      assert.match(await shell(vm, overflow), /I\/O error[^]*no more/);
      assert.match(await shell(vm, 'echo still here'), /still here/);
      await vm.stop();
      const first = readFileSync(path)
        .subarray(0, 8 * 65536)
        .toString('latin1');
      assert.equal(first, 'lodger\n'.repeat(80_000).slice(0, 8 * 65536));
    } finally {
      spawnSync('umount', [small.path]);
    }
  },
);
