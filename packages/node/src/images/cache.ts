/**
 * The cache folder, and ways to change it that leave nothing half-made: files and folders appear under their names only
 * when they are complete.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join } from 'node:path';

const TemporaryPrefix = '.tmp-';

/** `$XDG_CACHE_HOME/lodger` (XDG Base Directory Specification: relative values are ignored). */
export function cacheDirectory(): string {
  const configured = process.env['XDG_CACHE_HOME'];
  return join(configured && isAbsolute(configured) ? configured : join(homedir(), '.cache'), 'lodger');
}

/** Writes a whole file: to a temporary name, to the disk, then renamed. */
export async function writeAtomically(path: string, bytes: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `${TemporaryPrefix}${basename(path)}-${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Runs `work` with a folder beside its result's later place, and removes the folder afterwards. */
export async function withTemporaryDirectory<T>(parent: string, work: (directory: string) => Promise<T>): Promise<T> {
  await mkdir(parent, { recursive: true });
  const directory = await mkdtemp(join(parent, TemporaryPrefix));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Removes what killed processes left in `parent`. Only for the holder of the lock on it. */
export async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await listDirectory(parent)) {
    if (name.startsWith(TemporaryPrefix)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** The names in a folder, or none when it does not exist. */
export async function listDirectory(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch {
    return [];
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
