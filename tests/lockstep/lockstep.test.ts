/** Deterministic runs, and interpreter and translator in lockstep. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { enableCompilationHints, compileOptimized } from '#lodger/threads/engines/compile-optimized.js';
import { KnownSemantics } from '@lodger/vmm/engine/wasm/translator/known-semantics.js';
import { semantics } from '@lodger/vmm/engine/wasm/semantics-table.js';
import type { WasmEngineOptions } from '@lodger/vmm/engine/wasm/engine.js';
import type { Semantic } from '@lodger/vmm/x86/instructions/semantics/context.js';
import { noLinux } from '../boot/support.ts';
import { EngineGuest, done } from '../contract/engine-guest.ts';
import { wasmUnderTest } from '../contract/wasm-under-test.ts';
import { al, eax, ecx, edx } from '../guest/assembler.ts';
import { EngineModes } from '../guest/engine-modes.ts';
import { linuxGuest } from './debian.ts';
import { DeterministicMachine } from './deterministic-machine.ts';
import { Lockstep } from './lockstep.ts';
import type { LockstepResult } from './lockstep.ts';
import { Factor, smallGuest } from './small-guest.ts';

const Seed = 7;
const Rounds = 20_000;
const Slice = 10_000;
/** The guest is done long before. */
const Enough = 10_000_000;
const Patience = 240_000;

const reference: WasmEngineOptions = EngineModes.interpreter;
const tested: readonly (readonly [string, WasmEngineOptions])[] = [
  ['every block translated', EngineModes.translator],
  ['hot code translated', EngineModes['hot code']],
  ['every block translated, to be left anywhere', { ...EngineModes.translator, stopsAnywhere: true }],
];

function same(result: LockstepResult): Extract<LockstepResult, { kind: 'same' }> {
  if (result.kind === 'same') return result;
  assert.fail(`${JSON.stringify(result.instructions)} ${result.instruction}\n${result.lines.join('\n')}`);
}

/** Runs with a semantic that is wrong in translated code; the interpreter has the right one. */
function withFault<R>(mnemonic: string, fault: (semantics: KnownSemantics) => void, run: () => R): R {
  const table = semantics as Map<string, Semantic>;
  const right = table.get(mnemonic)!;
  table.set(mnemonic, (s) => {
    right(s);
    if (s instanceof KnownSemantics) fault(s);
  });
  try {
    return run();
  } finally {
    table.set(mnemonic, right);
  }
}

describe('interpreter and translator in lockstep', () => {
  const { guest, bswap } = smallGuest(Rounds);
  const options = { guest, seed: Seed, slice: Slice, time: Enough };

  for (const [name, engine] of tested) {
    test(`a small guest with timer interrupts to its end: ${name}`, () => {
      const result = same(new Lockstep({ ...options, engines: [reference, engine] }).run());
      assert.equal(result.end?.kind, 'debug-exit');
      assert.ok(result.translated > result.instructions / 2, `${result.translated} of ${result.instructions}`);
      assert.ok(result.comparisons > 10);
    });
  }

  for (const mode of ['translator', 'hot code'] as const)
    test(`a fault of translated code is found at its instruction: ${mode}`, () => {
      const Wrong = 12_345;
      const Rdx = 2;
      const swapped = Buffer.alloc(8);
      swapped.writeBigUInt64LE(BigInt(Wrong) * BigInt(Factor));
      const value = swapped.readBigInt64BE();
      const fault = (s: KnownSemantics): void =>
        s.f.if(s.gpr(Rdx, 64).eq(value), () => s.setGpr(Rdx, 64, s.gpr(Rdx, 64).add(1)));
      const result = withFault('BSWAP', fault, () =>
        new Lockstep({ ...options, engines: [reference, EngineModes[mode]] }).run(),
      );
      assert.equal(result.kind, 'different');
      assert.equal(result.rip, BigInt(bswap));
      assert.match(result.instruction, /^bswap rdx /);
      assert.equal(result.instructions[0], result.instructions[1]);
      const before = new DeterministicMachine(guest, Seed, reference);
      before.runUntil(result.instructions[0]);
      assert.equal(before.state.regs.rdx, BigInt(Wrong) * BigInt(Factor));
      const hex = (register: bigint): string => BigInt.asUintN(64, register).toString(16);
      const line = `vcpu.regs.rdx.$bigint: "${hex(value)}" "${hex(value + 1n)}"`;
      assert.deepEqual(result.lines, [line]);
    });

  test("Debian's kernel", { skip: noLinux, timeout: Patience }, async () => {
    enableCompilationHints();
    const engines = [
      { compileCore: compileOptimized },
      { ...EngineModes['hot code'], compileCore: compileOptimized },
    ] as const;
    const time = 100_000_000;
    const result = same(new Lockstep({ guest: await linuxGuest(), seed: Seed, engines, slice: 2_000_000, time }).run());
    assert.equal(result.time, time);
    assert.match(result.output, /Linux version/);
    assert.ok(result.translated > result.instructions / 4, `${result.translated} of ${result.instructions}`);
  });
});

describe('deterministic runs', () => {
  const { guest } = smallGuest(Rounds);
  const hashAt = (time: number, seed: number, engine = reference, slice = time): string => {
    const machine = new DeterministicMachine(guest, seed, engine);
    for (let next = slice; next <= time; next += slice) machine.runUntil(next);
    assert.equal(machine.clock.now(), time);
    return machine.hash();
  };
  const Time = 100_000;

  test('the same seed gives the same state', () => assert.equal(hashAt(Time, Seed), hashAt(Time, Seed)));

  test('an interrupt that an x2APIC sends to itself comes before the next instruction', () => {
    const Msr = { ApicBase: 0x1b, Spurious: 0x80f, SelfIpi: 0x83f } as const;
    const Enable = 0xc00;
    const self = new EngineGuest(wasmUnderTest());
    self.start((a) => {
      a.mov(ecx, Msr.ApicBase).rdmsr().or(eax, Enable).wrmsr();
      a.mov(ecx, Msr.Spurious).mov(eax, 0x1ff).mov(edx, 0).wrmsr();
      a.mov(ecx, Msr.SelfIpi).mov(eax, 0x66).sti().nop().wrmsr().out(0x81, al);
      done(a);
    });
    assert.deepEqual(self.run(), { log: ['event 102', 'out 81 1 66'], end: 'done 66' });
  });

  test('another seed gives another', () => assert.notEqual(hashAt(Time, Seed), hashAt(Time, Seed + 1)));

  test('how often a run is stopped makes no difference', () => {
    const once = hashAt(Time, Seed);
    for (const [, engine] of tested) assert.equal(hashAt(Time, Seed, engine, 500), once);
    assert.equal(hashAt(Time, Seed, reference, 1), once);
  });

  test("Debian's kernel: the same seed, the same state", { skip: noLinux, timeout: Patience }, async () => {
    const linux = await linuxGuest();
    const Time = 30_000_000;
    const hash = (seed: number): string => {
      const machine = new DeterministicMachine(linux, seed, { compileCore: compileOptimized });
      machine.runUntil(Time);
      return machine.hash();
    };
    const first = hash(Seed);
    assert.equal(hash(Seed), first);
    assert.notEqual(hash(Seed + 1), first);
  });
});
