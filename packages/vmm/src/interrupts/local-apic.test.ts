import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { ManualClock } from '../time/manual-clock.ts';
import { IrqChip } from './irqchip.ts';
import type { VcpuEvent } from './interrupt-message.ts';
import { isLocalApicMsr, readMsr, writeMsr } from './local-apic-interface.ts';

const Page = 0xfee0_0000;
const Id = 0x20;
const Version = 0x30;
const Tpr = 0x80;
const Ppr = 0xa0;
const Eoi = 0xb0;
const Ldr = 0xd0;
const Dfr = 0xe0;
const Svr = 0xf0;
const Isr = 0x100;
const Tmr = 0x180;
const Irr = 0x200;
const Esr = 0x280;
const Icr = 0x300;
const IcrHigh = 0x310;
const LvtTimer = 0x320;
const Lint0 = 0x350;
const LvtError = 0x370;
const InitialCount = 0x380;
const CurrentCount = 0x390;
const Divide = 0x3e0;
const SelfIpi = 0x3f0;

const BaseMsr = 0x1b;
const DeadlineMsr = 0x6e0;
const Masked = 0x1_0000;
const Periodic = 0x2_0000;
const TscDeadline = 0x4_0000;
const By1 = 0b1011;

let clock: ManualClock;
let chip: IrqChip;
let events: [vcpu: number, event: VcpuEvent][];

function create(vcpus: number): void {
  clock = new ManualClock();
  events = [];
  chip = new IrqChip({ vcpus, clock, timers: clock.timers, onVcpuEvent: (id, event) => events.push([id, event]) });
}

const read = (vcpu: number, register: number): number => chip.readMmio(vcpu, Page + register, 4)!;
const write = (vcpu: number, register: number, value: number): boolean =>
  chip.writeMmio(vcpu, Page + register, 4, value);
const rdmsr = (vcpu: number, index: number): bigint | undefined => readMsr(chip.apic(vcpu), index);
const wrmsr = (vcpu: number, index: number, value: bigint): boolean => writeMsr(chip.apic(vcpu), index, value);
const x2 = (register: number): number => 0x800 + register / 16;

function enable(...vcpus: number[]): void {
  for (const vcpu of vcpus) write(vcpu, Svr, 0x1ff);
}

function enterX2Apic(...vcpus: number[]): void {
  for (const vcpu of vcpus) {
    assert.ok(wrmsr(vcpu, BaseMsr, rdmsr(vcpu, BaseMsr)! | 0xc00n));
    assert.ok(wrmsr(vcpu, x2(Svr), 0x1ffn));
  }
}

/** A fixed physical IPI from vCPU 0. */
function ipi(destination: number, command: number): void {
  write(0, IcrHigh, (destination << 24) >>> 0);
  write(0, Icr, command);
}

const pendingVcpus = (): number[] => [0, 1, 2, 3].filter((vcpu) => chip.pendingInterrupt(vcpu));

beforeEach(() => {
  create(4);
  enable(0, 1, 2, 3);
});

suite('SDM Vol. 3A "Local APIC Register Address Map"', () => {
  test('identification and version', () => {
    assert.equal(read(3, Id), 0x0300_0000);
    assert.equal(read(3, Version), 0x0005_0014);
  });

  test('state after power-up: LVTs masked but the bootstrap virtual wire, software disabled', () => {
    create(2);
    assert.equal(read(1, Svr), 0xff);
    assert.equal(read(1, LvtTimer), Masked);
    assert.equal(read(1, Lint0), Masked);
    assert.equal(read(0, Lint0), 0x700);
    assert.equal(read(0, Dfr), 0xffff_ffff);
    assert.equal(rdmsr(0, BaseMsr), 0xfee0_0900n);
    assert.equal(rdmsr(1, BaseMsr), 0xfee0_0800n);
  });

  test('bytes of a register can be read; only whole registers can be written', () => {
    write(0, Tpr, 0x35);
    assert.equal(chip.readMmio(0, Page + Id + 3, 1), 0);
    assert.equal(chip.readMmio(0, Page + Version + 2, 1), 5);
    assert.equal(chip.readMmio(0, Page + Version + 3, 2), 0);
    chip.writeMmio(0, Page + Tpr, 1, 0x99);
    chip.writeMmio(0, Page + Tpr + 4, 4, 0x99);
    assert.equal(read(0, Tpr), 0x35);
  });

  test('a moved register page answers at its new place only', () => {
    assert.ok(wrmsr(0, BaseMsr, 0xfed0_0900n));
    assert.equal(chip.readMmio(0, Page + Version, 4), undefined);
    assert.equal(chip.readMmio(0, 0xfed0_0000 + Version, 4), 0x0005_0014);
    assert.equal(chip.readMmio(1, Page + Version, 4), 0x0005_0014);
  });
});

suite('SDM Vol. 3A "Interrupt Acceptance for Fixed Interrupts"', () => {
  test('a request moves from IRR to ISR and ends with EOI', () => {
    ipi(1, 0x41);
    assert.deepEqual(events, [[1, 'interrupt']]);
    assert.equal(read(1, Irr + 0x20), 0x2);
    assert.equal(chip.acknowledge(1), 0x41);
    assert.equal(read(1, Irr + 0x20), 0);
    assert.equal(read(1, Isr + 0x20), 0x2);
    assert.equal(chip.pendingInterrupt(1), false);
    write(1, Eoi, 0);
    assert.equal(read(1, Isr + 0x20), 0);
    assert.equal(chip.acknowledge(1), -1);
  });

  test('one request waits behind the one in service, further ones merge', () => {
    ipi(1, 0x41);
    chip.acknowledge(1);
    ipi(1, 0x41);
    ipi(1, 0x41);
    assert.equal(chip.pendingInterrupt(1), false);
    write(1, Eoi, 0);
    assert.equal(chip.acknowledge(1), 0x41);
    write(1, Eoi, 0);
    assert.equal(chip.pendingInterrupt(1), false);
  });

  test('higher classes interrupt lower ones, members of a class do not', () => {
    ipi(1, 0x41);
    chip.acknowledge(1);
    ipi(1, 0x4f);
    assert.equal(chip.pendingInterrupt(1), false);
    ipi(1, 0x50);
    ipi(1, 0xe0);
    assert.equal(chip.acknowledge(1), 0xe0);
    assert.equal(chip.pendingInterrupt(1), false);
    write(1, Eoi, 0);
    assert.equal(chip.acknowledge(1), 0x50);
    write(1, Eoi, 0);
    assert.equal(chip.pendingInterrupt(1), false);
    write(1, Eoi, 0);
    assert.equal(chip.acknowledge(1), 0x4f);
  });

  test('a software-disabled APIC drops fixed interrupts and keeps its LVTs masked', () => {
    write(1, LvtTimer, 0x31);
    write(1, Svr, 0xff);
    assert.equal(read(1, LvtTimer), 0x31 | Masked);
    write(1, LvtTimer, 0x31);
    assert.equal(read(1, LvtTimer), 0x31 | Masked);
    ipi(1, 0x41);
    assert.equal(chip.pendingInterrupt(1), false);
    ipi(1, 0x400);
    assert.deepEqual(events.at(-1), [1, 'nmi']);
  });

  test('an EOI with nothing in service does nothing', () => {
    write(0, Eoi, 0);
    assert.equal(chip.pendingInterrupt(0), false);
  });
});

suite('SDM Vol. 3A "Task and Processor Priorities"', () => {
  test('TPR holds back its class and lower ones; PPR is the higher of TPR and the service class', () => {
    write(1, Tpr, 0x45);
    assert.equal(read(1, Ppr), 0x45);
    ipi(1, 0x4f);
    assert.equal(chip.pendingInterrupt(1), false);
    ipi(1, 0x51);
    assert.equal(chip.acknowledge(1), 0x51);
    assert.equal(read(1, Ppr), 0x50);
    write(1, Eoi, 0);
    write(1, Tpr, 0);
    assert.deepEqual(events.at(-1), [1, 'interrupt']);
    assert.equal(chip.acknowledge(1), 0x4f);
  });

  test('CR8 is the class of TPR', () => {
    assert.ok(chip.setCr8(1, 9));
    assert.equal(read(1, Tpr), 0x90);
    write(1, Tpr, 0x57);
    assert.equal(chip.cr8(1), 5);
    assert.equal(chip.setCr8(1, 16), false);
  });
});

suite('SDM Vol. 3A "Error Handling"', () => {
  test('a write of ESR shows the errors since the last one', () => {
    ipi(1, 0x0f);
    assert.equal(read(0, Esr), 0);
    write(0, Esr, 0);
    assert.equal(read(0, Esr), 0x20);
    write(0, Esr, 0);
    assert.equal(read(0, Esr), 0);
  });

  test('received illegal vector and illegal register address; the error LVT interrupts once for each', () => {
    write(0, LvtError, 0xfe);
    chip.signalMsi(0xfee0_0000, 0x05);
    assert.equal(chip.acknowledge(0), 0xfe);
    write(0, Eoi, 0);
    chip.signalMsi(0xfee0_0000, 0x06);
    assert.equal(chip.pendingInterrupt(0), false);
    read(0, 0x40);
    assert.equal(chip.acknowledge(0), 0xfe);
    write(0, Esr, 0);
    assert.equal(read(0, Esr), 0xc0);
  });

  test('an error LVT with an illegal vector does not loop', () => {
    write(0, LvtError, 0x03);
    ipi(1, 0x01);
    write(0, Esr, 0);
    assert.equal(read(0, Esr), 0x60);
  });
});

suite('SDM Vol. 3A "Determining IPI Destination"', () => {
  test('physical: one processor, or all with 0xFF', () => {
    ipi(2, 0x41);
    assert.deepEqual(pendingVcpus(), [2]);
    ipi(0xff, 0x42);
    assert.deepEqual(pendingVcpus(), [0, 1, 2, 3]);
    ipi(9, 0x43);
  });

  test('logical, flat model', () => {
    for (const vcpu of [0, 1, 2, 3]) write(vcpu, Ldr, (1 << (24 + vcpu)) | 0xff);
    assert.equal(read(1, Ldr), 0x0200_0000);
    ipi(0b0110, 0x841);
    assert.deepEqual(pendingVcpus(), [1, 2]);
  });

  test('logical, cluster model', () => {
    for (const vcpu of [0, 1, 2, 3]) {
      write(vcpu, Dfr, 0x0fff_ffff);
      write(vcpu, Ldr, (((vcpu >> 1) << 28) | (1 << (24 + (vcpu & 1)))) >>> 0);
    }
    assert.equal(read(0, Dfr), 0x0fff_ffff);
    ipi(0x12, 0x841);
    assert.deepEqual(pendingVcpus(), [3]);
    ipi(0x03, 0x841);
    assert.deepEqual(pendingVcpus(), [0, 1, 3]);
  });

  test('shorthands', () => {
    ipi(3, 0x4_0041);
    assert.deepEqual(pendingVcpus(), [0]);
    ipi(3, 0xc_0041);
    assert.deepEqual(pendingVcpus(), [0, 1, 2, 3]);
    [0, 1, 2, 3].forEach((vcpu) => chip.acknowledge(vcpu));
    [0, 1, 2, 3].forEach((vcpu) => write(vcpu, Eoi, 0));
    ipi(3, 0x8_0041);
    assert.deepEqual(pendingVcpus(), [0, 1, 2, 3]);
  });

  test('lowest priority: the lowest TPR, equals in turn, the focus processor before all', () => {
    for (const vcpu of [0, 1, 2, 3]) write(vcpu, Ldr, 1 << (24 + vcpu));
    write(0, Tpr, 0x20);
    write(3, Tpr, 0x20);
    ipi(0x0f, 0x931);
    ipi(0x0f, 0x932);
    assert.deepEqual(pendingVcpus(), [1, 2]);
    const focus = chip.acknowledge(1) === 0x31 ? 1 : 2;
    write(focus, Tpr, 0x80);
    ipi(0x0f, 0x931);
    assert.equal(read(focus, Irr + 0x10), 1 << 0x11);
  });

  test('the delivery status always reads idle', () => {
    ipi(1, 0x1041);
    assert.equal(read(0, Icr), 0x41);
    assert.equal(read(0, IcrHigh), 0x0100_0000);
  });
});

suite('SDM Vol. 3A "Issuing Interprocessor Interrupts": NMI, INIT and start-up', () => {
  test('INIT resets the local APIC, SIPI carries its vector, as Linux wakes a processor', () => {
    write(1, Tpr, 0x50);
    ipi(1, 0x41);
    events = [];
    ipi(1, 0xc500);
    ipi(1, 0x8500);
    ipi(1, 0x0699);
    ipi(1, 0x0699);
    assert.deepEqual(events, [
      [1, 'init'],
      [1, { sipi: 0x99 }],
      [1, { sipi: 0x99 }],
    ]);
    assert.equal(read(1, Svr), 0xff);
    assert.equal(read(1, Tpr), 0);
    assert.equal(chip.pendingInterrupt(1), false);
  });

  test('NMI to all others; SMI is dropped; an APIC that is off takes nothing', () => {
    assert.ok(wrmsr(3, BaseMsr, 0xfee0_0000n));
    events = [];
    ipi(0, 0xc_0400);
    ipi(1, 0x200);
    assert.deepEqual(events, [
      [1, 'nmi'],
      [2, 'nmi'],
    ]);
  });
});

suite('SDM Vol. 3A "x2APIC State Transitions"', () => {
  const base = 0xfee0_0900n;
  const steps: [from: bigint[], to: bigint, allowed: boolean][] = [
    [[], base | 0x400n, true],
    [[], base & ~0x800n, true],
    [[base | 0x400n], base, false],
    [[base | 0x400n], base & ~0x800n, true],
    [[base & ~0x800n], base | 0x400n, false],
    [[base & ~0x800n], base, true],
    [[], (base & ~0x800n) | 0x400n, false],
    [[], base | 1n, false],
    [[], base | 0x200n, false],
    [[], base | (1n << 52n), false],
  ];
  for (const [from, to, allowed] of steps) {
    const path = [...from, to].map((value) => `0x${value.toString(16)}`).join(' to ');
    test(`${path} ${allowed ? 'is allowed' : 'is #GP'}`, () => {
      for (const value of from) assert.ok(wrmsr(0, BaseMsr, value));
      const before = rdmsr(0, BaseMsr);
      assert.equal(wrmsr(0, BaseMsr, to), allowed);
      assert.equal(rdmsr(0, BaseMsr), allowed ? to : before);
    });
  }

  test('switching off loses the state; x2APIC has no MMIO, xAPIC no MSRs', () => {
    write(0, Tpr, 0x50);
    assert.equal(rdmsr(0, x2(Tpr)), undefined);
    assert.equal(wrmsr(0, x2(Tpr), 0n), false);
    enterX2Apic(0);
    assert.equal(rdmsr(0, x2(Tpr)), 0x50n);
    assert.equal(chip.readMmio(0, Page + Tpr, 4), undefined);
    assert.equal(write(0, Tpr, 0), false);
    assert.ok(wrmsr(0, BaseMsr, base & ~0x800n));
    assert.equal(chip.readMmio(0, Page + Tpr, 4), undefined);
    assert.ok(wrmsr(0, BaseMsr, base));
    assert.equal(read(0, Tpr), 0);
  });
});

suite('SDM Vol. 3A "x2APIC Register Address Space"', () => {
  beforeEach(() => {
    create(20);
    enterX2Apic(...Array.from({ length: 20 }, (_, vcpu) => vcpu));
  });

  test('identifiers are 32 bits and the logical one follows from them', () => {
    assert.equal(rdmsr(18, x2(Id)), 18n);
    assert.equal(rdmsr(18, x2(Ldr)), 0x0001_0004n);
    assert.equal(wrmsr(18, x2(Ldr), 0n), false);
  });

  test('what is #GP: registers that do not exist, reserved bits, writes of read-only ones', () => {
    for (const register of [0x00, Dfr, IcrHigh, 0x90, 0xc0, 0x2f0, 0x3a0, 0xff0]) {
      assert.equal(rdmsr(0, x2(register)), undefined, `read of 0x${register.toString(16)}`);
      assert.equal(wrmsr(0, x2(register), 0n), false, `write of 0x${register.toString(16)}`);
    }
    for (const register of [Eoi, SelfIpi]) assert.equal(rdmsr(0, x2(register)), undefined);
    for (const register of [Id, Version, Ppr, Isr, Tmr, Irr, CurrentCount]) {
      assert.notEqual(rdmsr(0, x2(register)), undefined);
      assert.equal(wrmsr(0, x2(register), 0n), false);
    }
    for (const [register, value] of [
      [Eoi, 1n],
      [Esr, 1n],
      [Tpr, 0x100n],
      [Tpr, 1n << 32n],
      [Svr, 0x1000n],
      [LvtTimer, 0x100n],
      [Lint0, 0x2_0000n],
      [Divide, 4n],
      [Icr, 0x2000n],
      [Icr, 0x2_0000n],
      [SelfIpi, 0x100n],
    ] as const) {
      assert.equal(wrmsr(0, x2(register), value), false, `0x${value.toString(16)} to 0x${register.toString(16)}`);
    }
    assert.equal(isLocalApicMsr(0x7ff), false);
    assert.equal(isLocalApicMsr(0x900), false);
  });

  test('ICR is one 64-bit register: physical, broadcast', () => {
    assert.ok(wrmsr(0, x2(Icr), (17n << 32n) | 0x41n));
    assert.equal(rdmsr(0, x2(Icr)), (17n << 32n) | 0x41n);
    assert.equal(chip.acknowledge(17), 0x41);
    assert.ok(wrmsr(0, x2(Icr), (0xffn << 32n) | 0x51n));
    assert.equal(chip.pendingInterrupt(5), false);
    assert.ok(wrmsr(0, x2(Icr), (0xffff_ffffn << 32n) | 0x51n));
    assert.equal(chip.pendingInterrupt(5), true);
    assert.equal(chip.pendingInterrupt(0), true);
  });

  test('"Logical Destination Mode in x2APIC Mode": cluster and members', () => {
    assert.ok(wrmsr(0, x2(Icr), (0x0001_0005n << 32n) | 0x841n));
    const taken = Array.from({ length: 20 }, (_, vcpu) => vcpu).filter((vcpu) => chip.pendingInterrupt(vcpu));
    assert.deepEqual(taken, [16, 18]);
  });

  test('"SELF IPI Register"', () => {
    assert.ok(wrmsr(7, x2(SelfIpi), 0x61n));
    assert.equal(chip.acknowledge(7), 0x61);
    assert.ok(wrmsr(7, x2(Eoi), 0n));
    assert.ok(wrmsr(7, x2(SelfIpi), 0x05n));
    assert.ok(wrmsr(7, x2(Esr), 0n));
    assert.equal(rdmsr(7, x2(Esr)), 0x20n);
  });

  test('8-bit destination 0xFF of MSIs reaches all', () => {
    chip.signalMsi(0xfeef_f000, 0x41);
    assert.equal(chip.pendingInterrupt(19), true);
  });
});

suite('SDM Vol. 3A "APIC Timer"', () => {
  function start(mode: number, count: number, divide = By1): void {
    write(0, Divide, divide);
    write(0, LvtTimer, 0x31 | mode);
    write(0, InitialCount, count);
  }

  function take(): boolean {
    if (!chip.pendingInterrupt(0)) return false;
    assert.equal(chip.acknowledge(0), 0x31);
    write(0, Eoi, 0);
    return true;
  }

  test('one-shot counts down once', () => {
    start(0, 1_000_000);
    clock.advance(400_000);
    assert.equal(read(0, CurrentCount), 600_000);
    assert.equal(take(), false);
    clock.advance(600_000);
    assert.equal(take(), true);
    assert.equal(read(0, CurrentCount), 0);
    assert.equal(read(0, InitialCount), 1_000_000);
    clock.advance(1e9);
    assert.equal(take(), false);
  });

  test('"Divide Configuration Register": 2 to 128 and 1', () => {
    const codes = [0b0000, 0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010, 0b1011];
    const elapsed = codes.map((code) => {
      start(0, 1_000_000, code);
      clock.advance(128_000);
      return 1_000_000 - read(0, CurrentCount);
    });
    assert.deepEqual(elapsed, [64_000, 32_000, 16_000, 8_000, 4_000, 2_000, 1_000, 128_000]);
  });

  test('periodic interrupts each period and does not drift', () => {
    start(Periodic, 1_000_000);
    let taken = 0;
    for (let step = 0; step < 100; step++) {
      clock.advance(1_000_000);
      if (take()) taken++;
    }
    assert.equal(taken, 100);
    assert.equal(read(0, CurrentCount), 1_000_000);
    write(0, InitialCount, 0);
    clock.advance(5_000_000);
    assert.equal(take(), false);
  });

  test('periods missed by a busy host come as one interrupt', () => {
    start(Periodic, 1_000_000);
    clock.skip(10_300_000);
    clock.timers.fire(clock.now());
    assert.equal(take(), true);
    assert.equal(read(0, CurrentCount), 700_000);
    clock.advance(700_000);
    assert.equal(take(), true);
  });

  test('the shortest period does not flood the host', () => {
    start(Periodic, 1);
    let taken = 0;
    for (let step = 0; step < 1000; step++) {
      clock.advance(1_000);
      if (take()) taken++;
    }
    assert.ok(taken >= 5 && taken <= 20, `${taken} interrupts in 1 ms`);
  });

  test('a masked timer counts without interrupting or waking the host', () => {
    start(Periodic | Masked, 1_000_000);
    assert.equal(clock.timers.nextDeadline(), Infinity);
    clock.advance(2_500_000);
    assert.equal(read(0, CurrentCount), 500_000);
    write(0, LvtTimer, 0x31 | Periodic);
    assert.equal(take(), false);
    clock.advance(500_000);
    assert.equal(take(), true);
  });

  test('changing the divider keeps what remains', () => {
    start(0, 1_000_000);
    clock.advance(500_000);
    write(0, Divide, 0b0000);
    assert.equal(read(0, CurrentCount), 500_000);
    clock.advance(999_999);
    assert.equal(take(), false);
    clock.advance(1);
    assert.equal(take(), true);
  });

  test('"TSC-Deadline Mode" fires when the TSC reaches the deadline, which then reads 0', () => {
    write(0, LvtTimer, 0x31 | TscDeadline);
    assert.ok(wrmsr(0, DeadlineMsr, 5_000_000n));
    assert.equal(rdmsr(0, DeadlineMsr), 5_000_000n);
    assert.equal(clock.timers.nextDeadline(), 5_000_000);
    clock.advance(4_999_999);
    assert.equal(take(), false);
    clock.advance(1);
    assert.equal(take(), true);
    assert.equal(rdmsr(0, DeadlineMsr), 0n);
    assert.ok(wrmsr(0, DeadlineMsr, 1n));
    assert.equal(take(), true, 'a deadline in the past fires at once');
    assert.ok(wrmsr(0, DeadlineMsr, 9_000_000n));
    assert.ok(wrmsr(0, DeadlineMsr, 0n));
    clock.advance(1e9);
    assert.equal(take(), false);
  });

  test('"TSC-Deadline Mode": other modes ignore the MSR, it ignores the initial count, and changing the mode disarms', () => {
    assert.ok(wrmsr(0, DeadlineMsr, 5_000_000n));
    assert.equal(rdmsr(0, DeadlineMsr), 0n);
    start(TscDeadline, 1_000_000);
    assert.equal(read(0, InitialCount), 0);
    assert.ok(wrmsr(0, DeadlineMsr, 5_000_000n));
    write(0, LvtTimer, 0x31);
    write(0, LvtTimer, 0x31 | TscDeadline);
    assert.equal(rdmsr(0, DeadlineMsr), 0n);
    clock.advance(1e9);
    assert.equal(take(), false);
  });

  test('"TSC-Deadline Mode" follows an offset of the TSC and survives the largest deadline', () => {
    write(0, LvtTimer, 0x31 | TscDeadline);
    chip.apic(0).timer.tscOffset = 1_000_000n;
    assert.ok(wrmsr(0, DeadlineMsr, 5_000_000n));
    assert.equal(clock.timers.nextDeadline(), 4_000_000);
    chip.apic(0).timer.tscOffset = 3_000_000n;
    assert.equal(clock.timers.nextDeadline(), 2_000_000);
    assert.ok(wrmsr(0, DeadlineMsr, 0xffff_ffff_ffff_ffffn));
    clock.advance(1e9);
    assert.equal(take(), false);
  });
});

test('saved state goes on from the same point', () => {
  write(0, Divide, By1);
  write(0, LvtTimer, 0x31 | Periodic);
  write(0, InitialCount, 1_000_000);
  clock.advance(250_000);
  ipi(1, 0x41);
  chip.acknowledge(1);
  ipi(1, 0x42);
  ipi(1, 0x02);
  enterX2Apic(2);
  const save = () =>
    Array.from({ length: 4 }, (_, id) => ({ base: chip.apic(id).apicBase, state: chip.apic(id).save() }));
  const saved = structuredClone(save());
  create(4);
  clock.skip(5e9);
  saved.forEach(({ base, state }, id) => chip.apic(id).restore(state, base));
  assert.deepEqual(save(), saved);
  assert.equal(read(0, CurrentCount), 750_000);
  clock.advance(750_000);
  assert.equal(chip.acknowledge(0), 0x31);
  assert.equal(rdmsr(2, x2(Id)), 2n);
  write(1, Eoi, 0);
  assert.equal(chip.acknowledge(1), 0x42);
  assert.throws(() => chip.apic(0).restore({ version: 7 }, 0n), { code: 'Internal' });
});
