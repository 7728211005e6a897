import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { cacheDirectory, exists, removeLeftovers, withTemporaryDirectory, writeAtomically } from './cache.ts';
import { isIntact, readManifest, writeManifest } from './manifest.ts';
import { useTemporaryCache } from './testing.ts';

const directory = useTemporaryCache();

describe('the cache folder', () => {
  it('follows the XDG Base Directory Specification', () => {
    const configured = process.env['XDG_CACHE_HOME'];
    assert.equal(cacheDirectory(), join(configured!, 'lodger'));
    process.env['XDG_CACHE_HOME'] = 'relative';
    assert.equal(cacheDirectory(), join(homedir(), '.cache/lodger'));
    process.env['XDG_CACHE_HOME'] = configured;
  });
  it('has files under their names only when they are whole', async () => {
    const folder = join(directory, 'atomic');
    await writeAtomically(join(folder, 'file'), 'one');
    await writeAtomically(join(folder, 'file'), 'two');
    assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'two');
    mkdirSync(join(folder, 'taken/below'), { recursive: true });
    await assert.rejects(writeAtomically(join(folder, 'taken'), 'three'));
    assert.deepEqual(readdirSync(folder), ['file', 'taken']);
  });
  it('is rid of temporary folders after success and failure, and of those of killed processes', async () => {
    const parent = join(directory, 'temporary');
    assert.equal(await withTemporaryDirectory(parent, exists), true);
    await assert.rejects(
      withTemporaryDirectory(parent, () => Promise.reject(new Error('failed'))),
      /failed/,
    );
    mkdirSync(join(parent, '.tmp-killed/deep'), { recursive: true });
    mkdirSync(join(parent, 'kept'));
    await removeLeftovers(parent);
    assert.deepEqual(readdirSync(parent), ['kept']);
  });
});

describe('the manifest', () => {
  const contents = { release: '1', fetchedAt: 'now', packages: [], kernel: 'k', modules: 'm', busybox: 'b' };
  const image = join(directory, 'image');
  mkdirSync(join(image, 'sub'), { recursive: true });
  writeFileSync(join(image, 'k'), 'kernel');
  writeFileSync(join(image, 'sub/m'), 'module');

  it('records every file', async () => {
    const manifest = await writeManifest(image, contents);
    assert.deepEqual(Object.keys(manifest.files), ['k', 'sub/m']);
    assert.deepEqual(await readManifest(image), manifest);
  });
  it('tells whether a file changed', async () => {
    const manifest = await writeManifest(image, contents);
    assert.equal(await isIntact(image, manifest, 'k'), true);
    writeFileSync(join(image, 'k'), 'kernel');
    assert.equal(await isIntact(image, manifest, 'k'), true, 'another time, the same bytes');
    writeFileSync(join(image, 'k'), 'kernek');
    assert.equal(await isIntact(image, manifest, 'k'), false);
    writeFileSync(join(image, 'k'), '');
    assert.equal(await isIntact(image, manifest, 'k'), false);
    assert.equal(await isIntact(image, manifest, 'gone'), false);
  });
  it('is not there unless it can be understood', async () => {
    for (const text of ['', '{', 'null', '{"version":99}']) {
      writeFileSync(join(image, 'manifest.json'), text);
      assert.equal(await readManifest(image), undefined, text);
    }
  });
});
