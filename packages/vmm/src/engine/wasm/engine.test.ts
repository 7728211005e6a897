/** The engine's insides, through tiny guests in real mode (raw bytes); the contract is in tests/contract. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HostError } from '../../errors/host-error.ts';
import { gpa } from '../../memory/address.ts';
import { ManualClock } from '../../time/manual-clock.ts';
import { createDecodedInstruction, createDecoder } from '../../x86/decode/decoder.ts';
import { allRows } from '../../x86/instructions/table/rows.ts';
import type { VcpuExit } from '../exit.ts';
import { MaxMemorySize, WasmEngine, type WasmEngineOptions, type WasmEngineVm } from './engine.ts';
import { formOf } from './emit/form.ts';
import { Cpu } from './interpreter/cpu-layout.ts';

const Mebibyte = 1 << 20;
const CodeAt = 0x1000;

function createVm(options: WasmEngineOptions = {}, memorySize = 2 * Mebibyte): WasmEngineVm {
  return new WasmEngine(options).createVm({ memorySize, vcpus: 1, clock: new ManualClock() });
}

/** A vCPU in real mode at CodeAt. */
function start(vm: WasmEngineVm, code: readonly number[]): ReturnType<WasmEngineVm['createVcpu']> {
  vm.memory.write(gpa(CodeAt), Uint8Array.from(code));
  const vcpu = vm.createVcpu(0);
  const state = vcpu.state();
  Object.assign(state.sregs.cs, { base: 0n, selector: 0 });
  Object.assign(state.regs, { rip: BigInt(CodeAt), rsp: 0x800n });
  vcpu.setState(state);
  return vcpu;
}

function runToExit(vcpu: { run(): VcpuExit }): VcpuExit {
  for (let i = 0; i < 10_000; i++) {
    const exit = vcpu.run();
    if (exit.kind !== 'interrupted') return exit;
  }
  throw new Error('no exit');
}

describe('the arena of decoded blocks', () => {
  test('full in the middle of a run: everything is decoded again, and nothing else changes', () => {
    const blocks = 300;
    const vm = createVm({ arenaSize: 32 << 10 });
    // Each block: inc ax; jmp to the next one, 64 bytes on. The last: dec cx; jnz first; out 0x80, ax; hlt
    const code = new Uint8Array(blocks * 64 + 16);
    for (let i = 0; i < blocks; i++) code.set([0x40, 0xeb, 61], i * 64);
    const back = 0x10000 - (blocks * 64 + 5);
    code.set([0x49, 0x0f, 0x85, back & 255, back >> 8, 0xe7, 0x80, 0xf4], blocks * 64);
    const vcpu = start(vm, [...code]);
    const state = vcpu.state();
    state.regs.rcx = 20n;
    state.regs.rax = 0n;
    vcpu.setState(state);
    const exit = runToExit(vcpu);
    assert.deepEqual(exit, { kind: 'pio-write', port: 0x80, size: 2, value: blocks * 20 });
    assert.ok(vm.caches.flushes > 10, `${vm.caches.flushes} flushes`);
  });

  test('a large one is not flushed', () => {
    const vm = createVm();
    const exit = runToExit(start(vm, [0xb8, 0x34, 0x12, 0xe7, 0x80, 0xf4]));
    assert.deepEqual(exit, { kind: 'pio-write', port: 0x80, size: 2, value: 0x1234 });
    assert.equal(vm.caches.flushes, 0);
  });
});

test('the jump cache forgets what it held when its generations start over', () => {
  const vm = createVm();
  // mov ax, 5; call f; call f; out 0x80, ax; hlt; f: inc ax; ret
  const vcpu = start(vm, [0xb8, 5, 0, 0xe8, 7, 0, 0xe8, 4, 0, 0xe7, 0x80, 0xf4, 0x90, 0x40, 0xc3]);
  const at = vm.layout.cpuBlocks[0]! + Cpu.JumpGeneration;
  const view = new DataView(vm.buffer);
  view.setUint32(at, 0x7ff_ffff, true);
  assert.equal((runToExit(vcpu) as { value: number }).value, 7);
  vm.caches.forgetJumps(vm.layout.cpuBlocks[0]!);
  assert.equal(view.getUint32(at, true), 0);
  const state = vcpu.state();
  Object.assign(state.regs, { rip: BigInt(CodeAt), rax: 0n });
  vcpu.setState(state);
  assert.equal((runToExit(vcpu) as { value: number }).value, 7);
});

test('every instruction form that the decoder knows compiles, or has no semantic at all', () => {
  const vm = createVm();
  const decoder = createDecoder();
  const decoded = createDecodedInstruction(allRows[0]!);
  const bytes = new Uint8Array(16).fill(1);
  const known = new Set<string>();
  const missing = new Set<string>();
  const prefixes = [[], [0x66], [0xf3], [0x48]];
  const maps = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
  const add = (codeSize: 16 | 32 | 64, head: readonly number[], opcode: number, modrm: number): void => {
    bytes.set([...head, opcode, modrm]);
    if (decoder.decode(bytes, 0, 16, codeSize, decoded) !== 'ok') return;
    const form = formOf(decoded, true);
    if (known.has(form.key)) return;
    known.add(form.key);
    if (vm.handlers.handlerOf(form) === undefined) missing.add(form.form.mnemonic);
  };
  for (const codeSize of [16, 64] as const) {
    for (const prefix of prefixes) {
      for (const map of maps) {
        for (let opcode = 0; opcode < 256; opcode++) {
          for (const modrm of [
            0x03, 0x0b, 0x13, 0x1b, 0x23, 0x2b, 0x33, 0x3b, 0xc1, 0xc9, 0xd1, 0xd9, 0xe1, 0xe9, 0xf1, 0xf9,
          ]) {
            add(codeSize, [...prefix, ...map], opcode, modrm); // prettier-ignore
          }
        }
      }
    }
  }
  assert.ok(known.size > 3000, `${known.size} forms`);
  // What the CPU model does not advertise
  const unsupported = /^(SHA|CLAC|STAC|CLZERO|XRSTORS|XSAVEC|XSAVES|INVPCID)/;
  assert.deepEqual(
    [...missing].filter((mnemonic) => !unsupported.test(mnemonic)),
    [],
  );
});

describe('what a host asks for and cannot have', () => {
  test('more memory than a wasm memory has', () => {
    const isTooLarge = (error: unknown): boolean => error instanceof HostError && error.code === 'MemoryTooLarge';
    assert.throws(() => createVm({}, MaxMemorySize * 2), isTooLarge);
  });

  test('memory slots: no room, odd sizes, too many', () => {
    const vm = createVm({ slackSize: 2 * Mebibyte });
    const slot = (id: number, size: number, start = 0x1000_0000 + id * 0x10_0000): void =>
      vm.setMemorySlot({ id, start: gpa(start), size, readOnly: false });
    const has = (code: string) => (error: unknown) => error instanceof HostError && error.code === code;
    assert.throws(() => slot(1, 4 * Mebibyte), has('MemoryTooLarge'));
    assert.throws(() => slot(1, 100), has('InvalidArgument'));
    assert.throws(() => slot(1, 4096, 0x1000_0010), has('InvalidArgument'));
    let added = 0;
    assert.throws(() => {
      for (;;) slot(++added, 4096);
    }, has('InvalidArgument'));
    assert.ok(added > 50);
    assert.equal(vm.memory.readU32(gpa(0x1000_0000 + 0x10_0000)), 0);
    assert.equal(vm.memory.readU32(gpa(0x1000_0000 + added * 0x10_0000)), undefined);
  });

  test('a slot is empty memory, whatever was there before', () => {
    const vm = createVm({ slackSize: Mebibyte });
    const slot = (id: number, size: number): void =>
      vm.setMemorySlot({ id, start: gpa(0x1000_0000), size, readOnly: false });
    slot(1, 4096);
    vm.memory.writeU32(gpa(0x1000_0000), 0x1234);
    slot(1, 0);
    slot(2, 4096);
    assert.equal(vm.memory.readU32(gpa(0x1000_0000)), 0);
  });
});
