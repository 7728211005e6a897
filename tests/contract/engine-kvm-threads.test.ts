/** Split interrupt controllers with a vCPU in a thread of its own: the machine's thread has the IOAPIC. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { kickKvm } from '@lodger/kvm/shared-vm.js';
import type { VcpuThreadData } from '@lodger/kvm/testing/vcpu-thread.js';
import type { KvmVm } from '@lodger/kvm/vm.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import { PhysicalMap } from '@lodger/vmm/machine/memory-map.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { at, mem, rbx } from '../guest/assembler.ts';
import { At, EngineGuest } from './engine-guest.ts';
import { kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';

const Patience = 60e9;
const Pin = 17;
const Vector = 0x51;
/** IOREDTBL: level-triggered; and its read-only bit of an interrupt that nobody has ended. */
const Level = 1 << 15;
const RemoteIrr = 1 << 14;
const Rounds = 5n;
const Apic = { Spurious: 0xf0, EndOfInterrupt: 0xb0 } as const;

/** An access to the IOAPIC by a vCPU of another thread, as the machine's thread is told of it. */
function ioapic(vm: KvmVm, register: number, value?: number): number {
  const start = PhysicalMap.IoApic.start;
  const write = (offset: number, data: number): boolean =>
    vm.answer({ kind: 'mmio-write', address: gpa(start + offset), size: 4, value: BigInt(data) });
  assert.ok(write(0, register));
  if (value !== undefined) assert.ok(write(0x10, value));
  const exit: Extract<VcpuExit, { kind: 'mmio-read' }> = {
    kind: 'mmio-read',
    address: gpa(start + 0x10),
    size: 4,
    value: 0n,
  };
  assert.ok(vm.answer(exit));
  return Number(exit.value);
}

test(
  'a level-triggered interrupt that a remote vCPU ends comes again until its line drops',
  { skip: whyNoKvm() ?? false },
  async () => {
    const engine = kvmUnderTest({ irqchip: 'split' });
    const guest = new EngineGuest(engine, 2);
    const vm = guest.vm as KvmVm;
    const { clock } = engine;
    const register = (displacement: number) => mem({ base: rbx, displacement, size: 32 });
    guest.code(At.Data, (a) => {
      a.db(0x48, 0xff, 0x04, 0x25).dd(At.Results); // inc qword [results]
      a.mov(register(Apic.EndOfInterrupt), 0).iret();
    });
    guest.setGate(Vector, At.Data);
    guest.code(At.Data2, (a) => {
      a.mov(rbx, At.LocalApic).mov(register(Apic.Spurious), 0x1ff);
      a.mov(at(At.Results + 8, 8), 1)
        .sti()
        .label('idle')

        .jmp('idle');
    });
    guest.start((a) => a.cli().label('idle').hlt().jmp('idle'));
    const state = guest.vcpu.state();
    const second = guest.vcpus[1]!;
    second.setState({
      ...second.state(),
      regs: { ...state.regs, rip: BigInt(At.Data2), rsp: BigInt(At.EventStack) },
      sregs: { ...state.sregs, apicBase: second.state().sregs.apicBase },
      mpState: 'runnable',
    });
    const words = new Int32Array(new SharedArrayBuffer(8));
    const workerData: VcpuThreadData = { shared: vm.shared, id: 1, words };
    const worker = new Worker(new URL(import.meta.resolve('@lodger/kvm/testing/vcpu-thread.js')), { workerData });
    const exited = once(worker, 'exit');
    await once(worker, 'online');
    try {
      // A local APIC that is off takes no interrupt
      while (guest.result(1) === 0n) await setTimeout(1);
      const low = 0x10 + 2 * Pin;
      ioapic(vm, low + 1, 1 << 24);
      ioapic(vm, low, Vector | Level);
      const line = vm.interruptLine(Pin);
      line.setLevel(true);
      const limit = clock.now() + Patience;
      // vCPU 0 is halted: only the ends of interrupts bring its thread back
      while (guest.result() < Rounds) {
        assert.equal(guest.vcpu.run(limit).kind, 'interrupted');
        assert.ok(clock.now() < limit, `${guest.result()} interrupts came`);
      }
      line.setLevel(false);
      while (ioapic(vm, low) & RemoteIrr) {
        assert.equal(guest.vcpu.run(limit).kind, 'interrupted');
        assert.ok(clock.now() < limit, 'the last one was not ended');
      }
      assert.equal(ioapic(vm, low), Vector | Level);
    } finally {
      Atomics.store(words, 0, 1);
      kickKvm(vm.shared, 1);
      await exited;
      engine.close?.();
    }
  },
);
