/** The default guest's initramfs: busybox, the modules for its devices and `/init`. Built once for each guest. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { cacheDirectory, exists, writeAtomically } from './cache.ts';
import { writeCpio } from './cpio.ts';
import type { CpioEntry } from './cpio.ts';
import type { GuestFiles } from './guest-image.ts';
import { initScript } from './init-script.ts';
import type { InitModules } from './init-script.ts';
import { moduleTables, ModuleTree } from './kernel-modules.ts';
import type { KernelModule } from './kernel-modules.ts';
import { isIntact } from './manifest.ts';
import { runTool } from './tool.ts';

/** Changes whenever the same inputs give another archive. */
const BuilderVersion = 2;

const Transport = 'virtio_pci';
/** By virtio device id (virtio 1.2 §5 "Device Types"). */
const DeviceModules: ReadonlyMap<number, string> = new Map([
  [1, 'virtio_net'],
  [2, 'virtio_blk'],
  [3, 'virtio_console'],
  [4, 'virtio_rng'],
  [5, 'virtio_balloon'],
  [8, 'virtio_scsi'],
]);
/** Loaded by the kernel itself, through `modprobe`, when something is mounted. */
const OnDemand = ['ext4', 'crc32c_generic', 'vfat', 'nls_cp437', 'nls_ascii'] as const;

/** The path of the initramfs in the cache. */
export async function ensureInitramfs(
  files: GuestFiles,
  options: { readonly onProgress?: ((message: string) => void) | undefined } = {},
): Promise<string> {
  const path = join(cacheDirectory(), 'initramfs', `${initramfsKey(files)}.cpio`);
  if (await exists(path)) return path;
  options.onProgress?.('building the initramfs');
  await writeAtomically(path, await buildInitramfs(files));
  return path;
}

function initramfsKey({ manifest }: GuestFiles): string {
  const script = initScript({ release: manifest.release, transport: [], byDevice: new Map() });
  const inputs = [BuilderVersion, manifest.packages, [...DeviceModules], OnDemand, script];
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex');
}

/** The archive's bytes. `extra` entries come last; their folders must be among them or in the base system. */
export async function buildInitramfs(files: GuestFiles, extra: readonly CpioEntry[] = []): Promise<Uint8Array> {
  const { directory, manifest } = files;
  const busybox = join(directory, manifest.busybox);
  const tree = await ModuleTree.open(join(directory, manifest.modules));
  const modules = await tree.inLoadOrder([Transport, ...DeviceModules.values(), ...OnDemand]);
  for (const { path } of modules) await checkModule(files, path);
  return writeCpio([
    ...baseSystem(await readFile(busybox)),
    ...(await applets(busybox)),
    ...moduleEntries(manifest.release, modules),
    file('init', initScript(await initModules(manifest.release, tree)), 0o755),
    ...extra,
  ]);
}

/** What goes into the archive is what was fetched. */
async function checkModule({ directory, manifest }: GuestFiles, path: string): Promise<void> {
  for (const suffix of ['', '.xz', '.zst', '.gz']) {
    const recorded = `${manifest.modules}/${path}${suffix}`;
    if (manifest.files[recorded] && (await isIntact(directory, manifest, recorded))) return;
  }
  throw new HostError('FetchFailed', `${join(directory, path)} is damaged: remove ${directory} and start again`);
}

async function initModules(release: string, tree: ModuleTree): Promise<InitModules> {
  const transport = await tree.inLoadOrder([Transport]);
  const byDevice = new Map<number, string[]>();
  for (const [id, name] of DeviceModules) {
    const needed = (await tree.inLoadOrder([name])).filter((module) => !transport.includes(module));
    if (needed.length > 0)
      byDevice.set(
        id,
        needed.map(({ path }) => path),
      );
  }
  return { release, transport: transport.map(({ path }) => path), byDevice };
}

const folder = (path: string, mode = 0o755): CpioEntry => ({ kind: 'directory', path, mode });
const file = (path: string, text: string, mode = 0o644): CpioEntry => ({
  kind: 'file',
  path,
  bytes: Buffer.from(text),
  mode,
});

const Folders = [
  'bin',
  'dev',
  'etc',
  'lib',
  'lib/modules',
  'mnt',
  'proc',
  'run',
  'sbin',
  'sys',
  'usr',
  'usr/bin',
  'usr/sbin',
  'var',
] as const;

function baseSystem(busybox: Uint8Array): CpioEntry[] {
  return [
    ...Folders.map((path) => folder(path)),
    folder('root', 0o700),
    folder('tmp', 0o1777),
    // The kernel opens /dev/console before anything is mounted.
    { kind: 'character-device', path: 'dev/console', major: 5, minor: 1, mode: 0o600 },
    { kind: 'character-device', path: 'dev/null', major: 1, minor: 3, mode: 0o666 },
    { kind: 'file', path: 'bin/busybox', bytes: busybox, mode: 0o755 },
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n'),
    file('etc/group', 'root:x:0:\n'),
    // What `mount` without a type tries besides the file systems that are loaded already.
    file('etc/filesystems', 'ext4\nvfat\n'),
    file('etc/hosts', '127.0.0.1 localhost lodger\n'),
  ];
}

/** What `/init` needs before it could make the links itself. */
const NeededApplets = [
  'bin/sh',
  'bin/mount',
  'bin/mkdir',
  'bin/stty',
  'bin/sleep',
  'sbin/insmod',
  'sbin/modprobe',
  'sbin/ip',
  'usr/bin/setsid',
] as const;

/**
 * Links for all of busybox's commands. busybox itself lists them; where it cannot run (this host is not x86-64), `/init`
 * makes the links.
 */
async function applets(busybox: string): Promise<CpioEntry[]> {
  let paths: readonly string[];
  try {
    paths = (await runTool(busybox, ['--list-full'])).stdout.split('\n').filter((path) => /^[\w/[.-]+$/.test(path));
  } catch {
    paths = NeededApplets;
  }
  const own = new Set(['bin/busybox', 'linuxrc', 'sbin/init']);
  return [...new Set([...NeededApplets, ...paths])]
    .filter((path) => !own.has(path) && Folders.some((name) => path.startsWith(`${name}/`)))
    .map((path) => ({ kind: 'symlink', path, target: '/bin/busybox' }));
}

function moduleEntries(release: string, modules: readonly KernelModule[]): CpioEntry[] {
  const root = `lib/modules/${release}`;
  const folders = new Set<string>();
  for (const { path } of modules) {
    const parts = path.split('/').slice(0, -1);
    for (let depth = 1; depth <= parts.length; depth++) folders.add(parts.slice(0, depth).join('/'));
  }
  const { dep, alias } = moduleTables(modules);
  return [
    folder(root),
    ...[...folders].sort().map((path) => folder(`${root}/${path}`)),
    ...modules.map(({ path, bytes }): CpioEntry => ({ kind: 'file', path: `${root}/${path}`, bytes })),
    file(`${root}/modules.dep`, dep),
    file(`${root}/modules.alias`, alias),
  ];
}
