/** A machine that is saved to a file and continued from it, by another VirtualMachine. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { VirtualMachine } from 'lodger';
import { kvm } from './engines.ts';
import { portableCpu } from './portable-cpu.ts';
import { writeSmallKernel } from './small-kernel.ts';
import { BootPatience, bootedGuest, noLinux, scratchFolder, shell } from './support.ts';

const folder = scratchFolder();
const timeout = BootPatience / 1000;

/** A counter that a process of the guest counts up in its memory file system. */
const startCounting = '(while sleep 0.1; do echo >> /tmp/c; done) & true';
const counted = async (vm: VirtualMachine): Promise<number> => Number(await shell(vm, 'wc -l < /tmp/c'));
const guestTime = async (vm: VirtualMachine): Promise<number> => Number(await shell(vm, 'date +%s'));

async function checkTime(vm: VirtualMachine): Promise<void> {
  const time = await guestTime(vm);
  assert.ok(Math.abs(time - Date.now() / 1000) < 5, `guest ${time}, host ${Date.now() / 1000}`);
}

/** Asks for receive interrupts, which stay off; prints a digit that goes up with each byte that is received. */
const countKeys = [
  ...[0x66, 0xba, 0xf9, 0x03, 0xb0, 0x01, 0xee], // mov dx, 0x3f9; mov al, 1; out dx, al
  ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7], // again: mov dx, 0x3fd; in al, dx; test al, 1; jz again
  ...[0x66, 0xba, 0xf8, 0x03, 0xec, 0xff, 0x05, 0x00, 0x00, 0x20, 0x00], // in al, dx; inc dword [0x200000]
  ...[0xa0, 0x00, 0x00, 0x20, 0x00, 0x04, 0x30, 0xee, 0xeb, 0xe2], // mov al, [0x200000]; add al, '0'; out dx, al; jmp
];

describe('a saved machine', () => {
  test('goes on: its processes, its files in memory, its time, its disk', { skip: noLinux }, async () => {
    const [disk, file] = [join(folder, 'disk.img'), join(folder, 'machine.saved')];
    const content = randomBytes(4 * 1024 * 1024);
    writeFileSync(disk, content);
    let before: number;
    {
      await using vm = await bootedGuest({ cpus: 2, disks: [{ path: disk }] });
      await shell(vm, 'touch /tmp/c');
      await shell(vm, startCounting);
      await shell(vm, 'echo kept > /tmp/f; cd /tmp');
      before = await counted(vm);
      await vm.save(file);
    }
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(statSync(file).size < 200 * 1024 * 1024, 'pages of zeros take no room');
    const pause = 3000;
    await new Promise((resolve) => setTimeout(resolve, pause));

    await using vm = await VirtualMachine.restore(file, { timeout });
    await vm.start();
    assert.equal((await shell(vm, 'cat f; nproc')).trim(), 'kept\n2');
    await checkTime(vm);
    const after = await counted(vm);
    assert.ok(after >= before, `${after} after ${before}`);
    await shell(vm, 'sleep 0.5');
    assert.ok((await counted(vm)) > after, 'the process goes on');
    const sum = createHash('sha256').update(content).digest('hex');
    assert.match(await shell(vm, 'sha256sum /dev/vda'), new RegExp(`^${sum}`));
    await shell(vm, 'yes lodger | head -c 4096 > b');
    await shell(vm, 'dd if=b of=/dev/vda conv=fsync');
    assert.equal(readFileSync(disk).toString('latin1', 0, 7), 'lodger\n');
    assert.equal((await shell(vm, 'dmesg -r | grep "^<[0-3]>" || true')).trim(), '');
    // A reset boots the kernel that the machine had
    vm.console.write('reboot\n');
    await vm.console.waitFor(/lodger: init/, { timeout: BootPatience });
    await vm.console.waitFor(/# /, { timeout: BootPatience });
  });

  test('can be resumed, saved again, and continued twice', { skip: noLinux }, async () => {
    const [first, second] = [join(folder, 'first.saved'), join(folder, 'second.saved')];
    {
      await using vm = await bootedGuest();
      await vm.save(first);
      vm.resume();
      await shell(vm, 'echo later > /tmp/f');
      await vm.pause();
      await vm.save(second);
      const ended = vm.stop();
      await assert.rejects(vm.save(join(folder, 'third.saved')), { code: /MachineEnded|SaveFailed/ });
      await ended;
    }
    for (const [file, expected] of [
      [first, 'none'],
      [second, 'later'],
      [first, 'none'],
    ] as const) {
      await using vm = await VirtualMachine.restore(file, { timeout });
      await vm.start();
      assert.equal((await shell(vm, 'cat /tmp/f 2>/dev/null || echo none')).trim(), expected);
    }
    assert.equal(existsSync(`${first}.part`), false);
  });

  test('goes from engine to engine: a small kernel that counts keys', { skip: kvm.skip }, async () => {
    const [kernel, file] = [join(folder, 'counting'), join(folder, 'counting.saved')];
    writeSmallKernel(kernel, countKeys);
    const press = async (vm: VirtualMachine, expected: string): Promise<void> => {
      vm.console.write('x');
      await vm.console.waitFor(new RegExp(expected), { timeout: BootPatience });
    };
    const cpu = await portableCpu({ kernel });
    {
      const options = { kernel, memory: '16M', cpus: 2, cpu: cpu ?? 'host', interactive: true, timeout };
      await using vm = await VirtualMachine.create({ ...options, engine: 'kvm' });
      await vm.start();
      await press(vm, '1');
      await vm.save(file);
    }
    // Without a common model only kvm continues what kvm saved
    const engines = cpu === undefined ? (['kvm', 'kvm'] as const) : (['wasm', 'kvm', 'kvm', 'wasm'] as const);
    for (const [index, engine] of engines.entries()) {
      await using vm = await VirtualMachine.restore(file, { engine, interactive: true, timeout });
      await vm.start();
      await press(vm, String(index + 2));
      await vm.save(file);
    }
    if (cpu !== undefined) return;
    await assert.rejects(VirtualMachine.restore(file, { engine: 'wasm' }), { message: /of the model host/ });
  });

  test('what is wrong with a file or with the disks is said', async () => {
    const [disk, file, kernel] = [join(folder, 'small.img'), join(folder, 'wrong.saved'), join(folder, 'kernel')];
    writeFileSync(disk, new Uint8Array(1024 * 1024));
    writeSmallKernel(kernel, [0xeb, 0xfe]); // jmp to itself
    {
      await using vm = await VirtualMachine.create({ kernel, memory: '16M', disks: [{ path: disk }], timeout });
      await vm.start();
      await assert.rejects(vm.save(join(folder, 'nowhere', 'x')), {
        code: 'SaveFailed',
        message: /no such file or folder/,
      });
      await vm.save(file);
    }
    await assert.rejects(VirtualMachine.restore(file, { disks: [] }), { message: /had 1 disks, not 0/ });
    const larger = join(folder, 'larger.img');
    writeFileSync(larger, new Uint8Array(2 * 1024 * 1024));
    const other = await VirtualMachine.restore(file, { disks: [{ path: larger }] });
    await assert.rejects(other.start(), { code: 'InvalidArgument', message: /attach the same disk/ });
    await assert.rejects(VirtualMachine.restore(join(folder, 'absent')), { code: 'SaveUnreadable' });
    await assert.rejects(VirtualMachine.restore(disk), { message: /is no saved machine/ });
    truncateSync(file, statSync(file).size - 5000);
    const short = await VirtualMachine.restore(file);
    await assert.rejects(short.start(), { code: 'InvalidArgument', message: /ends too early/ });
    await using free = await VirtualMachine.create({ kernel, disks: [{ path: disk }] });
    await assert.rejects(free.save(file), { code: 'MachineEnded' });
  });
});
