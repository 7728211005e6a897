/**
 * Virtio queues on I/O workers under kvm, end to end: guest code rings doorbells of PCI devices, a worker thread serves
 * them in guest memory, interrupts reach the guest, and no vCPU exit is seen in between. The set-up is made by a driver
 * on the host's side.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gpa } from '@lodger/vmm/memory/address.js';
import { al, eax } from '../guest/assembler.ts';
import { done } from './engine-guest.ts';
import { IoGuest, doorbell, enableApic, store, wait } from './io-guest.ts';
import { Patience, kvmMissing } from './kvm-host.ts';

const skip = kvmMissing();

/** Runs `body` with a guest and checks that no worker died. */
function ioTest(name: string, body: (io: IoGuest, diskPath: string) => void | Promise<void>): void {
  void test(name, { skip }, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'lodger-io-'));
    const path = join(directory, 'disk.img');
    const io = await IoGuest.create(path);
    try {
      await body(io, path);
      assert.deepEqual(io.errors, []);
    } finally {
      await io.close();
      rmSync(directory, { recursive: true });
    }
  });
}

ioTest('entropy: doorbell, worker, interrupt, without an exit', (io) => {
  const { guest, entropy } = io;
  io.start(entropy);
  const queue = entropy.driver.queues[0]!;
  queue.add({ writable: [16] });
  guest.start((a) => {
    enableApic(a);
    store(a, doorbell(entropy), 0, 16);
    done(wait(a).mov(eax, 7));
  });
  assert.deepEqual(io.run(), { log: [], end: 'done 7' });
  const [completion] = queue.takeUsed();
  assert.equal(completion!.written, 16);
  assert.notDeepEqual(completion!.data, new Uint8Array(16));
});

ioTest('a disk: a write and a read by guest code', (io, path) => {
  const { guest, disk } = io;
  io.start(disk);
  const queue = disk.driver.queues[0]!;
  const header = (type: number, sector: number) => {
    const view = new DataView(new ArrayBuffer(16));
    view.setUint32(0, type, true);
    view.setUint32(8, sector, true);
    return new Uint8Array(view.buffer);
  };
  guest.start((a) => {
    enableApic(a);
    for (const port of [0x80, 0x81]) {
      a.out(port, al);
      store(a, doorbell(disk), 0, 16);
      wait(a);
    }
    done(a.mov(eax, 1));
  });
  const outcome = io.run({
    after(line) {
      if (line.startsWith('out 80'))
        queue.add({ readable: [header(1, 5), new Uint8Array(512).fill(0xab)], writable: [1] });
      else queue.add({ readable: [header(0, 6)], writable: [512, 1] });
    },
  });
  assert.deepEqual(outcome, { log: ['out 80 1 0', 'out 81 1 0'], end: 'done 1' });
  const used = queue.takeUsed();
  assert.deepEqual(used[0]!.data, Uint8Array.of(0));
  assert.deepEqual(used[1]!.data, Uint8Array.from([...new Array<number>(512).fill(6), 0]));
  assert.deepEqual(readFileSync(path).subarray(5 * 512, 6 * 512), Buffer.alloc(512, 0xab));
});

ioTest('the console: out and in through the rings', (io) => {
  const { guest, vm, tty, console } = io;
  io.start(tty);
  const [receive, transmit] = tty.driver.queues;
  const text = (value: string) => Uint8Array.from(value, (character) => character.charCodeAt(0));
  transmit!.add({ readable: [text('hello '), text('world')] });
  receive!.add({ writable: [64] });
  guest.start((a) => {
    enableApic(a);
    store(a, doorbell(tty, 1), 1, 16);
    wait(a).out(0x80, al);
    done(wait(a).mov(eax, 2));
  });
  const { log, end } = io.run({
    after() {
      console.poll();
      assert.equal(console.send(text('typed')), 5);
    },
  });
  assert.deepEqual([log, end], [['out 80 1 0'], 'done 2']);
  assert.equal(io.printed, 'hello world');
  const [input] = receive!.takeUsed();
  assert.equal(String.fromCharCode(...input!.data.subarray(0, input!.written)), 'typed');
  assert.equal(Atomics.load(vm.shared.attention, 0), 1, 'the machine was called for the output');
});

ioTest('more output than the ring holds waits for the machine and comes out whole', async (io) => {
  const { guest, tty, console } = io;
  io.start(tty);
  const transmit = tty.driver.queues[1]!;
  const lines = Array.from({ length: 64 }, (_, line) => String.fromCharCode(0x20 + line).repeat(8192));
  for (const line of lines) transmit.add({ readable: [Uint8Array.from(line, (c) => c.charCodeAt(0))] });
  guest.start((a) => {
    store(a, doorbell(tty, 1), 1, 16);
    done(a);
  });
  io.run();
  const deadline = Date.now() + Patience;
  while (io.printed.length < 64 * 8192 && Date.now() < deadline) {
    console.poll();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(io.printed, lines.join(''));
});

ioTest('a masked vector is pending in the table and comes when unmasked', (io) => {
  const { guest, vm, bench, entropy } = io;
  io.start(entropy);
  const queue = entropy.driver.queues[0]!;
  queue.add({ writable: [8] });
  const table = bench.barAddress(entropy.slot, 0) + 0x4000;
  const control = table + 16 + 12;
  bench.write(control, 4, 1);
  guest.start((a) => {
    enableApic(a);
    store(a, doorbell(entropy), 0, 16).out(0x80, al);
    done(wait(a).mov(eax, 3));
  });
  const pending = () => bench.read(bench.barAddress(entropy.slot, 0) + 0x6000, 4);
  const usedIndex = () => vm.memory.readU16(gpa(queue.used + 2));
  const { end } = io.run({
    after() {
      // The worker may need this processor
      const deadline = Date.now() + Patience;
      while (pending() === 0 && Date.now() < deadline) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      assert.equal(usedIndex(), 1);
      assert.equal(pending(), 2);
      bench.write(control, 4, 0);
    },
  });
  assert.equal(end, 'done 3');
  assert.equal(pending(), 0);
});

ioTest('without MSI-X the machine is called and drives the INTx pin', (io) => {
  const { guest, vm, bench, entropy } = io;
  io.start(entropy, { msix: false });
  entropy.driver.queues[0]!.add({ writable: [8] });
  guest.start((a) => {
    store(a, doorbell(entropy), 0, 16);
    done(a);
  });
  assert.deepEqual(io.run().log, []);
  const line = bench.lines[entropy.slot % 4]!;
  for (const deadline = Date.now() + Patience; !line.asserted && Date.now() < deadline;) {
    Atomics.wait(vm.shared.attention, 0, 0, Patience);
    Atomics.store(vm.shared.attention, 0, 0);
    entropy.transport.poll();
  }
  assert.ok(line.asserted);
  assert.equal(bench.read(entropy.driver.isr, 1), 1);
});

ioTest(
  'a BAR that moved has its doorbell with it; a device that is paused serves what came meanwhile at resume',
  (io) => {
    const { guest, bench, entropy } = io;
    io.start(entropy);
    const queue = entropy.driver.queues[0]!;
    const before = doorbell(entropy);
    const moved = 0x100_0000;
    bench.writeConfig(entropy.slot, 0x10, 4, bench.barAddress(entropy.slot, 0) + moved);
    queue.add({ writable: [8] });
    guest.start((a) => {
      enableApic(a);
      store(a, before, 0, 16);
      store(a, before + moved, 0, 16);
      wait(a).out(0x80, al);
      store(a, before + moved, 0, 16).out(0x81, al);
      done(wait(a).mov(eax, 4));
    });
    const { log, end } = io.run({
      after(line) {
        if (line.startsWith('out 80')) {
          entropy.transport.pause();
          queue.add({ writable: [8] });
        } else if (line.startsWith('out 81')) {
          assert.equal(queue.takeUsed().length, 1);
          entropy.transport.resume();
        }
      },
    });
    assert.deepEqual(log, [`write ${before.toString(16)} 2 0`, 'out 80 1 0', 'out 81 1 0']);
    assert.equal(end, 'done 4');
    assert.equal(queue.takeUsed().length, 1);
  },
);
