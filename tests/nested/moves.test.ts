/**
 * A Linux guest that runs is saved on one engine and continued on the other, both ways. Only the nested host
 * (tools/nested-host.js) runs this: guests' kernels run at a usable speed on its KVM, whatever the host outside has.
 *
 * The wasm engine is slow there, as QEMU emulates what V8 compiled: the guest does little on it.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualMachine } from 'lodger';
import { portableCpu } from '../boot/portable-cpu.ts';
import { bootedGuest, scratchFolder, shell } from '../boot/support.ts';

const folder = scratchFolder();
const TimeLimit = 600;

async function checkTime(vm: VirtualMachine): Promise<void> {
  const time = Number(await shell(vm, 'date +%s'));
  assert.ok(Math.abs(time - Date.now() / 1000) < 10, `guest ${time}, host ${Date.now() / 1000}`);
}

test('Linux with two processors: kvm, then wasm, then kvm again', { timeout: TimeLimit * 1000 }, async () => {
  const [disk, file] = [join(folder, 'disk.img'), join(folder, 'machine.saved')];
  const content = randomBytes(256 * 1024);
  writeFileSync(disk, content);
  const disks = [{ path: disk }];
  const cpu = await portableCpu();
  assert.ok(cpu !== undefined, 'the nested host has every feature that cannot be left out');
  {
    await using vm = await bootedGuest({
      engine: 'kvm',
      cpu,
      cpus: 2,
      memory: '128M',
      append: 'quiet',
      disks,
      timeout: TimeLimit,
    });
    await shell(vm, 'echo kept > /tmp/f; cd /tmp; touch c');
    await shell(vm, '(while sleep 1; do echo >> /tmp/c; done) & true');
    await vm.save(file);
  }
  {
    await using vm = await VirtualMachine.restore(file, { engine: 'wasm', timeout: TimeLimit });
    await vm.start();
    assert.equal((await shell(vm, 'cat f; nproc')).trim(), 'kept\n2');
    await checkTime(vm);
    assert.match(
      await shell(vm, 'sha256sum /dev/vda'),
      new RegExp(`^${createHash('sha256').update(content).digest('hex')}`),
    );
    await shell(vm, 'echo onwasm > /tmp/g');
    await shell(vm, 'dd if=g of=/dev/vda conv=fsync');
    await vm.save(file);
  }
  assert.equal(readFileSync(disk).toString('latin1', 0, 7), 'onwasm\n');
  {
    await using vm = await VirtualMachine.restore(file, { engine: 'kvm', timeout: TimeLimit });
    await vm.start();
    assert.equal((await shell(vm, 'cat f g')).trim(), 'kept\nonwasm');
    await checkTime(vm);
    const counted = async (): Promise<number> => Number(await shell(vm, 'wc -l < /tmp/c'));
    const before = await counted();
    await shell(vm, 'sleep 3');
    assert.ok((await counted()) > before, 'the process goes on');
    await shell(vm, 'head -c 7 /dev/vda > h; cmp g h');
    assert.equal((await shell(vm, 'dmesg -r | grep "^<[0-3]>" || true')).trim(), '');
    vm.console.write('poweroff\n');
    assert.deepEqual((await vm.exited).reason, { kind: 'power-off' });
  }
});
