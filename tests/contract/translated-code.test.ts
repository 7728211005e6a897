/**
 * What is particular to translated code: it spreads over pages whose mappings change, its code is written while it runs, and
 * the guest must find exact registers and flags wherever it is left.
 */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import {
  type Assembler, al, eax, ebx, ecx, edx, mem, rax, rbx, rdi, rdx, rsi,
} from '../guest/assembler.ts'; // prettier-ignore
import { Flag, SystemGuest, finish } from './system-guest.ts';
import { expectEvent } from './system-expect.ts';
import { At } from './system-layout.ts';

let guest: SystemGuest;

/** Linear addresses of pages of 4 KiB, by their number in a page table of the test. */
const Window = 0x80_0000;
const page = (number: number): number => Window + number * 0x1000;
const Table = 0x8_4000;
/** Guest-physical pages that are cleared for each test. */
const frame = (number: number): number => At.Spare + number * 0x1000;
const Rounds = 60_000;

function map(number: number, physical: number | undefined): void {
  guest.write64(Table + number * 8, physical === undefined ? 0n : BigInt(physical) | 7n);
}

/** Runs the guest to its end: what it left in the first result. */
function result(): number {
  const stop = guest.run();
  assert.equal(stop.kind, 'done', JSON.stringify(stop));
  return Number(guest.read64(At.Results));
}

/** Makes sure that a test's loops were translated: a good part of what was executed since. */
function translated<R>(run: () => R): R {
  const before = guest.vm.statistics();
  const answer = run();
  const after = guest.vm.statistics();
  const share =
    (after.translatedInstructions - before.translatedInstructions) / (after.instructions - before.instructions);
  assert.ok(share > 0.2, `${(share * 100).toFixed(0)} % of the instructions were translated`);
  return answer;
}

/** Repeats `body`, which leaves RCX alone. */
function times(a: Assembler, label: string, body: (a: Assembler) => void): Assembler {
  a.mov(ecx, Rounds).label(label);
  body(a);
  return a.dec(ecx).jcc('nz', label);
}

const store = (a: Assembler): Assembler => finish(a.mov(mem({ displacement: At.Results, size: 64 }), rax));

/** Code at a place of the window; calls and jumps in it may lead to other pages of it. */
function code(number: number, physical: number, build: (a: Assembler) => void): Assembler {
  const a = guest.code(page(number), 64, build);
  const bytes = a.finish();
  guest.write(physical, bytes);
  return a;
}

beforeEach(() => {
  // Pages whose code was written before would have to be hotter
  guest = new SystemGuest('hot code');
  guest.startLong();
  guest.write64(At.PageTables + 0x2000 + 4 * 8, BigInt(Table) | 7n);
  guest.write(Table, new Uint8Array(0x1000));
});

describe('regions over several pages', () => {
  /** Page 0 calls the function at page 1. */
  function caller(a: Assembler, label: string): void {
    times(a, label, (b) => void b.call(page(1)));
  }
  const adds = (amount: number) => (a: Assembler) => void a.add(rax, amount).ret();

  test('a call to another page', () => {
    map(0, frame(0));
    map(1, frame(1));
    code(1, frame(1), adds(3));
    code(0, frame(0), (a) => {
      a.mov(eax, 0);
      caller(a, 'loop');
      store(a);
    });
    guest.resumeAt(page(0));
    assert.equal(translated(result), 3 * Rounds);
  });

  test('the page that is called is mapped anew: INVLPG', () => {
    map(0, frame(0));
    map(1, frame(1));
    code(1, frame(1), adds(1));
    code(1, frame(2), adds(1000));
    code(0, frame(0), (a) => {
      a.mov(eax, 0);
      caller(a, 'first');
      a.mov(rdx, Table + 8).mov(rbx, frame(2) | 7);
      a.mov(mem({ base: rdx, size: 64 }), rbx)
        .db(0x0f, 0x01, 0x3c, 0x25)
        .dd(page(1));
      caller(a, 'second');
      store(a);
    });
    guest.resumeAt(page(0));
    assert.equal(translated(result), 1001 * Rounds);
  });

  test('one page of code with two neighbours, in two mappings', () => {
    for (const [number, physical] of [[0, 0], [1, 1], [8, 0], [9, 2]] as const) map(number, frame(physical)); // prettier-ignore
    code(1, frame(1), adds(1));
    code(1, frame(2), adds(1000));
    // Position-independent: both mappings run it
    code(0, frame(0), (a) => {
      caller(a, 'loop');
      a.ret();
    });
    guest.code(At.Code, 64, (a) => {
      a.mov(eax, 0);
      for (let i = 0; i < 3; i++) a.mov(rbx, page(0)).db(0xff, 0xd3).mov(rbx, page(8)).db(0xff, 0xd3);
      store(a);
    });
    assert.equal(translated(result), 3 * 1001 * Rounds);
  });

  test('the page that is called is gone: a page fault there', () => {
    map(0, frame(0));
    map(1, frame(1));
    code(1, frame(1), adds(1));
    code(0, frame(0), (a) => {
      a.mov(eax, 0);
      caller(a, 'first');
      a.mov(rdx, Table + 8).mov(ebx, 0);
      a.mov(mem({ base: rdx, size: 64 }), rbx)
        .db(0x0f, 0x01, 0x3c, 0x25)
        .dd(page(1));
      caller(a, 'second');
    });
    guest.resumeAt(page(0));
    const fault = expectEvent(guest, { vector: 14 });
    assert.equal(fault.rip, page(1));
    assert.equal(Number(guest.state.regs.rcx), Rounds);
    assert.equal(Number(guest.state.regs.rax), Rounds);
  });
});

describe('code that is written while it is hot', () => {
  test('a function on another page, every some thousand calls', () => {
    map(0, frame(0));
    map(1, frame(1));
    code(1, frame(1), (a) => void a.db(0x48, 0x05).dd(1).ret());
    code(0, frame(0), (a) => {
      a.mov(eax, 0);
      times(a, 'loop', (b) => {
        b.call(page(1)).mov(edx, ecx).and(edx, 0xfff).jcc('nz', 'unchanged');
        b.mov(rdx, page(1))
          .inc(mem({ base: rdx, displacement: 2, size: 32 }))
          .label('unchanged');
      });
      store(a);
    });
    guest.resumeAt(page(0));
    let expected = 0;
    for (let left = Rounds, amount = 1; left > 0; left--) {
      expected += amount;
      if ((left & 0xfff) === 0) amount++;
    }
    assert.equal(translated(result), expected);
  });

  test('the loop itself, in the instruction behind the write', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(eax, 0);
      times(a, 'loop', (b) => {
        b.mov(edx, ecx).and(edx, 0x3fff).jcc('nz', 'unchanged');
        b.mov(rdx, 'immediate')
          .inc(mem({ base: rdx, size: 32 }))
          .label('unchanged');
        b.db(0x48, 0x05).label('immediate').dd(1);
      });
      store(a);
    });
    let expected = 0;
    for (let left = Rounds, amount = 1; left > 0; left--) {
      if ((left & 0x3fff) === 0) amount++;
      expected += amount;
    }
    assert.equal(translated(result), expected);
  });

  test('data on the page of the code does not drop it', () => {
    guest.code(At.Code, 64, (a) => {
      a.mov(eax, 0).mov(rdi, At.Code + 0x800);
      times(a, 'loop', (b) => void b.inc(mem({ base: rdi, size: 64 })).inc(rax));
      store(a);
    });
    const before = guest.vm.statistics().translator!.dropped;
    assert.equal(translated(result), Rounds);
    assert.equal(Number(guest.read64(At.Code + 0x800)), Rounds);
    assert.equal(guest.vm.statistics().translator!.dropped, before);
  });

  test('by the host, between two runs', () => {
    const build = (amount: number) => (a: Assembler) => {
      a.mov(eax, 0);
      times(a, 'loop', (b) => void b.add(rax, amount));
      store(a);
    };
    guest.code(At.Code, 64, build(1));
    guest.resumeAt(At.Code);
    assert.equal(translated(result), Rounds);
    guest.code(At.Code, 64, build(5));
    guest.resumeAt(At.Code);
    assert.equal(result(), 5 * Rounds);
  });
});

describe('where translated code is left', () => {
  test('a page fault finds registers and flags of its instruction', () => {
    for (let i = 0; i < 64; i++) map(i, frame(i));
    guest.code(At.Code, 64, (a) => {
      // Often enough to be hot before the run that leads to the page that is not there
      a.mov(ebx, 400).label('again').mov(rsi, Window).mov(ecx, 500).mov(eax, 0).label('loop');
      a.add(rax, mem({ base: rsi }))
        .inc(rax)
        .add(rsi, 8)
        .dec(ecx)
        .jcc('nz', 'loop');
      a.dec(ebx).jcc('nz', 'again');
      a.mov(rsi, page(64) - 5 * 8)
        .mov(ecx, 1000)
        .mov(eax, -3 >>> 0)
        .jmp('loop');
    });
    const fault = translated(() => expectEvent(guest, { vector: 14, error: 0 }));
    const { regs } = guest.state;
    assert.equal(Number(regs.rsi), page(64));
    assert.equal(Number(regs.rcx), 995);
    assert.equal(Number(BigInt.asIntN(32, regs.rax)), 2);
    // From DEC ECX = 995: no zero, and CF of ADD RSI
    assert.equal(fault.flags & (Flag.Zero | Flag.Carry), 0);
  });

  test('flags of each operation at a fault behind it', () => {
    // CF, ZF, SF, OF, PF and AF of the operation, then a load that faults
    const cases: [string, (a: Assembler) => void, number][] = [
      ['CMP 1, 2', (a) => void a.mov(eax, 1).cmp(eax, 2), 0x95],
      ['ADD to zero with carry', (a) => void a.mov(eax, 0xffff_ffff).add(eax, 1), 0x55],
      ['ADD with overflow', (a) => void a.mov(eax, 0x7fff_ffff).add(eax, 1), 0x894],
      ['INC keeps CF', (a) => void a.mov(eax, 1).cmp(eax, 2).inc(eax), 0x01],
      ['DEC with overflow', (a) => void a.mov(eax, 0x8000_0000).test(eax, eax).dec(eax), 0x814],
      ['TEST', (a) => void a.mov(al, 0x81).test(al, al), 0x84],
      ['SHL', (a) => void a.mov(eax, 0xc000_0000).shift('shl', eax, 1), 0x85],
    ];
    cases.forEach(([name, operation, flags], i) => {
      const start = At.Code + i * 0x1000;
      guest.code(start, 64, (a) => {
        a.mov(rdi, At.Data).mov(ecx, Rounds).label('loop');
        operation(a);
        a.mov(rbx, mem({ base: rdi }))
          .label('next')
          .dec(ecx)
          .jcc('nz', 'loop');
        a.mov(rdi, 0x7000_0000).mov(ecx, 1).jmp('loop');
      });
      guest.resumeAt(start);
      const fault = translated(() => expectEvent(guest, { vector: 14 }));
      assert.equal(fault.flags & 0x8d5, flags, name);
    });
  });

  test('a loop without end is left when its slice is over', () => {
    guest.code(At.Code, 64, (a) => void a.label('loop').inc(rax).jmp('loop'));
    for (let i = 0; i < 50; i++) assert.equal(guest.vcpu.run().kind, 'interrupted');
    const { rax: before } = guest.state.regs;
    guest.vcpu.run();
    assert.ok(guest.state.regs.rax > before);
    assert.equal(Number(guest.state.regs.rip), At.Code);
  });

  test('what is retired counts each instruction once', () => {
    const count = (start: number): number => {
      const before = guest.vm.statistics().instructions;
      guest.resumeAt(start);
      guest.code(start, 64, (a) => {
        a.mov(eax, 0);
        times(a, 'loop', (b) => void b.add(rax, 1).cmp(rax, 7).jcc('nz', 'other').add(rax, 0).label('other'));
        store(a);
      });
      assert.equal(translated(result), Rounds);
      return guest.vm.statistics().instructions - before;
    };
    const expected = 2 + Rounds * 5 + 1 + 2;
    assert.deepEqual([count(At.Code), count(At.Code2)], [expected, expected]);
  });
});
