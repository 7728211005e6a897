/** vCPUs on threads of their own: locked instructions, code that another vCPU changes, interrupts between them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Assembler, at, mem, r12, r13, rax, rbx, rcx, rdi, rdx, rsi } from '../guest/assembler.ts';
import { done } from './engine-guest.ts';
import { At, SmpGuest } from './smp-guest.ts';

const Counter = 0x10_0000;
const Flag = { Ready: 0x11_0000, Go: 0x11_0080, Ack: 0x11_0100, Errors: 0x11_0180, Ended: 0x11_0200 } as const;
const Function = 0x12_0000;
const Rounds = 500_000;
const LastOfLine = 63;

/** Waits until a word is what a register says. */
const await_ = (a: Assembler, address: number, name: string, register = r12): void =>
  void a.label(name).pause().cmp(at(address, 64), register).jcc('nz', name);
const halt = (a: Assembler): void => void a.label('end').cli().hlt().jmp('end');

/** One instruction that adds 1 to a counter of so many bits at RSI. */
interface Locked {
  readonly bits: number;
  readonly bytes: readonly number[];
}
const counting: Record<string, Locked> = {
  'ADD of 8 bits': { bits: 8, bytes: [0xf0, 0x80, 0x06, 0x01] },
  'INC of 16 bits': { bits: 16, bytes: [0x66, 0xf0, 0xff, 0x06] },
  'ADD of 32 bits': { bits: 32, bytes: [0xf0, 0x83, 0x06, 0x01] },
  'SUB of 64 bits': { bits: 64, bytes: [0xf0, 0x48, 0x83, 0x2e, 0xff] },
  // xor eax, eax; inc eax; lock xadd [rsi], eax
  'XADD of 32 bits': { bits: 32, bytes: [0x31, 0xc0, 0xff, 0xc0, 0xf0, 0x0f, 0xc1, 0x06] },
  // stc; lock adc [rsi], 0
  'ADC of 64 bits': { bits: 64, bytes: [0xf9, 0xf0, 0x48, 0x83, 0x16, 0x00] },
  // mov rax, [rsi]; again: lea rdx, [rax + 1]; lock cmpxchg [rsi], rdx; jnz again
  'CMPXCHG of 64 bits': {
    bits: 64,
    bytes: [0x48, 0x8b, 0x06, 0x48, 0x8d, 0x50, 0x01, 0xf0, 0x48, 0x0f, 0xb1, 0x16, 0x75, 0xf5],
  },
  // mov eax, [rsi]; mov edx, [rsi + 4]; again: lea ebx, [rax + 1]; mov ecx, edx; lock cmpxchg8b [rsi]; jnz again
  CMPXCHG8B: {
    bits: 64,
    bytes: [0x8b, 0x06, 0x8b, 0x56, 0x04, 0x8d, 0x58, 0x01, 0x89, 0xd1, 0xf0, 0x0f, 0xc7, 0x0e, 0x75, 0xf5],
  },
  // the same with REX.W
  CMPXCHG16B: {
    bits: 64,
    bytes: [
      0x48, 0x8b, 0x06, 0x48, 0x8b, 0x56, 0x08, 0x48, 0x8d, 0x58, 0x01, 0x48, 0x89, 0xd1, 0xf0, 0x48, 0x0f, 0xc7, 0x0e, 0x75,
      0xf3,
    ],
  },
}; // prettier-ignore

/** Both vCPUs add {@link Rounds} to the counter: what it is in the end. */
async function count(translate: boolean, { bits, bytes }: Locked, address: number): Promise<bigint> {
  const guest = new SmpGuest(2, translate);
  const add = (a: Assembler): void =>
    void a
      .mov(rsi, address)
      .mov(rdi, Rounds)
      .label('add')
      .db(...bytes)
      .db(0x48, 0xff, 0xcf) // dec rdi
      .jcc('nz', 'add');
  await guest.runAll([
    (a) => {
      a.mov(r12, 1);
      await_(a, Flag.Ready, 'ready');
      a.mov(at(Flag.Go, 64), 1);
      add(a);
      a.mov(r12, 1);
      await_(a, Flag.Ended, 'other');
      done(a);
    },
    (a) => {
      a.mov(r12, 1).mov(at(Flag.Ready, 64), r12);
      await_(a, Flag.Go, 'go');
      add(a);
      a.mov(at(Flag.Ended, 64), 1);
      halt(a);
    },
  ]);
  const data = new DataView(guest.read(address, 8).buffer);
  return bits === 64 ? data.getBigUint64(0, true) : BigInt(data.getUint32(0, true) % 2 ** bits);
}

for (const translate of [false, true]) {
  describe(`LOCK, ${translate ? 'translated' : 'interpreted'}`, () => {
    for (const [name, locked] of Object.entries(counting)) {
      test(name, async () => {
        const sum = BigInt.asUintN(locked.bits, BigInt(2 * Rounds));
        assert.equal(await count(translate, locked, Counter), sum);
      });
    }
    test('misaligned: split locks exclude each other', async () => {
      const sum = BigInt(2 * Rounds);
      assert.equal(await count(translate, counting['SUB of 64 bits']!, Counter + LastOfLine), sum);
      assert.equal(await count(translate, counting['ADD of 32 bits']!, Counter + 0xffe), sum, 'over two pages');
    });
    test('XCHG is locked without the prefix: a spin lock of it', async () => {
      const guest = new SmpGuest(2, translate);
      const [lock, counter] = [Counter, Counter + 128];
      const work = (a: Assembler): void =>
        void a
          .mov(rdi, Rounds)
          .label('take')
          .mov(rax, 1)
          .xchg(at(lock, 64), rax)
          .test(rax, rax)
          .jcc('nz', 'spin')
          .inc(at(counter, 64))
          .mov(at(lock, 64), 0)
          .db(0x48, 0xff, 0xcf) // dec rdi
          .jcc('nz', 'take')
          .jmp('out')
          .label('spin')
          .pause()
          .jmp('take')
          .label('out');
      await guest.runAll([
        (a) => {
          a.mov(r12, 1);
          await_(a, Flag.Ready, 'ready');
          a.mov(at(Flag.Go, 64), 1);
          work(a);
          a.mov(r12, 1);
          await_(a, Flag.Ended, 'other');
          done(a);
        },
        (a) => {
          a.mov(r12, 1).mov(at(Flag.Ready, 64), r12);
          await_(a, Flag.Go, 'go');
          work(a);
          a.mov(at(Flag.Ended, 64), 1);
          halt(a);
        },
      ]);
      assert.equal(new DataView(guest.read(counter, 8).buffer).getBigUint64(0, true), BigInt(2 * Rounds));
    });
  });

  describe(`code that another vCPU writes, ${translate ? 'translated' : 'interpreted'}`, () => {
    const Changes = 1000;
    /** vCPU 0 changes what the function returns and says so; vCPU 1 calls it at once and compares. */
    const modify = async (change: (a: Assembler) => void): Promise<bigint> => {
      const guest = new SmpGuest(2, translate);
      guest.code(Function, (a) => a.db(0xb8).dd(0).ret()); // mov eax, 0
      guest.write64(Flag.Errors, 0n);
      await guest.runAll([
        (a) => {
          a.mov(r12, 1);
          await_(a, Flag.Ready, 'ready');
          a.label('next');
          change(a);
          a.mov(at(Flag.Go, 64), r12);
          await_(a, Flag.Ack, 'ack');
          a.inc(r12).cmp(r12, Changes).jcc('be', 'next');
          done(a);
        },
        (a) => {
          a.mov(r12, 1).mov(at(Flag.Ready, 64), r12).label('next');
          // The function is called all the time, so that its old code is at hand
          a.label('wait').mov(r13, Function).call(r13).pause().cmp(at(Flag.Go, 64), r12).jcc('nz', 'wait');
          a.call(r13).cmp(rax, r12).jcc('z', 'right').inc(at(Flag.Errors, 64)).label('right');
          a.mov(at(Flag.Ack, 64), r12).inc(r12).jmp('next');
        },
      ]);
      return new DataView(guest.read(Flag.Errors, 8).buffer).getBigUint64(0, true);
    };

    test('a store is seen by the next call after it is announced', async () => {
      // mov [Function + 1], r12d
      assert.equal(await modify((a) => a.db(0x44, 0x89, 0x24, 0x25).dd(Function + 1)), 0n);
    });
    test('a locked store', async () => {
      assert.equal(
        await modify((a) =>
          a
            .mov(rcx, r12)
            .db(0x87, 0x0c, 0x25)
            .dd(Function + 1),
        ),
        0n,
      );
    });
    test('a copy of a string', async () => {
      const Copy = 0x13_0000;
      // mov [Copy], r12d; rep movsb
      const change = (a: Assembler): void =>
        void a.db(0x44, 0x89, 0x24, 0x25).dd(Copy).mov(rsi, Copy).mov(rdi, Function + 1).mov(rcx, 4).cld().repMovs(8); // prettier-ignore
      assert.equal(await modify(change), 0n);
    });
    test('a vector store', async () => {
      const Copy = 0x13_0000;
      // The function's 16 bytes with the new number: movups xmm0, [Copy]; movups [Function], xmm0
      const change = (a: Assembler): void =>
        void a
          .mov(rax, at(Function, 64)).mov(at(Copy, 64), rax)
          .db(0x44, 0x89, 0x24, 0x25).dd(Copy + 1)
          .mov(rax, at(Function + 8, 64)).mov(at(Copy + 8, 64), rax)
          .db(0x0f, 0x10, 0x04, 0x25).dd(Copy)
          .db(0x0f, 0x11, 0x04, 0x25).dd(Function); // prettier-ignore
      assert.equal(await modify(change), 0n);
    });
  });

  describe(`interrupts between vCPUs, ${translate ? 'translated' : 'interpreted'}`, () => {
    const Vector = 0x51;
    const Apic = { Spurious: 0xf0, EndOfInterrupt: 0xb0, Command: 0x300, CommandHigh: 0x310 } as const;
    const apic = (displacement: number) => mem({ base: rbx, displacement, size: 32 });
    const Ipis = 2000;

    /** vCPU 0 sends an interrupt and waits until vCPU 1's handler has counted it. */
    const ping = async (idle: (a: Assembler) => void): Promise<number> => {
      const guest = new SmpGuest(2, translate);
      guest.code(At.Data, (a) => {
        a.inc(at(Flag.Ack, 64)).push(rbx).mov(rbx, At.LocalApic).mov(apic(Apic.EndOfInterrupt), 0).pop(rbx).iret();
      });
      guest.setGate(Vector, At.Data);
      guest.write64(Flag.Ack, 0n);
      const start = performance.now();
      await guest.runAll([
        (a) => {
          a.mov(r12, 1);
          await_(a, Flag.Ready, 'ready');
          a.mov(rbx, At.LocalApic).label('next');
          a.mov(apic(Apic.CommandHigh), 1 << 24).mov(apic(Apic.Command), Vector);
          await_(a, Flag.Ack, 'ack');
          a.inc(r12).cmp(r12, Ipis).jcc('be', 'next');
          done(a);
        },
        (a) => {
          a.mov(rbx, At.LocalApic).mov(apic(Apic.Spurious), 0x1ff).mov(at(Flag.Ready, 64), 1).sti();
          idle(a);
        },
      ]);
      assert.equal(new DataView(guest.read(Flag.Ack, 8).buffer).getBigUint64(0, true), BigInt(Ipis));
      return performance.now() - start;
    };

    test('wake one that is halted', async (t) => {
      const time = await ping((a) => a.label('idle').hlt().jmp('idle'));
      t.diagnostic(`${((time / Ipis) * 1000).toFixed(0)} µs each`);
    });
    test('reach one that computes', async (t) => {
      const time = await ping((a) => a.label('idle').inc(rdx).jmp('idle'));
      t.diagnostic(`${((time / Ipis) * 1000).toFixed(0)} µs each`);
    });
  });
}
