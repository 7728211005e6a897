/** The fetch, through the host's real apt from a repository of small packages made here: no network is needed. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, beforeEach, describe, it } from 'node:test';
import { text } from 'node:stream/consumers';
import { cacheDirectory } from './cache.ts';
import { ensureGuestImage } from './guest-image.ts';
import { loadInitrdFile } from './initrd-file.ts';
import { buildModule, refuses, smallBzImage, smallVmlinux, useTemporaryCache } from './testing.ts';

const directory = useTemporaryCache();
const repository = join(directory, 'repository');
const release = '9.9.0-1-cloud-amd64';
const kernelPackage = `linux-image-${release}`;
const missingTool = ['apt-get', 'dpkg-deb'].find((tool) => spawnSync(tool, ['--version']).error);

type Files = Record<string, Uint8Array | string>;

function makePackage(name: string, version: string, depends: string, files: Files): string {
  const root = join(directory, 'build', name);
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
    chmodSync(join(root, path), 0o755);
  }
  const fields = `Package: ${name}\nVersion: ${version}\nArchitecture: amd64\nMaintainer: t <t@example.org>\n`;
  const control = `${fields}${depends ? `Depends: ${depends}\n` : ''}Description: test\n`;
  mkdirSync(join(root, 'DEBIAN'), { recursive: true });
  writeFileSync(join(root, 'DEBIAN/control'), control);
  const file = join(repository, `${name}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', root, file], { stdio: 'ignore' });
  rmSync(root, { recursive: true });
  return control;
}

/** The repository's index, with real sizes and checksums. */
function index(controls: readonly string[]): void {
  const entries = controls.map((control) => {
    const file = `${/^Package: (.*)$/m.exec(control)![1]}.deb`;
    const bytes = readFileSync(join(repository, file));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return `${control.trimEnd()}\nFilename: ./${file}\nSize: ${bytes.length}\nSHA256: ${sha256}\n`;
  });
  writeFileSync(join(repository, 'Packages'), entries.join('\n'));
}

function makeRepository(version = '9.9.0-1'): void {
  rmSync(repository, { recursive: true, force: true });
  mkdirSync(repository, { recursive: true });
  index([
    makePackage('linux-image-cloud-amd64', version, `${kernelPackage} (= ${version})`, {}),
    makePackage(kernelPackage, version, '', {
      [`boot/vmlinuz-${release}`]: smallBzImage,
      [`boot/config-${release}`]: 'CONFIG_TEST=y\n',
      [`lib/modules/${release}/kernel/virtio.ko`]: buildModule('depends='),
      [`lib/modules/${release}/kernel/virtio_pci.ko`]: buildModule('depends=virtio'),
      [`lib/modules/${release}/kernel/virtio_blk.ko`]: buildModule('depends=virtio'),
    }),
    makePackage('busybox-static', '1:1.2', '', { 'bin/busybox': '#!/bin/sh\necho bin/ls\necho sbin/poweroff\n' }),
  ]);
}

/** Makes apt, which reads this file before the host's configuration, look at the repository only. */
function useRepository(): void {
  const sources = join(directory, 'sources.list');
  writeFileSync(sources, `deb [trusted=yes arch=amd64] file:${repository} ./\n`);
  const lines = { sourcelist: sources, sourceparts: '/dev/null', parts: '/dev/null', preferencesparts: '/dev/null' };
  const configuration = Object.entries(lines).map(([key, value]) => `Dir::Etc::${key} "${value}";\n`);
  writeFileSync(join(directory, 'apt.conf'), configuration.join(''));
  process.env['APT_CONFIG'] = join(directory, 'apt.conf');
}

const guests = () => join(cacheDirectory(), 'guests/cloud-amd64');
const fetch = async () => {
  const messages: string[] = [];
  const image = await ensureGuestImage({ onProgress: (message) => messages.push(message) });
  return { image, fetched: messages.filter((message) => message.startsWith('fetching linux-image')).length > 0 };
};

async function withoutTools<T>(work: () => Promise<T>): Promise<T> {
  const path = process.env['PATH'];
  process.env['PATH'] = join(directory, 'no-tools');
  try {
    return await work();
  } finally {
    process.env['PATH'] = path;
  }
}

describe('the default guest', { skip: missingTool && `this host has no ${missingTool}` }, () => {
  before(() => {
    makeRepository();
    useRepository();
  });
  beforeEach(() => rmSync(cacheDirectory(), { recursive: true, force: true }));

  it('is fetched, checked and unpacked', async () => {
    const { image, fetched } = await fetch();
    assert.ok(fetched);
    assert.equal(image.release, release);
    assert.deepEqual(readFileSync(image.kernel), Buffer.from(smallBzImage));
    assert.deepEqual(readFileSync(image.vmlinux), Buffer.from(smallVmlinux));
    assert.deepEqual(readdirSync(guests()), [`${release}_9.9.0-1`]);
    const initrd = Buffer.from(await loadInitrdFile(image.initrd)).toString('latin1');
    for (const expected of ['init\0', 'bin/busybox\0', 'bin/ls\0', 'dev/console\0', 'kernel/virtio_blk.ko\0']) {
      assert.ok(initrd.includes(expected), expected);
    }
    assert.ok(initrd.includes('load kernel/virtio.ko kernel/virtio_pci.ko\n'));
    assert.ok(initrd.includes('0x0002) load kernel/virtio_blk.ko ;;'));
  });
  it('is fetched only once, and needs no apt afterwards', async () => {
    const { image } = await fetch();
    assert.deepEqual(await withoutTools(fetch), { image, fetched: false });
  });
  it('is fetched anew when it is damaged', async () => {
    const { image } = await fetch();
    truncateSync(image.kernel, 1000);
    assert.ok((await fetch()).fetched);
    assert.equal(statSync(image.kernel).size, smallBzImage.length);
  });
  it('is fetched by one of several processes', async () => {
    const module = JSON.stringify(new URL('./index.js', import.meta.url).href);
    const script = `
      const { ensureGuestImage } = await import(${module});
      console.log((await ensureGuestImage({ onProgress: (message) => console.log(message) })).kernel);
    `;
    const run = () => {
      const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      return text(child.stdout);
    };
    const outputs = await Promise.all([run(), run(), run()]);
    assert.equal(outputs.filter((output) => output.includes('fetching')).length, 1);
    assert.equal(new Set(outputs.map((output) => output.trim().split('\n').at(-1))).size, 1);
  });
  it('gets newer on request', async () => {
    await fetch();
    makeRepository('9.9.0-2');
    try {
      await ensureGuestImage({ refresh: true });
      assert.deepEqual(readdirSync(guests()).sort(), [`${release}_9.9.0-1`, `${release}_9.9.0-2`]);
      assert.match((await withoutTools(fetch)).image.kernel, /9\.9\.0-2/);
    } finally {
      makeRepository();
    }
  });
  it('is not mistaken for what a killed fetch left', async () => {
    mkdirSync(join(guests(), '.tmp-killed/image'), { recursive: true });
    mkdirSync(join(guests(), 'half'), { recursive: true });
    assert.ok((await fetch()).fetched);
    assert.ok(!existsSync(join(guests(), '.tmp-killed')));
  });
  it('leaves nothing behind when the fetch is given up', async () => {
    const controller = new AbortController();
    const onProgress = (message: string) => {
      if (message.startsWith('fetching linux-image')) controller.abort();
    };
    await assert.rejects(ensureGuestImage({ onProgress, signal: controller.signal }), { name: 'AbortError' });
    assert.deepEqual(readdirSync(guests()), []);
  });

  const passFiles = /--kernel FILE --initrd FILE/;
  const fails = async (message: RegExp) => {
    await refuses(ensureGuestImage(), 'FetchFailed', message);
    await refuses(ensureGuestImage(), 'FetchFailed', passFiles);
    assert.deepEqual(existsSync(guests()) ? readdirSync(guests()) : [], []);
  };
  it('says what to do on a host without apt', () =>
    withoutTools(() => fails(/apt-get, which this host does not have/)));
  it('says what to do without the package', async () => {
    writeFileSync(join(repository, 'Packages'), '');
    try {
      await fails(/have no package linux-image-cloud-amd64/);
    } finally {
      makeRepository();
    }
  });
  it('says what to do when the sources cannot be reached', async () => {
    writeFileSync(join(directory, 'sources.list'), 'deb [trusted=yes] http://127.0.0.1:9/debian ./\n');
    try {
      await fails(/could not fetch the package index.*127\.0\.0\.1/);
    } finally {
      useRepository();
    }
  });
  it('refuses a package with another checksum', async () => {
    const file = join(repository, `${kernelPackage}.deb`);
    const bytes = readFileSync(file);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(file, bytes);
    try {
      await fails(/could not fetch linux-image-9.*(hash|checksum)/i);
    } finally {
      makeRepository();
    }
  });
  it('says so when the cache cannot be written', async () => {
    const configured = process.env['XDG_CACHE_HOME'];
    writeFileSync(join(directory, 'no-folder'), '');
    process.env['XDG_CACHE_HOME'] = join(directory, 'no-folder/cache');
    try {
      await refuses(ensureGuestImage(), 'FetchFailed', /could not be put into.*no-folder/);
    } finally {
      process.env['XDG_CACHE_HOME'] = configured;
    }
  });
});
