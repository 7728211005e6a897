/** The whole board under a vCPU that replays accesses instead of running code. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { concat, multibootHeader } from '../boot/testing/kernel-builder.ts';
import { LocalQueueRunner } from '../devices/virtio/local-queue-runner.ts';
import { BlockRequests } from '../devices/virtio/block/block-requests.ts';
import { AcpiPmLayout, ResetValue, SleepTypeS5 } from '../devices/acpi-pm.ts';
import type { EngineVm, Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import type { VcpuState, VmState } from '../engine/state.ts';
import { ArrayMemory } from '../memory/array-memory.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { RecordedLine, RecordedMsi } from '../testing/recorded-interrupts.ts';
import { ManualClock } from '../time/manual-clock.ts';
import { Machine } from './machine.ts';
import { Gsi, PortMap } from './memory-map.ts';

/** A Multiboot kernel of one HLT, loaded at 1 MiB by the addresses in its header. */
function smallKernel(): Uint8Array {
  const [load, headerBytes] = [0x10_0000, 32];
  const end = load + headerBytes + 1;
  return concat([multibootHeader(1 << 16, [load, load, end, end, load + headerBytes]), Uint8Array.of(0xf4)]);
}

const out = (port: number, value: number, size: 1 | 2 | 4 = 1): VcpuExit => ({ kind: 'pio-write', port, size, value });
const read = (port: number, size: 1 | 2 | 4 = 1) => ({ kind: 'pio-read' as const, port, size, value: 0 });
const print = (text: string) => [...new TextEncoder().encode(text)].map((byte) => out(PortMap.Com1.start, byte));

class ReplayedVcpu implements Vcpu {
  readonly id = 0;
  readonly script: VcpuExit[];
  started: VcpuState | undefined;

  constructor(script: readonly VcpuExit[]) {
    this.script = [...script];
  }

  get runnable(): boolean {
    return this.script.length > 0;
  }

  run(): VcpuExit {
    return this.script.shift() ?? { kind: 'interrupted' };
  }

  kick(): void {}

  state(): VcpuState {
    return this.started!;
  }

  setState(state: VcpuState): void {
    this.started = state;
  }
}

function machine(script: readonly VcpuExit[], typed = '') {
  const clock = new ManualClock(1_700_000_000n * 1_000_000_000n);
  const memory = new ArrayMemory(16 * 1024 * 1024);
  const lines = Array.from({ length: 24 }, () => new RecordedLine());
  const vcpu = new ReplayedVcpu(script);
  const vm: EngineVm = {
    memory,
    cpu: { model: 'x86-64-v2', without: [] },
    msi: new RecordedMsi(),
    interruptLine: (gsi) => lines[gsi]!,
    createVcpu: () => vcpu,
    setMemorySlot() {},
    nextDeadline: () => Infinity,
    fireTimers() {},
    state: () => ({ version: 1, clock: { kvmClock: 0n, wallClock: 0n } }) as VmState,
    setState() {},
    close() {},
  };
  const disk = new MemoryDisk(1024 * 1024);
  let left = [...new TextEncoder().encode(typed)];
  let printed = '';
  const board: Machine = new Machine({
    vm,
    vcpus: 1,
    clock,
    entropy: (target) => void target.fill(7),
    disks: [{ geometry: disk, runner: new LocalQueueRunner(memory, new BlockRequests(memory, disk, 'serial')) }],
    console: {
      output: (byte) => (printed += String.fromCharCode(byte)),
      input: {
        get available() {
          return left.length;
        },
        read(target) {
          const taken = left.slice(0, target.length);
          target.set(taken);
          left = left.slice(taken.length);
          return taken.length;
        },
      },
      interactive: true,
      window: undefined,
    },
    host: { service() {}, serviceDeadline: () => Infinity, sleep: () => board.end({ kind: 'stopped' }) },
  });
  return { machine: board, vcpu, memory, lines, clock, printed: () => printed };
}

const sleep = PortMap.Acpi.start + AcpiPmLayout.Pm1Control.offset;
const powerOff = out(sleep, (SleepTypeS5 << 10) | (1 << 13), 2);
const reset = out(PortMap.Acpi.start + AcpiPmLayout.Reset.offset, ResetValue);

test('the guest prints on the serial port and powers off through ACPI', () => {
  const guest = machine([...print('hello\n'), powerOff, ...print('never')]);
  assert.deepEqual(guest.machine.run(), { kind: 'power-off' });
  assert.equal(guest.printed(), 'hello\n');
});

test('every way to reset', () => {
  const ways = { acpi: reset, keyboardController: out(PortMap.I8042Command.start, 0xfe), pci: out(0xcf9, 0x06) };
  for (const [way, exit] of Object.entries(ways)) {
    assert.deepEqual(machine([exit]).machine.run(), { kind: 'reset' }, way);
  }
});

test('a reset or triple fault after a panic on the console is the panic', () => {
  const panic = print('[    1.0] Kernel panic - not syncing: boom\r\n');
  for (const end of [reset, { kind: 'shutdown' } as const]) {
    const reason = machine([...panic, end]).machine.run();
    assert.deepEqual(reason, { kind: 'guest-panic', message: 'Kernel panic - not syncing: boom' });
  }
});

test('the debug-exit port ends the machine with a code', () => {
  assert.deepEqual(machine([out(0xf4, 0x10)]).machine.run(), { kind: 'debug-exit', exitCode: 0x21 });
});

test('the power button asks the guest through the SCI', () => {
  const guest = machine([out(PortMap.Acpi.start + 2, 1 << 8, 2)]);
  guest.machine.run();
  assert.equal(guest.lines[Gsi.AcpiSci]!.asserted, false);
  guest.machine.pressPowerButton();
  assert.equal(guest.lines[Gsi.AcpiSci]!.asserted, true);
});

test('what is typed reaches the serial port', () => {
  const data = read(PortMap.Com1.start);
  const guest = machine([data], 'x');
  guest.machine.run();
  assert.equal(data.value, 'x'.charCodeAt(0));
});

test('the bus shows the bridge, console, entropy source and disk, and nothing else', () => {
  const ids = [0, 1, 2, 3, 4].flatMap((slot) => [
    out(PortMap.PciConfig.start, 0x8000_0000 + (slot << 11), 4),
    read(PortMap.PciConfig.start + 4, 4),
  ]);
  machine(ids).machine.run();
  const found = ids.flatMap((exit) => (exit.kind === 'pio-read' ? [exit.value.toString(16)] : []));
  assert.deepEqual(found, ['81b36', '10431af4', '10441af4', '10421af4', 'ffffffff']);
});

test('boot() loads the kernel with what its protocol needs', () => {
  const guest = machine([]);
  const kernel = smallKernel();
  const booted = guest.machine.boot({ kernel, linuxCommandLine: 'for linux', commandLine: 'for others' });
  assert.equal(booted.protocol, 'multiboot');
  assert.equal(guest.vcpu.started, booted.state);
  const low = new Uint8Array(1024 * 1024);
  guest.memory.read(booted.entry, low.subarray(0, 1));
  assert.equal(low[0], 0xf4);
  guest.memory.read(0 as typeof booted.entry, low);
  const text = new TextDecoder('latin1').decode(low);
  assert.ok(text.includes('for others\0') && !text.includes('for linux'));
  assert.ok(text.includes('RSD PTR '), 'ACPI tables');
});

test('what is saved is restored into another machine', () => {
  const first = machine([out(PortMap.Com1.start + 7, 0x5a), out(PortMap.PciConfig.start, 0x8000_1234, 4)]);
  first.machine.boot({ kernel: smallKernel(), linuxCommandLine: '', commandLine: '' });
  first.machine.run();
  first.machine.pause();
  const saved = structuredClone(first.machine.save());
  const scratch = read(PortMap.Com1.start + 7);
  const address = read(PortMap.PciConfig.start, 4);
  const second = machine([scratch, address]);
  second.machine.restore(saved);
  second.machine.run();
  assert.deepEqual([scratch.value, address.value], [0x5a, 0x8000_1234]);
  assert.deepEqual(second.vcpu.started, first.vcpu.started);
});
