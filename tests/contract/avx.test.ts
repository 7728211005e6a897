/**
 * What system software relies on of AVX, on the wasm engine's x86-64-v3: when its instructions exist, which bits they keep,
 * XCR0, the images of XSAVE, and state that another machine goes on with (SDM Vol. 1 Chapter 13 "Managing State Using the
 * XSAVE Feature Set", §14.1 "Intel AVX Overview"; AMD APM Vol. 2 §11.5 "XSAVE/XRSTOR Instructions").
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { offeredChoice } from '@lodger/kvm/cpu/configure.js';
import { KvmSystem } from '@lodger/kvm/system.js';
import type { VcpuState } from '@lodger/vmm/engine/state.js';
import { formatCpuChoice, parseCpuChoice } from '@lodger/vmm/x86/cpu-models.js';
import { type Assembler, eax, ecx, edx } from '../guest/assembler.ts';
import { At, EngineGuest, done } from './engine-guest.ts';
import type { EngineUnderTest } from './engine-guest.ts';
import { kvmUnderTest, whyNoKvm } from './kvm-under-test.ts';
import { wasmUnderTest } from './wasm-under-test.ts';

const Vector = { InvalidOpcode: 6, DeviceNotAvailable: 7, GeneralProtection: 13, PageFault: 14 } as const;
const Cr0 = { TaskSwitched: 8n } as const;
const Cr4 = { OsXsave: 1n << 18n } as const;
const Component = { X87: 1, Sse: 2, Avx: 4 } as const;
const AllComponents = 7;

/** Offsets in an image, and its length. */
const Image = { Mxcsr: 24, Xmm: 160, Present: 512, Compaction: 520, YmmHigh: 576, Length: 832 } as const;

function withModel(cpu: string): EngineUnderTest {
  const engine = wasmUnderTest();
  return { ...engine, createVm: (config) => engine.createVm({ ...config, cpu: parseCpuChoice(cpu) }) };
}

/** A guest whose registers have different contents in all parts. */
class AvxGuest extends EngineGuest {
  constructor(cpu = 'x86-64-v3') {
    super(withModel(cpu));
  }

  load(build: (a: Assembler) => void, change: (state: VcpuState) => void = () => {}): Assembler {
    const a = this.start((asm) => {
      build(asm);
      done(asm);
    });
    const state = structuredClone(this.vcpu.state());
    state.sregs.cr4 |= Cr4.OsXsave;
    state.fpu.xmm = state.fpu.xmm.map((_, i) => vector(i));
    Object.assign(state, {
      xcr0: BigInt(AllComponents),
      xsave: { ymmHigh: state.fpu.xmm.map((_, i) => vector(100 + i)) },
    });
    change(state);
    this.vcpu.setState(state);
    return a;
  }

  get xmm(): readonly bigint[] {
    return this.vcpu.state().fpu.xmm;
  }
  get upper(): readonly bigint[] {
    return this.vcpu.state().xsave?.ymmHigh ?? Array<bigint>(16).fill(0n);
  }

  /** Runs to the end, or to an event: then that is what is answered. */
  outcome(): string {
    const { log, end } = this.run({ after: () => this.giveUp() });
    return log[0] ?? end;
  }
}

const vector = (index: number): bigint =>
  (BigInt(index + 1) * 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978n) % (1n << 128n);
const event = (number: number): string => `event ${number}`;

/** An instruction's bytes with a 32-bit address at the end. */
const addressed = (a: Assembler, bytes: readonly number[], address: number): Assembler => a.db(...bytes).dd(address);
const xsave = (a: Assembler, mask: number): Assembler => image(a, mask, 4);
const xsaveopt = (a: Assembler, mask: number): Assembler => image(a, mask, 6);
const xrstor = (a: Assembler, mask: number): Assembler => image(a, mask, 5);
function image(a: Assembler, mask: number, digit: number): Assembler {
  a.mov(eax, mask).mov(edx, 0);
  return addressed(a, [0x0f, 0xae, 0x04 | (digit << 3), 0x25], At.Data);
}
/** VADDPS ymm2, ymm0, ymm1. */
const vaddps256 = [0xc5, 0xfc, 0x58, 0xd1];
/** VPXOR xmm2, xmm0, xmm1. */
const vpxor128 = [0xc5, 0xf9, 0xef, 0xd1];
/** PXOR xmm2, xmm1. */
const pxor = [0x66, 0x0f, 0xef, 0xd1];
/** VZEROUPPER, VZEROALL. */
const vzeroupper = [0xc5, 0xf8, 0x77];
const vzeroall = [0xc5, 0xfc, 0x77];

function u64(guest: EngineGuest, address: number): bigint {
  return new DataView(guest.read(address, 8).buffer).getBigUint64(0, true);
}

function readVectors(guest: EngineGuest, address: number): bigint[] {
  return Array.from({ length: 16 }, (_, i) => u64(guest, address + i * 16) | (u64(guest, address + i * 16 + 8) << 64n));
}

describe('when AVX exists', () => {
  const cases: [what: string, change: (state: VcpuState) => void, vector: number][] = [
    ['CR4.OSXSAVE clear', ({ sregs }) => void (sregs.cr4 &= ~Cr4.OsXsave), Vector.InvalidOpcode],
    ['XCR0 without AVX', (state) => void Object.assign(state, { xcr0: 3n }), Vector.InvalidOpcode],
    ['CR0.TS set', ({ sregs }) => void (sregs.cr0 |= Cr0.TaskSwitched), Vector.DeviceNotAvailable],
  ];
  for (const [what, change, vector] of cases) {
    test(`${what}: exception ${vector}`, () => {
      const guest = new AvxGuest();
      for (const code of [vaddps256, vpxor128, vzeroupper]) {
        guest.load((a) => a.db(...code), change);
        assert.equal(guest.outcome(), event(vector));
      }
    });
  }

  test('x86-64-v2 knows none of it', () => {
    const guest = new AvxGuest('x86-64-v2');
    guest.load((a) => a.db(...vaddps256), (state) => void Object.assign(state, { xcr0: 3n })); // prettier-ignore
    assert.equal(guest.outcome(), event(Vector.InvalidOpcode));
  });
});

describe('which bits are kept', () => {
  test('SSE instructions keep bits 128 to 255, those with VEX and 128 bits clear them', () => {
    const guest = new AvxGuest();
    guest.load((a) => a.db(...pxor));
    assert.equal(guest.outcome(), 'done 0');
    assert.equal(guest.xmm[2], vector(2) ^ vector(1));
    assert.equal(guest.upper[2], vector(102));
    guest.load((a) => a.db(...vpxor128));
    assert.equal(guest.outcome(), 'done 0');
    assert.equal(guest.xmm[2], vector(0) ^ vector(1));
    assert.equal(guest.upper[2], 0n);
    assert.equal(guest.upper[3], vector(103));
  });

  test('VZEROUPPER and VZEROALL', () => {
    const guest = new AvxGuest();
    guest.load((a) => a.db(...vzeroupper));
    guest.outcome();
    assert.deepEqual([guest.xmm[15], guest.upper.every((value) => value === 0n)], [vector(15), true]);
    guest.load((a) => a.db(...vzeroall));
    guest.outcome();
    assert.deepEqual(
      [...guest.xmm, ...guest.upper].filter((value) => value !== 0n),
      [],
    );
  });
});

test('XSETBV: AVX needs SSE, nothing else exists; without AVX in the model it is refused', () => {
  const xsetbv = (guest: AvxGuest, value: number): string => {
    guest.load((a) => a.mov(ecx, 0).mov(edx, 0).mov(eax, value).db(0x0f, 0x01, 0xd1), (state) => void Object.assign(state, { xcr0: 1n })); // prettier-ignore
    return guest.outcome();
  };
  const v3 = new AvxGuest();
  for (const value of [1, 3, 7]) assert.equal(xsetbv(v3, value), `done ${value}`);
  for (const value of [0, 2, 4, 5, 6, 15]) assert.equal(xsetbv(v3, value), event(Vector.GeneralProtection), `${value}`);
  assert.equal(xsetbv(new AvxGuest('x86-64-v3,-avx'), 7), event(Vector.GeneralProtection));
});

describe('images', () => {
  test('XSAVE writes the components that are asked for, and what is in use', () => {
    const guest = new AvxGuest();
    guest.write(At.Data, new Uint8Array(Image.Length).fill(0));
    guest.load((a) => xsave(a, AllComponents));
    assert.equal(guest.outcome(), 'done 7');
    assert.equal(u64(guest, At.Data + Image.Present), BigInt(Component.Sse | Component.Avx));
    assert.deepEqual(
      readVectors(guest, At.Data + Image.Xmm),
      Array.from({ length: 16 }, (_, i) => vector(i)),
    );
    assert.deepEqual(
      readVectors(guest, At.Data + Image.YmmHigh),
      Array.from({ length: 16 }, (_, i) => vector(100 + i)),
    );
  });

  test('a mask without AVX leaves its part of the image and its bit', () => {
    const guest = new AvxGuest();
    const before = new Uint8Array(Image.Length).fill(0x5a);
    before.fill(0, Image.Present, Image.YmmHigh);
    before[Image.Present] = Component.Avx;
    guest.write(At.Data, before);
    guest.load((a) => xsave(a, Component.Sse));
    guest.outcome();
    assert.equal(u64(guest, At.Data + Image.Present), BigInt(Component.Sse | Component.Avx));
    assert.deepEqual(guest.read(At.Data + Image.YmmHigh, 256), before.subarray(Image.YmmHigh));
  });

  test('XSAVEOPT does not write what is in its initial state', () => {
    const guest = new AvxGuest();
    guest.write(At.Data, new Uint8Array(Image.Length).fill(0x5a));
    guest.write(At.Data + Image.Present, new Uint8Array(64));
    guest.load((a) => xsaveopt(a.db(...vzeroupper), AllComponents));
    guest.outcome();
    assert.equal(u64(guest, At.Data + Image.Present), BigInt(Component.Sse));
    assert.equal(u64(guest, At.Data + Image.YmmHigh), 0x5a5a_5a5a_5a5a_5a5an);
  });

  test('XRSTOR loads what is present, initialises what is not, and leaves what is not asked for', () => {
    const bytes = new Uint8Array(Image.Length);
    const view = new DataView(bytes.buffer);
    for (let at = Image.Xmm; at < Image.Xmm + 256; at++) bytes[at] = at & 0xff;
    for (let at = Image.YmmHigh; at < Image.Length; at++) bytes[at] = (at * 7) & 0xff;
    view.setUint32(Image.Mxcsr, 0x1f81, true);
    const restored = (present: number, mask: number): AvxGuest => {
      const guest = new AvxGuest();
      bytes[Image.Present] = present;
      guest.write(At.Data, bytes);
      guest.load((a) => xrstor(a, mask));
      assert.match(guest.outcome(), /^done/);
      return guest;
    };
    const image = new AvxGuest();
    image.write(At.Data, bytes);
    const all = restored(AllComponents, AllComponents);
    assert.deepEqual(all.upper, readVectors(image, At.Data + Image.YmmHigh));
    assert.deepEqual(all.xmm, readVectors(image, At.Data + Image.Xmm));
    const initial = restored(Component.Sse, Component.Avx);
    assert.ok(initial.upper.every((value) => value === 0n));
    assert.deepEqual([initial.xmm[5], initial.vcpu.state().fpu.mxcsr], [vector(5), 0x1f81]);
    const kept = restored(AllComponents, Component.Sse);
    assert.equal(kept.upper[5], vector(105));
  });

  test('images that are not of this processor: #GP; out of memory: #PF with nothing changed', () => {
    const guest = new AvxGuest();
    const refused = (change: (bytes: Uint8Array) => void): string => {
      const bytes = new Uint8Array(Image.Length);
      change(bytes);
      guest.write(At.Data, bytes);
      guest.load((a) => xrstor(a, AllComponents));
      return guest.outcome();
    };
    assert.equal(
      refused((bytes) => void (bytes[Image.Present] = 8)),
      event(Vector.GeneralProtection),
    );
    assert.equal(
      refused((bytes) => void (bytes[Image.Compaction + 7] = 0x80)),
      event(Vector.GeneralProtection),
    );
    const page = 0x5_0000;
    guest.write64(guest.entryOf(page), 0n);
    const start = page - 640;
    guest.write(start, new Uint8Array(640).fill(0x11));
    guest.write(start + Image.Present, new Uint8Array(64));
    guest.load((a) => addressed(a.mov(eax, AllComponents).mov(edx, 0), [0x0f, 0xae, 0x24, 0x25], start));
    assert.equal(guest.outcome(), event(Vector.PageFault));
    assert.equal(u64(guest, start + Image.Present), 0n);
    assert.equal(u64(guest, start + Image.Xmm), 0x1111_1111_1111_1111n);
  });
});

test('a state goes on in another machine, upper halves included; x86-64-v2 refuses it', () => {
  const guest = new AvxGuest();
  guest.load((a) => a.db(...vpxor128));
  assert.equal(guest.outcome(), 'done 0');
  const state = guest.vcpu.state();
  const other = new AvxGuest();
  other.vcpu.setState(state);
  assert.deepEqual(other.vcpu.state().xsave, state.xsave);
  assert.equal(other.upper[3], vector(103));
  const older = new AvxGuest('x86-64-v2');
  assert.throws(() => older.vcpu.setState(state), { code: 'InvalidArgument', message: /XCR0 0x7/ });
});

/** kvm and wasm with what this host's KVM offers of x86-64-v3. */
function movable(): string {
  const system = KvmSystem.open();
  const choice = offeredChoice(system, 'x86-64-v3');
  system.close();
  return formatCpuChoice(choice);
}

test('a state with upper halves moves between wasm and kvm', { skip: whyNoKvm() ?? false }, (t) => {
  const cpu = movable();
  if (cpu.includes('-avx')) return t.skip(`this host's KVM offers ${cpu}`);
  const wasm = new AvxGuest(cpu);
  wasm.load((a) => a.db(...vpxor128));
  assert.equal(wasm.outcome(), 'done 0');
  const state = wasm.vcpu.state();
  const engine = kvmUnderTest({});
  const kvm = engine.createVm({ memorySize: 8 << 20, vcpus: 1, cpu: parseCpuChoice(cpu) });
  const vcpu = kvm.createVcpu(0);
  vcpu.setState(state);
  const back = vcpu.state();
  engine.close?.();
  assert.deepEqual(back.xsave?.ymmHigh, state.xsave?.ymmHigh);
  const again = new AvxGuest(cpu);
  again.vcpu.setState({ ...back, msrs: state.msrs });
  assert.deepEqual([again.xmm, again.upper], [wasm.xmm, wasm.upper]);
});
