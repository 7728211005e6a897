/** Guests that are stopped in the middle and continued on another engine. They stop themselves by writing to Port.Done. */
import assert from 'node:assert/strict';
import { gpa } from '@lodger/vmm/memory/address.js';
import {
  type Assembler, al, at, ax, eax, ebx, dx, ecx, edx, mem, r8, r15, rax, rbx, rcx, rdi, rdx, rsi,
} from '../guest/assembler.ts'; // prettier-ignore
import { At, EngineGuest, Port, done } from './engine-guest.ts';
import { moveGuest, setLines, stop } from './engine-move.ts';
import type { EnginePair } from './engine-move.ts';

export type MoveCases = Readonly<Record<string, (pair: EnginePair) => void>>;

const Apic = { EndOfInterrupt: 0xb0, Spurious: 0xf0, Icr: 0x300, IcrHigh: 0x310, Timer: 0x320, Lint0: 0x350, InitialCount: 0x380, Divide: 0x3e0 } as const; // prettier-ignore
const TimerMode = { Periodic: 1 << 17, TscDeadline: 1 << 18 } as const;
const Msr = { TscDeadline: 0x6e0, SystemTime: 0x4b56_4d01 } as const;
const By1 = 0xb;
/** Nanoseconds; longer ones in the nested host, where everything takes long. */
const Milliseconds = process.env['LODGER_NESTED_HOST'] ? 10_000_000 : 1_000_000;

const apic = (a: Assembler, register: number, value: number): Assembler =>
  a.mov(ebx, At.LocalApic).mov(mem({ base: rbx, displacement: register, size: 32 }), value);
const enable = (a: Assembler): Assembler => apic(a, Apic.Spurious, 0x1ff);
/** LINT0 as an operating system with an IOAPIC leaves it. */
const withoutPics = (a: Assembler): Assembler => apic(a, Apic.Lint0, 0x1_0700);
const endOfInterrupt = (a: Assembler): Assembler => apic(a, Apic.EndOfInterrupt, 0);
const wait = (a: Assembler): Assembler => a.sti().hlt().cli();
/** Stops the guest, which goes on after it. */
const pause = (a: Assembler, value = 1): Assembler => done(a.mov(al, value));
const message = (guest: EngineGuest, vector: number): void => guest.vm.msi.signalMsi(At.LocalApic, vector);

/** RAX = TSC. */
const readTsc = (a: Assembler): Assembler => a.db(0x0f, 0x31).shift('shl', rdx, 32).or(rax, rdx);

function route(a: Assembler, pin: number, vector: number, level: boolean): Assembler {
  const entry = vector | (level ? 1 << 15 : 0);
  a.mov(ebx, 0xfec0_0000).mov(mem({ base: rbx, size: 32 }), 0x10 + 2 * pin);
  a.mov(mem({ base: rbx, displacement: 0x10, size: 32 }), entry).mov(mem({ base: rbx, size: 32 }), 0x11 + 2 * pin);
  return a.mov(mem({ base: rbx, displacement: 0x10, size: 32 }), 0);
}

/** First halves that a timer may end too early, on a host that is too busy. */
const Attempts = 10;

/** The second half of a guest whose first half ran on `pair.from`, and stopped at `end` without a word. */
function continued(pair: EnginePair, vcpus: number, build: (guest: EngineGuest) => void, end = 'done 1'): EngineGuest {
  for (let attempt = 1; ; attempt++) {
    const guest = new EngineGuest(pair.from, vcpus);
    build(guest);
    const outcome = guest.run();
    const isEarly = end === 'halt' && outcome.log.length > 0 && attempt < Attempts;
    if (isEarly) continue;
    assert.deepEqual(outcome, { log: [], end }, 'the first half');
    return moveGuest(guest, pair.to);
  }
}

const Image = At.Data;
const ImageAfter = At.Data + 0x400;
const ImageBytes = 512;

/** An FXSAVE image whose every register differs. SDM Vol. 1 "FXSAVE Area". */
function fxsaveImage(): Uint8Array {
  const image = new Uint8Array(ImageBytes);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x0f7f, true); // control word: 64 bits, towards zero
  view.setUint16(2, 0x3a00 | 0x0041, true); // TOP 7, C1, IE and PE
  view.setUint8(4, 0b1010_1111);
  view.setUint16(6, 0x0123, true);
  view.setBigUint64(8, 0x1122_3344_5566n, true);
  view.setBigUint64(16, 0x6655_4433_2211n, true);
  view.setUint32(24, 0x1f80 | 0x6000 | 0x21, true); // MXCSR
  for (let i = 0; i < 8; i++) {
    view.setBigUint64(32 + 16 * i, 0x8000_0000_0000_0000n | BigInt(0x1111 * (i + 1)), true);
    view.setUint16(40 + 16 * i, i % 2 ? 0xbfff - i : 0x4000 + i, true);
  }
  for (let i = 0; i < 256; i++) view.setUint8(160 + i, (i * 7 + 3) & 0xff);
  return image;
}

const registers: MoveCases = {
  'general registers, flags, segments, control and debug registers'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        for (let i = 0; i < 4; i++) a.mov(rax, 0x1000_2000 * (i + 1)).db(0x0f, 0x23, 0xc0 | (i << 3)); // mov dr<i>, rax
        a.mov(rax, 0x0001_0400).db(0x0f, 0x23, 0xf8); // mov dr7, rax: nothing enabled, LEN and R/W of DR0 set
        a.mov(rax, 0x1_2345_6000n).db(0x0f, 0x22, 0xd0); // mov cr2, rax
        a.mov(rbx, -2n).mov(rcx, 0x1234_5678_9abc_def0n).mov(r8, 8n).mov(r15, -15n).mov(rsi, 6n).mov(rdi, 7n);
        a.mov(eax, 0xad7).push(rax).popf(); // OF DF SF ZF AF PF CF, no IF
        a.db(0xb0, 0x55); // mov al, 0x55: flags stay
        done(a);
        a.db(0x9c); // pushfq
        for (const [index, register] of [rbx, rcx, r8, r15, rsi, rdi].entries()) a.mov(at(At.Results + 8 * index), register);
        a.pop(rax).mov(at(At.Results + 48), rax);
        a.db(0x0f, 0x20, 0xd0).mov(at(At.Results + 56), rax); // mov rax, cr2
        for (let i = 0; i < 4; i++) a.db(0x0f, 0x21, 0xc0 | (i << 3)).mov(at(At.Results + 64 + 8 * i), rax);
        a.db(0x0f, 0x21, 0xf8).mov(at(At.Results + 96), rax);
        pause(a, 2);
      });
      guest.update(({ sregs }) => void Object.assign(sregs.fs, { base: 0x1234_5000n, selector: 0x13, dpl: 3 }));
    }, 'done 55'); // prettier-ignore
    const { fs } = moved.vcpu.state().sregs;
    assert.deepEqual([fs.base, fs.selector, fs.dpl], [0x1234_5000n, 0x13, 3]);
    assert.equal(moved.run().end, 'done 2');
    const wide = (value: bigint): bigint => BigInt.asUintN(64, value);
    assert.deepEqual(
      Array.from({ length: 13 }, (_, i) => moved.result(i)),
      [
        wide(-2n), 0x1234_5678_9abc_def0n, 8n, wide(-15n), 6n, 7n, 0xcd7n - 0x200n, 0x1_2345_6000n, 0x1000_2000n,
        0x2000_4000n, 0x3000_6000n, 0x4000_8000n, 0x1_0400n,
      ],
    ); // prettier-ignore
  },

  'x87 and SSE registers, as FXSAVE shows them'(pair) {
    const image = fxsaveImage();
    const moved = continued(pair, 1, (guest) => {
      guest.write(Image, image);
      guest.start((a) => {
        a.fxrstor(at(Image));
        pause(a);
        a.fxsave(at(ImageAfter));
        pause(a, 2);
      });
    });
    const unmoved = new EngineGuest(pair.from);
    unmoved.write(Image, image);
    unmoved.start((a) => pause(a.fxrstor(at(Image)).fxsave(at(ImageAfter)), 2));
    assert.equal(unmoved.run().end, 'done 2');
    assert.equal(moved.run().end, 'done 2');
    const shown = (guest: EngineGuest): Uint8Array => {
      const bytes = guest.read(ImageAfter, ImageBytes);
      bytes.fill(0, 6, 24); // last opcode and error pointers: processors of AMD save them with a pending exception only
      bytes.fill(0, 28, 32); // what MXCSR bits there are
      for (let i = 0; i < 8; i++) bytes.fill(0, 42 + 16 * i, 48 + 16 * i); // reserved
      return bytes.subarray(0, 160 + 256);
    };
    assert.deepEqual(shown(moved), shown(unmoved));
    assert.deepEqual(shown(moved).subarray(160), image.subarray(160, 160 + 256));
  },

  'MSRs of system calls and PAT'(pair) {
    const values: [index: number, value: bigint][] = [
      [0x174, 0x10n], [0x175, 0x1234_5678n], [0x176, 0x8765_4320n], [0x277, 0x0407_0600_0106_0400n],
      [0xc000_0081, 0x0023_0010_0000_0000n], [0xc000_0082, 0xffff_8000_0000_1000n], [0xc000_0084, 0x4_7700n],
      [0xc000_0102, 0xffff_8880_0000_0000n],
    ]; // prettier-ignore
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        for (const [index, value] of values) {
          a.mov(ecx, index).mov(eax, Number(value & 0xffff_ffffn)).mov(edx, Number(value >> 32n)).wrmsr();
        }
        pause(a);
        for (const [i, [index]] of values.entries()) {
          a.mov(ecx, index).rdmsr().mov(at(At.Results + 8 * i, 32), eax).mov(at(At.Results + 8 * i + 4, 32), edx);
        }
        pause(a, 2);
      });
    }); // prettier-ignore
    assert.equal(moved.run().end, 'done 2');
    assert.deepEqual(values.map((_, i) => moved.result(i)), values.map(([, value]) => value)); // prettier-ignore
  },

  'paging: the guest goes on in its own address space'(pair) {
    const elsewhere = 0x1_2340_0000n;
    const moved = continued(pair, 1, (guest) => {
      // 0x123400000 to 0x123600000 is the large page of 0x600000
      guest.write64(At.PageTables + 0x4000 + Number((elsewhere >> 21n) & 511n) * 8, 0x60_0087n);
      guest.start((a) => {
        a.mov(rsi, elsewhere).mov(mem({ base: rsi, size: 32 }), 0x1357_9bdf);
        pause(a);
        a.mov(eax, mem({ base: rsi })).mov(at(At.Results, 32), eax);
        pause(a, 2);
      });
    });
    assert.equal(moved.run().end, 'done 2');
    assert.equal(moved.result(0), 0x1357_9bdfn);
    assert.equal(moved.vm.memory.readU32(gpa(0x60_0000)), 0x1357_9bdf);
  },
};

const events: MoveCases = {
  'an interrupt that waits in IRR'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.start((a) => {
      pause(enable(a));
      for (let i = 0; i < 2; i++) endOfInterrupt(wait(a));
      pause(a, 2);
    });
    assert.equal(guest.run().end, 'done 1');
    for (const vector of [0x45, 0x91]) message(guest, vector);
    const moved = moveGuest(guest, pair.to);
    const { requests } = moved.vcpu.state().localApic!;
    assert.deepEqual([requests[2], requests[4]], [1 << 5, 1 << 17]);
    assert.deepEqual(moved.run(), { log: ['event 145', 'event 69'], end: 'done 2' });
  },

  'an interrupt in service, with a lower one behind it'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.code(At.Data2, (a) => {
      pause(a);
      endOfInterrupt(a).iret();
    });
    guest.setGate(0x91, At.Data2);
    guest.start((a) => {
      wait(enable(a)).sti().mov(ecx, 1000).label('spin').dec(ecx).jcc('nz', 'spin');
      pause(a.cli(), 2);
    });
    assert.equal(guest.run().end, 'halt');
    message(guest, 0x91);
    assert.equal(guest.run().end, 'done 1');
    message(guest, 0x45);
    const moved = moveGuest(guest, pair.to);
    assert.equal(moved.vcpu.state().localApic!.inService[4], 1 << 17);
    assert.deepEqual(moved.run(), { log: ['event 69'], end: 'done 2' });
  },

  'NMIs masked in a handler: the next one waits for IRET'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.code(At.Data2, (a) => {
      a.mov(al, 9).out(0x90, al);
      pause(a);
      a.out(0x91, al).iret();
    });
    guest.setGate(2, At.Data2);
    guest.start((a) => {
      wait(enable(a)).mov(ecx, 1000).label('spin').dec(ecx).jcc('nz', 'spin');
      pause(a, 2);
    });
    assert.equal(guest.run().end, 'halt');
    message(guest, 0x400);
    assert.deepEqual(guest.run(), { log: ['out 90 1 9'], end: 'done 1' });
    message(guest, 0x400);
    const moved = moveGuest(guest, pair.to);
    assert.equal(moved.vcpu.state().events.nmi.masked, true);
    assert.deepEqual(moved.run(), { log: ['out 91 1 1', 'out 90 1 9'], end: 'done 1' });
    assert.deepEqual(moved.run(), { log: ['out 91 1 1'], end: 'done 2' });
  },

  'the interrupt shadow: one more instruction goes first'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.start((a) => {
      pause(enable(a));
      a.out(0x81, al).out(0x82, al);
      pause(a, 2);
    });
    assert.equal(guest.run().end, 'done 1');
    stop(guest);
    message(guest, 0x45);
    guest.update((state) => {
      state.events.interruptShadow = 'sti';
      state.regs.rflags |= 0x200n;
    });
    const moved = moveGuestWithoutRunning(guest, pair);
    assert.deepEqual(moved.run().log, ['out 81 1 1', 'event 69', 'out 82 1 1']);
  },

  'an exception that was about to be delivered'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.start((a) => pause(pause(a), 2));
    assert.equal(guest.run().end, 'done 1');
    stop(guest);
    guest.update(({ events }) => void (events.exception = { vector: 13, errorCode: 0x50 }));
    const moved = moveGuestWithoutRunning(guest, pair);
    assert.deepEqual(moved.run(), { log: ['event 13'], end: 'done 2' });
  },
};

/** A state that was set rather than come to: running to stop the guest would use it up. */
function moveGuestWithoutRunning(guest: EngineGuest, pair: EnginePair): EngineGuest {
  return moveGuest(guest, pair.to, [], { stopped: true });
}

const timers: MoveCases = {
  'a halted processor is woken by the one-shot timer that was armed before'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        apic(apic(enable(a), Apic.Divide, By1), Apic.Timer, 0x62);
        wait(apic(a, Apic.InitialCount, 100 * Milliseconds));
        pause(a, 2);
      });
    }, 'halt'); // prettier-ignore
    const { mpState, localApic } = moved.vcpu.state();
    assert.equal(mpState, 'halted');
    assert.equal(localApic!.timer.initialCount, 100 * Milliseconds);
    assert.deepEqual(moved.runPastHalts(), { log: ['event 98'], end: 'done 2' });
  },

  'the periodic timer goes on'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        apic(apic(enable(a), Apic.Divide, By1), Apic.Timer, 0x62 | TimerMode.Periodic);
        apic(a, Apic.InitialCount, 100 * Milliseconds);
        for (let i = 0; i < 3; i++) endOfInterrupt(wait(a));
        pause(a, 2);
      });
    }, 'halt'); // prettier-ignore
    assert.equal(moved.vcpu.state().localApic!.timer.initialCount, 100 * Milliseconds);
    assert.deepEqual(moved.runPastHalts(), { log: ['event 98', 'event 98', 'event 98'], end: 'done 2' });
  },

  'a deadline of the TSC'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        readTsc(apic(enable(a), Apic.Timer, 0x63 | TimerMode.TscDeadline));
        a.add(rax, 60 * Milliseconds).mov(at(At.Results), rax).mov(edx, at(At.Results + 4)).mov(ecx, Msr.TscDeadline);
        readTsc(wait(a.wrmsr())).mov(at(At.Results + 8), rax);
        pause(a, 2);
      });
    }, 'halt'); // prettier-ignore
    const msrs = new Map(moved.vcpu.state().msrs);
    assert.equal(msrs.get(Msr.TscDeadline), moved.result(0));
    assert.deepEqual(moved.runPastHalts(), { log: ['event 99'], end: 'done 2' });
    assert.ok(moved.result(1) >= moved.result(0), 'not before the deadline');
  },

  'the PIT: a one-shot'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        route(withoutPics(enable(a)), 2, 0x64, false);
        a.mov(al, 0x30).out(0x43, al).mov(al, 0xff).out(0x40, al).out(0x40, al); // mode 0, 55 ms
        pause(wait(a), 2);
      });
    }, 'halt'); // prettier-ignore
    assert.deepEqual(moved.runPastHalts(), { log: ['event 100'], end: 'done 2' });
  },

  'the PIT: its periodic mode'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        a.mov(al, 0x34).out(0x43, al).mov(al, 0xff).out(0x40, al).out(0x40, al); // mode 2, 55 ms
        route(withoutPics(enable(a)), 2, 0x64, false);
        for (let i = 0; i < 2; i++) endOfInterrupt(wait(a));
        pause(a, 2);
      });
    }, 'halt'); // prettier-ignore
    assert.deepEqual(moved.runPastHalts(), { log: ['event 100', 'event 100'], end: 'done 2' });
  },

  'the TSC goes on where it was'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        pause(readTsc(a).mov(at(At.Results), rax));
        pause(readTsc(a).mov(at(At.Results + 8), rax), 2);
      });
    });
    assert.equal(moved.run().end, 'done 2');
    const [before, after] = [moved.result(0), moved.result(1)];
    assert.ok(after >= before, `${after} after ${before}`);
    const khz = BigInt(moved.vcpu.state().tscKhz!);
    assert.ok(after - before < khz * 60_000n, `${after - before} ticks have passed`);
  },
};

/** struct pvclock_vcpu_time_info (Linux Documentation/virt/kvm/x86/msr.rst, "MSR_KVM_SYSTEM_TIME_NEW"). */
function systemTime(guest: EngineGuest, address: number): { flags: number; nanoseconds(tsc: bigint): bigint } {
  const view = new DataView(guest.read(address, 32).buffer);
  const shift = view.getInt8(28);
  return {
    flags: view.getUint8(29),
    nanoseconds(tsc) {
      const delta = tsc - view.getBigUint64(8, true);
      const scaled = shift >= 0 ? delta << BigInt(shift) : delta >> BigInt(-shift);
      return view.getBigUint64(16, true) + ((scaled * BigInt(view.getUint32(24, true))) >> 32n);
    },
  };
}

const clocks: MoveCases = {
  'kvm-clock never goes back, and the guest is told that it stood still'(pair) {
    const guest = new EngineGuest(pair.from);
    const page = At.Data2;
    guest.start((a) => {
      a.mov(ecx, Msr.SystemTime).mov(eax, page | 1).mov(edx, 0).wrmsr().nop();
      for (const result of [0, 1]) pause(readTsc(a).mov(at(At.Results + 8 * result), rax), result + 1);
    }); // prettier-ignore
    assert.equal(guest.run().end, 'done 1');
    const before = systemTime(guest, page).nanoseconds(guest.result(0));
    const moved = moveGuest(guest, pair.to);
    assert.equal(moved.run().end, 'done 2');
    const clock = systemTime(moved, page);
    const after = clock.nanoseconds(moved.result(1));
    const stopped = 2;
    assert.equal(clock.flags & stopped, stopped);
    assert.ok(after >= before, `${after} after ${before}`);
    assert.ok(after - before < 60_000_000_000n, `${after - before} ns have passed`);
  },
};

const controllers: MoveCases = {
  'a level-triggered interrupt of the IOAPIC in service: again after its end while the line is high'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.start((a) => {
      wait(route(enable(a), 17, 0x71, true));
      pause(a);
      wait(endOfInterrupt(a));
      pause(a, 2);
      endOfInterrupt(a).sti().hlt().ud2();
    });
    assert.equal(guest.run().end, 'halt');
    setLines(guest, [17], true);
    assert.deepEqual(guest.run(), { log: ['event 113'], end: 'done 1' });
    const moved = moveGuest(guest, pair.to, [17]);
    const remoteIrr = 1 << 14;
    assert.equal(moved.vm.state().ioapic.entries[17]!.low & remoteIrr, remoteIrr);
    assert.deepEqual(moved.run(), { log: ['event 113'], end: 'done 2' });
    setLines(moved, [17], false);
    assert.deepEqual(moved.run(), { log: [], end: 'halt' });
  },

  'an edge-triggered line that is still high interrupts no second time'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.start((a) => {
      wait(route(enable(a), 20, 0x72, false));
      pause(endOfInterrupt(a));
      pause(wait(a), 2);
    });
    assert.equal(guest.run().end, 'halt');
    setLines(guest, [20], true);
    assert.deepEqual(guest.run(), { log: ['event 114'], end: 'done 1' });
    const moved = moveGuest(guest, pair.to, [20]);
    assert.deepEqual(moved.run(), { log: [], end: 'halt' });
    setLines(moved, [20], false);
    setLines(moved, [20], true);
    assert.deepEqual(moved.run(), { log: ['event 114'], end: 'done 2' });
  },

  'the PICs in the middle of their initialization'(pair) {
    const out = (a: Assembler, port: number, ...values: number[]): Assembler =>
      values.reduce((code, value) => code.mov(al, value).out(port, al), a);
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        out(a, 0x20, 0x11);
        out(a, 0x21, 0x20);
        out(a, 0xa0, 0x11);
        pause(a.mov(edx, 0x4d1).mov(al, 0x0e).out(dx, al));
        out(a, 0x21, 4, 1, 0);
        out(a, 0xa1, 0x28, 2, 1, 0);
        pause(wait(apic(enable(a), Apic.Lint0, 0x700)), 2);
      });
    });
    const { master, slave } = moved.vm.state().pic;
    assert.deepEqual([master.initStep, slave.initStep, slave.levelTriggered], ['icw3', 'icw2', 0x0e]);
    assert.equal(moved.run().end, 'halt');
    setLines(moved, [10], true);
    assert.deepEqual(moved.run(), { log: ['event 42'], end: 'done 2' });
  },

  'an interrupt of the slave PIC in service'(pair) {
    const guest = new EngineGuest(pair.from);
    guest.start((a) => {
      for (const [port, values] of [[0x20, [0x11]], [0x21, [0x20, 4, 1, 0]], [0xa0, [0x11]], [0xa1, [0x28, 2, 1, 0]]] as const) {
        for (const value of values) a.mov(al, value).out(port, al);
      }
      pause(wait(apic(enable(a), Apic.Lint0, 0x700)));
      a.mov(al, 0x20).out(0xa0, al).out(0x20, al);
      pause(wait(a), 2);
    }); // prettier-ignore
    assert.equal(guest.run().end, 'halt');
    setLines(guest, [12], true);
    assert.deepEqual(guest.run(), { log: ['event 44'], end: 'done 1' });
    setLines(guest, [12], false);
    const moved = moveGuest(guest, pair.to);
    const { master, slave } = moved.vm.state().pic;
    assert.deepEqual([master.inService, slave.inService], [1 << 2, 1 << 4]);
    assert.equal(moved.run().end, 'halt');
    setLines(moved, [9], true);
    assert.deepEqual(moved.run(), { log: ['event 41'], end: 'done 2' });
  },

  'the speaker port and a counter that is being read'(pair) {
    const moved = continued(pair, 1, (guest) => {
      guest.start((a) => {
        a.mov(al, 0xb0).out(0x43, al).mov(al, 0xff).out(0x42, al).mov(al, 0x12).out(0x42, al); // gate is low
        a.mov(al, 0x80).out(0x43, al).in(al, 0x42).mov(at(At.Results, 8), al); // latched; low byte
        a.mov(al, 3).out(0x61, al);
        pause(a);
        a.in(al, 0x42)
          .mov(at(At.Results + 1, 8), al)
          .in(al, 0x61)
          .and(eax, 3)
          .mov(at(At.Results + 2, 8), al);
        pause(a, 2);
      });
    });
    // KVM counts on though the gate is low: what was latched tells
    const latched = BigInt(moved.vm.state().pit.ports[2]!.latchedCount!);
    assert.equal(moved.run().end, 'done 2');
    assert.equal(moved.result(0) & 0xff_ffffn, 0x03_0000n | latched);
  },
};

const Ipi = { Init: 0x4500, StartUp: 0x4600 | (At.ApCode >> 12) } as const;
const send = (a: Assembler, command: number): void => {
  apic(a, Apic.IcrHigh, 1 << 24);
  apic(a, Apic.Icr, command);
};

/** Runs all vCPUs in turn until the first one ends. */
function runAll(guest: EngineGuest): string {
  const log: string[] = [];
  for (let turn = 0; turn < 2000; turn++) {
    for (const vcpu of guest.vcpus) {
      if (!vcpu.runnable && !guest.vm.haltsInRun) continue;
      const exit = guest.runOnce(vcpu);
      if (exit.kind === 'pio-write' && exit.port === Port.Done) return [...log, `done ${exit.value}`].join(', ');
      if (exit.kind === 'pio-write') log.push(`${vcpu.id} ${exit.value.toString(16)}`);
    }
  }
  return `no end: ${log.join(', ')}`;
}

const processors: MoveCases = {
  'a processor that waits for its start-up IPI'(pair) {
    const moved = continued(pair, 2, (guest) => {
      guest.code(At.ApCode, (a) => a.mov(ax, 0x77).out(0x90, al).label('loop').hlt().jmp('loop'), 16);
      guest.start((a) => {
        send(enable(a), Ipi.Init);
        pause(a);
        send(a, Ipi.StartUp);
        a.mov(ecx, 20).label('wait').out(0x81, al).dec(ecx).jcc('nz', 'wait');
        pause(a, 2);
      });
    });
    assert.equal(moved.vcpus[1]!.state().mpState, 'init-received');
    assert.match(runAll(moved), /1 77/);
  },

  'two processors at work'(pair) {
    const guest = new EngineGuest(pair.from, 2);
    const counters = At.Results;
    guest.start((a) => {
      enable(a).cmp(mem({ base: rbx, displacement: 0x20, size: 32 }), 0).jcc('nz', 'second');
      a.label('first').inc(at(counters, 32)).cmp(at(counters + 8, 32), 3).jcc('b', 'first');
      pause(a, 1);
      a.label('again').inc(at(counters, 32)).cmp(at(counters + 8, 32), 6).jcc('b', 'again');
      pause(a, 2);
      a.label('second').mov(ecx, 6).mov(al, 0xaa);
      a.label('step').out(0x81, al).inc(at(counters + 8, 32)).dec(ecx).jcc('nz', 'step').label('over').hlt().jmp('over');
    }); // prettier-ignore
    const { localApic: _ownApic, ...first } = guest.vcpu.state();
    guest.vcpus[1]!.setState({ ...first, regs: { ...first.regs, rsp: BigInt(At.EventStack) }, mpState: 'runnable' });
    assert.match(runAll(guest), /^(1 aa, )+done 1$/);
    const moved = moveGuest(guest, pair.to);
    assert.equal(moved.vm.memory.readU32(gpa(counters + 8)), guest.vm.memory.readU32(gpa(counters + 8)));
    assert.match(runAll(moved), /^(1 aa, )+done 2$/);
    assert.equal(moved.vm.memory.readU32(gpa(counters + 8)), 6);
  },
};

export const moveCases: Readonly<Record<string, MoveCases>> = {
  registers,
  events,
  timers,
  clocks,
  'interrupt controllers': controllers,
  'several processors': processors,
};
