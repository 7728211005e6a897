import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostError } from '../../errors/host-error.ts';
import { gpa } from '../../memory/address.ts';
import { ArrayMemory } from '../../memory/array-memory.ts';
import { loadKernel } from '../load-kernel.ts';
import { buildElf, concat, multibootHeader, pattern } from '../testing/kernel-builder.ts';

const MiB = 1024 * 1024;
const body = concat([multibootHeader(3), pattern(3000)]);
const elf32 = buildElf({ bits: 32, entry: BigInt(MiB + 12), segments: [{ physical: MiB, bytes: body }] });

/** A flat image: the header 16 bytes into it, loaded at 1 MiB. */
function flat(
  change: Partial<Record<'header' | 'load' | 'loadEnd' | 'bssEnd' | 'entry', number>> = {},
  flags = 0x10000,
) {
  const fields = { header: MiB + 16, load: MiB, loadEnd: 0, bssEnd: 0, entry: MiB + 64, ...change };
  const addresses = [fields.header, fields.load, fields.loadEnd, fields.bssEnd, fields.entry];
  return concat([pattern(16), multibootHeader(flags, addresses), pattern(1000, 5)]);
}

const boot = (kernel: Uint8Array, memory = new ArrayMemory(32 * MiB)) => loadKernel(memory, { kernel });

describe('the Multiboot header (§3.1 "OS image format")', () => {
  it('is found at any aligned place in the first 8 KiB', () => {
    const at = (offset: number) => {
      const addresses = [MiB + offset, MiB, 0, 0, MiB];
      return concat([pattern(offset), multibootHeader(0x10000, addresses), pattern(64)]);
    };
    for (const offset of [0, 4, 4096, 8192 - 32]) assert.equal(boot(at(offset)).protocol, 'multiboot');
    for (const offset of [2, 8192]) assert.throws(() => boot(at(offset)), HostError);
  });
  it('loads a flat image by its address fields', () => {
    const memory = new ArrayMemory(4 * MiB);
    memory.write(gpa(MiB), new Uint8Array(8192).fill(0xee));
    const image = flat({ bssEnd: MiB + 4096 });
    assert.equal(boot(image, memory).entry, MiB + 64);
    const copy = new Uint8Array(4096);
    memory.read(gpa(MiB), copy);
    assert.deepEqual(copy, concat([image, new Uint8Array(4096 - image.length)]));
    assert.equal(memory.readU8(gpa(MiB + 4096)), 0xee);
  });
  it('loads only up to load_end_addr, starting where load_addr says', () => {
    const memory = new ArrayMemory(4 * MiB);
    boot(flat({ load: MiB + 8, loadEnd: MiB + 100 }), memory);
    const copy = new Uint8Array(96);
    memory.read(gpa(MiB + 8), copy);
    assert.deepEqual(copy, concat([flat({ load: MiB + 8, loadEnd: MiB + 100 }).subarray(8, 100), new Uint8Array(4)]));
  });
  it('refuses address fields that make no sense', () => {
    for (const change of [
      { header: MiB - 16 },
      { load: MiB - 64 },
      { loadEnd: MiB - 4 },
      { loadEnd: MiB + 100_000 },
      { entry: 0 },
      { entry: MiB + 100_000 },
      { header: 16 + 0x1000, load: 0x1000, entry: 0x1000 },
    ]) {
      assert.throws(() => boot(flat(change)), HostError, JSON.stringify(change));
    }
    assert.throws(() => boot(flat({ bssEnd: 0xffff_ffff })), { code: 'MemoryTooSmall' });
    assert.throws(() => boot(flat().slice(0, 40)), /ends inside its Multiboot header/);
  });
  it('refuses demands that it does not know, and files without any way to load them', () => {
    assert.throws(() => boot(flat({}, 0x10008)), /demands Multiboot features 0x8/);
    assert.throws(() => boot(concat([multibootHeader(0), pattern(200)])), /set bit 16/);
  });
  it('enters a 64-bit ELF file by the physical address of its entry', () => {
    const segments = [{ physical: 2 * MiB, virtual: 0xffff_8000_0000_0000n, bytes: body }];
    assert.equal(boot(buildElf({ entry: 0xffff_8000_0000_0010n, segments })).entry, 2 * MiB + 16);
    assert.throws(() => boot(buildElf({ entry: 0x10n, segments })), /entry point 0x10 outside/);
  });
});

describe('the machine state (§3.2) and the information structure (§3.3)', () => {
  const memory = new ArrayMemory(32 * MiB);
  const initrd = pattern(5000, 3);
  const modules = [{ bytes: pattern(100, 4), commandLine: 'second' }];
  const { state } = loadKernel(memory, { kernel: elf32, initrd, modules, commandLine: 'a b' });
  const info = Number(state.regs.rbx);
  const u32 = (address: number) => memory.readU32(gpa(address))!;
  const text = (address: number, length: number) => {
    const bytes = new Uint8Array(length);
    memory.read(gpa(address), bytes);
    return new TextDecoder().decode(bytes);
  };

  it('enters 32-bit protected mode with the magic in EAX', () => {
    assert.equal(state.regs.rax, 0x2bad_b002n);
    assert.equal(state.regs.rip, BigInt(MiB + 12));
    assert.equal(state.sregs.cr0 & 0x8000_0001n, 1n);
    assert.deepEqual([state.sregs.cs.limit, state.sregs.cs.db], [0xffff_ffff, true]);
    assert.equal(state.regs.rflags & 0x2_0200n, 0n);
  });
  it('tells memory sizes, command line and its own name', () => {
    assert.equal(u32(info), 0x24d);
    assert.deepEqual([u32(info + 4), u32(info + 8)], [636, 31 * 1024]);
    assert.equal(text(u32(info + 16), 4), 'a b\0');
    assert.equal(text(u32(info + 64), 7), 'lodger\0');
  });
  it('places modules on pages behind the kernel', () => {
    assert.equal(u32(info + 20), 2);
    const list = u32(info + 24);
    assert.deepEqual([u32(list), u32(list + 4)], [MiB + 4096, MiB + 4096 + 5000]);
    assert.deepEqual([u32(list + 16), u32(list + 20)], [MiB + 3 * 4096, MiB + 3 * 4096 + 100]);
    assert.equal(text(u32(list + 24), 7), 'second\0');
    const copy = new Uint8Array(5000);
    memory.read(gpa(u32(list)), copy);
    assert.deepEqual(copy, initrd);
  });
  it('lists the memory in entries that do not count their size field', () => {
    const [length, map] = [u32(info + 44), u32(info + 48)];
    assert.equal(length, 5 * 24);
    assert.deepEqual([u32(map), u32(map + 4), u32(map + 12), u32(map + 20)], [20, 0, 0x9f000, 1]);
  });
  it('refuses modules that do not fit', () => {
    assert.throws(() => loadKernel(new ArrayMemory(4 * MiB), { kernel: elf32, initrd: pattern(3 * MiB) }), {
      code: 'MemoryTooSmall',
      message: /kernel and its modules/,
    });
  });
});
