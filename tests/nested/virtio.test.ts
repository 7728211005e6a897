/**
 * Linux's own virtio drivers on queues that I/O workers serve: doorbells are ioeventfds, interrupts irqfds. Only the nested
 * host (tools/nested-host.js) runs this.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { VirtualMachine } from 'lodger';
import { bootedGuest, scratchFolder, shell } from '../boot/support.ts';

const folder = scratchFolder();
const MiB = 1024 * 1024;
/** Quiet: each byte on the serial console takes the nested host a millisecond. */
const Guest = { engine: 'kvm', memory: '128M', append: 'quiet' } as const;

/** The names of this process's threads. */
function threads(): string[] {
  return readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim());
}

/** How many interrupts Linux had whose line in /proc/interrupts matches. */
async function interrupts(vm: VirtualMachine, pattern: string): Promise<number> {
  const lines = await shell(vm, `grep -E '${pattern}' /proc/interrupts`);
  const counts = [...lines.matchAll(/^\s*\d+:((?:\s+\d+)+)/gm)].flatMap(([, each]) => each!.trim().split(/\s+/));
  return counts.reduce((sum, count) => sum + Number(count), 0);
}

test('ext4 on virtio-blk, on two disks with a thread each', async () => {
  const content = randomBytes(3_000_000);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'file'), content);
  const paths = ['first', 'second'].map((name) => join(folder, `${name}.img`));
  for (const path of paths) {
    writeFileSync(path, '');
    truncateSync(path, 32 * MiB);
  }
  assert.equal(spawnSync('mkfs.ext4', ['-q', '-d', tree, paths[0]!]).status, 0);
  await using vm = await bootedGuest({ ...Guest, cpus: 2, disks: paths.map((path) => ({ path })) });
  const names = threads();
  for (const name of ['vcpu0', 'vcpu1', 'io-virtio', 'io-disk1'])
    assert.ok(names.includes(name), `${name}: ${names.join()}`);
  await shell(vm, 'mkdir -p /mnt && mount -t ext4 /dev/vda /mnt');
  await shell(vm, 'dd if=/mnt/file of=/mnt/copy bs=64k conv=fsync; cat /mnt/file > /dev/vdb; sync');
  assert.match(await shell(vm, 'cmp /mnt/file /mnt/copy && echo the same'), /the same/);
  assert.ok((await interrupts(vm, 'virtio.-req')) > 10);
  await shell(vm, 'umount /mnt');
  vm.console.write('poweroff\n');
  assert.equal((await vm.exited).reason.kind, 'power-off');
  assert.equal(spawnSync('e2fsck', ['-fn', paths[0]!]).status, 0);
  assert.ok(readFileSync(paths[1]!).subarray(0, content.length).equals(content));
});

test('hwrng and hvc0', async () => {
  await using vm = await bootedGuest(Guest);
  assert.match(await shell(vm, 'cat /sys/class/misc/hw_random/rng_current'), /virtio_rng/);
  const numbers = await shell(vm, 'dd if=/dev/hwrng bs=64 count=4 2>/dev/null | od -An -tx1');
  assert.equal(new Set(numbers.trim().split('\n')).size, 16);
  assert.ok((await interrupts(vm, 'virtio.-input')) > 0);
  vm.console.write('for i in 1 2 3; do echo "through [""hvc0] $i"; done > /dev/hvc0\n');
  await vm.console.waitFor(/through \[hvc0\] 1\r?\n[^]*through \[hvc0\] 2\r?\n[^]*through \[hvc0\] 3/);
  // More than the ring between the threads holds.
  vm.console.write('head -c 150000 /dev/zero | tr "\\0" Q > /dev/hvc0; echo "[""all]" > /dev/hvc0\n');
  const [output] = await vm.console.waitFor(/[^]*\[all\]\r?\n/, { timeout: 240_000 });
  assert.equal((output.match(/Q{2,}/g) ?? []).join('').length, 150_000);
});

test('pause and resume while the guest reads a disk', async () => {
  const path = join(folder, 'busy.img');
  const content = randomBytes(2 * MiB);
  writeFileSync(path, content);
  await using vm = await bootedGuest({ ...Guest, disks: [{ path }] });
  vm.console.write(
    'for i in 1 2 3; do cat /dev/vda | md5sum; echo 3 > /proc/sys/vm/drop_caches; done; echo "[""end]"\n',
  );
  for (let round = 0; round < 5; round++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    await vm.pause();
    vm.resume();
  }
  const [output] = await vm.console.waitFor(/[^]*\[end\]\r?\n/, { timeout: 240_000 });
  const sums = output.match(/[0-9a-f]{32}/g) ?? [];
  assert.equal(sums.length, 3);
  assert.equal(new Set(sums).size, 1);
});

test('a shell on hvc0: typed bytes go through the I/O worker too', async () => {
  await using vm = await bootedGuest({ ...Guest, append: 'quiet console=hvc0' });
  assert.match(await shell(vm, 'tty'), /^\/dev\/hvc0$/m);
  const line = 'y'.repeat(500);
  assert.match(await shell(vm, `echo ${line} | wc -c`), /^501$/m);
});
