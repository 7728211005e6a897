/**
 * What was once found out about a file's contents, kept in the cache by what stat(2) says of the file: as long as that is
 * the same, the file need not be read again.
 */
import type { BigIntStats } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, writeAtomically } from './cache.ts';

/**
 * Milliseconds after its last change in which a file can change again without a new time of change: file systems keep
 * times in steps of up to two seconds.
 */
const TimeStep = 2_000;

/** What was kept under `folder` about the file that has this status. */
export async function knownOfFile(folder: string, status: BigIntStats): Promise<string | undefined> {
  return readFile(pathOf(folder, status), 'utf8').catch(() => undefined);
}

/** `status`: from before the file was read. Without a writable cache nothing is kept. */
export async function noteOfFile(folder: string, status: BigIntStats, text: string): Promise<void> {
  if (Date.now() - Number(status.ctimeMs) < TimeStep) return;
  await writeAtomically(pathOf(folder, status), text).catch(() => {});
}

function pathOf(folder: string, { dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return join(cacheDirectory(), folder, [dev, ino, size, mtimeNs, ctimeNs].join('-'));
}
