/**
 * Random guest code in every mode: whatever a guest executes, the engine comes back, throws nothing and stays inside its
 * memory (a wasm trap would be thrown here). Seeds are committed; `FUZZ_SEEDS=first:count` runs others.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { longModeState, protectedModeState, resetState } from '@lodger/vmm/boot/initial-state.js';
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { GeneralRegisters, VcpuState } from '@lodger/vmm/engine/state.js';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { gpa } from '@lodger/vmm/memory/address.js';

const Layout = { Pml4: 0x1000, Pdpt: 0x2000, Directory: 0x3000, Idt: 0x8000, Gdt: 0x500, Code: 0x1_0000 } as const;
const MemorySize = 4 << 20;
const ProgramBytes = 250;
const RunsPerProgram = 40;
const ProgramsPerSeed = 60;
const Gdt = { base: Layout.Gdt, limit: 0x3f };

/** Beginnings that lead into every opcode map. */
const Prefixes = [
  '', '66', 'f2', 'f3', '48', '0f', '660f', 'f30f', 'f20f', '0f38', '660f38', '660f3a', '0f01', '0f00', '0fae', '480f',
  'c4', 'c5', 'd9', 'db', 'dd', 'df', '67', 'f0', '65',
].map((text) => Uint8Array.from(Buffer.from(text, 'hex'))); // prettier-ignore

/** A linear congruential generator: the same programs on every machine. */
class Seeded {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor(((this.#state >>> 8) / 2 ** 24) * limit);
  }
  /** Values that are addresses now and then. */
  register(): bigint {
    switch (this.below(6)) {
      case 0:
        return 0n;
      case 1:
        return BigInt(this.below(1 << 20)) + 0x1_0000n;
      case 2:
        return (1n << 64n) - 1n;
      case 3:
        return BigInt(this.below(2 ** 24)) * 256n;
      case 4:
        return (BigInt(this.below(2 ** 24)) << 40n) | BigInt(this.below(2 ** 24));
      default:
        return 0x10_0000n + BigInt(this.below(4096));
    }
  }
}

function randomCode(random: Seeded): Uint8Array {
  const code = new Uint8Array(ProgramBytes + 8);
  for (let at = 0; at < ProgramBytes - 8;) {
    const prefix = Prefixes[random.below(Prefixes.length)]!;
    code.set(prefix, at);
    at += prefix.length;
    for (let i = random.below(4) + 1; i > 0; i--) code[at++] = random.below(256);
  }
  return code.subarray(0, ProgramBytes);
}

function startState(random: Seeded, entry: number): VcpuState {
  const mode = random.below(4);
  const at = gpa(entry);
  const state = structuredClone(
    mode < 2
      ? longModeState({ entry: at }, Gdt, gpa(Layout.Pml4))
      : mode === 2
        ? protectedModeState({ entry: at }, Gdt)
        : resetState(),
  );
  if (mode === 3) {
    Object.assign(state.sregs.cs, { base: 0x1_0000n, selector: 0x1000 });
    state.regs.rip = BigInt(entry - Layout.Code);
  }
  for (const name of Object.keys(state.regs) as (keyof GeneralRegisters)[]) {
    if (name !== 'rip' && name !== 'rflags') state.regs[name] = random.register();
  }
  const flag = (one: number, mask: number): number => (random.below(one) === 0 ? mask : 0);
  state.regs.rflags = BigInt(2 | flag(2, 0x200) | flag(8, 0x100) | flag(2, 0x400) | flag(64, 0x2_0000));
  state.sregs.cr4 |= 0x600n | BigInt(flag(2, 0x5_0000));
  state.sregs.idt = { base: BigInt(Layout.Idt), limit: 0xfff };
  if (flag(16, 1)) state.debug.dr7 = BigInt(random.below(2 ** 24)) << 7n;
  return state;
}

const engine = new WasmEngine();
const started = performance.now();
const clock = {
  now: () => (performance.now() - started) * 1e6,
  wallClock: () => BigInt(Date.now()) * 1_000_000n,
};

function createGuest() {
  const vm = engine.createVm({ memorySize: MemorySize, vcpus: 1, clock });
  return { vm, vcpu: vm.createVcpu(0) };
}
type Guest = ReturnType<typeof createGuest>;

function writeTables(random: Seeded, { vm }: Guest, entry: number): void {
  const { memory } = vm;
  memory.writeU64(gpa(Layout.Pml4), BigInt(Layout.Pdpt) | 7n);
  memory.writeU64(gpa(Layout.Pdpt), BigInt(Layout.Directory) | 7n);
  memory.writeU64(gpa(Layout.Pdpt + 8), 0x4000_0083n);
  for (let i = 0; i < 512; i++) {
    const flags = i === 0 || random.below(8) ? 0x87n : BigInt(random.below(256));
    memory.writeU64(gpa(Layout.Directory + 8 * i), (BigInt(i) << 21n) | flags);
  }
  for (let i = 0; i < 64; i++) {
    const gate = BigInt(entry & 0xffff) | 0x10_0000n | (BigInt(entry >> 16) << 48n) | 0x8e00_0000_0000n;
    memory.writeU64(gpa(Layout.Idt + 8 * i), random.below(3) ? gate : BigInt(random.below(2 ** 24)) << 27n);
  }
  memory.writeU64(gpa(Layout.Gdt + 0x10), 0x00af_9b00_0000_ffffn);
  memory.writeU64(gpa(Layout.Gdt + 0x18), 0x00cf_9300_0000_ffffn);
  memory.writeU64(gpa(Layout.Gdt + 0x20), BigInt(random.below(2 ** 24)) << 29n);
  memory.writeU64(gpa(Layout.Gdt + 0x28), 0x00cf_fb00_0000_ffffn);
}

/** False when the program is over. */
function answer(random: Seeded, exit: VcpuExit): boolean {
  if (exit.kind === 'pio-read') exit.value = random.below(2 ** 24);
  else if (exit.kind === 'mmio-read') exit.value = BigInt(random.below(2 ** 24));
  else if (exit.kind === 'failure') assert.fail(exit.reason);
  return exit.kind !== 'shutdown';
}

function runProgram(random: Seeded, guest: Guest): void {
  const entry = Layout.Code + random.below(4096 + 200);
  guest.vm.memory.write(gpa(entry), randomCode(random));
  writeTables(random, guest, entry);
  guest.vcpu.setState(startState(random, entry));
  for (let run = 0; run < RunsPerProgram; run++) {
    const exit = guest.vcpu.run();
    if (!answer(random, exit) || (exit.kind === 'halt' && !guest.vcpu.runnable)) break;
    guest.vm.fireTimers();
  }
  assert.equal(guest.vcpu.state().version, 1);
}

const [first = 1, count = 6] = (process.env['FUZZ_SEEDS'] ?? '').split(':').filter(Boolean).map(Number);

for (let seed = first; seed < first + count; seed++) {
  test(`random code, seed ${seed}`, () => {
    const random = new Seeded(seed);
    const guest = createGuest();
    for (let program = 0; program < ProgramsPerSeed; program++) runProgram(random, guest);
  });
}
