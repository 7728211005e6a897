/**
 * A 64-bit guest for lockstep runs: hot loops of arithmetic, string copies, CPUID, random numbers and the time-stamp counter,
 * interrupted by a timer whose handler keeps a record of when it ran.
 */
import { Assembler, al, eax, ebx, ecx, edx, mem, r8, r9, rax, rbp, rbx, rcx, rdi, rdx, rsi } from '../guest/assembler.ts'; // prettier-ignore
import { At, EngineGuest, MemorySize, Port } from '../contract/engine-guest.ts';
import type { Guest } from './deterministic-machine.ts';

const Vector = 0x60;
const TscDeadlineMsr = 0x6e0;
const ApicRegister = { EndOfInterrupt: 0xb0, Spurious: 0xf0, Timer: 0x320 } as const;
const TscDeadlineMode = 1 << 18;
/** Ticks between two interrupts: some fall into loops, some into copies. */
const Period = 5003;
const Handler = 0x1_8000;
const RecordBytes = 0x7ff8;
const Copy = { From: 0x10_0000, To: 0x20_0ff8, Words: 700 } as const;
/** bswap rdx */
const Bswap = [0x48, 0x0f, 0xca];

const apic = (a: Assembler, register: number, value: number): Assembler =>
  a.mov(ebx, At.LocalApic).mov(mem({ base: rbx, displacement: register, size: 32 }), value);

/** RDTSC; the TSC into RAX. */
const readTsc = (a: Assembler): Assembler => a.db(0x0f, 0x31).shift('shl', rdx, 32).or(rax, rdx);

/** Arms the timer, counted from now. */
function arm(a: Assembler): Assembler {
  readTsc(a).add(rax, Period).mov(rdx, rax).shift('shr', rdx, 32);
  return a.mov(ecx, TscDeadlineMsr).wrmsr();
}

/** Records the time, arms the timer again, ends the interrupt. */
function handler(a: Assembler): void {
  for (const register of [rax, rbx, rcx, rdx]) a.push(register);
  readTsc(a).mov(mem({ base: r9, displacement: At.Data, size: 64 }), rax);
  a.add(r9, 8).and(r9, RecordBytes);
  arm(a);
  apic(a, ApicRegister.EndOfInterrupt, 0);
  for (const register of [rdx, rcx, rbx, rax]) a.pop(register);
  a.iret();
}

/** One round in 256 does what only JavaScript, or many iterations, can do. */
function seldom(a: Assembler): void {
  a.push(rcx);
  readTsc(a).xor(rbp, rax);
  a.db(0x48, 0x0f, 0xc7, 0xf0).add(rbp, rax); // rdrand rax
  a.mov(rsi, Copy.From).mov(rdi, Copy.To).mov(ecx, Copy.Words).repMovs(64);
  a.mov(mem({ displacement: Copy.From, size: 64 }), rbp);
  a.mov(eax, 1).cpuid().pop(rcx);
}

export interface SmallGuest {
  readonly guest: Guest;
  /** Address of the BSWAP in the loop, whose operand is the number of the round times {@link Factor}. */
  readonly bswap: number;
}

/** What the loop multiplies with. */
export const Factor = 0x1234567;

/** The guest ends through the debug exit after so many rounds, with the low byte of its sum. */
export function smallGuest(rounds: number): SmallGuest {
  const { code, bswap } = program(rounds);
  return {
    bswap,
    guest: {
      memorySize: MemorySize,
      load(vm, clock) {
        const guest = new EngineGuest({ createVm: () => vm, clock, advance: (time) => clock.skip(time) });
        guest.code(Handler, handler);
        guest.setGate(Vector, Handler);
        guest.start((a) => void a.bytes(code));
        guest.update(({ regs }) => void Object.assign(regs, { r8: 0n, r9: 0n, rbp: 0n }));
        return guest.vcpu.state();
      },
    },
  };
}

function program(rounds: number): { code: Uint8Array; bswap: number } {
  const a = new Assembler({ origin: At.Code, bits: 64 });
  apic(a, ApicRegister.Spurious, 0x1ff);
  apic(a, ApicRegister.Timer, TscDeadlineMode | Vector);
  arm(a).sti().mov(ecx, rounds);
  a.label('round')
    .add(r8, 1)
    .mov(edx, Factor)
    .imul(rdx, r8)
    .label('swap')
    .db(...Bswap)
    .add(rbp, rdx);
  a.test(ecx, 0xff).jcc('nz', 'next');
  seldom(a);
  a.label('next').dec(ecx).jcc('nz', 'round').mov(rax, rbp).cli().out(Port.Done, al);
  return { code: a.finish(), bswap: a.address('swap') };
}
