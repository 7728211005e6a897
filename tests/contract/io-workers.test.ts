/**
 * Virtio queues on I/O workers under kvm, end to end: guest code rings doorbells of PCI devices, a worker thread serves
 * them in guest memory, interrupts reach the guest, and no vCPU exit is seen in between. The set-up is made by a driver
 * on the host's side.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { KvmEngine } from '@lodger/kvm/engine.js';
import type { KvmVm } from '@lodger/kvm/vm.js';
import { VirtioBlock } from '@lodger/vmm/devices/virtio/block/virtio-block.js';
import { VirtioConsole } from '@lodger/vmm/devices/virtio/console/virtio-console.js';
import { VirtioRng } from '@lodger/vmm/devices/virtio/rng/virtio-rng.js';
import { VirtioPciTransport } from '@lodger/vmm/devices/virtio/transport/pci.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { PciBench } from '@lodger/vmm/testing/pci-bench.js';
import { Allocator, VirtioDriver } from '@lodger/vmm/testing/virtio-driver.js';
import { loadEngine } from '#lodger/threads/engine-choice.js';
import { setUpIo } from '#lodger/threads/io-machine.js';
import { IoThread } from '#lodger/threads/io-thread.js';
import { type Assembler, al, eax, ebx, mem, rbx } from '../guest/assembler.ts';
import { At, EngineGuest, done } from './engine-guest.ts';
import type { Outcome, RunOptions } from './engine-guest.ts';
import { kvmMissing, realClock } from './kvm-host.ts';

const skip = kvmMissing();
const Version1 = 1n << 32n;
const Apic = { EndOfInterrupt: At.LocalApic + 0xb0, Spurious: At.LocalApic + 0xf0 } as const;
const Handler = 0xd000;
const Rings = 0x10_0000;
const DiskBytes = 64 * 1024;
const Patience = 20_000;
/** The driver's message data: 0x40, then one for each queue. */
const vectorOf = (queue: number): number => 0x41 + queue;

let closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.reverse()) await close();
  closing = [];
});

const store = (a: Assembler, address: number, value: number, size: 8 | 16 | 32): Assembler =>
  a.mov(ebx, address).mov(mem({ base: rbx, size }), value);

/** A disk file with its sector number in every byte. */
function diskFile(): string {
  const directory = mkdtempSync(join(tmpdir(), 'lodger-io-'));
  closing.push(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'disk.img');
  writeFileSync(
    path,
    Uint8Array.from({ length: DiskBytes }, (_, at) => at >>> 9),
  );
  return path;
}

/** A VM with console, entropy source and a disk, and their workers running. */
async function create() {
  const clock = realClock();
  const guest = new EngineGuest({
    clock,
    createVm: (config) => new KvmEngine().createVm({ ...config, clock }),
    advance: () => {},
  });
  const vm = guest.vm as KvmVm;
  closing.push(() => vm.close());
  const path = diskFile();
  const disk = { descriptor: openSync(path, 'r+'), size: DiskBytes, readOnly: false, serial: 'd' };
  const io = setUpIo([disk], vm.events);
  const engine = await loadEngine('kvm');
  const errors: unknown[] = [];
  const threads = io.workers.map((plan) => new IoThread(engine, vm.shared, plan, (error) => errors.push(error)));
  closing.push(async () => void (await Promise.all(threads.map((thread) => thread.stop()))));
  closing.push(() => assert.deepEqual(errors, []));
  let printed = '';
  const bench = new PciBench({ msi: vm.msi, events: vm.events });
  const console = new VirtioConsole(io.consolePort!, {
    output: (bytes) => (printed += String.fromCharCode(...bytes)),
  });
  const devices = [console, new VirtioRng(io.rngRunner!), new VirtioBlock(disk, io.disks[0]!.runner)];
  const drivers = devices.map((device, index) => {
    const transport = new VirtioPciTransport(device);
    const slot = bench.host.attach(transport);
    bench.host.assignResources();
    const driver = new VirtioDriver(bench, slot, vm.memory, new Allocator(Rings + index * 0x10_0000));
    return { driver, transport, slot };
  });
  guest.code(Handler, (a) => store(a, Apic.EndOfInterrupt, 0, 32).iret());
  return { guest, vm, bench, console, printed: () => printed, path, entropy: drivers[1]!, disk: drivers[2]!, tty: drivers[0]! }; // prettier-ignore
}

/** Runs the guest to its end; a worker's interrupts end its halts. */
function run(guest: EngineGuest, options: RunOptions = {}): Outcome {
  const log: string[] = [];
  const deadline = Date.now() + Patience;
  for (;;) {
    const outcome = guest.run(options);
    log.push(...outcome.log);
    if (outcome.end !== 'halt' || Date.now() > deadline) return { log, end: outcome.end };
  }
}

/** Waits for one interrupt. */
const wait = (a: Assembler): Assembler => a.sti().hlt().cli();
const enableApic = (a: Assembler): Assembler => store(a, Apic.Spurious, 0x1ff, 32);
const doorbell = ({ driver }: { driver: VirtioDriver }, queue = 0): number =>
  driver.notifyBase + queue * driver.notifyMultiplier;

test('entropy: doorbell, worker, interrupt, without an exit', { skip }, async () => {
  const { guest, entropy } = await create();
  entropy.driver.start({ features: Version1, msix: true });
  const queue = entropy.driver.queues[0]!;
  queue.add({ writable: [16] });
  guest.setGate(vectorOf(0), Handler);
  guest.start((a) => {
    enableApic(a);
    store(a, doorbell(entropy), 0, 16);
    done(wait(a).mov(eax, 7));
  });
  assert.deepEqual(run(guest), { log: [], end: 'done 7' });
  const [completion] = queue.takeUsed();
  assert.equal(completion!.written, 16);
  assert.notDeepEqual(completion!.data, new Uint8Array(16));
});

test('a disk: a write and a read by guest code', { skip }, async () => {
  const { guest, disk, path } = await create();
  disk.driver.start({ features: Version1, msix: true });
  const queue = disk.driver.queues[0]!;
  const header = (type: number, sector: number) => {
    const view = new DataView(new ArrayBuffer(16));
    view.setUint32(0, type, true);
    view.setUint32(8, sector, true);
    return new Uint8Array(view.buffer);
  };
  guest.setGate(vectorOf(0), Handler);
  guest.start((a) => {
    enableApic(a);
    for (const port of [0x80, 0x81]) {
      a.out(port, al);
      store(a, doorbell(disk), 0, 16);
      wait(a);
    }
    done(a.mov(eax, 1));
  });
  const outcome = run(guest, {
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

test('the console: out and in through the rings', { skip }, async () => {
  const { guest, vm, tty, console, printed } = await create();
  tty.driver.start({ features: Version1, msix: true });
  const [receive, transmit] = tty.driver.queues;
  const text = (value: string) => Uint8Array.from(value, (character) => character.charCodeAt(0));
  transmit!.add({ readable: [text('hello '), text('world')] });
  receive!.add({ writable: [64] });
  for (const queue of [0, 1]) guest.setGate(vectorOf(queue), Handler);
  guest.start((a) => {
    enableApic(a);
    store(a, doorbell(tty, 1), 1, 16);
    wait(a).out(0x80, al);
    done(wait(a).mov(eax, 2));
  });
  const { log, end } = run(guest, {
    after() {
      console.poll();
      assert.equal(console.send(text('typed')), 5);
    },
  });
  assert.deepEqual([log, end], [['out 80 1 0'], 'done 2']);
  assert.equal(printed(), 'hello world');
  const [input] = receive!.takeUsed();
  assert.equal(String.fromCharCode(...input!.data.subarray(0, input!.written)), 'typed');
  assert.equal(Atomics.load(vm.shared.attention, 0), 1, 'the machine was called for the output');
});

test('more output than the ring holds waits for the machine and comes out whole', { skip }, async () => {
  const { guest, tty, console, printed } = await create();
  tty.driver.start({ features: Version1, msix: true });
  const transmit = tty.driver.queues[1]!;
  const lines = Array.from({ length: 64 }, (_, line) => String.fromCharCode(0x20 + line).repeat(8192));
  for (const line of lines) transmit.add({ readable: [Uint8Array.from(line, (c) => c.charCodeAt(0))] });
  guest.start((a) => {
    store(a, doorbell(tty, 1), 1, 16);
    done(a);
  });
  run(guest);
  const deadline = Date.now() + Patience;
  while (printed().length < 64 * 8192 && Date.now() < deadline) {
    console.poll();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(printed(), lines.join(''));
});

test('a masked vector is pending in the table and comes when unmasked', { skip }, async () => {
  const { guest, vm, bench, entropy } = await create();
  entropy.driver.start({ features: Version1, msix: true });
  const queue = entropy.driver.queues[0]!;
  queue.add({ writable: [8] });
  const table = bench.barAddress(entropy.slot, 0) + 0x4000;
  const control = table + 16 + 12;
  bench.write(control, 4, 1);
  guest.setGate(vectorOf(0), Handler);
  guest.start((a) => {
    enableApic(a);
    store(a, doorbell(entropy), 0, 16).out(0x80, al);
    done(wait(a).mov(eax, 3));
  });
  const pending = () => bench.read(bench.barAddress(entropy.slot, 0) + 0x6000, 4);
  const usedIndex = () => vm.memory.readU16(gpa(queue.used + 2));
  const { end } = run(guest, {
    after() {
      for (const deadline = Date.now() + Patience; pending() === 0 && Date.now() < deadline;);
      assert.equal(usedIndex(), 1);
      assert.equal(pending(), 2);
      bench.write(control, 4, 0);
    },
  });
  assert.equal(end, 'done 3');
  assert.equal(pending(), 0);
});

test('without MSI-X the machine is called and drives the INTx pin', { skip }, async () => {
  const { guest, vm, bench, entropy } = await create();
  entropy.driver.start({ features: Version1 });
  entropy.driver.queues[0]!.add({ writable: [8] });
  guest.start((a) => {
    store(a, doorbell(entropy), 0, 16);
    done(a);
  });
  assert.deepEqual(run(guest).log, []);
  const line = bench.lines[entropy.slot % 4]!;
  for (const deadline = Date.now() + Patience; !line.asserted && Date.now() < deadline;) {
    Atomics.wait(vm.shared.attention, 0, 0, Patience);
    Atomics.store(vm.shared.attention, 0, 0);
    entropy.transport.poll();
  }
  assert.ok(line.asserted);
  assert.equal(bench.read(entropy.driver.isr, 1), 1);
});

test(
  'a BAR that moved has its doorbell with it; a device that is paused serves what came meanwhile at resume',
  { skip },
  async () => {
    const { guest, bench, entropy } = await create();
    entropy.driver.start({ features: Version1, msix: true });
    const queue = entropy.driver.queues[0]!;
    const before = doorbell(entropy);
    const moved = 0x100_0000;
    bench.writeConfig(entropy.slot, 0x10, 4, bench.barAddress(entropy.slot, 0) + moved);
    queue.add({ writable: [8] });
    guest.setGate(vectorOf(0), Handler);
    guest.start((a) => {
      enableApic(a);
      store(a, before, 0, 16);
      store(a, before + moved, 0, 16);
      wait(a).out(0x80, al);
      store(a, before + moved, 0, 16).out(0x81, al);
      done(wait(a).mov(eax, 4));
    });
    const { log, end } = run(guest, {
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
