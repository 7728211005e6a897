/**
 * x87 semantics against results of real silicon (an AMD EPYC of family 19h), recorded by tests/differential/x87/update.js
 * for the seeded cases of x87.test.cases.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { brotliDecompressSync } from 'node:zlib';
import { Cpu } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { Vector } from './context.ts';
import { x87Rare } from './x87-rare.ts';
import { CaseLayout, RecordedCases, ResultLayout, caseRows, makeCase, makeCases, Random } from './x87.test.cases.ts';
import type { X87Case } from './x87.test.cases.ts';
import { Harness, keyOf } from './x87.test.harness.ts';

const recorded = new URL('../../../../../../tests/differential/x87/expected.bin.br', import.meta.url);
const Transcendental = /^(F2XM1|FYL2X|FYL2XP1|FPTAN|FPATAN|FSIN|FCOS|FSINCOS)$/;

const rare = (name: string, harness: Harness): number => x87Rare[name]!({ view: harness.view, at: harness.cpu });

/** Recorded results are xor-ed with the state and memory of their case. */
function expectedResult(one: X87Case, at: number, all: Uint8Array): Uint8Array {
  const result = all.slice(at, at + ResultLayout.Size);
  for (let i = 0; i < ResultLayout.Rflags; i++) result[i]! ^= one.bytes[CaseLayout.State + i]!;
  return result;
}

/** The instruction's state as FNSAVE shows it, in words that a person can compare. */
function describe(result: Uint8Array): Record<string, string> {
  const view = new DataView(result.buffer, result.byteOffset);
  const hex = (value: number | bigint): string => value.toString(16);
  const out: Record<string, string> = {
    control: hex(view.getUint16(0, true)),
    status: hex(view.getUint16(4, true)),
    tags: hex(view.getUint16(8, true)),
    ip: hex(view.getUint32(12, true)),
    opcode: hex(view.getUint32(16, true)),
    dp: hex(view.getUint32(20, true)),
    memory: Buffer.from(result.subarray(ResultLayout.Memory, ResultLayout.Rflags)).toString('hex'),
    rflags: hex(view.getUint32(ResultLayout.Rflags, true)),
    rax: hex(view.getBigUint64(ResultLayout.Rax, true)),
  };
  for (let i = 0; i < 8; i++) {
    out[`st${i}`] = `${hex(view.getUint16(36 + 10 * i, true))}:${hex(view.getBigUint64(28 + 10 * i, true))}`;
  }
  return out;
}

/** Makes results equal that differ by one unit in the last place of ST(0) or ST(1), and in C1. */
function forgiveLastPlace(got: Uint8Array, want: Uint8Array): void {
  const [g, w] = [new DataView(got.buffer), new DataView(want.buffer)];
  g.setUint16(4, (g.getUint16(4, true) & ~0x200) | (w.getUint16(4, true) & 0x200), true);
  for (const at of [28, 38]) {
    // Sign, exponent and significand as one number: neighbours differ by one, across powers of two too.
    const rank = (view: DataView): bigint =>
      (BigInt(view.getUint16(at + 8, true)) << 63n) + BigInt.asUintN(63, view.getBigUint64(at, true));
    const distance = rank(g) - rank(w);
    if (distance >= -1n && distance <= 1n) got.set(want.subarray(at, at + 10), at);
  }
}

test('every form gives the state, memory and flags that the silicon gives', () => {
  const all = new Uint8Array(brotliDecompressSync(readFileSync(recorded)));
  const cases = makeCases(RecordedCases.Seed, RecordedCases.PerRow);
  assert.equal(all.length, cases.length * ResultLayout.Size);
  const harness = new Harness(cases, rare);
  cases.forEach((one, i) => {
    const want = expectedResult(one, i * ResultLayout.Size, all);
    const got = harness.run(one);
    assert.ok(typeof got !== 'number', `${keyOf(one)}, case ${i}: raised an exception`);
    if (Transcendental.test(one.row.mnemonic)) forgiveLastPlace(got, want);
    if (Buffer.compare(got, want) !== 0) assert.deepEqual(describe(got), describe(want), `${keyOf(one)}, case ${i}`);
  });
});

/** Runs one case of `mnemonic` with CR0 and the status word changed before. */
function runWith(mnemonic: string, cr0: number, status: number): Uint8Array | number {
  const row = caseRows.find((candidate) => candidate.mnemonic === mnemonic)!;
  const one = makeCase(row, new Random(7));
  const view = new DataView(one.bytes.buffer);
  view.setUint16(CaseLayout.State, 0x037f & ~status, true);
  view.setUint16(CaseLayout.State + 4, status, true);
  return new Harness([one], rare).run(one, (state, at) => {
    state.setUint32(at + Cpu.Cr0, cr0, true);
    if (status) state.setUint32(at + Cpu.FpuStatus, status | 0x8080, true);
  });
}

const Cr0 = { Pe: 1, Mp: 2, Em: 4, Ts: 8, Ne: 32 } as const;

test('CR0.EM and CR0.TS disable all but FWAIT', () => {
  for (const mnemonic of ['FADD', 'FLD1', 'FNSTCW', 'FNINIT', 'FSIN', 'FCOMI']) {
    assert.equal(runWith(mnemonic, Cr0.Em | Cr0.Ne, 0), Vector.DeviceNotAvailable, mnemonic);
    assert.equal(runWith(mnemonic, Cr0.Ts | Cr0.Ne, 0), Vector.DeviceNotAvailable, mnemonic);
  }
  assert.equal(typeof runWith('FWAIT', Cr0.Ts | Cr0.Ne, 0), 'object');
  assert.equal(typeof runWith('FWAIT', Cr0.Mp | Cr0.Em | Cr0.Ne, 0), 'object');
  assert.equal(runWith('FWAIT', Cr0.Mp | Cr0.Ts | Cr0.Ne, 0), Vector.DeviceNotAvailable);
});

test('a pending exception is delivered by the next waiting instruction', () => {
  const zeroDivide = 4;
  for (const mnemonic of ['FADD', 'FWAIT', 'FLD1', 'FLDCW', 'FLDENV', 'FSIN', 'FNOP']) {
    assert.equal(runWith(mnemonic, Cr0.Ne, zeroDivide), Vector.MathFault, mnemonic);
    assert.equal(typeof runWith(mnemonic, 0, zeroDivide), 'object', `${mnemonic} with CR0.NE clear`);
  }
  for (const mnemonic of ['FNSTSW', 'FNSTCW', 'FNSAVE', 'FNSTENV', 'FNCLEX', 'FNINIT']) {
    assert.equal(typeof runWith(mnemonic, Cr0.Ne, zeroDivide), 'object', mnemonic);
  }
});

test('FNSTENV stores linear addresses in real mode, and FLDENV loads them', () => {
  const pointers = { ip: 0x12345678, cs: 0, opcode: 0x5a5, dp: 0x9abcdef0, ds: 0 };
  const store = {
    ...makeCase(
      caseRows.find(({ mnemonic }) => mnemonic === 'FNSTENV')!,
      new Random(3),
    ),
    codeSize: 16,
  } as const;
  const load = {
    ...makeCase(
      caseRows.find(({ mnemonic }) => mnemonic === 'FLDENV')!,
      new Random(3),
    ),
    codeSize: 16,
  } as const;
  for (const narrow of [true, false]) {
    const harness = new Harness(
      [
        { ...store, narrow },
        { ...load, narrow },
      ],
      rare,
    );
    const set = (state: DataView, at: number): void => {
      state.setUint32(at + Cpu.Cr0, Cr0.Ne, true);
      state.setUint32(at + Cpu.FpuLastIp, pointers.ip - 0x10, true);
      state.setUint32(at + Cpu.FpuLastCs, 1, true);
      state.setUint32(at + Cpu.FpuLastOpcode, pointers.opcode, true);
      state.setUint32(at + Cpu.FpuLastDp, pointers.dp, true);
      state.setUint32(at + Cpu.FpuLastDs, pointers.ds, true);
    };
    const stored = harness.run({ ...store, narrow }, set) as Uint8Array<ArrayBuffer>;
    const image = new DataView(stored.buffer, ResultLayout.Memory);
    const step = narrow ? 2 : 4;
    const words = [3, 4, 5, 6].map((i) => (narrow ? image.getUint16(i * step, true) : image.getUint32(i * step, true)));
    const wide = [0xffff5678, 0x012345a5, 0xffffdef0, 0x09abc000];
    assert.deepEqual(words, narrow ? [0x5678, 0x45a5, 0xdef0, 0xc000] : wide);
    const memory = stored.slice(ResultLayout.Memory, ResultLayout.Memory + 28);
    const bytes = load.bytes.slice();
    bytes.set(memory, CaseLayout.Memory);
    const loaded = harness.run({ ...load, narrow, bytes }, (state, at) => state.setUint32(at + Cpu.Cr0, Cr0.Ne, true));
    const after = new DataView((loaded as Uint8Array).buffer);
    // 16-bit images hold 20 bits of each address.
    const kept = narrow ? 0xfffff : 0xffffffff;
    assert.equal(after.getUint32(12, true), (pointers.ip & kept) >>> 0);
    assert.equal(after.getUint32(16, true), pointers.opcode << 16);
    assert.equal(after.getUint32(20, true), (pointers.dp & kept) >>> 0);
  }
});
