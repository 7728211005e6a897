/** Makes the nested host's image: a Debian of the host's own release and sources, packed without running any of it. */
import { Buffer } from 'node:buffer';
import {
  chmod,
  copyFile,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { basename, dirname, join } from 'node:path';
import { BootModules, Left, ModuleFolders, Modules } from './recipe.js';
import { NestedHostError, tool } from './host.js';

const LoaderPath = 'lib64/ld-linux-x86-64.so.2';
const LibraryPath = 'lib/x86_64-linux-gnu';
const MB = 1024 * 1024;
/** Milliseconds for which an image stays that nobody uses: two weeks. */
const KeptUnused = 14 * 24 * 3600 * 1000;
/** Free space in the image for what runs there. */
const SpareSpace = 512 * MB;

/**
 * The folder of the recipe's image, made first when the cache does not have it: `root.ext4`, `vmlinux`, `initramfs.cpio`.
 */
export async function ensureImage(recipe, { note, signal }) {
  const { cacheDirectory, exists, removeLeftovers, withTemporaryDirectory } = await images('cache');
  const { withLock } = await images('lock');
  const folder = join(cacheDirectory(), recipe.name);
  const used = new Date();
  if (await exists(folder)) {
    await utimes(folder, used, used);
    return folder;
  }
  const parent = join(cacheDirectory(), 'nested-host-work');
  const onWait = () => note('another process is making the nested host: waiting for it');
  await withLock(parent, { signal, onWait }, async () => {
    if (await exists(folder)) return;
    await removeLeftovers(parent);
    await withTemporaryDirectory(parent, async (work) => {
      const started = Date.now();
      note('making the nested host (once): a Debian root file system, fetched with mmdebstrap …');
      await makeImage(recipe, work, { note, signal });
      await rename(join(work, 'image'), folder);
      await removeUnused(cacheDirectory());
      const { size, blocks } = await stat(join(folder, 'root.ext4'));
      const used = `${Math.round((blocks * 512) / MB)} MB of ${Math.round(size / MB)} MB`;
      note(`made ${folder} in ${Math.round((Date.now() - started) / 1000)} s (root file system: ${used})`);
    });
  });
  return folder;
}

/** Removes images of other recipes that nobody has used for a while. */
async function removeUnused(cache) {
  for (const name of (await readdir(cache)).filter((entry) => /^nested-host-[0-9a-f]{16}$/.test(entry))) {
    const { mtimeMs } = await stat(join(cache, name));
    if (Date.now() - mtimeMs > KeptUnused) await rm(join(cache, name), { recursive: true, force: true });
  }
}

/** A built module of packages/node/src/images. */
function images(name) {
  return import(`../../packages/node/dist/images/${name}.js`);
}

async function makeImage(recipe, work, { note, signal }) {
  const root = join(work, 'root');
  const image = join(work, 'image');
  await mkdir(image);
  await fetchRoot(recipe, work, root, signal);
  note('packing it …');
  const release = (await readdir(join(root, 'lib/modules')))[0];
  if (!release) throw new NestedHostError('the fetched Debian has no kernel: the apt sources must be those of Debian');
  await takeKernel(root, release, join(image, 'vmlinux'));
  await pruneModules(join(root, 'lib/modules', release, 'kernel'));
  for (const path of Left) await rm(join(root, path), { recursive: true, force: true });
  await indexModules(root, release);
  await writeInitramfs(recipe, root, release, join(image, 'initramfs.cpio'));
  await addFiles(root);
  await addNode(recipe.node, root);
  await packRoot(root, join(image, 'root.ext4'), signal);
}

/** mmdebstrap's variant `extract` needs no mounts and runs nothing of what it unpacks. */
async function fetchRoot(recipe, work, root, signal) {
  const sources = await hostSources();
  const options = join(work, 'apt.conf');
  await writeFile(options, await hostAptOptions());
  const tar = join(work, 'root.tar');
  await tool(
    'mmdebstrap',
    [
      '--quiet',
      '--variant=extract',
      '--architectures=amd64',
      '--format=tar',
      `--aptopt=${options}`,
      `--include=${recipe.packages.join(',')}`,
      '',
      tar,
      ...sources,
    ],
    { signal },
  );
  await mkdir(root);
  // The owner of everything is whoever unpacks it: the nested host knows root only.
  await tool('tar', ['-xf', tar, '-C', root, '--no-same-owner', '--exclude=./dev/*', '--delay-directory-restore'], {
    signal,
  });
  await rm(tar);
}

/** The files that name the host's package sources (sources.list(5)). */
async function hostSources() {
  const folder = '/etc/apt/sources.list.d';
  const names = await readdir(folder).catch(() => []);
  const files = ['/etc/apt/sources.list', ...names.map((name) => join(folder, name))];
  const found = [];
  for (const file of files.filter((name) => /\.(list|sources)$/.test(name))) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (/^\s*(deb\b|Types:.*\bdeb\b)/m.test(text)) found.push(file);
  }
  if (found.length === 0) throw new NestedHostError("this host's apt has no package sources: it must be a Debian");
  return found;
}

/** How the host's apt reaches its sources: proxies, checks and what else is below Acquire. */
async function hostAptOptions() {
  const { stdout } = await tool('apt-config', ['dump'], {});
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('Acquire::') && line.includes(' "'))
    .join('\n');
}

/** The kernel as an ELF file, which QEMU starts directly (PVH): unpacking a bzImage takes long under TCG. */
async function takeKernel(root, release, target) {
  const { cachedVmlinux } = await images('kernel-file');
  await copyFile(await cachedVmlinux(join(root, 'boot', `vmlinuz-${release}`)), target);
  await rm(join(root, 'boot'), { recursive: true });
}

async function pruneModules(kernel) {
  const wanted = new Set(Modules.map((name) => `${name}.ko`));
  const walk = async (below) => {
    for (const entry of await readdir(join(kernel, below), { withFileTypes: true })) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      const kept = ModuleFolders.some((folder) => path === folder || path.startsWith(`${folder}/`));
      if (kept) continue;
      if (entry.isDirectory()) await walk(path);
      else if (!wanted.has(entry.name)) await rm(join(kernel, path));
    }
  };
  await walk('');
}

/**
 * modules.dep and its like, by the root file system's own depmod (kmod(8) under that name) with its own libraries: no
 * chroot, so no privileges.
 */
async function indexModules(root, release) {
  const libraries = `${join(root, LibraryPath)}:${join(root, 'usr', LibraryPath)}`;
  const program = ['--argv0', 'depmod', '--library-path', libraries, join(root, 'bin/kmod')];
  await tool(join(root, LoaderPath), [...program, '--basedir', root, release], {});
}

async function writeInitramfs(recipe, root, release, target) {
  const { writeCpio } = await images('cpio');
  const { ModuleTree } = await images('kernel-modules');
  const tree = await ModuleTree.open(join(root, 'lib/modules', release));
  const modules = await tree.inLoadOrder(BootModules);
  const file = (path, bytes, mode) => ({ kind: 'file', path, bytes, mode });
  const order = modules.map(({ name }) => `${name}.ko\n`).join('');
  const entries = [
    ...['bin', 'dev', 'modules', 'root'].map((path) => ({ kind: 'directory', path })),
    file('bin/busybox', await readFile(join(root, 'bin/busybox')), 0o755),
    file('init', Buffer.from(recipe.bootInit), 0o755),
    file('modules/order', Buffer.from(order)),
    ...modules.map(({ name, bytes }) => file(`modules/${name}.ko`, bytes)),
  ];
  await writeFile(target, writeCpio(entries));
}

/** What packages' maintainer scripts would have made. */
async function addFiles(root) {
  for (const folder of ['lodger', 'root', 'proc', 'sys', 'dev', 'run', 'tmp', 'etc', 'var/tmp']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  const files = {
    'etc/passwd': 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n',
    'etc/group': 'root:x:0:\nkvm:x:104:\nnogroup:x:65534:\n',
    'etc/hosts': '127.0.0.1 localhost nested-host\n::1 localhost\n',
    'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n',
  };
  for (const [path, text] of Object.entries(files)) await writeFile(join(root, path), text);
  await rm(join(root, 'bin/sh'), { force: true });
  await symlink('dash', join(root, 'bin/sh'));
}

/** The host's own Node, and those of its libraries that the root file system lacks. */
async function addNode(node, root) {
  const target = join(root, 'usr/local/bin/node');
  await mkdir(dirname(target), { recursive: true });
  await copyFile(node, target);
  await chmod(target, 0o755);
  const { stdout } = spawnSync('ldd', [node], { encoding: 'utf8' });
  for (const [, path] of (stdout ?? '').matchAll(/=> (\/\S+)/g)) {
    const places = [LibraryPath, `usr/${LibraryPath}`].map((folder) => join(root, folder, basename(path)));
    const present = await Promise.all(places.map((place) => stat(place).catch(() => undefined)));
    if (present.every((found) => found === undefined)) await copyFile(path, places[0]);
  }
}

async function packRoot(root, target, signal) {
  const { stdout } = await tool('du', ['-s', '--block-size=1', '--apparent-size', root], { signal });
  const size = Math.ceil((Number.parseInt(stdout, 10) * 1.1 + SpareSpace) / MB);
  const args = ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', '-E', 'root_owner=0:0', '-d', root];
  await tool('mke2fs', [...args, target, `${size}M`], { signal });
}
