import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import { cacheDirectory } from './cache.ts';
import { noteOfFile } from './file-identity.ts';
import { cachedVmlinux, findKernelFile, loadKernelFile } from './kernel-file.ts';
import { refuses, smallBzImage, smallVmlinux, statusOfOldFile, useTemporaryCache } from './testing.ts';

const directory = useTemporaryCache();
const write = (name: string, bytes: Uint8Array | string) => {
  writeFileSync(join(directory, name), bytes);
  return join(directory, name);
};

describe('loadKernelFile', () => {
  it('gives the vmlinux of a bzImage with the setup it came with', async () => {
    const path = write('vmlinuz', smallBzImage);
    const { kernel, setup, kernelName } = await loadKernelFile(path);
    assert.deepEqual(Buffer.from(kernel), Buffer.from(smallVmlinux));
    assert.deepEqual(setup, smallBzImage.slice(0, 4096));
    assert.equal(kernelName, path);
  });
  it('unpacks a kernel only once', async () => {
    const path = await cachedVmlinux(write('vmlinuz', smallBzImage));
    writeFileSync(path, 'what is in the cache');
    const { kernel } = await loadKernelFile(join(directory, 'vmlinuz'));
    assert.equal(Buffer.from(kernel).toString(), 'what is in the cache');
    rmSync(path);
    assert.equal((await loadKernelFile(join(directory, 'vmlinuz'))).kernel.length, smallVmlinux.length);
    assert.deepEqual(readdirSync(join(cacheDirectory(), 'vmlinux')).length, 1);
  });
  it('does not read a bzImage of which it knows the kernel', async () => {
    const vmlinux = await cachedVmlinux(write('vmlinuz', smallBzImage));
    const path = write('known', smallBzImage.slice(0, -100));
    await noteOfFile('bzimages', statusOfOldFile(path), basename(vmlinux));
    assert.equal((await findKernelFile(path)).kernel, vmlinux);
    rmSync(vmlinux);
    await refuses(findKernelFile(path), 'KernelTruncated', /known is truncated/);
  });
  it('leaves what is no bzImage to whoever boots it', async () => {
    const path = write('vmlinux', smallVmlinux);
    assert.deepEqual(await findKernelFile(path), { kernelName: path, kernel: path, setup: undefined });
  });
  it('gives other kernels as they are', async () => {
    const { kernel, setup } = await loadKernelFile(write('vmlinux', smallVmlinux));
    assert.deepEqual(Buffer.from(kernel), Buffer.from(smallVmlinux));
    assert.equal(setup, undefined);
  });
  it('does without a cache that cannot be written', async () => {
    const configured = process.env['XDG_CACHE_HOME'];
    process.env['XDG_CACHE_HOME'] = join(write('no-folder', ''), 'cache');
    try {
      const { kernel } = await loadKernelFile(write('vmlinuz', smallBzImage));
      assert.equal(kernel.length, smallVmlinux.length);
    } finally {
      process.env['XDG_CACHE_HOME'] = configured;
    }
  });
  it('says what is wrong with a path', async () => {
    await refuses(loadKernelFile(join(directory, 'none')), 'KernelUnreadable', /no such file; check.*--kernel/);
    await refuses(loadKernelFile(join(directory, 'vmlinuz/x')), 'KernelUnreadable', /no such file/);
    mkdirSync(join(directory, 'folder'));
    await refuses(loadKernelFile(join(directory, 'folder')), 'KernelUnreadable', /is a folder/);
    await refuses(loadKernelFile('/dev/zero'), 'KernelUnreadable', /no regular file/);
    truncateSync(write('large', ''), 2 ** 31);
    await refuses(loadKernelFile(join(directory, 'large')), 'KernelUnreadable', /too large.*--disk/);
  });
  it('says so when a file may not be read', { skip: process.getuid?.() === 0 && 'root may read all' }, async () => {
    chmodSync(write('secret', smallBzImage), 0);
    await refuses(loadKernelFile(join(directory, 'secret')), 'KernelUnreadable', /may not be read by this user/);
  });
  it('refuses a bzImage that is cut off', async () => {
    await refuses(loadKernelFile(write('cut', smallBzImage.slice(0, -100))), 'KernelTruncated', /cut is truncated/);
  });
});
