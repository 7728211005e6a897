/**
 * Random bytes as guest code, in every mode, with random registers, interrupts and device answers: whatever a guest
 * does, `run()` answers with an exit of the contract; it neither throws nor reaches outside the guest's memory.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gpa } from '../../memory/address.ts';
import { Random } from '../../testing/random.ts';
import { ManualClock } from '../../time/manual-clock.ts';
import type { Vcpu } from '../engine.ts';
import type { VcpuExit } from '../exit.ts';
import type { Segment, VcpuState } from '../state.ts';
import { WasmEngine, type WasmEngineVm } from './engine.ts';
import { VmField, VmBlock } from './softmmu/vm-layout.ts';

const MemorySize = 4 << 20;
const CodeSize = 0x1_0000;
const PageTables = 0x10_0000;
const RunsPerCase = 30;
const Cases = 250;
const Modes = ['real', 'long', 'virtual-8086', 'protected'] as const;

/** Bytes that begin or change instructions which random bytes seldom hit. */
const Spice = [
  [0x0f], [0x66], [0x67], [0xf2], [0xf3], [0xf0], [0x48], [0x0f, 0x01], [0x0f, 0xae], [0x0f, 0x20], [0x0f, 0x22],
  [0x0f, 0x23], [0x0f, 0x30], [0x0f, 0x32], [0x0f, 0x05], [0x0f, 0x07], [0x0f, 0x00], [0x0f, 0x38], [0x0f, 0x3a],
  [0x0f, 0xc7], [0xc3], [0xcf], [0xca], [0xcd], [0x9d], [0x8e], [0xf3, 0x6c], [0xf3, 0x6f], [0xf3, 0xa4], [0xe8],
  [0xd9], [0xdf], [0xc8],
] as const; // prettier-ignore

function randomCode(random: Random): Uint8Array {
  const code = new Uint8Array(CodeSize);
  for (let i = 0; i < CodeSize; i++) code[i] = random.u32();
  for (let i = 0; i < 4000; i++) code.set(random.pick(Spice), random.below(CodeSize - 2));
  return code;
}

const flat = (type: number, long: boolean): Segment => ({
  base: 0n, limit: 0xffff_ffff, selector: 8, type, present: true, dpl: 0, db: !long, s: true, l: long, g: true,
  avl: false, unusable: false,
}); // prettier-ignore

function randomState(random: Random, reset: VcpuState, mode: (typeof Modes)[number]): VcpuState {
  const state = structuredClone(reset);
  const { regs, sregs } = state;
  const wide = (): bigint => (BigInt(random.u32()) << 32n) | BigInt(random.u32());
  for (const name of Object.keys(regs) as (keyof typeof regs)[]) {
    regs[name] = random.oneIn(3) ? BigInt(random.u32() & 0x1_ffff) : wide();
  }
  const flags = (random.u32() & (random.oneIn(3) ? 0x3d_7fd5 : 0x3d_7ed5)) | 2;
  regs.rflags = BigInt(mode === 'virtual-8086' ? flags | 0x2_0000 : flags);
  regs.rip = BigInt(random.below(CodeSize / 2));
  if (mode === 'real') return state;
  const paging = mode === 'long' ? 0x8000_0000n : 0n;
  Object.assign(sregs, {
    cr0: 0x5_0031n | paging | (random.oneIn(4) ? 8n : 0n),
    cr4: mode === 'long' ? 0x6a0n : 0x600n,
  });
  sregs.cs = flat(11, mode === 'long');
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) sregs[name] = flat(3, false);
  sregs.gdt = { base: BigInt(random.below(CodeSize)), limit: 0xffff };
  sregs.idt = { base: BigInt(random.below(CodeSize)), limit: 0xfff };
  if (mode === 'long') Object.assign(sregs, { efer: 0xd01n, cr3: BigInt(PageTables) });
  if (random.oneIn(4)) {
    state.debug.dr7 = BigInt(((random.u32() & 0xffff_00ff) | 0x400) >>> 0);
    state.debug.db = [BigInt(random.below(CodeSize)), BigInt(random.below(CodeSize)), 0n, 0n];
  }
  return state;
}

/** The lower 4 GiB: RAM, a device, the local APIC's page, and RAM again. */
function writePageTables(vm: WasmEngineVm): void {
  const write = (address: number, value: bigint): void => void vm.memory.writeU64(gpa(address), value);
  write(PageTables, BigInt(PageTables + 0x1000) | 7n);
  for (let i = 0; i < 4; i++) write(PageTables + 0x1000 + i * 8, BigInt(PageTables + 0x2000 + i * 0x1000) | 7n);
  for (let i = 0; i < 512; i++) {
    write(PageTables + 0x2000 + i * 8, BigInt(i << 21) | 0x87n);
    write(PageTables + 0x3000 + i * 8, 0xd000_0083n);
    write(PageTables + 0x4000 + i * 8, 0xfee0_0087n);
    write(PageTables + 0x5000 + i * 8, BigInt((i % 2) << 21) | 0x87n);
  }
}

function answer(exit: VcpuExit, random: Random): void {
  if (exit.kind === 'pio-read') exit.value = random.u32();
  if (exit.kind === 'mmio-read') exit.value = (BigInt(random.u32()) << 32n) | BigInt(random.u32());
}

function runCase(vm: WasmEngineVm, vcpu: Vcpu, clock: ManualClock, random: Random): string {
  for (let i = 0; i < RunsPerCase; i++) {
    const exit = vcpu.run();
    if (exit.kind === 'shutdown' || exit.kind === 'halt' || exit.kind === 'failure') return exit.kind;
    answer(exit, random);
    if (random.oneIn(8)) vm.msi.signalMsi(0xfee0_0000, random.below(0x500));
    if (random.oneIn(16)) vcpu.setState(vcpu.state());
    clock.advance(random.below(100_000));
    vm.fireTimers();
  }
  return 'goes on';
}

test('random code ends in exits only', () => {
  const clock = new ManualClock();
  const vm = new WasmEngine().createVm({ memorySize: MemorySize, vcpus: 1, clock });
  const vcpu = vm.createVcpu(0);
  const reset = structuredClone(vcpu.state());
  const slots = new Uint8Array(vm.buffer, VmBlock + VmField.Slots, 0x800).slice();
  const below = new Uint8Array(vm.buffer, 0, VmBlock);
  const ends = new Set<string>();
  for (let seed = 0; seed < Cases; seed++) {
    const random = new Random(seed);
    const code = randomCode(random);
    vm.memory.write(gpa(0), code);
    vm.memory.write(gpa(CodeSize), code);
    writePageTables(vm);
    try {
      vcpu.setState(randomState(random, reset, Modes[seed % Modes.length]!));
      ends.add(runCase(vm, vcpu, clock, random));
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
    assert.ok(
      below.every((byte) => byte === 0),
      `seed ${seed}: nothing lies below the VM block`,
    );
  }
  assert.deepEqual(new Uint8Array(vm.buffer, VmBlock + VmField.Slots, 0x800), slots);
  assert.ok(ends.has('shutdown') && ends.has('goes on'), [...ends].join());
});
