/** Interrupts from lines, messages and timers; HLT; NMI. */
import assert from 'node:assert/strict';
import { type Assembler, al, at, eax, ebx, edx, ecx, mem, rax, rbx, rdx } from '../guest/assembler.ts';
import { At, EngineGuest, Patience, done } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

const Apic = { TaskPriority: 0x80, EndOfInterrupt: 0xb0, Spurious: 0xf0, Icr: 0x300, IcrHigh: 0x310, Timer: 0x320, Lint0: 0x350, InitialCount: 0x380, CurrentCount: 0x390, Divide: 0x3e0 } as const; // prettier-ignore
const TscDeadline = 0x6e0;
const apic = (a: Assembler, register: number, value: number): Assembler =>
  a.mov(ebx, At.LocalApic).mov(mem({ base: rbx, displacement: register, size: 32 }), value);
/** Enables the local APIC. */
const enable = (a: Assembler): Assembler => apic(a, Apic.Spurious, 0x1ff);
const endOfInterrupt = (a: Assembler): Assembler => apic(a, Apic.EndOfInterrupt, 0);
const message = (guest: EngineGuest, vector: number): void => guest.vm.msi.signalMsi(At.LocalApic, vector);
/** STI; HLT; CLI: waits for one interrupt. */
const wait = (a: Assembler): Assembler => a.sti().hlt().cli();

/** Both PICs: vectors from 0x20 and 0x28, all lines but `mask` open, as virtual wire. */
function setUpPics(a: Assembler): Assembler {
  for (const [port, values] of [
    [0x20, [0x20, 4, 1]],
    [0xa0, [0x28, 2, 1]],
  ] as const) {
    a.mov(al, 0x11).out(port, al);
    for (const value of values) a.mov(al, value).out(port + 1, al);
    a.mov(al, 0).out(port + 1, al);
  }
  return apic(enable(a), Apic.Lint0, 0x700);
}

/** Routes IOAPIC pin `pin` to `vector`. */
function route(a: Assembler, pin: number, vector: number, level: boolean): Assembler {
  const entry = vector | (level ? 1 << 15 : 0);
  a.mov(ebx, 0xfec0_0000).mov(mem({ base: rbx, size: 32 }), 0x10 + 2 * pin);
  a.mov(mem({ base: rbx, displacement: 0x10, size: 32 }), entry).mov(mem({ base: rbx, size: 32 }), 0x11 + 2 * pin);
  return a.mov(mem({ base: rbx, displacement: 0x10, size: 32 }), 0);
}

export const interruptTests: ContractTests = {
  'HLT waits for an interrupt and goes on after it'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      enable(a);
      done(wait(a).mov(eax, 5));
    });
    assert.equal(guest.run().end, 'halt');
    assert.equal(guest.vcpu.runnable, false);
    assert.equal(guest.run().end, 'halt');
    message(guest, 0x61);
    if (!guest.vm.haltsInRun) assert.equal(guest.vcpu.runnable, true);
    assert.deepEqual(guest.run(), { log: ['event 97'], end: 'done 5' });
  },

  'HLT with interrupts off sleeps through them'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => enable(a).cli().hlt().ud2());
    assert.equal(guest.run().end, 'halt');
    message(guest, 0x61);
    assert.equal(guest.vcpu.runnable, false);
    assert.equal(guest.run().end, 'halt');
  },

  'a message waits for IF, and for the instruction after STI'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      enable(a).mov(eax, 1).out(0x80, al).out(0x80, al).sti().out(0x81, al).out(0x82, al);
      done(a);
    });
    const { log } = guest.run({ after: (text) => void (text === 'out 80 1 1' && message(guest, 0x44)) });
    assert.deepEqual(log, ['out 80 1 1', 'out 80 1 1', 'out 81 1 1', 'event 68', 'out 82 1 1']);
  },

  'POPF opens the window at once'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      enable(a).mov(eax, 0x202).push(rax).out(0x80, al).popf().out(0x81, al);
      done(a);
    });
    const { log } = guest.run({ after: (text) => void (text === 'out 80 1 2' && message(guest, 0x44)) });
    assert.deepEqual(log, ['out 80 1 2', 'event 68', 'out 81 1 2']);
  },

  'priorities: the higher vector first, the lower one after its end'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      enable(a).mov(eax, 0).out(0x80, al).sti().nop().out(0x81, al);
      endOfInterrupt(a).out(0x82, al);
      done(a);
    });
    const { log } = guest.run({
      after(text) {
        if (text === 'out 80 1 0') for (const vector of [0x55, 0x95]) message(guest, vector);
      },
    });
    assert.deepEqual(log, ['out 80 1 0', 'event 149', 'out 81 1 0', 'event 85', 'out 82 1 0']);
  },

  'CR8 and the task priority register hold interrupts back'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      enable(a).mov(eax, 9).db(0x44, 0x0f, 0x22, 0xc0).out(0x80, al).sti().nop().out(0x81, al); // mov cr8, rax
      apic(a, Apic.TaskPriority, 0x30).nop().out(0x82, al);
      a.db(0x44, 0x0f, 0x20, 0xc0); // mov rax, cr8
      done(a);
    });
    const { log, end } = guest.run({ after: (text) => void (text === 'out 80 1 9' && message(guest, 0x85)) });
    assert.deepEqual(log, ['out 80 1 9', 'out 81 1 9', 'event 133', 'out 82 1 9']);
    assert.equal(end, 'done 3');
  },

  'a line of the PICs'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      wait(setUpPics(a)).mov(al, 0x20).out(0x20, al);
      done(wait(a));
    });
    assert.equal(guest.run().end, 'halt');
    const serial = guest.vm.interruptLine(4);
    serial.setLevel(true);
    assert.deepEqual(guest.run(), { log: ['event 36'], end: 'halt' });
    serial.setLevel(false);
    guest.vm.interruptLine(10).setLevel(true);
    assert.deepEqual(guest.run().log, ['event 42']);
  },

  'an IOAPIC pin, level-triggered: again until the line drops'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      route(enable(a), 17, 0x71, true);
      for (let i = 0; i < 3; i++) endOfInterrupt(wait(a));
      done(a);
    });
    assert.equal(guest.run().end, 'halt');
    guest.vm.interruptLine(17).setLevel(true);
    assert.deepEqual(guest.run().log.slice(0, 3), ['event 113', 'event 113', 'event 113']);
  },

  'an IOAPIC pin, edge-triggered: once an edge'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      route(enable(a), 20, 0x72, false);
      for (let i = 0; i < 2; i++) endOfInterrupt(wait(a));
      done(a);
    });
    assert.equal(guest.run().end, 'halt');
    const line = guest.vm.interruptLine(20);
    line.setLevel(true);
    assert.deepEqual(guest.run(), { log: ['event 114'], end: 'halt' });
    line.setLevel(false);
    line.setLevel(true);
    assert.deepEqual(guest.run().log, ['event 114']);
  },

  'NMI comes with interrupts off, and only once before IRET'(engine) {
    const guest = new EngineGuest(engine);
    const nmi = 0x400; // delivery mode of a message
    const handler = At.Data;
    guest.code(handler, (a) => a.mov(eax, 2).out(0x90, al).out(0x91, al).iret());
    guest.setGate(2, handler);
    guest.start((a) => {
      enable(a).cli().mov(eax, 1).out(0x80, al).nop().out(0x81, al);
      done(a);
    });
    const { log } = guest.run({
      after: (text) => void ((text === 'out 80 1 1' || text === 'out 90 1 2') && message(guest, nmi)),
    });
    const inHandler = ['out 90 1 2', 'out 91 1 2'];
    assert.deepEqual(log.slice(0, 3), ['out 80 1 1', ...inHandler]);
    assert.deepEqual(log.slice(3, 5), inHandler, 'the second one comes after IRET');
  },

  'the local APIC timer: one shot'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      apic(enable(a), Apic.Divide, 0xb);
      apic(a, Apic.Timer, 0x62);
      apic(a, Apic.InitialCount, 1_000_000);
      endOfInterrupt(wait(a)).mov(eax, mem({ base: rbx, displacement: Apic.CurrentCount }));
      done(wait(a));
    });
    const start = engine.clock.now();
    if (guest.vm.haltsInRun) {
      let outcome = guest.run();
      while (outcome.log.length === 0 && engine.clock.now() - start < Patience) outcome = guest.run();
      assert.deepEqual(outcome, { log: ['event 98'], end: 'halt' });
      assert.ok(engine.clock.now() - start >= 1e6, 'not before its time');
      assert.deepEqual(guest.run(), { log: [], end: 'halt' }, 'no second one');
      return;
    }
    assert.equal(guest.run().end, 'halt');
    const deadline = guest.vm.nextDeadline();
    assert.ok(Number.isFinite(deadline) && deadline > engine.clock.now());
    guest.vm.fireTimers();
    assert.equal(guest.run().end, 'halt', 'not yet');
    engine.advance(deadline - engine.clock.now());
    guest.vm.fireTimers();
    assert.deepEqual(guest.run(), { log: ['event 98'], end: 'halt' });
    assert.equal(guest.vm.nextDeadline(), Infinity);
  },

  'the local APIC timer: TSC deadline'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      apic(enable(a), Apic.Timer, 0x4_0063);
      a.db(0x0f, 0x31).shift('shl', rdx, 32).or(rax, rdx); // rdtsc
      a.add(rax, 2_000_000)
        .mov(at(At.Results), rax)
        .mov(edx, at(At.Results + 4))
        .mov(ecx, TscDeadline)
        .wrmsr();
      wait(a)
        .db(0x0f, 0x31)
        .shift('shl', rdx, 32)
        .or(rax, rdx)
        .mov(at(At.Results + 8), rax);
      a.mov(ecx, TscDeadline).rdmsr();
      done(a);
    });
    assert.deepEqual(guest.runPastHalts(), { log: ['event 99'], end: 'done 0' });
    assert.ok(guest.result(1) >= guest.result(0), 'not before the deadline');
  },

  'an interrupt whose handler is absent: double fault'(engine) {
    const guest = new EngineGuest(engine);
    guest.write64(At.Idt + 0x44 * 16, 0n);
    guest.write64(At.Idt + 11 * 16, 0n);
    guest.write64(At.Idt + 13 * 16, 0n);
    guest.start((a) => {
      enable(a).mov(eax, 0).out(0x80, al).sti().nop().nop();
      done(a);
    });
    const { log } = guest.run({ after: (text) => void (text === 'out 80 1 0' && message(guest, 0x44)) });
    assert.deepEqual(log.slice(0, 2), ['out 80 1 0', 'event 8']);
  },
};
