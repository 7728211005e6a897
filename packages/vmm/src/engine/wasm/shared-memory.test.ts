import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { gpa } from '../../memory/address.ts';
import { ManualClock } from '../../time/manual-clock.ts';
import { type SharedWasmVm, WasmEngine, type WasmEngineVm } from './engine.ts';
import { SharedGuestMemory } from './shared-memory.ts';

const Mebibyte = 1 << 20;
const CodeAt = 0x1000;

const createVm = (memorySize = 2 * Mebibyte): WasmEngineVm =>
  new WasmEngine().createVm({ memorySize, vcpus: 1, clock: new ManualClock() });

if (isMainThread) tests();
else writeFromAnotherThread();

/** The other thread: an I/O worker's view of guest memory. */
function writeFromAnotherThread(): void {
  const memory = new SharedGuestMemory((workerData as { shared: SharedWasmVm }).shared);
  const done = memory.write(gpa(CodeAt + 1), Uint8Array.of(0x22));
  parentPort?.postMessage(done);
}

function tests(): void {
  describe('bounds', () => {
    test('reads and writes of every size, up to the last byte of a range and not beyond', () => {
      const { memory } = createVm();
      const end = 2 * Mebibyte;
      for (const [edge, below] of [
        [0xa_0000, true],
        [0xc_0000, false],
        [end, true],
      ] as const) {
        const first = below ? edge - 8 : edge;
        assert.equal(memory.writeU64(gpa(first), 0x0102_0304_0506_0708n), true);
        assert.equal(memory.readU64(gpa(first)), 0x0102_0304_0506_0708n);
        assert.equal(memory.readU32(gpa(first + 4)), 0x0102_0304);
        assert.equal(memory.readU16(gpa(first + 6)), 0x0102);
        assert.equal(memory.readU8(gpa(first + 7)), 0x01);
        for (const [address, size] of below ? [[edge - 7, 8], [edge - 3, 4], [edge - 1, 2], [edge, 1]] : [[edge - 1, 8], [edge - 1, 4], [edge - 1, 2], [edge - 1, 1]]) {
          assert.equal(access(memory, address!, size!), false, `${size} bytes at ${address!.toString(16)}`);
        } // prettier-ignore
      }
    });

    test('nothing lies at absurd addresses', () => {
      const { memory } = createVm();
      for (const address of [2 ** 32, 2 ** 48, 2 ** 52, Number.MAX_SAFE_INTEGER, 2 ** 64, Infinity]) {
        assert.equal(access(memory, address, 4), false);
        assert.equal(memory.view(gpa(address), 1), undefined);
        memory.markWritten(gpa(address), 1 << 20);
      }
      assert.equal(memory.view(gpa(0x1000), 4 * Mebibyte), undefined);
      assert.equal(memory.read(gpa(0x9_fff0), new Uint8Array(32)), false, 'the VGA window is a hole');
    });

    test('RAM below the PC hole and above 4 GiB is one size', () => {
      const { memory } = createVm();
      assert.equal(memory.size, 2 * Mebibyte - 0x2_0000);
      assert.deepEqual(
        memory.ranges.map(({ start, length }) => [start, length]),
        [[0, 0xa_0000], [0xc_0000, 2 * Mebibyte - 0xc_0000]], // prettier-ignore
      );
    });
  });

  test('a range over two adjacent slots is read and written piece by piece', () => {
    const vm = new WasmEngine({ slackSize: Mebibyte }).createVm({
      memorySize: Mebibyte,
      vcpus: 1,
      clock: new ManualClock(),
    });
    vm.setMemorySlot({ id: 3, start: gpa(Mebibyte), size: 4096, readOnly: false });
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
    assert.equal(vm.memory.write(gpa(Mebibyte - 32), bytes), true);
    const back = new Uint8Array(64);
    assert.equal(vm.memory.read(gpa(Mebibyte - 32), back), true);
    assert.deepEqual(back, bytes);
    const before = vm.memory.readU32(gpa(Mebibyte + 4092));
    assert.equal(vm.memory.write(gpa(Mebibyte + 4092), bytes), false, 'the end is outside');
    assert.equal(vm.memory.readU32(gpa(Mebibyte + 4092)), before, 'and nothing was written');
  });

  test('code that another thread writes to is decoded again; its write waits for that', async () => {
    const vm = createVm();
    // loop: mov al, 0x11; mov [0x2000], al; jmp loop
    vm.memory.write(gpa(CodeAt), Uint8Array.of(0xb0, 0x11, 0xa2, 0x00, 0x20, 0xeb, 0xf9));
    const vcpu = vm.createVcpu(0);
    const state = vcpu.state();
    Object.assign(state.sregs.cs, { base: 0n, selector: 0 });
    state.regs.rip = BigInt(CodeAt);
    vcpu.setState(state);
    const step = (): number => {
      assert.equal(vcpu.run().kind, 'interrupted');
      return vm.memory.readU8(gpa(0x2000))!;
    };
    assert.equal(step(), 0x11);
    const worker = new Worker(new URL(import.meta.url), { workerData: { shared: vm.shared } });
    const { attention } = vm.shared;
    let answered = false;
    const answer = new Promise<boolean>((resolve) => worker.once('message', resolve)).then((done) => {
      answered = true;
      assert.equal(done, true);
    });
    // The write asks for attention and waits
    while (Atomics.load(attention, 0) === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(answered, false);
    vm.attend();
    step();
    assert.equal(step(), 0x22);
    await answer;
    await worker.terminate();
  });
}

function access(memory: SharedGuestMemory, address: number, size: number): boolean {
  const at = gpa(address);
  const values = { 1: memory.readU8(at), 2: memory.readU16(at), 4: memory.readU32(at), 8: memory.readU64(at) };
  const read = values[size as 1] !== undefined;
  const wrote = memory.write(at, new Uint8Array(size));
  assert.equal(read, wrote);
  assert.equal(memory.read(at, new Uint8Array(size)), read);
  return read;
}
