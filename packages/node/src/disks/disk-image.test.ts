import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDiskImage } from './disk-image.ts';

const folder = mkdtempSync(join(tmpdir(), 'lodger-disk-'));
after(() => rmSync(folder, { recursive: true }));

function image(name: string, size: number): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(size));
  return path;
}

test('an image opens with its size', () => {
  const disk = openDiskImage({ path: image('plain', 4096) });
  assert.equal(disk.size, 4096);
  assert.equal(disk.readOnly, false);
  disk.close();
});

test('missing files, folders and circles are unreadable, with the reason', () => {
  mkdirSync(join(folder, 'folder'));
  symlinkSync('circle', join(folder, 'circle'));
  for (const [name, message] of [
    ['missing', /no such file/],
    ['folder', /folder/],
    ['circle', /circles/],
  ] as const) {
    assert.throws(() => openDiskImage({ path: join(folder, name) }), { code: 'DiskUnreadable', message });
  }
  assert.throws(() => openDiskImage({ path: '/dev/null' }), { code: 'DiskUnreadable' });
});

test('a file without permission names the way out', { skip: process.getuid?.() === 0 && 'root may read all' }, () => {
  const path = image('guarded', 512);
  chmodSync(path, 0o400);
  assert.throws(() => openDiskImage({ path }), { code: 'DiskUnreadable', message: /,readonly/ });
  openDiskImage({ path, readOnly: true }).close();
});

test('empty and odd-sized images are refused', () => {
  assert.throws(() => openDiskImage({ path: image('empty', 0) }), { code: 'DiskOddSized', message: /truncate -s 1G/ });
  assert.throws(() => openDiskImage({ path: image('odd', 513) }), {
    code: 'DiskOddSized',
    message: /truncate -s 1024/,
  });
});

test('a writable disk excludes every other user until it is closed', () => {
  const path = image('exclusive', 512);
  const first = openDiskImage({ path });
  assert.throws(() => openDiskImage({ path }), { code: 'DiskLocked', exitCode: 66 });
  assert.throws(() => openDiskImage({ path, readOnly: true }), { code: 'DiskLocked' });
  first.close();
  openDiskImage({ path }).close();
});

test('read-only users share, and exclude writers', () => {
  const path = image('shared', 512);
  const readers = [openDiskImage({ path, readOnly: true }), openDiskImage({ path, readOnly: true })];
  assert.throws(() => openDiskImage({ path }), { code: 'DiskLocked' });
  for (const reader of readers) reader.close();
});

test('a lock held by another process is seen, and gone when it is killed', async () => {
  const path = image('foreign', 512);
  const holder = spawn('flock', [path, 'sh', '-c', 'echo locked; exec sleep 60']);
  await once(holder.stdout, 'data');
  assert.throws(() => openDiskImage({ path }), { code: 'DiskLocked' });
  const closed = once(holder, 'close');
  // The shell that flock started holds the lock too.
  spawn('sh', ['-c', `kill $(cat /proc/${holder.pid}/task/${holder.pid}/children) ${holder.pid}`]);
  await closed;
  openDiskImage({ path }).close();
});
