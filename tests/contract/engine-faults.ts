/** Paging, and the faults of instructions: what the handler finds on its stack and in CR2. */
import assert from 'node:assert/strict';
import { type Assembler, al, at, eax, ecx, mem, rax, rbx, rcx, rdx, rsp } from '../guest/assembler.ts';
import { At, EngineGuest, done, hex } from './engine-guest.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import type { ContractTests } from './engine-suite.ts';

const PageSize = 0x1000;
const Entry = {
  Present: 1n,
  Write: 2n,
  User: 4n,
  Accessed: 0x20n,
  Dirty: 0x40n,
  Reserved: 1n << 51n,
  NoExecute: 1n << 63n,
} as const;
/** SDM Vol. 3A "Page-Fault Exceptions": the error code. */
const Cause = { Present: 1, Write: 2, User: 4, Reserved: 8, Fetch: 16 } as const;
const Ring3 = { Code: 0x33, Data: 0x3b } as const;
/** Field of the TSS: SDM Vol. 3A "64-Bit Task State Segment". */
const IoMapBase = 0x66;
const StubBytes = 32;

interface Frame {
  readonly vector: number;
  readonly error: number | undefined;
  readonly rip: number;
  readonly rsp: number;
}

const withError = (vector: number): boolean => [8, 10, 11, 12, 13, 14, 17].includes(vector);

/** Runs until the first exception; its frame. The guest is then sent to its end. */
function fault(guest: EngineGuest): Frame {
  let frame: Frame | undefined;
  guest.run({
    after(line) {
      assert.equal(frame, undefined, 'one exception');
      const vector = Number(/^event (\d+)$/.exec(line)?.[1] ?? assert.fail(line));
      // The stub has pushed RAX
      const top = Number(guest.vcpu.state().regs.rsp) + 8;
      const slot = (index: number): number => Number(guest.vm.memory.readU64((top + index * 8) as never));
      const first = withError(vector) ? 1 : 0;
      frame = { vector, error: first ? slot(0) : undefined, rip: slot(first), rsp: slot(first + 3) };
      guest.giveUp();
    },
  });
  return frame ?? assert.fail('no exception');
}

/** The frame of the page fault that `build` makes, with CR2; the instruction is labelled `it`. */
function pageFault(guest: EngineGuest, build: (a: Assembler) => Assembler): { error: number; cr2: string } {
  const program = guest.start((a) => void done(build(a)));
  const { vector, error, rip } = fault(guest);
  assert.equal(vector, 14);
  assert.equal(hex(rip), hex(program.address('it')), 'the frame names the instruction');
  return { error: error!, cr2: hex(guest.vcpu.state().sregs.cr2) };
}

/** Maps the page at `linear`. */
const map = (guest: EngineGuest, linear: number, physical: number, bits: bigint): void =>
  guest.write64(guest.entryOf(linear), BigInt(physical) | bits);
const All = Entry.Present | Entry.Write | Entry.User;

type FaultCase = readonly [vector: number, error: number | undefined, build: (a: Assembler) => Assembler];

/** Faults name the instruction that made them, traps the next one. */
const kernelFaults: Readonly<Record<string, FaultCase>> = {
  'a division by zero': [0, undefined, (a) => a.mov(ecx, 0).mov(eax, 1).mov(rdx, 0).label('it').db(0xf7, 0xf1)], // div ecx
  INT3: [3, undefined, (a) => a.db(0xcc).label('it')],
  UD2: [6, undefined, (a) => a.label('it').ud2()],
  'a selector beyond the GDT': [13, 0x50, (a) => a.mov(eax, 0x53).label('it').db(0x8e, 0xd8)], // mov ds, eax
  'a non-canonical address': [
    13,
    0,
    (a) =>
      a
        .mov(rbx, 1n << 62n)
        .label('it')
        .mov(rax, mem({ base: rbx })),
  ],
  'a non-canonical stack': [
    12,
    0,
    (a) =>
      a
        .mov(rbx, 1n << 62n)
        .mov(rsp, rbx)
        .label('it')
        .push(rax),
  ],
  'INT 0x40': [0x40, undefined, (a) => a.db(0xcd, 0x40).label('it')],
};

/** The same for programs at CPL 3, with a page of the kernel at At.Data and no port allowed. */
const userFaults: Readonly<Record<string, FaultCase>> = {
  'a privileged instruction': [13, 0, (a) => a.label('it').hlt()],
  'a port': [13, 0, (a) => a.label('it').out(0x80, al)],
  'a page of the kernel': [14, Cause.Present | Cause.User, (a) => a.label('it').mov(al, at(At.Data))],
  'a write to one': [14, Cause.Present | Cause.User | Cause.Write, (a) => a.label('it').mov(at(At.Data), al)],
  'a gate of the kernel': [13, 0x40 * 8 + 2, (a) => a.label('it').db(0xcd, 0x40)], // int 0x40
  UD2: [6, undefined, (a) => a.label('it').ud2()],
};

const kernelTests = Object.entries(kernelFaults).map(([name, [vector, error, build]]) => [
  `what the handler of ${name} finds`,
  (engine: EngineUnderTest) => {
    const guest = new EngineGuest(engine);
    // A stack of its own for the exception that the stack has
    guest.setGate(12, At.Stubs + 12 * StubBytes, 1);
    const program = guest.start((a) => void done(build(a)));
    const frame = fault(guest);
    assert.deepEqual([frame.vector, frame.error, hex(frame.rip)], [vector, error, hex(program.address('it'))]);
  },
]);

const userTests = Object.entries(userFaults).map(([name, [vector, error, build]]) => [
  `what a program may not do: ${name}`,
  (engine: EngineUnderTest) => {
    const guest = new EngineGuest(engine);
    guest.write64(At.Tss + 4, BigInt(At.EventStack));
    guest.write(At.Tss + IoMapBase, Uint8Array.of(0xff, 0xff)); // beyond the TSS
    map(guest, At.Data, At.Data, Entry.Present | Entry.Write);
    const program = guest.start((a) => void build(a));
    guest.update(({ sregs }) => {
      Object.assign(sregs.cs, { selector: Ring3.Code, dpl: 3 });
      for (const name of ['ss', 'ds', 'es'] as const) Object.assign(sregs[name], { selector: Ring3.Data, dpl: 3 });
    });
    const frame = fault(guest);
    assert.deepEqual([frame.vector, frame.error, hex(frame.rip)], [vector, error, hex(program.address('it'))]);
    assert.equal(frame.rsp, At.Stack, 'the stack of the program');
  },
]);

export const faultTests: ContractTests = {
  ...(Object.fromEntries(kernelTests) as ContractTests),
  ...(Object.fromEntries(userTests) as ContractTests),

  'page faults: the error code says why, CR2 where'(engine) {
    const guest = new EngineGuest(engine);
    const read = (a: Assembler): Assembler => a.label('it').mov(al, at(At.Data + 5));
    const write = (a: Assembler): Assembler => a.label('it').mov(at(At.Data + 6), al);
    map(guest, At.Data, At.Data, 0n);
    assert.deepEqual(pageFault(guest, read), { error: 0, cr2: hex(At.Data + 5) });
    assert.deepEqual(pageFault(guest, write), { error: Cause.Write, cr2: hex(At.Data + 6) });
    map(guest, At.Data, At.Data, Entry.Present);
    assert.deepEqual(pageFault(guest, write), { error: Cause.Present | Cause.Write, cr2: hex(At.Data + 6) });
  },

  'page faults: a reserved bit'(engine) {
    const guest = new EngineGuest(engine);
    map(guest, At.Data, At.Data, All | Entry.Reserved);
    const read = (a: Assembler): Assembler => a.label('it').mov(al, at(At.Data + 5));
    assert.deepEqual(pageFault(guest, read), { error: Cause.Present | Cause.Reserved, cr2: hex(At.Data + 5) });
  },

  'a page without the right to execute'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, Uint8Array.of(0xc3)); // ret
    map(guest, At.Data, At.Data, All | Entry.NoExecute);
    guest.start((a) => void done(a.mov(rbx, At.Data).call(rbx)));
    const { vector, error, rip } = fault(guest);
    assert.deepEqual([vector, error, rip], [14, Cause.Present | Cause.Fetch, At.Data]);
    map(guest, At.Data, At.Data, All);
    guest.start((a) => void done(a.mov(rbx, At.Data).call(rbx).mov(eax, 1)));
    assert.equal(guest.run().end, 'done 1');
  },

  'an access over two pages faults for the one that is absent, and does nothing before'(engine) {
    const guest = new EngineGuest(engine);
    const border = At.Data + PageSize;
    guest.write(border - 4, Uint8Array.of(9, 9, 9, 9));
    map(guest, border, border, 0n);
    const write = (a: Assembler): Assembler =>
      a
        .mov(rax, -1n)
        .label('it')
        .mov(at(border - 4), rax);
    assert.deepEqual(pageFault(guest, write), { error: Cause.Write, cr2: hex(border) });
    assert.deepEqual([...guest.read(border - 4, 4)], [9, 9, 9, 9]);
  },

  'accessed and dirty bits'(engine) {
    const guest = new EngineGuest(engine);
    const bits = (linear: number): bigint =>
      guest.vm.memory.readU64(guest.entryOf(linear) as never)! & (Entry.Accessed | Entry.Dirty);
    guest.start((a) => {
      a.mov(al, at(At.Data)).mov(at(At.Data2), al);
      done(a);
    });
    assert.equal(bits(At.Data), 0n);
    assert.match(guest.run().end, /^done/);
    assert.deepEqual([bits(At.Data), bits(At.Data2)], [Entry.Accessed, Entry.Accessed | Entry.Dirty]);
    assert.equal(bits(At.Data + PageSize), 0n);
  },

  'INVLPG and a new CR3 make a changed entry count'(engine) {
    const guest = new EngineGuest(engine);
    guest.write(At.Data, Uint8Array.of(1));
    guest.write(At.Data2, Uint8Array.of(2));
    guest.write(At.Data2 + PageSize, Uint8Array.of(3));
    const entry = guest.entryOf(At.Data);
    guest.start((a) => {
      a.mov(al, at(At.Data))
        .out(0x80, al)
        .mov(rcx, At.Data2 | Number(All))
        .mov(at(entry), rcx)
        .invlpg(at(At.Data));
      a.mov(al, at(At.Data))
        .out(0x80, al)
        .mov(rcx, (At.Data2 + PageSize) | Number(All))
        .mov(at(entry), rcx);
      a.db(0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8).mov(al, at(At.Data)); // mov rax, cr3; mov cr3, rax
      done(a);
    });
    assert.deepEqual(guest.run(), { log: ['out 80 1 1', 'out 80 1 2'], end: 'done 3' });
  },
};
