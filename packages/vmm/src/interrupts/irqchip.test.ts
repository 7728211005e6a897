import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { ManualClock } from '../time/manual-clock.ts';
import { IrqChip } from './irqchip.ts';
import type { VcpuEvent } from './interrupt-message.ts';

const IoApicPage = 0xfec0_0000;
const ApicPage = 0xfee0_0000;
const Lint0 = 0x350;
const Svr = 0xf0;
const Eoi = 0xb0;
const Level = 0x8000;

let clock: ManualClock;
let chip: IrqChip;
let events: [vcpu: number, event: VcpuEvent][];

beforeEach(() => {
  clock = new ManualClock();
  events = [];
  chip = new IrqChip({ vcpus: 2, clock, timers: clock.timers, onVcpuEvent: (id, event) => events.push([id, event]) });
});

const writeApic = (vcpu: number, register: number, value: number): boolean =>
  chip.writeMmio(vcpu, ApicPage + register, 4, value);

function setRedirection(pin: number, low: number, destination = 0): void {
  for (const [index, value] of [
    [0x11 + 2 * pin, (destination << 24) >>> 0],
    [0x10 + 2 * pin, low],
  ] as const) {
    chip.writeMmio(0, IoApicPage, 4, index);
    chip.writeMmio(0, IoApicPage + 0x10, 4, value);
  }
}

/** The 8259A pair with vectors 0x20 and 0x28, nothing masked: what a kernel without APIC support does. */
function initializePics(): void {
  for (const [port, base, cascade] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ] as const) {
    chip.writePort(port, 1, 0x11);
    chip.writePort(port + 1, 1, base);
    chip.writePort(port + 1, 1, cascade);
    chip.writePort(port + 1, 1, 0x01);
    chip.writePort(port + 1, 1, 0);
  }
}

function startPit(count: number): void {
  chip.writePort(0x43, 1, 0x34);
  chip.writePort(0x40, 1, count & 0xff);
  chip.writePort(0x40, 1, count >> 8);
}

suite('accesses', () => {
  test('its own ports and pages are answered, others are left to the machine', () => {
    for (const port of [0x20, 0x21, 0x40, 0x43, 0x61, 0xa0, 0xa1, 0x4d0, 0x4d1]) {
      assert.notEqual(chip.readPort(port, 1), undefined, `0x${port.toString(16)}`);
    }
    for (const port of [0x22, 0x3f8, 0x60, 0x64, 0x70, 0x80, 0xffff]) {
      assert.equal(chip.readPort(port, 1), undefined, `0x${port.toString(16)}`);
      assert.equal(chip.writePort(port, 1, 0), false);
    }
    assert.notEqual(chip.readMmio(1, IoApicPage, 4), undefined);
    assert.notEqual(chip.readMmio(1, ApicPage + 0xffc, 4), undefined);
    for (const address of [IoApicPage - 4, IoApicPage + 0x1000, ApicPage - 4, ApicPage + 0x1000, 0x80_0000_0000]) {
      assert.equal(chip.readMmio(0, address, 4), undefined);
      assert.equal(chip.writeMmio(0, address, 4, 0), false);
    }
  });

  test('a word at the 8259A reaches both of its ports', () => {
    initializePics();
    chip.writePort(0x21, 1, 0x5a);
    assert.equal(chip.readPort(0x20, 2), 0x5a00);
  });
});

suite('8259A through the virtual wire', () => {
  test('the timer interrupts a kernel that knows no APIC', () => {
    initializePics();
    startPit(11932);
    clock.advance(10.1e6);
    assert.equal(chip.pendingInterrupt(0), true);
    assert.equal(chip.pendingInterrupt(1), false);
    assert.equal(chip.acknowledge(0), 0x20);
    assert.equal(chip.pendingInterrupt(0), false);
    chip.writePort(0x20, 1, 0x20);
    clock.advance(10e6);
    assert.equal(chip.acknowledge(0), 0x20);
  });

  test('masking LINT0 cuts the wire; an APIC that is off lets it through', () => {
    initializePics();
    chip.interruptLine(4).setLevel(true);
    assert.equal(chip.pendingInterrupt(0), true);
    writeApic(0, Lint0, 0x1_0700);
    assert.equal(chip.pendingInterrupt(0), false);
    chip.apic(0).setApicBase(0xfee0_0100n);
    assert.equal(chip.pendingInterrupt(0), true);
    assert.equal(chip.acknowledge(0), 0x24);
  });

  test('ExtINT goes before the APIC and needs no EOI there', () => {
    initializePics();
    writeApic(0, Svr, 0x1ff);
    writeApic(0, Lint0, 0x700);
    chip.signalMsi(ApicPage, 0xf1);
    chip.interruptLine(4).setLevel(true);
    assert.equal(chip.acknowledge(0), 0x24);
    assert.equal(chip.acknowledge(0), 0xf1);
  });

  test('LINT0 as a fixed interrupt and as NMI', () => {
    initializePics();
    writeApic(0, Svr, 0x1ff);
    writeApic(0, Lint0, 0x31);
    const line = chip.interruptLine(4);
    line.setLevel(true);
    assert.equal(chip.acknowledge(0), 0x31);
    line.setLevel(false);
    writeApic(0, Lint0, 0x400);
    events = [];
    line.setLevel(true);
    assert.deepEqual(events, [[0, 'nmi']]);
  });
});

suite('IOAPIC', () => {
  beforeEach(() => {
    writeApic(0, Svr, 0x1ff);
    writeApic(1, Svr, 0x1ff);
    writeApic(0, Lint0, 0x1_0000);
  });

  test('the PIT is on pin 2', () => {
    setRedirection(2, 0x30, 1);
    startPit(11932);
    clock.advance(10.1e6);
    assert.equal(chip.acknowledge(1), 0x30);
    writeApic(1, Eoi, 0);
    clock.advance(10e6);
    assert.equal(chip.acknowledge(1), 0x30);
  });

  test('a level-triggered line shared by two devices stays asserted until both let go', () => {
    setRedirection(16, 0x51 | Level);
    const first = chip.interruptLine(16);
    const second = chip.interruptLine(16);
    first.setLevel(true);
    second.setLevel(true);
    assert.equal(chip.acknowledge(0), 0x51);
    first.setLevel(false);
    writeApic(0, Eoi, 0);
    assert.equal(chip.acknowledge(0), 0x51);
    second.setLevel(false);
    writeApic(0, Eoi, 0);
    assert.equal(chip.pendingInterrupt(0), false);
  });

  test('TMR tells level from edge, and only level-triggered interrupts need the IOAPIC at EOI', () => {
    setRedirection(16, 0x51 | Level);
    const line = chip.interruptLine(16);
    line.setLevel(true);
    chip.acknowledge(0);
    assert.equal(chip.readMmio(0, ApicPage + 0x180 + 0x20, 4), 1 << 0x11);
    assert.equal(chip.apic(0).endOfInterruptIsQuiet, false);
    line.setLevel(false);
    chip.endOfInterrupt(0);
    chip.signalMsi(ApicPage, 0x51);
    chip.acknowledge(0);
    assert.equal(chip.readMmio(0, ApicPage + 0x180 + 0x20, 4), 0);
    assert.equal(chip.apic(0).endOfInterruptIsQuiet, true);
    chip.signalMsi(ApicPage, 0x41);
    assert.equal(chip.apic(0).endOfInterruptIsQuiet, false);
    chip.endOfInterrupt(0);
    assert.equal(chip.acknowledge(0), 0x41);
  });
});

suite('SDM Vol. 3A "Message Signalled Interrupts"', () => {
  beforeEach(() => {
    writeApic(0, Svr, 0x1ff);
    writeApic(1, Svr, 0x1ff);
  });

  test('the address names the processor, the data the vector and the mode', () => {
    chip.signalMsi(0xfee0_1000, 0x4041);
    assert.equal(chip.acknowledge(1), 0x41);
    chip.signalMsi(0xfee0_1000, 0x0400);
    assert.deepEqual(events.at(-1), [1, 'nmi']);
  });

  test('logical destination with redirection hint: one of them', () => {
    writeApic(0, 0xd0, 0x0100_0000);
    writeApic(1, 0xd0, 0x0200_0000);
    chip.signalMsi(0xfee0_300c, 0x41);
    assert.equal(Number(chip.pendingInterrupt(0)) + Number(chip.pendingInterrupt(1)), 1);
    chip.signalMsi(0xfee0_3004, 0x42);
    assert.equal(Number(chip.pendingInterrupt(0)) + Number(chip.pendingInterrupt(1)), 2);
  });

  test('what is no interrupt is dropped: other addresses, level de-assertion, absent processors', () => {
    chip.signalMsi(0xfed0_0000, 0x41);
    chip.signalMsi(0x1_fee0_0000, 0x41);
    chip.signalMsi(0xfee0_0000, 0x8041);
    chip.signalMsi(0xfee6_3000, 0x41);
    assert.equal(chip.pendingInterrupt(0), false);
    assert.equal(chip.pendingInterrupt(1), false);
  });
});

test('an interrupt event comes once, when the vCPU has nothing pending yet', () => {
  writeApic(0, Svr, 0x1ff);
  events = [];
  chip.signalMsi(ApicPage, 0x41);
  chip.signalMsi(ApicPage, 0x51);
  assert.deepEqual(events, [[0, 'interrupt']]);
  chip.acknowledge(0);
  chip.endOfInterrupt(0);
  assert.deepEqual(events, [
    [0, 'interrupt'],
    [0, 'interrupt'],
  ]);
});

test('any register writes leave it in one piece', () => {
  let seed = 1;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
  const ports = [0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x4d0, 0x4d1];
  const lines = Array.from({ length: 24 }, (_, gsi) => chip.interruptLine(gsi));
  for (let step = 0; step < 20_000; step++) {
    const vcpu = random(2);
    const value = random(2 ** 32);
    const size = ([1, 2, 4] as const)[random(3)]!;
    chip.writePort(ports[random(ports.length)]!, size, value);
    chip.writeMmio(vcpu, ApicPage + 16 * random(64), 4, value);
    chip.writeMmio(vcpu, IoApicPage, 4, random(64));
    chip.writeMmio(vcpu, IoApicPage + 0x10, size, value);
    chip.signalMsi(ApicPage + random(0x10_0000), value);
    lines[random(24)]!.setLevel(random(2) === 1);
    chip.readPort(ports[random(ports.length)]!, size);
    chip.readMmio(vcpu, ApicPage + random(0x1000), size);
    if (chip.pendingInterrupt(vcpu)) {
      const vector = chip.acknowledge(vcpu);
      assert.ok(vector >= 0 && vector <= 255, `vector ${vector}`);
    }
    clock.advance(random(100_000));
  }
});

test('state restored into a new chip and devices that drive their lines anew agree', () => {
  initializePics();
  writeApic(0, Svr, 0x1ff);
  writeApic(0, Lint0, 0x1_0700);
  setRedirection(10, 0x61 | Level);
  chip.interruptLine(10).setLevel(true);
  startPit(11932);
  clock.advance(10.1e6);
  const saved = structuredClone(chip.save());
  const other = new IrqChip({ vcpus: 2, clock, timers: clock.timers, onVcpuEvent: () => {} });
  other.restore(saved);
  const apic = chip.apic(0);
  other.apic(0).restore(structuredClone(apic.save()), apic.apicBase);
  const line = other.interruptLine(10);
  line.setLevel(true);
  assert.deepEqual(other.save(), saved);
  assert.equal(other.acknowledge(0), 0x61);
  line.setLevel(false);
  other.endOfInterrupt(0);
  assert.equal(other.pendingInterrupt(0), false);
  const entry = other.save().ioapic.entries[10]!;
  assert.equal(entry.low & 0x4000, 0);
});
