/**
 * The decoder against iced-x86 (npm) as oracle: status, length, mnemonic, prefixes and operands of about two million byte
 * strings in 16, 32 and 64-bit code. Strings come from a seeded generator that visits every row of the table.
 *
 * Deliberate differences are in `differences` below, and in decoder-oracle.ts where the word "Deliberate" stands.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, CpuidFeature, Decoder as IcedDecoder, DecoderOptions, Instruction, Mnemonic } from 'iced-x86';
import { createDecodedInstruction, createDecoder } from '@lodger/vmm/x86/decode/decoder.js';
import type { CodeSize, DecodedInstruction, Decoder, DecodeStatus } from '@lodger/vmm/x86/decode/decoder.js';
import { formatInstruction } from '@lodger/vmm/x86/decode/format.js';
import type { CpuFeature } from '@lodger/vmm/x86/instructions/table/notation.js';
import { allRows } from '@lodger/vmm/x86/instructions/table/rows.js';
import { biasBytes, encodeRow, Random } from './decoder-cases.ts';
import { compareDecoded } from './decoder-oracle.ts';

const SlotSize = 16;
const Ip = 0x12_3456_789an;
const CodeSizes: readonly CodeSize[] = [16, 32, 64];

/** The features of iced-x86 that the table claims as a whole. */
const claimed: ReadonlySet<number> = new Set([
  CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486,
  CpuidFeature.X64, CpuidFeature.CMOV, CpuidFeature.CPUID, CpuidFeature.CX8, CpuidFeature.CMPXCHG16B, CpuidFeature.CLFSH,
  CpuidFeature.CLFLUSHOPT, CpuidFeature.CLWB, CpuidFeature.CLZERO, CpuidFeature.FPU, CpuidFeature.FPU287,
  CpuidFeature.FPU387, CpuidFeature.FXSR, CpuidFeature.FSGSBASE, CpuidFeature.INVPCID, CpuidFeature.LZCNT,
  CpuidFeature.MMX, CpuidFeature.MONITOR, CpuidFeature.MOVBE, CpuidFeature.MSR, CpuidFeature.MULTIBYTENOP,
  CpuidFeature.PAUSE, CpuidFeature.PCLMULQDQ, CpuidFeature.POPCNT, CpuidFeature.PREFETCHW, CpuidFeature.RDPID,
  CpuidFeature.RDPMC, CpuidFeature.RDRAND, CpuidFeature.RDSEED, CpuidFeature.RDTSCP, CpuidFeature.SEP, CpuidFeature.SHA,
  CpuidFeature.SMAP, CpuidFeature.SMM, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3,
  CpuidFeature.SSE4_1, CpuidFeature.SSE4_2, CpuidFeature.SVM, CpuidFeature.SKINIT, CpuidFeature.SKINIT_or_SVM,
  CpuidFeature.SYSCALL, CpuidFeature.TSC, CpuidFeature.WBNOINVD, CpuidFeature.XSAVE, CpuidFeature.XSAVEC,
  CpuidFeature.XSAVEOPT, CpuidFeature.XSAVES, CpuidFeature.ADX, CpuidFeature.AES, CpuidFeature.BMI1, CpuidFeature.BMI2,
  CpuidFeature.CET_IBT, CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C,
]); // prettier-ignore

interface Difference {
  readonly reason: string;
  readonly applies: (status: DecodeStatus, ours: DecodedInstruction, iced: Instruction, bytes: Uint8Array) => boolean;
}

const differences: readonly Difference[] = [
  {
    reason: 'instructions of features that the table does not have are #UD',
    applies: (status, _ours, iced) =>
      status === 'invalid' && !iced.isInvalid && iced.cpuidFeatures().some((feature) => !claimed.has(feature)),
  },
  {
    reason: 'F3 90 with REX.B is XCHG, not PAUSE (seen on AMD EPYC; APM Vol. 3 "PAUSE" and "XCHG" leave it open)',
    applies: (status, ours, iced) =>
      status === 'ok' &&
      iced.mnemonic === Mnemonic.Pause &&
      ours.row.mnemonic === 'XCHG' &&
      ours.length === iced.length,
  },
  {
    reason: 'register forms of 0F 0D are #UD (seen on AMD EPYC; APM Vol. 3 "PREFETCHlevel" has memory forms only)',
    applies: (status, _ours, iced) => status === 'invalid' && /^Reservednop_.*_0F0D$/.test(codeName(iced)),
  },
  {
    reason: 'LOCK MOV CR is #UD: AltMovCr8 is not advertised',
    applies: (status, _ours, iced, bytes) =>
      status === 'invalid' &&
      /^Mov_(r32_cr|cr_r32|r64_cr|cr_r64)$/.test(codeName(iced)) &&
      bytes.subarray(0, bytes.indexOf(0x0f)).includes(0xf0),
  },
  {
    reason: 'UD0 has no ModRM byte, on Intel neither: it is #UD with or without',
    applies: (status, ours, iced) =>
      status === 'ok' && ours.row.mnemonic === 'UD0' && iced.mnemonic === Mnemonic.Ud0 && ours.length !== iced.length,
  },
];

function codeName(iced: Instruction): string {
  return Code[iced.code] ?? '';
}

const found = new Map<Difference, number>();

class Comparison {
  readonly hits = new Int32Array(allRows.length);
  readonly failures: string[] = [];
  cases = 0;
  readonly #bytes = new Uint8Array(SlotSize * 65536);
  readonly #ours: Decoder;
  readonly #record = createDecodedInstruction(allRows[0]!);
  readonly #options: number;

  constructor(vendor: 'amd' | 'intel') {
    this.#ours = createDecoder({ vendor });
    this.#options = vendor === 'amd' ? DecoderOptions.AMD : DecoderOptions.None;
  }

  /** Compares `count` strings; `fill` writes the start of one over random bytes. */
  run(codeSize: CodeSize, count: number, random: Random, fill: (index: number, out: Uint8Array) => void): void {
    const perBatch = this.#bytes.length / SlotSize;
    for (let start = 0; start < count; start += perBatch) {
      const batch = Math.min(perBatch, count - start);
      const words = new Uint32Array(this.#bytes.buffer);
      for (let i = 0; i < words.length; i++) words[i] = random.next();
      for (let i = 0; i < batch; i++) fill(start + i, this.#bytes.subarray(i * SlotSize, (i + 1) * SlotSize));
      this.#compareBatch(codeSize, batch);
    }
  }

  #compareBatch(codeSize: CodeSize, batch: number): void {
    const icedDecoder = new IcedDecoder(codeSize, this.#bytes, this.#options);
    const iced = new Instruction();
    for (let i = 0; i < batch; i++) {
      const position = i * SlotSize;
      icedDecoder.position = position;
      icedDecoder.ip = codeSize === 64 ? Ip : Ip & 0xffffn;
      icedDecoder.decodeOut(iced);
      const status = this.#ours.decode(this.#bytes, position, position + SlotSize, codeSize, this.#record);
      this.cases++;
      const bytes = this.#bytes.subarray(position, position + 15);
      const problem = this.#compare(status, iced, bytes);
      if (problem !== undefined) {
        this.failures.push(`${codeSize}-bit ${Buffer.from(bytes).toString('hex')}: ${problem}`);
      }
    }
    iced.free();
    icedDecoder.free();
  }

  #compare(status: DecodeStatus, iced: Instruction, bytes: Uint8Array): string | undefined {
    if (status !== 'ok' && iced.isInvalid) return undefined;
    const problem =
      status !== 'ok'
        ? `${status}, iced ${codeName(iced)}`
        : iced.isInvalid
          ? `${formatInstruction(this.#record)}, iced invalid`
          : compareDecoded(this.#record, iced);
    if (problem === undefined) {
      this.hits[this.#record.row.index]!++;
      return undefined;
    }
    const difference = differences.find(({ applies }) => applies(status, this.#record, iced, bytes));
    if (difference === undefined) return problem;
    found.set(difference, (found.get(difference) ?? 0) + 1);
    return undefined;
  }
}

function compareAll(comparison: Comparison, seed: number, perRow: number, randomCount: number): void {
  for (const codeSize of CodeSizes) {
    const random = new Random(seed + codeSize);
    const long = codeSize === 64;
    comparison.run(codeSize, allRows.length * perRow, random, (index, out) => {
      encodeRow(allRows[index % allRows.length]!, long, random, out);
    });
    comparison.run(codeSize, randomCount, random, (_, out) => {
      biasBytes(long, random, out);
    });
  }
  assert.deepEqual(comparison.failures.slice(0, 20), [], `${comparison.failures.length} failures`);
}

test('AMD: agrees with iced-x86 over more than a million byte strings, and every row is met', () => {
  const comparison = new Comparison('amd');
  compareAll(comparison, 0x10d6e5, 100, 400_000);
  assert.ok(comparison.cases > 1_000_000);
  const missed = allRows.filter((row) => comparison.hits[row.index] === 0);
  assert.deepEqual(
    missed.map((row) => row.notation),
    [],
  );
});

test('Intel: agrees with iced-x86', () => {
  compareAll(new Comparison('intel'), 0x1d7e1, 20, 50_000);
});

test('every listed difference is met', () => {
  for (const difference of differences) assert.ok((found.get(difference) ?? 0) > 0, difference.reason);
});

/** Calls `visit` with valid encodings of every row. */
function forEachEncoding(
  decoder: Decoder,
  visit: (bytes: Uint8Array, codeSize: CodeSize, record: DecodedInstruction) => void,
): void {
  const record = createDecodedInstruction(allRows[0]!);
  const bytes = new Uint8Array(SlotSize);
  for (const codeSize of CodeSizes) {
    const random = new Random(77 + codeSize);
    for (const row of allRows) {
      for (let i = 0; i < 10; i++) {
        for (let k = 0; k < SlotSize; k++) bytes[k] = random.next();
        encodeRow(row, codeSize === 64, random, bytes);
        if (decoder.decode(bytes, 0, SlotSize, codeSize, record) === 'ok') visit(bytes, codeSize, record);
      }
    }
  }
}

test('an instruction cut short needs more bytes, at every length', () => {
  const decoder = createDecoder();
  const cut = createDecodedInstruction(allRows[0]!);
  forEachEncoding(decoder, (bytes, codeSize, record) => {
    for (let end = 0; end < record.length; end++) {
      assert.equal(decoder.decode(bytes, 0, end, codeSize, cut), 'need-more');
    }
    assert.equal(decoder.decode(bytes, 0, record.length, codeSize, cut), 'ok');
    assert.equal(cut.row, record.row);
  });
});

test('rows of a masked feature do not decode; BSF, BSR and WBINVD stand in for TZCNT, LZCNT and WBNOINVD', () => {
  const features = new Set(allRows.map((row) => row.feature).filter((feature) => feature !== undefined));
  const masked = new Map<CpuFeature, Decoder>();
  for (const feature of features) {
    masked.set(feature, createDecoder({ features: new Set([...features].filter((other) => other !== feature)) }));
  }
  const standIns: Readonly<Record<string, string>> = {
    TZCNT: 'BSF',
    LZCNT: 'BSR',
    WBNOINVD: 'WBINVD',
  };
  const other = createDecodedInstruction(allRows[0]!);
  forEachEncoding(createDecoder(), (bytes, codeSize, record) => {
    const { feature, mnemonic } = record.row;
    if (feature === undefined) return;
    const status = masked.get(feature)!.decode(bytes, 0, SlotSize, codeSize, other);
    const standIn = standIns[mnemonic];
    if (standIn === undefined) assert.equal(status, 'invalid', record.row.notation);
    else assert.deepEqual([status, other.row.mnemonic], ['ok', standIn]);
  });
});
