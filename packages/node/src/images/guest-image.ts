/**
 * The default guest: Debian's kernel with its modules, and busybox, fetched once into the cache.
 *
 * `guests/<flavour>/<release>_<version>/` holds vmlinuz, lib/modules/<release>, busybox and a manifest. A folder appears
 * there complete or not at all.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { fetchFailed, PrivateApt } from './apt.ts';
import { cacheDirectory, exists, listDirectory, removeLeftovers, withTemporaryDirectory } from './cache.ts';
import { ensureInitramfs } from './initramfs.ts';
import { cachedVmlinux } from './kernel-file.ts';
import { withLock } from './lock.ts';
import { isIntact, readManifest, writeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { runTool, ToolError } from './tool.ts';

/** Debian's kernels for amd64: linux-image-<flavour>. */
export type Flavour = 'cloud-amd64' | 'amd64';

export interface GuestImageOptions {
  /** Is told of long steps, in words for people. */
  readonly onProgress?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default: 'cloud-amd64'. */
  readonly flavour?: Flavour;
  /** Fetches the newest kernel even when one is at hand. */
  readonly refresh?: boolean;
}

export interface GuestImage {
  /** Paths of files: the bzImage, the vmlinux unpacked from it, and the initramfs (an uncompressed cpio archive). */
  readonly kernel: string;
  readonly vmlinux: string;
  readonly initrd: string;
  /** The kernel's release, as `uname -r` says it. */
  readonly release: string;
}

/** A fetched guest in the cache. */
export interface GuestFiles {
  readonly directory: string;
  readonly manifest: Manifest;
}

/** Finds the default guest in the cache or fetches it; a HostError says which files to pass where that is impossible. */
export async function ensureGuestImage(options: GuestImageOptions = {}): Promise<GuestImage> {
  const files = await ensureGuestFiles(options);
  const kernel = join(files.directory, files.manifest.kernel);
  const sha256 = files.manifest.files[files.manifest.kernel]?.sha256;
  const vmlinux = await cachedVmlinux(kernel, { ...options, sha256 });
  const initrd = await ensureInitramfs(files, options);
  return { kernel, vmlinux, initrd, release: files.manifest.release };
}

export async function ensureGuestFiles(options: GuestImageOptions = {}): Promise<GuestFiles> {
  const parent = join(cacheDirectory(), 'guests', options.flavour ?? 'cloud-amd64');
  if (!options.refresh) {
    const found = await findNewest(parent);
    if (found) return found;
  }
  try {
    await mkdir(parent, { recursive: true });
    const onWait = () => options.onProgress?.('waiting for another lodger, which fetches the guest');
    return await withLock(parent, { signal: options.signal, onWait }, async () => {
      // Another process may have fetched it meanwhile.
      const found = options.refresh ? undefined : await findNewest(parent);
      return found ?? (await fetchGuest(parent, options));
    });
  } catch (error) {
    if (error instanceof HostError || (error as Error).name === 'AbortError') throw error;
    throw fetchFailed(`the guest could not be put into ${parent} (${(error as Error).message})`, error);
  }
}

async function findNewest(parent: string): Promise<GuestFiles | undefined> {
  let newest: GuestFiles | undefined;
  for (const name of await listDirectory(parent)) {
    const directory = join(parent, name);
    const manifest = name.startsWith('.') ? undefined : await readManifest(directory);
    if (!manifest || (newest && newest.manifest.fetchedAt >= manifest.fetchedAt)) continue;
    const intact =
      (await isIntact(directory, manifest, manifest.kernel)) && (await isIntact(directory, manifest, manifest.busybox));
    if (intact) newest = { directory, manifest };
  }
  return newest;
}

async function fetchGuest(parent: string, options: GuestImageOptions): Promise<GuestFiles> {
  await removeLeftovers(parent);
  return withTemporaryDirectory(parent, async (work) => {
    const apt = await PrivateApt.create(join(work, 'apt'), options);
    await apt.update();
    const flavour = options.flavour ?? 'cloud-amd64';
    const meta = await apt.candidate(`linux-image-${flavour}`);
    const kernelName = new RegExp(`linux-image-[0-9]\\S*-${flavour}`).exec(meta.depends)?.[0];
    if (!kernelName) throw fetchFailed(`the package ${meta.name} names no kernel that it depends on`);
    const [kernel, busybox] = [await apt.candidate(kernelName), await apt.candidate('busybox-static')];
    const kernelFile = await apt.download(kernel);
    const busyboxFile = await apt.download(busybox);

    options.onProgress?.(`unpacking ${kernelName}`);
    const image = join(work, 'image');
    await mkdir(image);
    await unpack(kernelFile, join(work, 'kernel'), options.signal);
    await unpack(busyboxFile, join(work, 'busybox'), options.signal);
    const release = kernelName.slice('linux-image-'.length);
    await pick(join(work, 'kernel'), [`boot/vmlinuz-${release}`], join(image, 'vmlinuz'));
    await pick(join(work, 'kernel'), [`boot/config-${release}`], join(image, 'config'));
    const modules = `lib/modules/${release}`;
    await mkdir(join(image, 'lib/modules'), { recursive: true });
    await pick(join(work, 'kernel'), [modules, `usr/${modules}`], join(image, modules));
    await pick(join(work, 'busybox'), ['bin/busybox', 'usr/bin/busybox'], join(image, 'busybox'));
    const manifest = await writeManifest(image, {
      release,
      fetchedAt: new Date().toISOString(),
      packages: [kernel, busybox].map(({ name, version, sha256 }) => ({ name, version, sha256 })),
      kernel: 'vmlinuz',
      modules,
      busybox: 'busybox',
    });
    const directory = join(parent, `${release}_${kernel.version.replace(/[^\w.+~-]/g, '_')}`);
    // What is there already is damaged or to be replaced.
    await rm(directory, { recursive: true, force: true });
    await rename(image, directory);
    return { directory, manifest };
  });
}

async function unpack(packageFile: string, into: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await runTool('dpkg-deb', ['--extract', packageFile, into], { signal });
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw fetchFailed(`a fetched package could not be unpacked (${error.summary})`, error);
  }
}

/** Moves the first of `candidates` that exists. */
async function pick(root: string, candidates: readonly string[], target: string): Promise<void> {
  for (const candidate of candidates) {
    if (!(await exists(join(root, candidate)))) continue;
    await rename(join(root, candidate), target);
    return;
  }
  const present = (await readdir(root)).join(', ');
  throw fetchFailed(`the fetched package has no ${candidates[0]} (it has ${present})`);
}
