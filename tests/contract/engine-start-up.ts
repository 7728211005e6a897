/** Several processors: INIT and start-up IPIs through the local APIC, and what they then share. */
import assert from 'node:assert/strict';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import { type Assembler, al, at, ax, eax, ebx, mem, rbx } from '../guest/assembler.ts';
import { At, EngineGuest, Port, done } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

const Icr = 0x300;
const IcrHigh = 0x310;
const Init = 0x4500;
const StartUp = 0x4600;
const StartVector = At.ApCode >> 12;

/** A port that processors write to give the others a turn. */
const YieldPort = 0x81;
const Turns = 5;
/** Where start-up code in real mode says that it runs: its DS is 0x1000. */
const Flag = { Segment: 0x1000, Offset: 0x8000, Address: 0x1_8000 } as const;

/** Lets the others run for some turns. */
const pause = (a: Assembler): void => {
  for (let i = 0; i < Turns; i++) a.out(YieldPort, al);
};

/** Start-up code that reports to port 0x90, counts up the flag and then does nothing for ever. */
function countingStartUp(guest: EngineGuest): void {
  guest.write(Flag.Address, Uint8Array.of(0));
  guest.code(At.ApCode, (a) => {
    a.mov(ax, 1).out(0x90, al).mov(ax, Flag.Segment).db(0x8e, 0xd8); // mov ds, ax
    a.db(0xfe, 0x06).dw(Flag.Offset).label('loop').jmp('loop'); // inc byte [offset]
  }, 16); // prettier-ignore
}

/** Waits for the flag. */
const awaitFlag = (a: Assembler): void => void a.label('wait').cmp(at(Flag.Address, 8), 1).jcc('nz', 'wait');

/** Runs all vCPUs in turn until the first one ends: what each did, with the vCPU's number. */
function runAll(guest: EngineGuest): string[] {
  const log: string[] = [];
  for (let turn = 0; turn < 2000; turn++) {
    for (const vcpu of guest.vcpus) {
      if (!vcpu.runnable && !guest.vm.haltsInRun) continue;
      const exit: VcpuExit = guest.runOnce(vcpu);
      if (exit.kind === 'pio-write' && exit.port === Port.Done) return [...log, `${vcpu.id} done ${exit.value}`];
      if (exit.kind === 'pio-write' && exit.port !== YieldPort)
        log.push(`${vcpu.id} out ${exit.port.toString(16)} ${exit.value.toString(16)}`);
    }
  }
  throw new Error(`no end: ${log.join(', ')}`);
}

/** Sends an IPI to the APIC of vCPU 1. RBX is the local APIC. */
const send = (a: Assembler, command: number): void => {
  a.mov(mem({ base: rbx, displacement: IcrHigh, size: 32 }), 1 << 24);
  a.mov(mem({ base: rbx, displacement: Icr, size: 32 }), command);
};

export const startUpTests: ContractTests = {
  'the others wait for INIT and SIPI, and start in real mode at the vector'(engine) {
    const guest = new EngineGuest(engine, 2);
    const [, second] = guest.vcpus;
    assert.equal(second?.runnable, false);
    assert.equal(second?.state().mpState, 'uninitialized');
    guest.code(At.ApCode, (a) => {
      a.label('start').db(0x8c, 0xc8).out(0x90, ax).mov(ax, 0x1000).db(0x8e, 0xd8); // mov ax, cs … mov ds, ax
      a.db(0xc6, 0x06, 0x00, 0x80, 0x77).label('loop').hlt().jmp('loop'); // mov byte [0x8000], 0x77
    }, 16); // prettier-ignore
    guest.start((a) => {
      a.mov(ebx, At.LocalApic).mov(mem({ base: rbx, displacement: 0xf0, size: 32 }), 0x1ff);
      send(a, Init);
      send(a, StartUp | StartVector);
      a.label('wait').mov(al, at(0x1_8000)).cmp(al, 0x77).jcc('nz', 'wait');
      done(a);
    });
    guest.write(0x1_8000, Uint8Array.of(0));
    assert.deepEqual(runAll(guest), [`1 out 90 ${(At.ApCode >> 4).toString(16)}`, '0 done 119']);
    const { sregs } = second!.state();
    assert.equal(sregs.cr0 & 1n, 0n);
    assert.equal(sregs.cs.base, BigInt(At.ApCode));
  },

  'SIPI without INIT before it does nothing to a running processor'(engine) {
    const guest = new EngineGuest(engine, 2);
    countingStartUp(guest);
    guest.start((a) => {
      a.mov(ebx, At.LocalApic).mov(mem({ base: rbx, displacement: 0xf0, size: 32 }), 0x1ff);
      send(a, Init);
      for (let i = 0; i < 3; i++) send(a, StartUp | StartVector);
      awaitFlag(a);
      send(a, StartUp | StartVector);
      pause(a);
      done(a.mov(al, at(Flag.Address)));
    });
    assert.deepEqual(runAll(guest), ['1 out 90 1', '0 done 1']);
  },

  'INIT stops a processor in the middle of its work'(engine) {
    const guest = new EngineGuest(engine, 2);
    countingStartUp(guest);
    guest.start((a) => {
      a.mov(ebx, At.LocalApic).mov(mem({ base: rbx, displacement: 0xf0, size: 32 }), 0x1ff);
      send(a, Init);
      send(a, StartUp | StartVector);
      awaitFlag(a);
      send(a, Init);
      pause(a);
      done(a.mov(al, at(Flag.Address)));
    });
    assert.deepEqual(runAll(guest), ['1 out 90 1', '0 done 1']);
    assert.equal(guest.vcpus[1]?.runnable, false);
    assert.equal(guest.vcpus[1]?.state().mpState, 'init-received');
  },

  'an IPI from one processor to the other'(engine) {
    const guest = new EngineGuest(engine, 2);
    guest.start((a) => {
      a.mov(ebx, At.LocalApic)
        .mov(mem({ base: rbx, displacement: 0xf0, size: 32 }), 0x1ff)
        .mov(eax, 1);
      a.cmp(mem({ base: rbx, displacement: 0x20, size: 32 }), 0).jcc('nz', 'other');
      a.label('wait').cmp(at(At.Results, 32), 1).jcc('nz', 'wait');
      send(a, 0x4044);
      a.label('more').cmp(at(At.Results, 32), 2).jcc('nz', 'more');
      done(a);
      a.label('other').mov(at(At.Results, 32), eax).sti().hlt();
    });
    guest.code(At.Data, (a) => a.mov(at(At.Results, 32), 2).label('loop').jmp('loop'));
    guest.setGate(0x44, At.Data);
    const state = guest.vcpu.state();
    guest.vcpus[1]!.setState({ ...state, mpState: 'runnable', regs: { ...state.regs, rsp: BigInt(At.EventStack) } });
    assert.deepEqual(runAll(guest), ['0 done 1']);
  },

  'code that one processor writes and the other has run'(engine) {
    const guest = new EngineGuest(engine, 2);
    guest.write(At.Data, Uint8Array.of(0xb0, 1, 0xc3)); // mov al, 1; ret
    guest.start((a) => {
      a.mov(ebx, At.LocalApic)
        .cmp(mem({ base: rbx, displacement: 0x20, size: 32 }), 0)
        .jcc('nz', 'other');
      a.label('wait')
        .cmp(at(At.Results, 32), 1)
        .jcc('nz', 'wait')
        .mov(at(At.Data + 1, 8), 9)
        .mov(at(At.Results, 32), 2);
      a.label('loop').jmp('loop');
      a.label('other').mov(rbx, At.Data).call(rbx).out(0x80, al).mov(at(At.Results, 32), 1);
      a.label('more').cmp(at(At.Results, 32), 2).jcc('nz', 'more').call(rbx);
      done(a);
    });
    const state = guest.vcpu.state();
    guest.vcpus[1]!.setState({ ...state, mpState: 'runnable', regs: { ...state.regs, rsp: BigInt(At.EventStack) } });
    assert.deepEqual(runAll(guest), ['1 out 80 1', '1 done 9']);
  },
};
