/** What an unpacked guest image consists of, with checksums: written last, so a folder with a manifest is complete. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { writeAtomically } from './cache.ts';

const ManifestName = 'manifest.json';
const ManifestVersion = 1;

export interface FileRecord {
  readonly size: number;
  readonly mtimeMs: number;
  readonly sha256: string;
}

export interface PackageOrigin {
  readonly name: string;
  readonly version: string;
  /** Of the package file, as apt's signed index gives it. */
  readonly sha256: string;
}

export interface Manifest {
  readonly version: typeof ManifestVersion;
  readonly release: string;
  readonly fetchedAt: string;
  readonly packages: readonly PackageOrigin[];
  /** Paths below the image's folder. */
  readonly kernel: string;
  readonly modules: string;
  readonly busybox: string;
  readonly files: Readonly<Record<string, FileRecord>>;
}

export type ManifestContents = Omit<Manifest, 'version' | 'files'>;

/** Records every file in `directory`. */
export async function writeManifest(directory: string, contents: ManifestContents): Promise<Manifest> {
  const files: Record<string, FileRecord> = {};
  for (const path of await listFiles(directory)) {
    const full = join(directory, path);
    // Whole milliseconds survive the way through JSON and any file system.
    const now = Math.floor(Date.now() / 1000);
    await utimes(full, now, now);
    files[path] = { size: (await stat(full)).size, mtimeMs: now * 1000, sha256: await sha256OfFile(full) };
  }
  const manifest: Manifest = { version: ManifestVersion, ...contents, files };
  await writeAtomically(join(directory, ManifestName), `${JSON.stringify(manifest, undefined, 1)}\n`);
  return manifest;
}

/** The manifest of a complete image, or undefined. */
export async function readManifest(directory: string): Promise<Manifest | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(directory, ManifestName), 'utf8')) as Manifest;
    return manifest.version === ManifestVersion ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** True when a file is as recorded. Its bytes are read only when size or time of change say that it may differ. */
export async function isIntact(directory: string, manifest: Manifest, path: string): Promise<boolean> {
  const record = manifest.files[path];
  if (!record) return false;
  try {
    const { size, mtimeMs } = await stat(join(directory, path));
    if (size !== record.size) return false;
    return mtimeMs === record.mtimeMs || (await sha256OfFile(join(directory, path))) === record.sha256;
  } catch {
    return false;
  }
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/** All regular files below a folder, as sorted paths relative to it. */
export async function listFiles(root: string, below = ''): Promise<string[]> {
  const entries = await readdir(join(root, below), { withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) found.push(...(await listFiles(root, path)));
    else if (entry.isFile()) found.push(path);
  }
  return found;
}
