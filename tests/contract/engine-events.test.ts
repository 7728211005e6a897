/** Events of an engine that has them (interrupts/event-wiring.ts), with tiny guests: KVM's ioeventfds and irqfds. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { KvmEngine } from '@lodger/kvm/engine.js';
import { createEventFd, drainEventFd, signalEventFd } from '@lodger/kvm/linux/eventfd.js';
import { close } from '@lodger/kvm/linux/libc.js';
import type { KvmVm } from '@lodger/kvm/vm.js';
import { type Assembler, al, ax, dx, eax, ebx, ecx, edx, mem, rbx } from '../guest/assembler.ts';
import { At, EngineGuest, done } from './engine-guest.ts';
import { kvmMissing, realClock, runPastHalts as run } from './kvm-host.ts';

const skip = kvmMissing();
const Spurious = 0xf0;
const Vector = 0x61;
const message = (vector: number) => ({ address: At.LocalApic, data: vector });

let closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.reverse()) close();
  closing = [];
});

function create(irqchip: 'kernel' | 'split' = 'kernel') {
  const clock = realClock();
  const guest = new EngineGuest({
    clock,
    createVm: (config) => new KvmEngine({ irqchip }).createVm({ ...config, clock }),
    advance: () => {},
  });
  const vm = guest.vm as KvmVm;
  closing.push(() => vm.close());
  return { guest, vm, wiring: vm.events };
}

function event(): number {
  const number = createEventFd();
  closing.push(() => close(number));
  return number;
}

const store = (a: Assembler, address: number, value: number, size: 8 | 16 | 32): Assembler =>
  a.mov(ebx, address).mov(mem({ base: rbx, size }), value);
const enableApic = (a: Assembler): Assembler => store(a, At.LocalApic + Spurious, 0x1ff, 32);
/** An exit, at which the test acts, and then a moment with interrupts on. */
const pauseFor = (a: Assembler, port: number): Assembler =>
  a.out(port, al).sti().nop().out(Port.Window, al).nop().cli();
/** An exit, at which the test raises something, and then a wait for the interrupt: KVM may send it from another thread. */
const waitAfter = (a: Assembler, port: number): Assembler => a.out(port, al).sti().hlt().cli();
/** The host has had its turn with interrupts on in the guest: kvm-pvm looks for them only at exits. */
const Port = { Window: 0x99 } as const;
const happened = (log: readonly string[]) => log.filter((line) => !line.startsWith('out 99'));

test('a write of any size to a bound address raises the event and is no exit', { skip }, () => {
  const { guest, wiring } = create();
  const bell = event();
  assert.ok(wiring.bindWrite(bell, At.Device + 8));
  guest.start((a) => {
    store(a, At.Device + 8, 1, 8);
    store(a, At.Device + 8, 1, 16);
    store(a, At.Device + 8, 1, 32).out(0x80, al);
    store(a, At.Device + 9, 1, 8);
    store(a, At.Device + 4, 2, 32);
    a.mov(eax, mem({ base: rbx, displacement: 4, size: 32 }));
    done(a);
  });
  const counts: bigint[] = [];
  const { log } = run(guest, { after: () => void counts.push(drainEventFd(bell)) });
  assert.deepEqual(log, ['out 80 1 0', 'write d0000009 1 1', 'write d0000004 4 2', 'read d0000008 4']);
  assert.deepEqual(counts, [3n, 0n, 0n, 0n]);
});

test('an address is bound once; an unbound one exits again', { skip }, () => {
  const { guest, wiring } = create();
  const [first, second] = [event(), event()];
  assert.ok(wiring.bindWrite(first, At.Device));
  assert.equal(wiring.bindWrite(second, At.Device), false);
  guest.start((a) => {
    store(a, At.Device, 7, 16).out(0x80, al);
    store(a, At.Device, 8, 16);
    done(a);
  });
  const { log } = run(guest, { after: (line) => line.startsWith('out') && wiring.unbindWrite(first, At.Device) });
  assert.deepEqual(log, ['out 80 1 0', 'write d0000000 2 8']);
  assert.equal(drainEventFd(first), 1n);
  assert.equal(drainEventFd(second), 0n);
});

for (const irqchip of ['kernel', 'split'] as const) {
  test(`a raised event interrupts the guest, once each time (${irqchip} interrupt controllers)`, { skip }, () => {
    const { guest, wiring } = create(irqchip);
    const irq = event();
    assert.ok(wiring.bindInterrupt(irq, message(Vector)));
    guest.start((a) => {
      enableApic(a);
      for (const port of [0x80, 0x81, 0x82]) {
        (port === 0x81 ? pauseFor : waitAfter)(a, port);
        store(a, At.LocalApic + 0xb0, 0, 32);
      }
      done(a);
    });
    const { log } = run(guest, { after: (line) => /out 8[02]/.test(line) && signalEventFd(irq) });
    assert.deepEqual(happened(log), ['out 80 1 0', `event ${Vector}`, 'out 81 1 0', 'out 82 1 0', `event ${Vector}`]);
    assert.equal(wiring.isRaised(irq), false);
  });
}

test('what is raised while unbound is kept, told of, and sent when bound again', { skip }, () => {
  const { guest, wiring } = create();
  const irq = event();
  wiring.bindInterrupt(irq, message(Vector));
  wiring.unbindInterrupt(irq);
  guest.start((a) => {
    enableApic(a);
    waitAfter(pauseFor(a, 0x80), 0x81);
    done(a.out(0x82, al));
  });
  const { log } = run(guest, {
    after(line) {
      if (line.startsWith('out 80')) signalEventFd(irq);
      if (!line.startsWith('out 81')) return;
      assert.ok(wiring.isRaised(irq));
      wiring.bindInterrupt(irq, message(Vector + 1));
    },
  });
  assert.deepEqual(happened(log), ['out 80 1 0', 'out 81 1 0', `event ${Vector + 1}`, 'out 82 1 0']);
});

test('what is cleared is not sent', { skip }, () => {
  const { guest, wiring } = create();
  const irq = event();
  signalEventFd(irq);
  assert.equal(wiring.clear(irq), true);
  assert.equal(wiring.clear(irq), false);
  wiring.bindInterrupt(irq, message(Vector));
  guest.start((a) => done(pauseFor(enableApic(a), 0x80)));
  assert.deepEqual(happened(run(guest).log), ['out 80 1 0']);
});

for (const irqchip of ['kernel', 'split'] as const) {
  test(`the message of a bound event changes; other routes stay (${irqchip} interrupt controllers)`, { skip }, () => {
    const { guest, vm, wiring } = create(irqchip);
    const [irq, other] = [event(), event()];
    wiring.bindInterrupt(irq, message(Vector));
    wiring.bindInterrupt(other, message(Vector + 1));
    const line = vm.interruptLine(17);
    guest.start((a) => {
      enableApic(a);
      // IOAPIC pin 17, edge-triggered
      a.mov(ebx, 0xfec0_0000).mov(mem({ base: rbx, size: 32 }), 0x10 + 2 * 17);
      a.mov(mem({ base: rbx, displacement: 0x10, size: 32 }), 0x71);
      for (const port of [0x80, 0x81, 0x82]) {
        waitAfter(a, port);
        store(a, At.LocalApic + 0xb0, 0, 32);
      }
      done(a);
    });
    const { log } = run(guest, {
      after(text) {
        if (text.startsWith('out 80')) {
          wiring.bindInterrupt(irq, message(Vector + 2));
          signalEventFd(irq);
        }
        if (text.startsWith('out 81')) signalEventFd(other);
        if (text.startsWith('out 82')) line.setLevel(true);
      },
    });
    const events = log.filter((text) => text.startsWith('event'));
    assert.deepEqual(events, [`event ${Vector + 2}`, `event ${Vector + 1}`, 'event 113']);
  });
}

test('an interrupt wakes a halted guest without its thread', { skip }, () => {
  const { guest, wiring } = create();
  const irq = event();
  wiring.bindInterrupt(irq, message(Vector));
  guest.start((a) => {
    enableApic(a).out(0x80, al).sti().hlt();
    done(a.cli().mov(eax, 3));
  });
  const { log, end } = run(guest, { after: () => signalEventFd(irq) });
  assert.deepEqual(log, ['out 80 1 0', `event ${Vector}`]);
  assert.equal(end, 'done 3');
});

test('posted port writes are no exits and come before the next one, in order, however many', { skip }, () => {
  const { guest, vm } = create();
  const posted = vm.postedWrites;
  assert.ok(posted !== undefined);
  posted.post(0xcf8, 4);
  const Writes = 400;
  const log: string[] = [];
  const note = (text: string) => void log.push(text);
  const drain = () => posted.drain((port, size, value) => note(`${port.toString(16)} ${size} ${value}`));
  guest.start((a) => {
    a.mov(edx, 0xcf8).mov(ecx, Writes).label('again');
    a.mov(eax, ecx).out(dx, eax).dec(ecx).jcc('nz', 'again');
    a.mov(edx, 0xcfc).in(eax, dx).mov(edx, 0xcfa).out(dx, ax).mov(edx, 0xcfb).out(dx, ax);
    done(a);
  });
  let exits = 0;
  const { end } = run(guest, {
    after(line) {
      exits++;
      drain();
      note(line);
    },
  });
  assert.equal(end, 'done 0');
  const expected = Array.from({ length: Writes }, (_, index) => `cf8 4 ${Writes - index}`);
  // The ring holds 169: a write that finds it full is an exit.
  const asExit = (line: string) =>
    line.replace(/^out cf8 4 (\w+)$/, (_, value: string) => `cf8 4 ${parseInt(value, 16)}`);
  assert.deepEqual(log.map(asExit), [...expected, 'in cfc 4', 'cfa 2 0', 'out cfb 2 0']);
  assert.ok(exits <= 2 + Math.ceil(Writes / 100), `${exits} exits`);
});
