import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FileBackend } from './file-backend.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodger-backend-'));
const descriptors: number[] = [];
after(() => {
  descriptors.forEach((descriptor) => closeSync(descriptor));
  rmSync(folder, { recursive: true });
});

/** Node has it; @types/node 20 does not say so. */
declare const WebAssembly: {
  Memory: new (limits: { initial: number; maximum: number; shared: true }) => { readonly buffer: SharedArrayBuffer };
};

const Size = 4 * 1024 * 1024;

function disk(name: string, mode = 'r+') {
  const path = join(folder, name);
  writeFileSync(
    path,
    Uint8Array.from({ length: Size }, (_, index) => index % 253),
  );
  const descriptor = openSync(path, mode);
  descriptors.push(descriptor);
  return { path, backend: new FileBackend({ descriptor, size: Size, readOnly: mode === 'r' }) };
}

test('reads and writes go through views of shared memory, in order over several buffers', () => {
  const { path, backend } = disk('shared');
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const views = [new Uint8Array(memory.buffer, 512, 1024), new Uint8Array(memory.buffer, 8192, 512)];
  assert.equal(backend.read(1024, views), 'ok');
  assert.deepEqual(Buffer.concat(views), readFileSync(path).subarray(1024, 1024 + 1536));
  views[1]!.fill(0xee);
  assert.equal(backend.write(4096, views), 'ok');
  assert.equal(backend.flush(), 'ok');
  assert.deepEqual(readFileSync(path).subarray(4096, 4096 + 1536), Buffer.concat(views));
});

test('a file that was made shorter under the disk is an I/O error, not zeroes', () => {
  const { path, backend } = disk('shorter');
  truncateSync(path, 1024);
  assert.equal(backend.read(512, [new Uint8Array(1024)]), 'io-error');
});

test(
  'a full file system is told from other errors',
  { skip: process.platform !== 'linux' && 'needs /dev/full' },
  () => {
    const descriptor = openSync('/dev/full', 'r+');
    descriptors.push(descriptor);
    const backend = new FileBackend({ descriptor, size: Size, readOnly: false });
    assert.equal(backend.write(0, [new Uint8Array(512)]), 'no-space');
  },
);

test('writing through a descriptor that cannot write is an I/O error', () => {
  assert.equal(disk('read-only', 'r').backend.write(0, [new Uint8Array(512)]), 'io-error');
});

test('zeroed ranges read as zeroes, with and without giving storage back, and neighbours stay', () => {
  for (const mayUnmap of [false, true]) {
    const { path, backend } = disk(`zero-${mayUnmap}`);
    assert.equal(backend.writeZeroes(4096, 2 * 1024 * 1024 + 512, mayUnmap), 'ok');
    const bytes = readFileSync(path);
    assert.ok(bytes.subarray(4096, 4096 + 2 * 1024 * 1024 + 512).every((byte) => byte === 0));
    assert.equal(bytes[4095], 4095 % 253);
    assert.equal(bytes[4096 + 2 * 1024 * 1024 + 512], (4096 + 2 * 1024 * 1024 + 512) % 253);
    assert.equal(bytes.length, Size);
  }
});

test('a discard never makes the image shorter', () => {
  const { path, backend } = disk('discard');
  assert.equal(backend.discard(Size - 1024 * 1024, 1024 * 1024), 'ok');
  assert.equal(statSync(path).size, Size);
});

test('after a flush that failed no flush succeeds', () => {
  const path = join(folder, 'closed');
  writeFileSync(path, new Uint8Array(512));
  const descriptor = openSync(path, 'r+');
  const backend = new FileBackend({ descriptor, size: 512, readOnly: false });
  closeSync(descriptor);
  assert.equal(backend.flush(), 'io-error');
  assert.equal(openSync(path, 'r+'), descriptor, 'the same descriptor number, working again');
  descriptors.push(descriptor);
  assert.equal(backend.flush(), 'io-error');
});
