import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { writeCpio } from './cpio.ts';
import { noteOfFile } from './file-identity.ts';
import { loadInitrdFile } from './initrd-file.ts';
import { refuses, statusOfOldFile, useTemporaryCache } from './testing.ts';

const directory = useTemporaryCache();
const write = (bytes: Uint8Array | string) => {
  writeFileSync(join(directory, 'initrd'), bytes);
  return join(directory, 'initrd');
};
const archive = writeCpio([
  { kind: 'directory', path: 'dir' },
  { kind: 'file', path: 'dir/file', bytes: Buffer.alloc(1234, 'x') },
]);
const packed = gzipSync(archive);

describe('loadInitrdFile', () => {
  it('accepts archives as they are, compressed, one behind the other, and padded', async () => {
    const zeros = Buffer.alloc(512);
    const kinds = [
      archive,
      packed,
      Buffer.concat([archive, packed]),
      Buffer.concat([archive, zeros, archive, zeros]),
      Buffer.concat([archive, zeros, packed]),
    ];
    for (const bytes of kinds) assert.deepEqual(Buffer.from(await loadInitrdFile(write(bytes))), Buffer.from(bytes));
  });
  it('remembers which files were whole', async () => {
    const path = write('no archive');
    await noteOfFile('checked-initrds', statusOfOldFile(path), '');
    assert.equal((await loadInitrdFile(path)).length, 10);
  });
  it('refuses archives that are cut off', async () => {
    for (let length = 1; length < archive.length - 4; length += 97) {
      await refuses(loadInitrdFile(write(archive.subarray(0, length))), 'InitrdUnsupported', /truncated|no initrd/);
    }
    await refuses(
      loadInitrdFile(write(packed.subarray(0, -1))),
      'InitrdUnsupported',
      /truncated or damaged \(its gzip/,
    );
    const second = Buffer.concat([archive, packed.subarray(0, -9)]);
    await refuses(loadInitrdFile(write(second)), 'InitrdUnsupported', /truncated/);
  });
  it('refuses other files', async () => {
    await refuses(loadInitrdFile(write('')), 'InitrdUnsupported', /is empty/);
    await refuses(loadInitrdFile(write('#!/bin/sh\n')), 'InitrdUnsupported', /is no initrd: pass a cpio archive/);
    await refuses(loadInitrdFile(write(Buffer.alloc(4096))), 'InitrdUnsupported', /only zeros/);
    const tail = Buffer.concat([archive, Buffer.from('garbage')]);
    await refuses(loadInitrdFile(write(tail)), 'InitrdUnsupported', /behind its first archive/);
  });
  it('says what is wrong with a path', async () => {
    await refuses(loadInitrdFile(join(directory, 'none')), 'InitrdUnreadable', /no such file; check.*--initrd/);
    await refuses(loadInitrdFile(directory), 'InitrdUnreadable', /is a folder/);
  });
});
