/** What software asks the processor about: CPUID, MSRs, time. And what a jump to nowhere does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gpa } from '@lodger/vmm/memory/address.js';
import { type Assembler, at, eax, ecx, edx, mem, rax, rbx, rdx, rsp } from '../guest/assembler.ts';
import { At, EngineGuest, done, hex } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

const Msr = { Tsc: 0x10, ApicBase: 0x1b, Efer: 0xc000_0080, Star: 0xc000_0081, Lstar: 0xc000_0082, Mask: 0xc000_0084, FsBase: 0xc000_0100, GsBase: 0xc000_0101, KernelGsBase: 0xc000_0102, TscAux: 0xc000_0103 } as const; // prettier-ignore

/** Of leaf 0x80000001, EDX. */
const Rdtscp = 1 << 27;

/** Runs CPUID for each leaf: EAX, EBX, ECX, EDX. */
function cpuid(guest: EngineGuest, leaves: readonly number[]): number[][] {
  guest.start((a) => {
    for (const [index, leaf] of leaves.entries()) {
      a.mov(eax, leaf).mov(ecx, 0).cpuid();
      [eax, rbx, ecx, edx].forEach((register, i) => {
        const result = at(At.Results + index * 32 + i * 8);
        a.mov(result, { ...register, size: 64 });
      });
    }
    done(a);
  });
  guest.run();
  return leaves.map((_, index) => [0, 1, 2, 3].map((i) => Number(guest.result(index * 4 + i))));
}

const ascii = (...words: number[]): string => Buffer.from(new Uint32Array(words).buffer).toString('latin1');

/** With page tables of four levels and of five: KVM goes by those that the host could have. */
const NonCanonical = 1n << 62n;

/** KVM's guests have the host's vendor. */
function hostVendor(): string {
  return /^vendor_id\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))![1]!;
}

function writeMsr(a: Assembler, msr: number, value: bigint): Assembler {
  return a.mov(ecx, msr).mov(eax, value & 0xffff_ffffn).mov(edx, value >> 32n).wrmsr(); // prettier-ignore
}
/** RDMSR into RAX. */
const readMsr = (a: Assembler, msr: number): Assembler => a.mov(ecx, msr).rdmsr().shift('shl', rdx, 32).or(rax, rdx);

export const processorTests: ContractTests = {
  'CPUID: vendor, long mode, the hypervisor’s leaves'(engine) {
    const guest = new EngineGuest(engine);
    const [zero, one, extended, hypervisor] = cpuid(guest, [0, 1, 0x8000_0001, 0x4000_0000]) as [
      number[], number[], number[], number[],
    ]; // prettier-ignore
    assert.equal(ascii(zero[1]!, zero[3]!, zero[2]!), guest.vm.haltsInRun ? hostVendor() : 'AuthenticAMD');
    assert.ok(one[2]! & (1 << 31), 'a hypervisor is present');
    assert.ok(extended[3]! & (1 << 29), 'long mode');
    assert.equal(ascii(hypervisor[1]!, hypervisor[2]!, hypervisor[3]!), 'KVMKVMKVM\0\0\0');
    const v2 = { sse3: 0, ssse3: 9, cx16: 13, sse41: 19, sse42: 20, popcnt: 23 };
    for (const [name, bit] of Object.entries(v2)) assert.ok(one[2]! & (1 << bit), name);
  },

  'CPUID does not tell of what CR4 refuses'(engine) {
    const guest = new EngineGuest(engine);
    const [one, seven] = cpuid(guest, [1, 7]) as [number[], number[]];
    const bits = { smap: [seven[1]! & (1 << 20), 21], pcid: [one[2]! & (1 << 17), 17], smep: [seven[1]! & (1 << 7), 20] } as const; // prettier-ignore
    for (const [name, [advertised, cr4]] of Object.entries(bits)) {
      guest.start((a) => {
        a.db(0x0f, 0x20, 0xe0)
          .or(rax, 1 << cr4)
          .db(0x0f, 0x22, 0xe0); // mov rax, cr4; mov cr4, rax
        done(a);
      });
      const [first] = guest.run({ after: () => guest.giveUp() }).log;
      assert.equal(first, advertised ? undefined : 'event 13', name);
    }
  },

  'MSRs keep what is written; reserved bits and unknown ones are #GP'(engine) {
    const guest = new EngineGuest(engine);
    const values: [msr: number, value: bigint][] = [
      [Msr.Star, 0x0023_0010_0000_0000n], [Msr.Lstar, 0xffff_ffff_8000_1234n], [Msr.Mask, 0x4_7700n],
      [Msr.FsBase, 0xffff_8000_0000_0000n], [Msr.GsBase, 0x7fff_ffff_ffffn], [Msr.KernelGsBase, 0x1234n],
    ]; // prettier-ignore
    const [[, , , features]] = cpuid(guest, [0x8000_0001]) as [number[]];
    if (features! & Rdtscp) values.push([Msr.TscAux, 0x42n]);
    guest.start((a) => {
      for (const [msr, value] of values) writeMsr(a, msr, value);
      for (const [index, [msr]] of values.entries()) readMsr(a, msr).mov(at(At.Results + index * 8), rax);
      done(a);
    });
    assert.match(guest.run().end, /^done/);
    assert.deepEqual(
      values.map((_, index) => hex(guest.result(index))),
      values.map(([, value]) => hex(value)),
    );
    const bad: [msr: number, value: bigint][] = [[Msr.Lstar, NonCanonical], [Msr.Efer, 1n << 16n], [0x1234, 0n]]; // prettier-ignore
    for (const [msr, value] of bad) {
      const program = guest.start((a) => {
        writeMsr(a, msr, value).label('after');
        done(a);
      });
      let rip = 0n;
      const skip = (): void => {
        const slot = Number(guest.vcpu.state().regs.rsp) + 16;
        rip = guest.vm.memory.readU64(gpa(slot)) ?? 0n;
        guest.write64(slot, BigInt(program.address('after')));
      };
      assert.deepEqual(guest.run({ after: skip }).log, ['event 13'], hex(msr));
      assert.equal(rip, BigInt(program.address('after') - 2), 'the frame names WRMSR');
    }
  },

  'SWAPGS and the GS base'(engine) {
    const guest = new EngineGuest(engine);
    guest.write64(At.Data, 0x11n);
    guest.write64(At.Data2, 0x22n);
    guest.start((a) => {
      writeMsr(a, Msr.GsBase, BigInt(At.Data));
      writeMsr(a, Msr.KernelGsBase, BigInt(At.Data2)).db(0x0f, 0x01, 0xf8); // swapgs
      a.db(0x65, 0x48, 0x8b, 0x04, 0x25).dd(0).mov(at(At.Results), rax); // mov rax, gs:[0]
      done(readMsr(a, Msr.KernelGsBase));
    });
    guest.run();
    assert.equal(guest.result(0), 0x22n);
  },

  'the TSC follows the clock; writes move it'(engine) {
    const guest = new EngineGuest(engine);
    const rdtsc = (a: Assembler, index: number): Assembler =>
      a
        .db(0x0f, 0x31)
        .shift('shl', rdx, 32)
        .or(rax, rdx)
        .mov(at(At.Results + index * 8), rax);
    guest.start((a) => {
      rdtsc(a, 0).out(0x80, { ...rax, size: 8 });
      rdtsc(a, 1);
      writeMsr(a, Msr.Tsc, 5n << 40n);
      rdtsc(a, 2);
      done(a);
    });
    guest.run({ after: () => engine.advance(1_000_000) });
    const [first, second, third] = [0, 1, 2].map((index) => guest.result(index)) as [bigint, bigint, bigint];
    assert.ok(second - first >= 1_000_000n, `${second - first} ticks in a millisecond`);
    assert.ok(third >= 5n << 40n && third < (5n << 40n) + (1n << 36n));
  },

  'the TSC of a state is what RDTSC reads'(engine) {
    const guest = new EngineGuest(engine);
    guest.start((a) => {
      done(a.db(0x0f, 0x31).shift('shl', rdx, 32).or(rax, rdx).mov(at(At.Results), rax));
    });
    const tsc = 7n << 44n;
    guest.update((state) => Object.assign(state, { msrs: [[Msr.Tsc, tsc]] }));
    engine.advance(5_000);
    const saved = new Map(guest.vcpu.state().msrs).get(Msr.Tsc) ?? 0n;
    assert.ok(saved >= tsc + 5_000n);
    guest.run();
    assert.ok(guest.result() >= saved && guest.result() < tsc + (1n << 36n));
  },

  'a jump, call or return to a non-canonical address is the instruction’s own #GP'(engine) {
    const guest = new EngineGuest(engine);
    const nowhere = 0x0010_0000_0001_0000n;
    const forms: Record<string, (a: Assembler) => Assembler> = {
      jmp: (a) => a.mov(rbx, nowhere).label('it').jmp(rbx),
      call: (a) => a.mov(rbx, nowhere).label('it').call(rbx),
      ret: (a) => a.mov(rbx, nowhere).push(rbx).label('it').ret(),
    };
    for (const [name, build] of Object.entries(forms)) {
      const program = guest.start((a) => build(a));
      let frame: bigint[] = [];
      const look = (): void => {
        const top = Number(guest.vcpu.state().regs.rsp) + 16;
        frame = [0, 24].map((offset) => guest.vm.memory.readU64(gpa(top + offset)) ?? 0n);
        guest.giveUp();
      };
      assert.equal(guest.run({ after: look }).log[0], 'event 13', name);
      const rspThen = BigInt(At.Stack - (name === 'ret' ? 8 : 0));
      assert.deepEqual(frame, [BigInt(program.address('it')), rspThen], name);
    }
  },

  'SYSCALL with TF in its mask is not stepped'(engine) {
    const guest = new EngineGuest(engine);
    guest.code(At.Data, (a) => {
      done(a.mov(eax, 6));
    });
    guest.start((a) => {
      writeMsr(a, Msr.Star, 0x0010_0008_0000_0000n);
      writeMsr(a, Msr.Lstar, BigInt(At.Data));
      writeMsr(a, Msr.Mask, 0x100n);
      writeMsr(a, Msr.Efer, 0xd01n);
      a.pushf()
        .or(mem({ base: rsp, size: 64 }), 0x100)
        .popf()
        .db(0x0f, 0x05); // syscall
    });
    assert.deepEqual(guest.run(), { log: [], end: 'done 6' });
  },
};
