/** Coming back from `run()`: kicks, time slices, shutdown, and guests that would like to keep the thread for themselves. */
import assert from 'node:assert/strict';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import { at, dr, eax, ebx, mem, rax, rbx, rcx, rdi, rdx, rsi, rsp } from '../guest/assembler.ts';
import { At, EngineGuest, done } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

/** `run()` comes back although the guest never leaves by itself; the bound is on exits, not on time. */
function comesBack(guest: EngineGuest): void {
  for (let i = 0; i < 5; i++) assert.equal(guest.runOnce().kind, 'interrupted');
}

/** MSRs that go on where time is real: the TSC, and Hyper-V's that tell times. */
const TimeMsrs = [0x10, 0x4000_0010, 0x4000_0020];

function withoutTime(state: VcpuState): VcpuState {
  return { ...state, msrs: state.msrs.filter(([index]) => !TimeMsrs.includes(index)) };
}

/** Runs a guest that counts RCX down from 1000 until it is on its way: its state. */
function runPartly(guest: EngineGuest): VcpuState {
  const { clock } = guest.engine;
  for (let slice = 50_000; ; slice *= 2) {
    const exit = guest.vm.haltsInRun ? guest.vcpu.run(clock.now() + slice) : guest.vcpu.run();
    assert.equal(exit.kind, 'interrupted');
    const state = guest.vcpu.state();
    if (state.regs.rcx > 0n && state.regs.rcx < 1000n) return state;
  }
}

/** Traps of a loop that counts in RDI: its handler returns and nothing else. */
function silentHandler(guest: EngineGuest, vector: number): void {
  guest.code(At.Data, (a) => a.iret());
  guest.setGate(vector, At.Data);
}

export const runningTests: ContractTests = {
  'a kick comes back at once, and only once'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      done(a.mov(eax, 7));
    });
    guest.vcpu.kick();
    assert.equal(guest.vcpu.run().kind, 'interrupted');
    assert.equal(guest.run().end, 'done 7');
  },

  'an endless loop'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => a.label('loop').inc(rdi).jmp('loop'));
    comesBack(guest);
    const { regs } = guest.vcpu.state();
    assert.ok(regs.rdi > 0n);
  },

  'polling a register of the engine’s own interrupt controllers'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(ebx, At.LocalApic)
        .label('loop')
        .mov(eax, mem({ base: rbx, displacement: 0x390 }))
        .test(eax, eax);
      a.jcc('z', 'loop').jmp('loop');
    });
    comesBack(guest);
  },

  'polling a port of the engine’s own timer'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => a.label('loop').db(0xe4, 0x61).jmp('loop')); // in al, 0x61
    comesBack(guest);
  },

  'single-stepping for ever'(engine) {
    const guest = new EngineGuest(engine);
    silentHandler(guest, 1);
    guest.start((a) => a.label('loop').inc(rdi).jmp('loop'));
    guest.update(({ regs }) => void (regs.rflags |= 0x100n));
    comesBack(guest);
  },

  'a loop with breakpoints on'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.mov(rax, 0x5000).mov(dr(0), rax).mov(rax, 1).mov(dr(7), rax).label('loop').inc(rdi).jmp('loop');
    });
    comesBack(guest);
  },

  'an exception handler that cannot be fetched'(engine) {
    const guest = new EngineGuest(engine);
    guest.setGate(14, 0x5000_0000, 1);
    guest.start((a) => a.mov(eax, at(0x5000_0000)));
    comesBack(guest);
  },

  'an interrupt that asks for itself again'(engine) {
    const guest = new EngineGuest(engine);
    const register = (displacement: number): ReturnType<typeof mem> => mem({ base: rbx, displacement, size: 32 });
    guest.code(At.Data, (a) => a.mov(register(0xb0), 0).mov(register(0x300), 0x4_0044).iret());
    guest.setGate(0x44, At.Data);
    guest.start((a) => {
      a.mov(ebx, At.LocalApic)
        .mov(register(0xf0), 0x1ff)
        .mov(register(0x300), 0x4_0044)
        .sti()
        .label('loop')
        .jmp('loop');
    });
    comesBack(guest);
  },

  'a repetition that lasts'(engine) {
    const guest = new EngineGuest(engine);
    // A GiB that is one 2 MiB page over and over
    for (let i = 0; i < 512; i++) guest.write64(At.PageTables + 0x4000 + i * 8, 0x20_0087n);
    guest.start((a) => a.mov(rsi, At.High).mov(rcx, -1n).db(0xf3, 0xac).label('loop').jmp('loop')); // rep lodsb
    comesBack(guest);
  },

  'a triple fault shuts down; a new state starts over'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => a.ud2());
    guest.update(({ sregs }) => void (sregs.idt.limit = 0));
    assert.equal(guest.run().end, 'shutdown');
    guest.start((a) => {
      done(a.mov(eax, 3));
    });
    assert.equal(guest.run().end, 'done 3');
    guest.start((a) => a.ud2());
    assert.equal(guest.run({ after: () => guest.vcpu.kick() }).log[0], 'event 6', 'no fault of the past counts');
  },

  'a state taken in the middle goes on in another vCPU'(engine) {
    const build = (guest: EngineGuest): void =>
      void guest.start((a) => {
        a.mov(eax, 0).mov(rcx, 1000).label('loop').add(rax, rcx).dec(rcx).jcc('nz', 'loop').mov(at(At.Results), rax);
        a.db(0x0f, 0x94, 0xc0); // setz al
        done(a);
      });
    const one = new EngineGuest(engine);
    build(one);
    one.update(({ regs }) => void (regs.rflags |= 0x100n));
    one.code(At.Data, (a) => a.inc(rdi).iret());
    one.setGate(1, At.Data);
    const middle = runPartly(one);
    const other = new EngineGuest(engine);
    build(other);
    other.code(At.Data, (a) => a.inc(rdi).iret());
    other.setGate(1, At.Data);
    other.write(At.Stack - 0x1000, one.read(At.Stack - 0x1000, 0x1000));
    other.vcpu.setState(middle);
    assert.deepEqual(withoutTime(other.vcpu.state()), withoutTime(middle));
    const [first, second] = [one.run(), other.run()];
    assert.equal(first.end, 'done 1');
    assert.deepEqual(second, first);
    assert.equal(other.result(0), 500_500n);
  },

  'a state that was about to deliver an exception, and one with an interrupt'(engine) {
    const guest = new EngineGuest(engine);
    const program = guest.start((a) => {
      a.nop().label('next');
      done(a.mov(eax, 1));
    });
    guest.update((state) => Object.assign(state.events, { exception: { vector: 13, errorCode: 0x50 } }));
    let error = 0n;
    const rsp = BigInt(At.Stack - 48);
    const first = guest.run({
      after() {
        error = guest.vm.memory.readU64(Number(rsp) as never) ?? 0n;
      },
    });
    assert.deepEqual([first.log, first.end, error], [['event 13'], 'done 1', 0x50n]);
    guest.start((a) => {
      done(a.mov(eax, 2));
    });
    guest.update((state) => Object.assign(state.events, { interrupt: { vector: 0x30, soft: false } }));
    assert.deepEqual(guest.run(), { log: ['event 48'], end: 'done 2' });
    assert.ok(program.here > At.Code);
  },

  'HLT with the trap flag set goes on'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      a.hlt();
      done(a.mov(eax, 4));
    });
    guest.update(({ regs }) => void (regs.rflags |= 0x100n));
    const clear = (): void => {
      const slot = Number(guest.vcpu.state().regs.rsp) + 16 + 8; // RAX was pushed by the stub
      guest.write64(slot, (guest.vm.memory.readU64(slot as never) ?? 0n) & ~0x100n);
    };
    assert.deepEqual(guest.run({ after: clear }), { log: ['event 1'], end: 'done 4' });
  },

  'single-stepping a repetition traps after each iteration'(engine) {
    const guest = new EngineGuest(engine);
    guest.code(At.Data2, (a) => a.inc(rdx).iret());
    guest.setGate(1, At.Data2);
    guest.start((a) => {
      a.mov(rsi, At.Data)
        .mov(rdi, At.Data + 0x800)
        .mov(rcx, 20)
        .mov(rdx, 0)
        .pushf();
      done(
        a
          .or(mem({ base: rsp, size: 64 }), 0x100)
          .popf()
          .repMovs(8)
          .mov(at(At.Results), rdx),
      );
    });
    assert.match(guest.run().end, /^done/);
    assert.equal(guest.result(), 20n);
  },

  'a single step ends before the next instruction is fetched'(engine) {
    const guest = new EngineGuest(engine);
    const away = 0x5000_0000;
    guest.start((a) => a.mov(rbx, away).jmp(rbx));
    guest.update(({ regs }) => void (regs.rflags |= 0x100n));
    const log: string[] = [];
    guest.run({
      after(line) {
        log.push(line);
        if (log.length === 3) guest.giveUp();
      },
    });
    assert.deepEqual(log.slice(0, 3), ['event 1', 'event 1', 'event 14']);
  },
};
