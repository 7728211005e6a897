import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { HostError } from '../errors/host-error.ts';
import type { HostErrorCode } from '../errors/host-error.ts';
import { gpa } from '../memory/address.ts';
import { ArrayMemory } from '../memory/array-memory.ts';
import { byteSource } from './byte-source.ts';
import type { BootSource, Decompress } from './load-kernel.ts';
import { loadKernel } from './load-kernel.ts';
import { buildBzImage, buildElf, concat, LinuxNote, multibootHeader, pattern } from './testing/kernel-builder.ts';
import { pvhNote, withSizeTrailer } from './testing/kernel-builder.ts';

const MiB = 1024 * 1024;
const code = pattern(5000);
const upper = 0xffff_ffff_8100_0000n;
const segment = { physical: 16 * MiB, virtual: upper, bytes: code };
const vmlinux = buildElf({ entry: 0x100_0000n, segments: [segment], notes: [LinuxNote, pvhNote(0x100_0010)] });
const bzImage = buildBzImage({ payload: new Uint8Array(gzipSync(vmlinux)) });
const decompress: Decompress = (format, bytes, maxOutputLength) => {
  assert.equal(format, 'gzip');
  return new Uint8Array(gunzipSync(bytes, { maxOutputLength }));
};

/** One for all tests of the usual size: none of them depends on what the one before left. */
const usual = new ArrayMemory(64 * MiB);

function load(source: BootSource, size?: number) {
  return loadKernel(size ? new ArrayMemory(size) : usual, { decompress, ...source });
}

function refuses(source: BootSource, code: HostErrorCode, message: RegExp, size?: number): void {
  assert.throws(
    () => load({ kernelName: 'vmlinuz', ...source }, size),
    (error: unknown) => {
      assert.ok(error instanceof HostError, String(error));
      assert.match(error.message, message);
      assert.equal(error.code, code);
      return true;
    },
  );
}

describe('choosing the boot protocol', () => {
  const plain = { physical: MiB, bytes: code };
  const multiboot = buildElf({
    bits: 32,
    entry: BigInt(MiB),
    segments: [{ physical: MiB, bytes: concat([multibootHeader(0), code]) }],
    notes: [pvhNote(MiB)],
  });

  it('takes a bzImage for Linux', () => assert.equal(load({ kernel: bzImage }).protocol, 'linux64'));
  it('prefers the 64-bit entry of a vmlinux to its PVH entry', () =>
    assert.equal(load({ kernel: vmlinux }).protocol, 'linux64'));
  it('takes an ELF file with only a PVH note for PVH', () =>
    assert.equal(
      load({ kernel: buildElf({ entry: 0n, segments: [plain], notes: [pvhNote(MiB + 4)] }) }).protocol,
      'pvh',
    ));
  it('prefers Multiboot to PVH', () => assert.equal(load({ kernel: multiboot }).protocol, 'multiboot'));
  it('takes an ELF file linked to the upper half for Linux', () =>
    assert.equal(load({ kernel: buildElf({ entry: 0x100_0000n, segments: [segment] }) }).protocol, 'linux64'));
  it('unpacks a kernel that is compressed as a whole', () =>
    assert.equal(load({ kernel: new Uint8Array(gzipSync(multiboot)) }).protocol, 'multiboot'));
  it('obeys a forced protocol', () => {
    for (const kernel of [vmlinux, bzImage]) {
      const booted = load({ kernel, bootProtocol: 'pvh' });
      assert.deepEqual([booted.protocol, booted.entry], ['pvh', 0x100_0010]);
    }
    assert.equal(load({ kernel: multiboot, bootProtocol: 'pvh' }).protocol, 'pvh');
  });
  it('says what a forced protocol misses', () => {
    refuses({ kernel: bzImage, bootProtocol: 'multiboot' }, 'KernelUnsupported', /no Multiboot header/);
    refuses(
      { kernel: buildElf({ entry: 0x100_0000n, segments: [segment] }), bootProtocol: 'pvh' },
      'KernelUnsupported',
      /no PVH entry point.*CONFIG_PVH/,
    );
  });
});

describe('foreign kernels', () => {
  const at = (offset: number, text: string) => {
    const file = new Uint8Array(0x9000);
    file.set(
      [...text].map((c) => c.charCodeAt(0)),
      offset,
    );
    return file;
  };
  const cases: [what: string, file: Uint8Array, message: RegExp][] = [
    ['an empty file', new Uint8Array(0), /is empty/],
    ['an ARM64 Image', at(0x38, 'ARM\x64'), /ARM64 kernel/],
    ['a RISC-V Image', at(0x38, 'RSC\x05'), /RISC-V kernel/],
    ['a compressed EFI kernel', at(0, 'MZ\0\0zimg'), /another machine/],
    ['a PE file without a setup header', at(0, 'MZ\x90'), /EFI or Windows program/],
    ['a script', at(0, '#!/bin/sh\n'), /is a script: pass a bzImage/],
    ['a Debian package', at(0, '!<arch>\ndebian-binary'), /Debian package.*unpack/],
    ['an initrd', at(0, '070701'), /cpio archive: pass it as --initrd/],
    ['a qcow2 image', at(0, 'QFI\xfb'), /qcow2/],
    ['a boot sector', at(0x1fe, '\x55\xaa'), /disk image.*--disk/],
    ['zeros', new Uint8Array(0x9000), /no known kernel format/],
    ['a few bytes', pattern(100), /too short/],
    ['an ARM64 ELF file', buildElf({ machine: 183, entry: 0n, segments: [] }), /for ARM64, not for x86/],
    [
      'a dynamic program',
      buildElf({ entry: 0x400000n, segments: [{ physical: 0x400000, bytes: code }], interpreter: true }),
      /no kernel/,
    ],
    [
      'a static program',
      buildElf({ entry: 0x400000n, segments: [{ physical: 0x400000, bytes: code }] }),
      /no kernel \(a program/,
    ],
    [
      'a 32-bit vmlinux',
      buildElf({ bits: 32, entry: 0x100_0000n, segments: [{ physical: 16 * MiB, bytes: code }] }),
      /32-bit x86 ELF/,
    ],
    ['an unsupported compression', at(0, 'BZh91AY'), /bzip2 compression is not supported.*extract-vmlinux/],
  ];
  for (const [what, kernel, message] of cases) {
    it(`refuses ${what}`, () => refuses({ kernel }, 'KernelUnsupported', message));
  }
});

describe('damaged and unsuitable bzImages', () => {
  const gz = new Uint8Array(gzipSync(vmlinux));
  const patched = (offset: number, value: number) => {
    const copy = bzImage.slice();
    new DataView(copy.buffer).setUint32(offset, value, true);
    return copy;
  };

  it('refuses every truncation', () => {
    for (let length = 0; length < bzImage.length; length += 37) {
      assert.throws(() => load({ kernel: bzImage.slice(0, length) }), HostError, `${length} bytes`);
    }
    refuses({ kernel: bzImage.slice(0, -1) }, 'KernelTruncated', /vmlinuz is truncated: it has \d+ bytes.*copy it/);
    refuses({ kernel: bzImage.slice(0, 0x240) }, 'KernelTruncated', /truncated/);
  });
  it('refuses a 32-bit kernel', () =>
    refuses({ kernel: buildBzImage({ payload: gz, xloadFlags: 0 }) }, 'KernelUnsupported', /32-bit kernel.*-amd64/));
  it('refuses a 32-bit kernel that is too old to say so', () => {
    const inner = buildElf({ bits: 32, entry: 0x100_0000n, segments: [{ physical: 16 * MiB, bytes: code }] });
    const kernel = buildBzImage({ payload: new Uint8Array(gzipSync(inner)), version: 0x20a, xloadFlags: 0 });
    refuses({ kernel }, 'KernelUnsupported', /32-bit kernel/);
  });
  it('refuses an old boot protocol and a zImage', () => {
    refuses({ kernel: buildBzImage({ payload: gz, version: 0x204 }) }, 'KernelUnsupported', /boot protocol 2\.04/);
    refuses({ kernel: buildBzImage({ payload: gz, loadFlags: 0 }) }, 'KernelUnsupported', /zImage/);
  });
  it('refuses a payload outside the file', () => {
    refuses({ kernel: patched(0x248, 0xffff_fff0) }, 'KernelUnsupported', /outside the file/);
    refuses({ kernel: patched(0x24c, 0) }, 'KernelUnsupported', /outside the file/);
  });
  it('refuses a damaged payload', () => {
    const damaged = gz.slice();
    damaged.fill(0xff, 20, 60);
    refuses({ kernel: buildBzImage({ payload: damaged }) }, 'KernelTruncated', /gzip data is truncated or damaged/);
    refuses(
      { kernel: buildBzImage({ payload: withSizeTrailer(pattern(400), 1000) }) },
      'KernelUnsupported',
      /no known compression/,
    );
    const huge = withSizeTrailer(gz.slice(0, -4), 0xffff_ffff);
    refuses({ kernel: buildBzImage({ payload: huge }) }, 'KernelTruncated', /not the kernel/);
    const wrongSize = withSizeTrailer(gz.slice(0, -4), 100);
    refuses({ kernel: buildBzImage({ payload: wrongSize }) }, 'KernelTruncated', /gzip data/);
    const noElf = new Uint8Array(gzipSync(pattern(9000)));
    refuses({ kernel: buildBzImage({ payload: noElf }) }, 'KernelTruncated', /not the kernel/);
  });
  it('strips the size trailer of formats that have none of their own', () => {
    const stream = new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3]);
    const seen: unknown[] = [];
    load({
      kernel: buildBzImage({ payload: withSizeTrailer(stream, vmlinux.length) }),
      decompress: (format, bytes, maxSize) => {
        seen.push(format, [...bytes], maxSize);
        return vmlinux;
      },
    });
    assert.deepEqual(seen, ['zstd', [...stream], vmlinux.length]);
  });
});

describe('damaged ELF kernels', () => {
  it('refuses every truncation', () => {
    for (let length = 0; length < vmlinux.length; length += 29) {
      assert.throws(() => load({ kernel: vmlinux.slice(0, length) }), HostError, `${length} bytes`);
    }
    refuses({ kernel: vmlinux.slice(0, 3000) }, 'KernelTruncated', /truncated: segment 0/);
  });
  it('never fails otherwise, whatever its headers say', () => {
    const headers = 64 + 2 * 56;
    for (let i = 4; i < headers; i++) {
      for (const value of [0, 1, 0x7f, 0xff]) {
        const kernel = vmlinux.slice();
        kernel[i] = value;
        for (const bootProtocol of [undefined, 'linux64', 'pvh', 'multiboot'] as const) {
          try {
            load({ kernel, ...(bootProtocol && { bootProtocol }) });
          } catch (error) {
            assert.ok(error instanceof HostError && error.code !== 'Internal', `byte ${i} = ${value}: ${error}`);
          }
        }
      }
    }
  });
  it('refuses segments in the wrong places', () => {
    const at = (physical: number, memorySize?: number) =>
      buildElf({
        entry: BigInt(physical),
        segments: [{ physical, virtual: upper, bytes: code, ...(memorySize && { memorySize }) }],
      });
    refuses({ kernel: at(0x1000) }, 'KernelUnsupported', /below 1 MiB/);
    refuses({ kernel: at(16 * MiB, 10) }, 'KernelUnsupported', /larger than its memory/);
    refuses({ kernel: at(2 ** 50) }, 'KernelUnsupported', /which no machine here has/);
    refuses({ kernel: buildElf({ entry: 4n, segments: [segment] }) }, 'KernelUnsupported', /entry point 0x4 outside/);
    const none = buildElf({ entry: 4n, segments: [], notes: [LinuxNote] });
    refuses({ kernel: none }, 'KernelUnsupported', /entry point|nothing to load/);
  });
});

describe('memory that is too small', () => {
  it('says how much is needed', () => {
    refuses({ kernel: bzImage }, 'MemoryTooSmall', /8 MiB of memory cannot hold.*at least 17 MiB/, 8 * MiB);
    refuses(
      { kernel: bzImage, initrd: pattern(20 * MiB) },
      'MemoryTooSmall',
      /kernel and its initrd: at least 37 MiB.*--memory 64M/,
      32 * MiB,
    );
    refuses({ kernel: bzImage }, 'MemoryTooSmall', /MiB/, 64 * 1024);
  });
  it('refuses an initrd beyond what the kernel can reach', () => {
    const kernel = buildBzImage({ payload: new Uint8Array(gzipSync(vmlinux)), initrdMax: 20 * MiB - 1 });
    refuses({ kernel, initrd: new Uint8Array(5 * MiB) }, 'InitrdUnsupported', /does not fit below 20 MiB/);
  });
  it('refuses an empty initrd', () =>
    refuses({ kernel: bzImage, initrd: new Uint8Array(0) }, 'InitrdUnsupported', /empty/));
  it('refuses an overlong command line', () => {
    refuses(
      { kernel: bzImage, commandLine: 'x'.repeat(2048) },
      'InvalidArgument',
      /2048 bytes.*at most 2047.*--append/,
    );
    refuses({ kernel: bzImage, commandLine: 'a\0b' }, 'InvalidArgument', /NUL/);
    load({ kernel: bzImage, commandLine: 'x'.repeat(2047) });
  });
});

describe('loading', () => {
  it('copies segments to their physical addresses and clears the rest of their memory', () => {
    const ram = new ArrayMemory(64 * MiB);
    ram.write(gpa(16 * MiB), new Uint8Array(16384).fill(0xee));
    const kernel = buildElf({
      entry: 0x100_0000n,
      segments: [
        { ...segment, memorySize: 8192 },
        { physical: 20 * MiB, virtual: 0n, bytes: pattern(3000, 2) },
      ],
    });
    loadKernel(ram, { kernel });
    const read = (address: number, size: number) => {
      const bytes = new Uint8Array(size);
      assert.ok(ram.read(gpa(address), bytes));
      return bytes;
    };
    assert.deepEqual(read(16 * MiB, 5000), code);
    assert.deepEqual(read(16 * MiB + 5000, 3192), new Uint8Array(3192));
    assert.equal(ram.readU8(gpa(16 * MiB + 8192)), 0xee);
    assert.deepEqual(read(20 * MiB, 3000), pattern(3000, 2));
  });
});

describe('a kernel and an initrd in files', () => {
  /** Counts what is read. */
  const file = (bytes: Uint8Array, most = Infinity) => {
    const counted = {
      length: bytes.length,
      bytesRead: 0,
      read(position: number, target: Uint8Array) {
        const length = byteSource(bytes.subarray(0, most)).read(position, target);
        counted.bytesRead += length;
        return length;
      },
    };
    return counted;
  };

  it('are read straight into guest memory, an ELF kernel without what is not loaded', () => {
    const padded = concat([vmlinux, new Uint8Array(4 * MiB)]);
    const [kernel, initrd] = [file(padded), file(pattern(3 * MiB))];
    const memory = new ArrayMemory(64 * MiB);
    const booted = load({ kernel, initrd });
    const fromBytes = loadKernel(memory, { kernel: padded, initrd: pattern(3 * MiB) });
    assert.deepEqual(booted, fromBytes);
    const start = booted.initrd!.start;
    assert.deepEqual(usual.view(start, 3 * MiB), memory.view(start, 3 * MiB));
    assert.deepEqual(usual.view(gpa(16 * MiB), code.length), code);
    assert.ok(kernel.bytesRead < vmlinux.length + 64 * 1024, `${kernel.bytesRead} bytes`);
  });
  it('of every other format are read as a whole', () => {
    for (const bytes of [bzImage, new Uint8Array(gzipSync(vmlinux))]) {
      assert.deepEqual(load({ kernel: file(bytes) }), load({ kernel: bytes }));
    }
  });
  it('that become shorter meanwhile are refused', () => {
    refuses({ kernel: file(vmlinux, code.length) }, 'KernelTruncated', /became shorter/);
  });
});
