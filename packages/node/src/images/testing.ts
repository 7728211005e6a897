/** What the tests of this folder share: a cache of their own and small kernels in it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { gzipSync } from 'node:zlib';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { HostErrorCode } from '@lodger/vmm/errors/host-error.js';
import { buildBzImage, buildElf, LinuxNote, pattern } from '@lodger/vmm/boot/testing/kernel-builder.js';

/** A folder for the tests of a file; XDG_CACHE_HOME is `cache` in it. Removed when they are done. */
export function useTemporaryCache(): string {
  const directory = mkdtempSync(join(tmpdir(), 'lodger-images-'));
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = join(directory, 'cache');
  after(() => {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

export const smallVmlinux = buildElf({
  entry: 0x100_0000n,
  segments: [{ physical: 0x100_0000, virtual: 0xffff_ffff_8100_0000n, bytes: pattern(20_000) }],
  notes: [LinuxNote],
});
export const smallBzImage = buildBzImage({ payload: new Uint8Array(gzipSync(smallVmlinux)) });

/** The status of a file as if it had not changed for long: noteOfFile() keeps nothing about files that did. */
export function statusOfOldFile(path: string): BigIntStats {
  return Object.assign(statSync(path, { bigint: true }), { ctimeMs: 0n });
}

export async function refuses(work: Promise<unknown>, code: HostErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof HostError, String(error));
    assert.match(error.message, message);
    assert.equal(error.code, code);
    return true;
  });
}

/** A relocatable ELF file with just a .modinfo section. */
export function buildModule(...info: string[]): Buffer {
  const names = Buffer.from('\0.modinfo\0.shstrtab\0');
  const modinfo = Buffer.from(info.map((entry) => `${entry}\0`).join(''), 'latin1');
  const file = Buffer.alloc(64 + names.length + modinfo.length + 3 * 64);
  const table = 64 + names.length + modinfo.length;
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeBigUInt64LE(BigInt(table), 40);
  file.writeUInt16LE(64, 58);
  file.writeUInt16LE(3, 60);
  file.writeUInt16LE(2, 62);
  names.copy(file, 64);
  modinfo.copy(file, 64 + names.length);
  const section = (index: number, name: number, offset: number, size: number) => {
    file.writeUInt32LE(name, table + index * 64);
    file.writeBigUInt64LE(BigInt(offset), table + index * 64 + 24);
    file.writeBigUInt64LE(BigInt(size), table + index * 64 + 32);
  };
  section(1, 1, 64 + names.length, modinfo.length);
  section(2, 10, 64, names.length);
  return file;
}
