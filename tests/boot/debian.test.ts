/** Debian's own kernel, to a shell and back. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { VirtualMachine } from 'lodger';
import { bootedGuest, BootPatience, noLinux, root, shell } from './support.ts';

test('a shell session: pipes, a checksum, the clock, poweroff', { skip: noLinux }, async () => {
  await using vm = await bootedGuest({ cpus: 1 });
  assert.match(await shell(vm, 'uname -a'), /Linux .* x86_64/);
  assert.equal((await shell(vm, 'seq 1 1000 | grep 7 | wc -l')).trim(), '271');
  const expected = createHash('sha256').update('y\n'.repeat(500_000)).digest('hex');
  assert.match(await shell(vm, 'yes | head -n 500000 | sha256sum'), new RegExp(`^${expected}`));
  const guestTime = Number(await shell(vm, 'date +%s'));
  assert.ok(Math.abs(guestTime - Date.now() / 1000) < 10, `guest ${guestTime}, host ${Date.now() / 1000}`);
  assert.equal((await shell(vm, 'nproc')).trim(), '1');
  vm.console.write('poweroff\n');
  assert.deepEqual((await vm.exited).reason, { kind: 'power-off' });
});

test('the kernel has no complaint about the platform', { skip: noLinux }, async () => {
  await using vm = await bootedGuest();
  const complaints = await shell(vm, 'dmesg -r | grep "^<[0-4]>" || true');
  assert.equal(complaints.trim(), '');
});

test('two processors', { skip: noLinux }, async () => {
  await using vm = await bootedGuest({ cpus: 2 });
  assert.equal((await shell(vm, 'nproc')).trim(), '2');
  assert.equal((await shell(vm, 'grep -c ^processor /proc/cpuinfo')).trim(), '2');
});

test('reboot boots again', { skip: noLinux }, async () => {
  await using vm = await bootedGuest();
  vm.console.write('reboot\n');
  await vm.console.waitFor(/lodger: init/, { timeout: BootPatience });
  await vm.console.waitFor(/# /, { timeout: BootPatience });
  vm.console.write('poweroff\n');
  assert.equal((await vm.exited).reason.kind, 'power-off');
});

test('a panic of the guest is told from a reset', { skip: noLinux }, async () => {
  await using vm = await bootedGuest();
  vm.console.write('echo c > /proc/sysrq-trigger\n');
  const { reason, exitCode } = await vm.exited;
  assert.ok(reason.kind === 'guest-panic', JSON.stringify(reason));
  assert.match(reason.message, /Kernel panic - not syncing: sysrq triggered crash/);
  assert.equal(exitCode, 72);
});

test('a kernel without a root file system panics', { skip: noLinux }, async () => {
  await using vm = await VirtualMachine.create({ append: 'rdinit=/nothing', timeout: BootPatience / 1000 });
  await vm.start();
  assert.equal((await vm.exited).reason.kind, 'guest-panic');
});

test('memory beyond the PC hole is there', { skip: noLinux }, async () => {
  await using vm = await bootedGuest({ memory: '3328M' });
  const kilobytes = Number(/MemTotal:\s+(\d+)/.exec(await shell(vm, 'cat /proc/meminfo'))![1]);
  assert.ok(kilobytes > 3_100_000, `${kilobytes} kB`);
});

test('the power button reaches the kernel, and a new window size the virtio console', { skip: noLinux }, async () => {
  await using vm = await bootedGuest();
  // STS: the event's status bit is set. Acting on it takes the button driver and a daemon, which this guest lacks.
  const event = 'cat /sys/firmware/acpi/interrupts/ff_pwr_btn';
  assert.doesNotMatch(await shell(vm, event), /STS/);
  vm.powerButton();
  assert.match(await shell(vm, `sleep 0.2; ${event}`), /STS/);
  vm.resizeConsole(101, 51);
  assert.match(await shell(vm, 'sleep 0.2; stty size </dev/hvc0'), /^51 101$/m);
});

test('a guest goes on after a pause, with the right time', { skip: noLinux }, async () => {
  await using vm = await bootedGuest();
  await vm.pause();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  vm.resume();
  const guestTime = Number(await shell(vm, 'date +%s'));
  assert.ok(Math.abs(guestTime - Date.now() / 1000) < 5, `guest ${guestTime}, host ${Date.now() / 1000}`);
});

test("Debian's general kernel boots too", { skip: noLinux }, async (t) => {
  const general = await generalKernel();
  if (typeof general === 'string') return t.skip(general);
  await using vm = await bootedGuest(general);
  assert.match(await shell(vm, 'uname -r'), /-amd64$/m);
  assert.doesNotMatch(await shell(vm, 'uname -r'), /cloud/);
  vm.console.write('poweroff\n');
  assert.equal((await vm.exited).reason.kind, 'power-off');
});

/** linux-image-amd64 with its initramfs, or the reason why it is not here. */
async function generalKernel(): Promise<{ kernel: string; initrd: string; memory: string } | string> {
  const images = (await import(new URL('packages/node/dist/images/index.js', `file://${root}`).href)) as {
    ensureGuestImage(options: { flavour: string }): Promise<{ kernel: string; initrd: string }>;
  };
  try {
    const { kernel, initrd } = await images.ensureGuestImage({ flavour: 'amd64' });
    return { kernel, initrd, memory: '512M' };
  } catch (error) {
    return `linux-image-amd64 cannot be fetched here: ${(error as Error).message}`;
  }
}
