/**
 * Memory order between vCPUs on threads of their own: litmus tests of a million rounds for each shape. What x86 allows
 * (SDM Vol. 3A "Memory Ordering in P6 and More Recent Processor Families"; Sewell et al., "x86-TSO") may occur, anything
 * else must not.
 *
 * A batch of rounds uses other cache lines for each round and stores the batch's number; before and after it the vCPUs wait
 * for each other. Between batches the first vCPU counts rounds with the outcome that is looked for.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Assembler, at, eax, mem, r12, r13, rax, rbx, rcx, rdx } from '../guest/assembler.ts';
import { done } from './engine-guest.ts';
import { At, SmpGuest } from './smp-guest.ts';

const Rounds = 1_000_000;
const RoundsInBatch = 128;
const Batches = Math.ceil(Rounds / RoundsInBatch);
/** Bytes between the locations of two rounds. */
const Stride = 128;
const ArrayBytes = RoundsInBatch * Stride;

const Base = 0x10_0000;
/** A variable of each round, and what a read of each round found. */
const variable = (index: number): number => Base + index * ArrayBytes;
const found = (index: number): number => Base + (8 + index) * ArrayBytes;
/** How far each vCPU is. */
const arrival = (vcpu: number): number => Base + 16 * ArrayBytes + vcpu * Stride;

const X = 0;
const Y = 1;

/** In the current round. */
const place = (start: number) => mem({ base: rbx, displacement: start, size: 64 });
const store = (index: number) => (a: Assembler) => void a.mov(place(variable(index)), r12);
/** Reads a variable; what it was is kept under a number. */
const load = (index: number, into: number) => (a: Assembler) =>
  void a.mov(rax, place(variable(index))).mov(place(found(into)), rax);
/** Two reads with nothing between them. */
const loadBoth = (first: number, into: number, second: number, intoSecond: number) => (a: Assembler) =>
  void a
    .mov(rax, place(variable(first)))
    .mov(rdx, place(variable(second)))
    .mov(place(found(into)), rax)
    .mov(place(found(intoSecond)), rdx);
const mfence = (a: Assembler): void => void a.db(0x0f, 0xae, 0xf0);
/** LOCK OR to the stack. */
const lockedOr = (a: Assembler): void => void a.db(0xf0, 0x83, 0x0c, 0x24, 0x00);
/** XCHG stores, as it is locked. */
const exchange = (index: number) => (a: Assembler) => void a.mov(rcx, r12).xchg(place(variable(index)), rcx);
const cpuid = (a: Assembler): void => void a.mov(r13, rbx).mov(eax, 0).cpuid().mov(rbx, r13);

type Step = (a: Assembler) => void;

interface Shape {
  readonly threads: readonly (readonly Step[])[];
  /** The outcome that is looked for: for each kept read whether it found this batch's store. */
  readonly outcome: readonly boolean[];
  readonly allowed: boolean;
}

const shapes: Record<string, Shape> = {
  'store buffering': {
    threads: [
      [store(X), load(Y, 0)],
      [store(Y), load(X, 1)],
    ],
    outcome: [false, false],
    allowed: true,
  },
  'store buffering with MFENCE': {
    threads: [
      [store(X), mfence, load(Y, 0)],
      [store(Y), mfence, load(X, 1)],
    ],
    outcome: [false, false],
    allowed: false,
  },
  'store buffering with LOCK': {
    threads: [
      [store(X), lockedOr, load(Y, 0)],
      [store(Y), lockedOr, load(X, 1)],
    ],
    outcome: [false, false],
    allowed: false,
  },
  'store buffering with XCHG': {
    threads: [
      [exchange(X), load(Y, 0)],
      [exchange(Y), load(X, 1)],
    ],
    outcome: [false, false],
    allowed: false,
  },
  'store buffering with CPUID': {
    threads: [
      [store(X), cpuid, load(Y, 0)],
      [store(Y), cpuid, load(X, 1)],
    ],
    outcome: [false, false],
    allowed: false,
  },
  'message passing': {
    threads: [[store(X), store(Y)], [loadBoth(Y, 0, X, 1)]],
    outcome: [true, false],
    allowed: false,
  },
  'load buffering': {
    threads: [
      [load(X, 0), store(Y)],
      [load(Y, 1), store(X)],
    ],
    outcome: [true, true],
    allowed: false,
  },
  'independent reads of independent writes': {
    threads: [[store(X)], [store(Y)], [loadBoth(X, 0, Y, 1)], [loadBoth(Y, 2, X, 3)]],
    outcome: [true, false, true, false],
    allowed: false,
  },
};

/** Waits until every vCPU is as far as R13 says. */
function meet(a: Assembler, vcpu: number, vcpus: number, name: string): void {
  a.mov(at(arrival(vcpu), 64), r13);
  for (let other = 0; other < vcpus; other++) {
    if (other === vcpu) continue;
    a.label(`${name}${other}`)
      .pause()
      .cmp(at(arrival(other), 64), r13)
      .jcc('b', `${name}${other}`);
  }
}

/** R12: the batch. RBX: the round's place. */
function program({ threads, outcome }: Shape, vcpu: number, batches: number): (a: Assembler) => void {
  return (a) => {
    a.mov(r12, 1).label('batch');
    a.lea(r13, mem({ base: r12, index: r12, scale: 1, displacement: 0 }));
    meet(a, vcpu, threads.length, 'before');
    a.xor(rbx, rbx).label('round');
    for (const step of threads[vcpu]!) step(a);
    a.add(rbx, Stride).cmp(rbx, ArrayBytes).jcc('b', 'round');
    a.lea(r13, mem({ base: r12, index: r12, scale: 1, displacement: 1 }));
    meet(a, vcpu, threads.length, 'after');
    if (vcpu === 0) {
      a.xor(rbx, rbx).label('check');
      outcome.forEach((fresh, index) => a.cmp(place(found(index)), r12).jcc(fresh ? 'nz' : 'z', 'other'));
      a.inc(at(At.Results, 64)).label('other');
      a.add(rbx, Stride).cmp(rbx, ArrayBytes).jcc('b', 'check');
    }
    a.inc(r12).cmp(r12, batches).jcc('be', 'batch');
    if (vcpu === 0) done(a);
    else a.label('end').hlt().jmp('end');
  };
}

async function countOutcome(shape: Shape, translate: boolean): Promise<number> {
  const vcpus = shape.threads.length;
  const guest = new SmpGuest(vcpus, translate);
  guest.write64(At.Results, 0n);
  await guest.runAll(shape.threads.map((_, vcpu) => program(shape, vcpu, Batches)));
  return Number(guest.result());
}

for (const translate of [false, true]) {
  describe(translate ? 'translated code' : 'interpreter', () => {
    for (const [name, shape] of Object.entries(shapes)) {
      test(`${name}: ${shape.allowed ? 'whatever' : 'never'}`, async (t) => {
        const count = await countOutcome(shape, translate);
        t.diagnostic(`${count} of ${Batches * RoundsInBatch} rounds`);
        if (!shape.allowed) assert.equal(count, 0);
      });
    }
  });
}
