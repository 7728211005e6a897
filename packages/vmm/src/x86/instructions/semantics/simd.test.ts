import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Cpu, gprOffset, x87Offset, xmmOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { allRows } from '../table/rows.ts';
import { Vector } from './context.ts';
import { simdSemantics } from './simd.ts';
import { recordedCases } from './simd.test.cases.ts';
import { CpuAddress, MemoryAddress, SimdHarness } from './simd.test.harness.ts';

const code = (text: string): Uint8Array =>
  Uint8Array.from(text.replaceAll(' ', '').match(/../g) ?? [], (byte) => parseInt(byte, 16));

function setXmm(harness: SimdHarness, index: number, value: bigint): void {
  harness.view.setBigUint64(CpuAddress + xmmOffset(index), BigInt.asUintN(64, value), true);
  harness.view.setBigUint64(CpuAddress + xmmOffset(index) + 8, value >> 64n, true);
}

function getXmm(harness: SimdHarness, index: number): bigint {
  const at = CpuAddress + xmmOffset(index);
  return harness.view.getBigUint64(at, true) | (harness.view.getBigUint64(at + 8, true) << 64n);
}

const field = (harness: SimdHarness, offset: number): number => harness.view.getUint32(CpuAddress + offset, true);
function setField(harness: SimdHarness, offset: number, value: number): void {
  harness.view.setUint32(CpuAddress + offset, value, true);
}

/** CR4: OSFXSR, OSXMMEXCPT, OSXSAVE. */
const Cr4 = 0x40600;

function prepare(harness: SimdHarness): void {
  harness.bytes.fill(0, CpuAddress, CpuAddress + 0x2000);
  harness.bytes.fill(0, MemoryAddress, MemoryAddress + 0x1000);
  setField(harness, Cpu.Cr4, Cr4);
  setField(harness, Cpu.Xcr0, 3);
  setField(harness, Cpu.Mxcsr, 0x1f80);
  setField(harness, Cpu.FpuControl, 0x37f);
}

describe('SSE semantics on edge operands', () => {
  const cases = recordedCases.trim().split('\n');
  const harness = new SimdHarness(
    cases.map((line) => code(line.split('|')[1]!)),
    simdSemantics,
  );
  const byMnemonic = new Map<string, { line: string; index: number }[]>();
  cases.forEach((line, index) => {
    const mnemonic = line.split('|')[0]!;
    byMnemonic.set(mnemonic, [...(byMnemonic.get(mnemonic) ?? []), { line, index }]);
  });
  for (const [mnemonic, lines] of byMnemonic) {
    it(`${mnemonic} does what the silicon does`, () => {
      for (const { line, index } of lines) {
        const [, , before, after] = line.split('|');
        const [mxcsr, xmm0, xmm1] = before!.split(' ').map((word) => BigInt(`0x${word}`));
        prepare(harness);
        setField(harness, Cpu.Mxcsr, Number(mxcsr));
        setXmm(harness, 0, xmm0!);
        setXmm(harness, 1, xmm1!);
        const vector = harness.run(index);
        const got = [
          vector === Vector.SimdFault ? '#XM' : '-',
          field(harness, Cpu.Mxcsr).toString(16),
          getXmm(harness, 0).toString(16).padStart(32, '0'),
        ];
        assert.equal(got.join(' '), after, line);
      }
    });
  }
});

it('every MMX and SSE row has a semantic', () => {
  const missing = allRows.filter(({ group, mnemonic, feature }) => {
    return (group === 'mmx' || group === 'sse') && feature !== 'sha' && !(mnemonic in simdSemantics);
  });
  assert.deepEqual(
    missing.map(({ notation }) => notation),
    [],
  );
});

describe('availability', () => {
  const [addps, addpsMemory, paddb, emms] = [0, 1, 2, 3];
  const harness = new SimdHarness(['0f 58 c1', '0f 58 47 08', '0f fc c1', '0f 77'].map(code), simdSemantics);

  it('raises what Cpu.SimdDisabled says', () => {
    prepare(harness);
    setField(harness, Cpu.SimdDisabled, Vector.InvalidOpcode);
    assert.equal(harness.run(addps!), Vector.InvalidOpcode);
    setField(harness, Cpu.SimdDisabled, Vector.DeviceNotAvailable);
    assert.equal(harness.run(addpsMemory!), Vector.DeviceNotAvailable);
  });

  it('requires aligned memory operands', () => {
    prepare(harness);
    assert.equal(harness.run(addpsMemory!), Vector.GeneralProtection);
  });

  it('MMX: CR0.EM, CR0.TS, then a pending x87 exception', () => {
    prepare(harness);
    setField(harness, Cpu.FpuStatus, 0x80);
    assert.equal(harness.run(paddb!), Vector.MathFault);
    setField(harness, Cpu.Cr0, 8);
    assert.equal(harness.run(paddb!), Vector.DeviceNotAvailable);
    setField(harness, Cpu.Cr0, 12);
    assert.equal(harness.run(paddb!), Vector.InvalidOpcode);
  });

  it('MMX makes all x87 registers valid, EMMS empty', () => {
    prepare(harness);
    setField(harness, Cpu.FpuTop, 5);
    harness.view.setBigUint64(CpuAddress + x87Offset(0), 0xff01n, true);
    harness.view.setBigUint64(CpuAddress + x87Offset(1), 0x0202n, true);
    assert.equal(harness.run(paddb!), -1);
    assert.equal(harness.view.getBigUint64(CpuAddress + x87Offset(0), true), 0x0103n);
    assert.equal(harness.view.getUint16(CpuAddress + x87Offset(0) + 8, true), 0xffff);
    assert.deepEqual([field(harness, Cpu.FpuTop), field(harness, Cpu.FpuTags)], [0, 0xff]);
    assert.equal(harness.run(emms!), -1);
    assert.equal(field(harness, Cpu.FpuTags), 0);
  });
});

describe('XSAVE and XRSTOR', () => {
  const [save, optimized, restore] = [0, 1, 2];
  const harness = new SimdHarness(['0f ae 27', '0f ae 37', '0f ae 2f'].map(code), simdSemantics);
  const Header = MemoryAddress + 512;
  const request = (components: number): void => harness.view.setUint32(CpuAddress + gprOffset(0), components, true);

  it('#UD without CR4.OSXSAVE, #NM with CR0.TS', () => {
    prepare(harness);
    setField(harness, Cpu.Cr4, 0x600);
    assert.equal(harness.run(save!), Vector.InvalidOpcode);
    prepare(harness);
    setField(harness, Cpu.Cr0, 8);
    assert.equal(harness.run(restore!), Vector.DeviceNotAvailable);
  });

  it('XSAVE writes what is asked for; the header tells what is in use', () => {
    prepare(harness);
    harness.bytes.fill(0xaa, MemoryAddress, Header);
    harness.bytes[Header] = 0xf0;
    setXmm(harness, 3, 7n);
    request(2);
    assert.equal(harness.run(save!), -1);
    assert.equal(harness.bytes[Header], 0xf2);
    assert.equal(harness.bytes[MemoryAddress], 0xaa);
    assert.equal(harness.view.getUint32(MemoryAddress + 24, true), 0x1f80);
    assert.equal(harness.bytes[MemoryAddress + 160 + 48], 7);
    assert.equal(harness.bytes[MemoryAddress + 416], 0xaa);
    setXmm(harness, 3, 0n);
    request(3);
    assert.equal(harness.run(save!), -1);
    assert.equal(harness.bytes[Header], 0xf0);
    assert.equal(harness.view.getUint16(MemoryAddress, true), 0x37f);
  });

  it('XSAVEOPT leaves initial components alone, but not MXCSR', () => {
    prepare(harness);
    harness.bytes.fill(0xaa, MemoryAddress, Header);
    request(3);
    assert.equal(harness.run(optimized!), -1);
    assert.equal(harness.bytes[Header], 0);
    assert.equal(harness.bytes[MemoryAddress], 0xaa);
    assert.equal(harness.bytes[MemoryAddress + 160], 0xaa);
    assert.equal(harness.view.getUint32(MemoryAddress + 24, true), 0x1f80);
  });

  it('XRSTOR loads what is present and initialises the rest', () => {
    prepare(harness);
    setXmm(harness, 3, 7n);
    harness.view.setUint16(MemoryAddress, 0x27f, true);
    harness.view.setUint32(MemoryAddress + 24, 0x3f80, true);
    harness.bytes[Header] = 1;
    request(3);
    assert.equal(harness.run(restore!), -1);
    assert.equal(field(harness, Cpu.FpuControl), 0x27f);
    assert.equal(getXmm(harness, 3), 0n);
    assert.equal(field(harness, Cpu.Mxcsr), 0x3f80);
  });

  it('XRSTOR refuses reserved bits of MXCSR and the header', () => {
    prepare(harness);
    harness.view.setUint32(MemoryAddress + 24, 0x10000, true);
    request(3);
    assert.equal(harness.run(restore!), Vector.GeneralProtection);
    request(1);
    assert.equal(harness.run(restore!), -1);
    for (const [offset, value] of [
      [0, 4],
      [8, 1],
      [15, 0x80],
      [16, 1],
    ] as const) {
      harness.bytes[Header + offset] = value;
      assert.equal(harness.run(restore!), Vector.GeneralProtection, `header byte ${offset}`);
      harness.bytes[Header + offset] = 0;
    }
  });
});
