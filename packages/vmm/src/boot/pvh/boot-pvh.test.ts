import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gpa } from '../../memory/address.ts';
import { ArrayMemory } from '../../memory/array-memory.ts';
import { loadKernel } from '../load-kernel.ts';
import { buildElf, pattern, pvhNote } from '../testing/kernel-builder.ts';

const MiB = 1024 * 1024;
const segments = [{ physical: 2 * MiB, virtual: 0xffff_ffff_8020_0000n, bytes: pattern(4000) }];
const kernel = buildElf({ entry: 0n, segments, notes: [pvhNote(2 * MiB + 16)] });

describe('PVH (Xen "x86/HVM direct boot ABI")', () => {
  const memory = new ArrayMemory(32 * MiB);
  const initrd = pattern(5000, 3);
  const modules = [{ bytes: pattern(100, 4), commandLine: 'second' }];
  const { state } = loadKernel(memory, { kernel, initrd, modules, commandLine: 'quiet', rsdp: gpa(0xe0000) });
  const info = Number(state.regs.rbx);
  const u32 = (address: number) => memory.readU32(gpa(address))!;
  const u64 = (address: number) => Number(memory.readU64(gpa(address)));
  const text = (address: number, length: number) => {
    const bytes = new Uint8Array(length);
    memory.read(gpa(address), bytes);
    return new TextDecoder().decode(bytes);
  };

  it('enters 32-bit protected mode with paging off', () => {
    assert.equal(state.regs.rip, BigInt(2 * MiB + 16));
    assert.equal(state.regs.rflags, 2n);
    assert.equal(state.sregs.cr0 & 0x8000_0001n, 1n);
    assert.deepEqual([state.sregs.cr4, state.sregs.efer], [0n, 0n]);
    const { cs, ds, tr } = state.sregs;
    assert.deepEqual([cs.base, cs.limit, cs.db, cs.l, cs.type], [0n, 0xffff_ffff, true, false, 11]);
    assert.deepEqual([ds.base, ds.limit, ds.type], [0n, 0xffff_ffff, 3]);
    assert.deepEqual([tr.base, tr.limit, tr.type], [0n, 0x67, 11]);
  });
  it('passes a version 1 start info', () => {
    assert.deepEqual([u32(info), u32(info + 4), u32(info + 8), u32(info + 12)], [0x336e_c578, 1, 0, 2]);
    assert.equal(text(u64(info + 24), 6), 'quiet\0');
    assert.equal(u64(info + 32), 0xe0000);
  });
  it('lists the modules, the initrd first', () => {
    const list = u64(info + 16);
    const start = u64(list);
    const copy = new Uint8Array(5000);
    memory.read(gpa(start), copy);
    assert.deepEqual(copy, initrd);
    assert.equal(u64(list + 8), 5000);
    assert.ok(u64(list + 32) + 100 <= start, 'the second lies below the first');
    assert.equal(text(u64(list + 48), 7), 'second\0');
  });
  it('lists the memory', () => {
    const map = u64(info + 40);
    assert.equal(u32(info + 48), 5);
    assert.deepEqual([u64(map), u64(map + 8), u32(map + 16)], [0, 0x9f000, 1]);
    assert.deepEqual([u64(map + 72), u64(map + 80), u32(map + 88)], [0x100000, 31 * MiB, 1]);
  });
  it('accepts a 4-byte entry note and refuses one that points nowhere', () => {
    const short = { ...pvhNote(2 * MiB + 8), description: pvhNote(2 * MiB + 8).description.slice(0, 4) };
    assert.equal(loadKernel(memory, { kernel: buildElf({ entry: 0n, segments, notes: [short] }) }).entry, 2 * MiB + 8);
    const wild = buildElf({ entry: 0n, segments, notes: [pvhNote(0x1234)] });
    assert.throws(() => loadKernel(memory, { kernel: wild }), /PVH entry point 0x1234 outside/);
  });
});
