import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync, gunzipSync } from 'node:zlib';
import { gpa } from '../../memory/address.ts';
import { ArrayMemory } from '../../memory/array-memory.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { loadKernel } from '../load-kernel.ts';
import type { BootSource } from '../load-kernel.ts';
import { buildBzImage, buildElf, LinuxNote, pattern } from '../testing/kernel-builder.ts';

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const vmlinux = buildElf({
  entry: 0x100_0000n,
  segments: [{ physical: 16 * MiB, virtual: 0xffff_ffff_8100_0000n, bytes: pattern(4000) }],
  notes: [LinuxNote],
});
const bzImage = buildBzImage({ payload: new Uint8Array(gzipSync(vmlinux)), initrdMax: 0x37ff_ffff });

function boot(source: Partial<BootSource>, memory: GuestMemory = new ArrayMemory(64 * MiB)) {
  const decompress = (_format: string, bytes: Uint8Array) => new Uint8Array(gunzipSync(bytes));
  const booted = loadKernel(memory, { kernel: bzImage, decompress, ...source });
  const zeroPage = Number(booted.state.regs.rsi);
  const u8 = (offset: number) => memory.readU8(gpa(zeroPage + offset));
  const u16 = (offset: number) => memory.readU16(gpa(zeroPage + offset));
  const u32 = (offset: number) => memory.readU32(gpa(zeroPage + offset));
  const u64 = (offset: number) => memory.readU64(gpa(zeroPage + offset));
  return { booted, memory, u8, u16, u32, u64 };
}

function e820(page: ReturnType<typeof boot>) {
  return Array.from({ length: page.u8(0x1e8)! }, (_, i) => {
    const at = 0x2d0 + i * 20;
    return [Number(page.u64(at)), Number(page.u64(at) ?? 0n) + Number(page.u64(at + 8)), page.u32(at + 16)];
  });
}

describe('the zero page (boot.rst "Details of Header Fields", zero-page.rst)', () => {
  it('repeats the setup header of a bzImage', () => {
    const page = boot({});
    assert.equal(page.u32(0x202), 0x5372_6448);
    assert.equal(page.u16(0x206), 0x20f);
    assert.equal(page.u16(0x1fe), 0xaa55);
    assert.equal(page.u32(0x22c), 0x37ff_ffff);
    assert.equal(page.u8(0x1ef), 0, 'the sentinel is clear');
    assert.equal(page.u8(0x210), 0xff);
  });
  it('has a header of its own for a vmlinux', () => {
    const page = boot({ kernel: vmlinux });
    assert.deepEqual([page.u32(0x202), page.u16(0x206), page.u8(0x211), page.u8(0x210)], [0x5372_6448, 0x20f, 1, 0xff]);
    assert.equal(page.u16(0x1f2), 1, 'the root file system is mounted read-only, as by any bzImage');
  });
  it('takes the setup header from the bzImage that a vmlinux came from', () => {
    const page = boot({ kernel: vmlinux, setup: bzImage.subarray(0, 4096) });
    assert.equal(page.u32(0x22c), 0x37ff_ffff);
  });
  it('points to the command line, the RSDP and the entropy', () => {
    const page = boot({ commandLine: 'console=ttyS0 grüße', rsdp: gpa(0xe0000), rngSeed: pattern(32) });
    const line = new Uint8Array(22);
    assert.ok(page.memory.read(gpa(page.u32(0x228)!), line));
    assert.equal(new TextDecoder().decode(line), 'console=ttyS0 grüße\0');
    assert.equal(page.u64(0x70), 0xe0000n);
    const node = Number(page.u64(0x250));
    assert.equal(page.memory.readU64(gpa(node)), 0n);
    assert.equal(page.memory.readU32(gpa(node + 8)), 9);
    assert.equal(page.memory.readU32(gpa(node + 12)), 32);
    const seed = new Uint8Array(32);
    page.memory.read(gpa(node + 16), seed);
    assert.deepEqual(seed, pattern(32));
  });
  it('has no command line text, initrd or setup data unless given', () => {
    const page = boot({});
    assert.equal(page.memory.readU8(gpa(page.u32(0x228)!)), 0);
    assert.deepEqual([page.u32(0x218), page.u32(0x21c), page.u64(0x250), page.u64(0x70)], [0, 0, 0n, 0n]);
  });
});

describe('the initrd', () => {
  it('lies as high as RAM allows', () => {
    const initrd = pattern(10_000);
    const page = boot({ initrd });
    assert.equal(page.u32(0x218), 64 * MiB - 3 * 4096);
    assert.equal(page.u32(0x21c), 10_000);
    const copy = new Uint8Array(10_000);
    page.memory.read(gpa(page.u32(0x218)!), copy);
    assert.deepEqual(copy, initrd);
    assert.deepEqual(page.booted.initrd, { start: 64 * MiB - 3 * 4096, size: 10_000 });
  });
  it('stays below the highest address that the kernel accepts', () => {
    const kernel = buildBzImage({ payload: new Uint8Array(gzipSync(vmlinux)), initrdMax: 40 * MiB - 1 });
    assert.equal(boot({ kernel, initrd: pattern(4096) }).u32(0x218), 40 * MiB - 4096);
  });
});

describe('the E820 map', () => {
  it('leaves out the legacy area and reserves firmware tables and ECAM', () => {
    assert.deepEqual(e820(boot({})), [
      [0, 0x9f000, 1],
      [0x9f000, 0xa0000, 2],
      [0xe0000, 0x100000, 2],
      [0x100000, 64 * MiB, 1],
      [0xc000_0000, 0xc010_0000, 2],
    ]);
  });
  it('continues above the PC hole', () => {
    const high = { start: 4 * GiB, length: 16 * MiB };
    const page = boot({}, new ArrayMemory([{ start: 0, length: 32 * MiB }, high]));
    assert.deepEqual(e820(page).slice(-3), [
      [0x100000, 32 * MiB, 1],
      [0xc000_0000, 0xc010_0000, 2],
      [4 * GiB, 4 * GiB + 16 * MiB, 1],
    ]);
  });
});

describe('the entry state (boot.rst "64-bit Boot Protocol")', () => {
  const { booted, memory } = boot({});
  const { regs, sregs } = booted.state;
  const entryAt = (address: bigint) => memory.readU64(gpa(Number(address)))!;

  it('is 64-bit mode with interrupts off at the kernel entry', () => {
    assert.equal(regs.rip, 0x100_0000n);
    assert.equal(regs.rflags, 2n);
    assert.equal(sregs.cr0 & 0x8000_0001n, 0x8000_0001n);
    assert.equal(sregs.cr4 & 0x20n, 0x20n);
    assert.equal(sregs.efer, 0x500n);
    assert.deepEqual([sregs.cs.selector, sregs.cs.l, sregs.cs.db, sregs.cs.limit], [0x10, true, false, 0xffff_ffff]);
    for (const data of [sregs.ds, sregs.es, sregs.ss]) assert.deepEqual([data.selector, data.type], [0x18, 3]);
  });
  it('has a GDT that says the same as the segment registers', () => {
    assert.equal(sregs.gdt.limit, 47);
    assert.equal(entryAt(sregs.gdt.base + 0x10n), 0x00af_9b00_0000_ffffn);
    assert.equal(entryAt(sregs.gdt.base + 0x18n), 0x00cf_9300_0000_ffffn);
  });
  it('maps the first 4 GiB one to one', () => {
    for (const address of [0n, 0x2000n, 0x100_0000n, 0xfee0_0000n, 0xffff_ffffn]) {
      const pml4 = entryAt(sregs.cr3 + ((address >> 39n) & 511n) * 8n);
      const pdpt = entryAt((pml4 & ~0xfffn) + ((address >> 30n) & 511n) * 8n);
      const page = entryAt((pdpt & ~0xfffn) + ((address >> 21n) & 511n) * 8n);
      assert.deepEqual([pml4 & 3n, pdpt & 3n, page & 0x83n], [3n, 3n, 0x83n]);
      assert.equal((page & ~0x1f_ffffn) | (address & 0x1f_ffffn), address);
    }
  });
});
