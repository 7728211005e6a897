/** Debug exits: what a debugger asks of an engine, and the guest does not notice. */
import assert from 'node:assert/strict';
import { al, at, eax, rax } from '../guest/assembler.ts';
import { At, EngineGuest, done } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

/** The next exit that is not a time slice's end: its reason and where. */
function stop(guest: EngineGuest): string {
  for (;;) {
    const exit = guest.runOnce();
    if (exit.kind === 'debug') return `${exit.reason} at ${exit.rip.toString(16)}`;
    if (exit.kind !== 'interrupted') return exit.kind;
  }
}

const address = (value: number): string => value.toString(16);

export const debugTests: ContractTests = {
  'single-stepping: after each instruction'(engine) {
    const guest = new EngineGuest(engine);
    const program = guest.start((a) => {
      a.mov(eax, 5).label('second').inc(eax).label('third').out(0x80, al).label('fourth');
      done(a);
    });
    guest.vcpu.setDebug!({ singleStep: true });
    for (const label of ['second', 'third']) {
      assert.equal(stop(guest), `single-step at ${address(program.address(label))}`);
    }
    assert.equal(stop(guest), 'pio-write');
    guest.vcpu.setDebug!({});
    assert.equal(guest.run().end, 'done 6');
    assert.equal(guest.vcpu.state().regs.rflags & 0x100n, 0n, 'the guest has no trap flag');
  },

  'breakpoints: before their instruction, until they are taken away'(engine) {
    const guest = new EngineGuest(engine);
    const program = guest.start((a) => {
      a.mov(eax, 1).label('here').inc(eax).inc(eax).label('there').inc(eax);
      done(a);
    });
    const [here, there] = ['here', 'there'].map((label) => BigInt(program.address(label))) as [bigint, bigint];
    guest.vcpu.setDebug!({ breakpoints: [there, here] });
    assert.equal(stop(guest), `breakpoint at ${address(Number(here))}`);
    assert.equal(guest.vcpu.state().regs.rax, 1n);
    guest.vcpu.setDebug!({ breakpoints: [there] });
    assert.equal(stop(guest), `breakpoint at ${address(Number(there))}`);
    assert.equal(guest.vcpu.state().regs.rax, 3n);
    guest.vcpu.setDebug!({});
    assert.equal(guest.run().end, 'done 4');
  },

  'INT3 is an exit where a debugger asks for it, and the guest’s own exception else'(engine) {
    const guest = new EngineGuest(engine);
    const program = guest.start((a) => {
      a.mov(eax, 2).label('here').db(0xcc).label('next').mov(at(At.Results), rax);
      done(a);
    });
    guest.vcpu.setDebug!({ int3: true });
    assert.equal(stop(guest), `breakpoint at ${address(program.address('here'))}`);
    guest.update(({ regs }) => void (regs.rip = BigInt(program.address('next'))));
    assert.deepEqual(guest.run(), { log: [], end: 'done 2' });
    guest.vcpu.setDebug!({});
    guest.update(({ regs }) => void (regs.rip = BigInt(program.address('here'))));
    assert.deepEqual(guest.run(), { log: ['event 3'], end: 'done 2' });
  },
};
