import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { moduleTables, ModuleTree, readModuleInfo } from './kernel-modules.ts';
import { buildModule, refuses, useTemporaryCache } from './testing.ts';

const directory = useTemporaryCache();

function tree(name: string, files: Record<string, Buffer>): Promise<ModuleTree> {
  const root = join(directory, name);
  mkdirSync(root);
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  }
  return ModuleTree.open(root);
}

const files = {
  'kernel/a/ring.ko': buildModule('depends='),
  'kernel/a/virtio.ko': buildModule('depends=ring'),
  'kernel/b/virtio-pci.ko.gz': gzipSync(buildModule('alias=pci:v1AF4*', 'depends=ring,virtio', 'alias=other')),
  'modules.order': Buffer.from('kernel/a/ring.ko\n'),
};

describe('kernel modules', () => {
  it('come behind what they depend on, each once, uncompressed', async () => {
    const modules = await (await tree('order', files)).inLoadOrder(['virtio_pci', 'virtio', 'not_there']);
    assert.deepEqual(
      modules.map(({ path }) => path),
      ['kernel/a/ring.ko', 'kernel/a/virtio.ko', 'kernel/b/virtio-pci.ko'],
    );
    assert.equal(modules[2]!.bytes[0], 0x7f);
  });
  it('give the tables that modprobe reads', async () => {
    const { dep, alias } = moduleTables(await (await tree('tables', files)).inLoadOrder(['virtio-pci']));
    assert.equal(
      dep,
      'kernel/a/ring.ko:\nkernel/a/virtio.ko: kernel/a/ring.ko\n' +
        'kernel/b/virtio-pci.ko: kernel/a/ring.ko kernel/a/virtio.ko\n',
    );
    assert.equal(alias, 'alias pci:v1AF4* virtio_pci\nalias other virtio_pci\n');
  });
  it('that miss a dependency or depend on each other do not hang', async () => {
    const broken = await tree('broken', { 'kernel/x.ko': buildModule('depends=gone') });
    await refuses(broken.inLoadOrder(['x']), 'FetchFailed', /lack gone: remove/);
    const circle = { 'x.ko': buildModule('depends=y'), 'y.ko': buildModule('depends=x') };
    assert.equal((await (await tree('circle', circle)).inLoadOrder(['x'])).length, 2);
  });
  it('that are no ELF files have nothing to say', () => {
    const module = buildModule('depends=a');
    for (const bytes of [Buffer.alloc(0), Buffer.from('text'), module.subarray(0, 100)]) {
      assert.deepEqual(readModuleInfo(bytes), []);
    }
    for (let i = 0; i < module.length; i++) {
      const bad = Buffer.from(module);
      bad[i] = 0xff;
      readModuleInfo(bad);
    }
    assert.deepEqual(readModuleInfo(module), [{ key: 'depends', value: 'a' }]);
  });
});
