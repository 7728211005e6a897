import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BusDevice, SavedState } from '../../bus/bus-device.ts';
import { PhysicalMap, PortMap } from '../../machine/memory-map.ts';
import { PciBench } from '../../testing/pci-bench.ts';
import type { BarSpec } from './bar.ts';
import type { InterruptPin } from './intx.ts';
import { PciFunction } from './pci-function.ts';
import type { PciDevice } from './pci-function.ts';

/** Registers that remember the last write and answer with their offset plus a tag. */
class Scratch implements BusDevice {
  last: { offset: number; size: number; value: number } | undefined;
  readonly #tag: number;

  constructor(tag: number) {
    this.#tag = tag;
  }

  read(offset: number): number {
    return this.#tag + offset;
  }

  write(offset: number, size: number, value: number): void {
    this.last = { offset, size, value };
  }
}

class TestFunction implements PciDevice {
  readonly pci: PciFunction;

  constructor(bars: readonly BarSpec[], interruptPin: InterruptPin = 1) {
    this.pci = new PciFunction({
      vendorId: 0x1234,
      deviceId: 0x5678,
      revisionId: 9,
      classCode: 0x01_02_03,
      subsystemVendorId: 0xaaaa,
      subsystemId: 0xbbbb,
      interruptPin,
      bars,
      capabilities: [],
    });
  }

  reset(): void {}
  save(): SavedState {
    return this.pci.save();
  }
  restore(state: SavedState): void {
    this.pci.restore(state);
  }
}

function bench() {
  const machine = new PciBench();
  const devices = { low: new Scratch(0x100), high: new Scratch(0x200), io: new Scratch(0x300) };
  const fn = new TestFunction([
    { index: 0, kind: 'memory32', size: 0x1000, device: devices.low },
    { index: 1, kind: 'memory64', size: 0x4000, prefetchable: true, device: devices.high },
    { index: 3, kind: 'io', size: 0x20, device: devices.io },
  ]);
  const slot = machine.host.attach(fn);
  return { machine, devices, fn, slot };
}

const Command = 0x04;
const Bar0 = 0x10;

test('§6.1 the header identifies the function at every access width', () => {
  const { machine, slot } = bench();
  assert.equal(slot, 1);
  assert.equal(machine.readConfig(slot, 0, 4), 0x5678_1234);
  assert.equal(machine.readConfig(slot, 2, 2), 0x5678);
  assert.equal(machine.readConfig(slot, 3, 1), 0x56);
  assert.equal(machine.readConfig(slot, 8, 4), 0x0102_0309);
  assert.equal(machine.readConfig(slot, 0x2c, 4), 0xbbbb_aaaa);
  assert.equal(machine.readConfig(slot, 0x3d, 1), 1);
  machine.writeConfig(slot, 0, 4, 0);
  assert.equal(machine.readConfig(slot, 0, 4), 0x5678_1234);
});

test('device 0 is a host bridge and empty slots read as all ones', () => {
  const { machine } = bench();
  assert.equal(machine.readConfig(0, 0x0a, 2), 0x0600);
  assert.equal(machine.readConfig(2, 0, 4), 0xffff_ffff);
  assert.equal(machine.readConfig(2, 0, 2), 0xffff);
  assert.equal(machine.readConfig(2, 0x0e, 1), 0xff);
});

test('§3.2.2.3.2 CONFIG_ADDRESS takes doublewords only and gates CONFIG_DATA', () => {
  const { machine } = bench();
  const port = PortMap.PciConfig.start;
  machine.pio.write(port, 4, 0x8000_0800);
  machine.pio.write(port + 3, 1, 1);
  machine.pio.write(port, 2, 0);
  assert.equal(machine.pio.read(port, 4), 0x8000_0800);
  assert.equal(machine.pio.read(port + 4, 4), 0x5678_1234);
  machine.pio.write(port, 4, 0x0000_0800);
  assert.equal(machine.pio.read(port + 4, 4), 0xffff_ffff);
  machine.pio.write(port, 4, 0xffff_ffff);
  assert.equal(machine.pio.read(port, 4), 0x8fff_fffc, 'reserved bits stay clear');
});

test('the enhanced mechanism reaches the same registers', () => {
  const { machine, slot } = bench();
  const base = PhysicalMap.PciEcam.start + (slot << 15);
  assert.equal(machine.read(base, 4), 0x5678_1234);
  assert.equal(machine.read(base + 3, 1), 0x56);
  machine.write(base + 0x3c, 1, 0x7e);
  assert.equal(machine.readConfig(slot, 0x3c, 1), 0x7e);
  assert.equal(machine.read(base + 0x100, 4), 0, 'no extended capabilities');
  assert.equal(machine.read(base + (1 << 12), 4), 0xffff_ffff, 'no other function');
  assert.equal(machine.read(base + (1 << 20), 4), 0xffff_ffff, 'no other bus');
});

test('§6.2.5.1 all ones written to a BAR give its size', () => {
  const { machine, slot } = bench();
  for (let bar = 0; bar < 6; bar++) machine.writeConfig(slot, Bar0 + bar * 4, 4, 0xffff_ffff);
  const bars = [0, 1, 2, 3, 4, 5].map((bar) => machine.readConfig(slot, Bar0 + bar * 4, 4));
  assert.deepEqual(bars, [0xffff_f000, 0xffff_c00c, 0xffff_ffff, 0xffff_ffe1, 0, 0]);
});

test('BARs are decoded as the command register says, and move', () => {
  const { machine, devices, slot } = bench();
  const address = PhysicalMap.PciMemory32.start + 0x5000;
  machine.writeConfig(slot, Bar0, 4, address);
  assert.equal(machine.read(address + 4, 4), 0xffff_ffff);
  machine.writeConfig(slot, Command, 2, 2);
  assert.equal(machine.read(address + 4, 4), 0x104);
  machine.write(address + 8, 2, 0xbeef);
  assert.deepEqual(devices.low.last, { offset: 8, size: 2, value: 0xbeef });
  machine.writeConfig(slot, Bar0 + 1, 1, 0x70);
  assert.equal(machine.read(address + 4, 4), 0xffff_ffff);
  assert.equal(machine.read(address + 0x2004, 4), 0x104);
  machine.writeConfig(slot, Command, 2, 0);
  assert.equal(machine.read(address + 0x2004, 4), 0xffff_ffff);
});

test('64-bit and I/O BARs are decoded in their windows', () => {
  const { machine, slot } = bench();
  machine.writeConfig(slot, Command, 2, 3);
  const high = PhysicalMap.PciMemory64.start + 0x8000;
  machine.writeConfig(slot, Bar0 + 4, 4, high % 2 ** 32);
  machine.writeConfig(slot, Bar0 + 8, 4, high / 2 ** 32);
  assert.equal(machine.read(high + 0x10, 4), 0x210);
  assert.equal(machine.barAddress(slot, 1), high);
  machine.writeConfig(slot, Bar0 + 12, 4, PortMap.PciIo.start + 0x40);
  assert.equal(machine.pio.read(PortMap.PciIo.start + 0x44, 4), 0x304);
});

test('a BAR outside of the windows is not decoded and disturbs nothing', () => {
  const { machine, slot } = bench();
  machine.writeConfig(slot, Command, 2, 2);
  machine.writeConfig(slot, Bar0, 4, PhysicalMap.PciEcam.start);
  assert.equal(machine.read(PhysicalMap.PciEcam.start, 4), 0x0008_1b36);
});

test('of two BARs at one address the first keeps answering', () => {
  const { machine, slot } = bench();
  const address = PhysicalMap.PciMemory32.start;
  machine.writeConfig(slot, Command, 2, 2);
  machine.writeConfig(slot, Bar0, 4, address);
  machine.writeConfig(slot, Bar0 + 4, 4, address);
  assert.equal(machine.read(address, 4), 0x100);
  machine.writeConfig(slot, Bar0, 4, 0);
  assert.equal(machine.read(address, 4), 0x200);
});

test('firmware gives every BAR a place of its own and enables decoding', () => {
  const { machine, slot } = bench();
  const other = machine.host.attach(
    new TestFunction([{ index: 0, kind: 'memory64', size: 0x8000, device: new Scratch(0x400) }], 2),
  );
  machine.host.assignResources();
  assert.equal(machine.readConfig(slot, Command, 2) & 3, 3);
  assert.equal(machine.read(machine.barAddress(slot, 0), 4), 0x100);
  assert.equal(machine.read(machine.barAddress(slot, 1), 4), 0x200);
  assert.equal(machine.pio.read(machine.readConfig(slot, Bar0 + 12, 4) & ~3, 4), 0x300);
  assert.equal(machine.read(machine.barAddress(other, 0), 4), 0x400);
  assert.equal(machine.readConfig(slot, 0x3c, 1), 17, 'INTA# of device 1');
  assert.equal(machine.readConfig(other, 0x3c, 1), 19, 'INTB# of device 2');
});

test('INTx wires are shared, rotate with the device number and obey Interrupt Disable', () => {
  const { machine, fn, slot } = bench();
  const functions = Array.from({ length: 4 }, () => new TestFunction([]));
  functions.forEach((device) => machine.host.attach(device));
  const sharing = functions[3]!;
  fn.pci.setIntx(true);
  sharing.pci.setIntx(true);
  assert.deepEqual(
    machine.lines.map(({ asserted }) => asserted),
    [false, true, false, false],
  );
  assert.equal(machine.readConfig(slot, 6, 2) & 8, 8, 'Interrupt Status');
  fn.pci.setIntx(false);
  assert.equal(machine.lines[1]!.asserted, true);
  machine.writeConfig(5, Command, 2, 0x400);
  assert.equal(machine.lines[1]!.asserted, false);
  machine.writeConfig(5, Command, 2, 0);
  assert.equal(machine.lines[1]!.asserted, true);
});

test('a restored bus decodes what the saved one did', () => {
  const saved = bench();
  saved.machine.host.assignResources();
  const state = structuredClone(saved.machine.host.save());
  const { machine, slot } = bench();
  machine.host.restore(state);
  assert.equal(machine.read(saved.machine.barAddress(slot, 1), 4), 0x200);
  assert.throws(() => new PciBench().host.restore(state), /other devices in PCI slot 1/);
});

test('a reset takes everything off the bus', () => {
  const { machine, slot } = bench();
  machine.host.assignResources();
  const address = machine.barAddress(slot, 0);
  machine.host.reset();
  assert.equal(machine.read(address, 4), 0xffff_ffff);
  assert.equal(machine.readConfig(slot, Command, 2), 0);
});
