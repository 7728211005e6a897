/**
 * Initrds from files, checked before a guest fails on them: an archive that the kernel will not recognize or that is cut
 * off would end in "VFS: Unable to mount root fs" or in a half-filled root.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { detectCompression, MaxKernelSize } from '@lodger/vmm/boot/compression.js';
import { cacheDirectory, exists, writeAtomically } from './cache.ts';
import { decompress } from './decompress.ts';
import { readWhole } from './kernel-file.ts';

/** @throws HostError when the file cannot be read, is no initrd or is cut off */
export async function loadInitrdFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readWhole(path, 'initrd', 'InitrdUnreadable');
  if (bytes.length === 0) throw unsupported(path, 'is empty: build or copy it again');
  let at = 0;
  // Archives may follow each other with zeros between them (buffer-format.rst "initramfs buffer format").
  while (at < bytes.length) {
    if (bytes[at] === 0) at++;
    else if (isCpio(bytes, at)) at = skipCpio(path, bytes, at);
    else {
      await checkCompressed(path, bytes.subarray(at), at === 0);
      break;
    }
  }
  if (bytes.every((byte) => byte === 0)) throw unsupported(path, 'holds only zeros: build or copy it again');
  return bytes;
}

const NewcHeaderSize = 110;
const FileSizeField = 54;
const NameSizeField = 94;

function isCpio(bytes: Uint8Array, at: number): boolean {
  const magic = Buffer.from(bytes.subarray(at, at + 6)).toString('latin1');
  return magic === '070701' || magic === '070702';
}

/** Walks an uncompressed archive up to its trailer and returns the offset behind it. */
function skipCpio(path: string, bytes: Uint8Array, start: number): number {
  const align = (offset: number) => start + Math.ceil((offset - start) / 4) * 4;
  let at = start;
  for (;;) {
    if (at + NewcHeaderSize > bytes.length || !isCpio(bytes, at)) throw truncated(path);
    const hex = (field: number) =>
      Number.parseInt(Buffer.from(bytes.subarray(at + field, at + field + 8)).toString('latin1'), 16) || 0;
    const nameEnd = at + NewcHeaderSize + hex(NameSizeField);
    const name = Buffer.from(bytes.subarray(at + NewcHeaderSize, nameEnd - 1)).toString('latin1');
    if (name === 'TRAILER!!!') return nameEnd;
    at = align(align(nameEnd) + hex(FileSizeField));
  }
}

/** Unpacks once to see that nothing is missing; the cache remembers archives that were whole. */
async function checkCompressed(path: string, bytes: Uint8Array, wholeFile: boolean): Promise<void> {
  const format = detectCompression(bytes);
  if (format === undefined) {
    if (!wholeFile) throw unsupported(path, 'holds something behind its first archive that is none: build it again');
    throw unsupported(path, 'is no initrd: pass a cpio archive in newc format, compressed or not');
  }
  if (format === 'bzip2' || format === 'lzma' || format === 'lzo') return;
  const digest = createHash('sha256').update(bytes).digest('hex');
  const mark = join(cacheDirectory(), 'checked-initrds', digest);
  if (await exists(mark)) return;
  try {
    decompress(format, bytes, 2 * MaxKernelSize - 1);
  } catch (cause) {
    if (cause instanceof HostError) return;
    throw truncated(path, `its ${format} data: ${(cause as Error).message}`, cause);
  }
  await writeAtomically(mark, '').catch(() => {});
}

function unsupported(path: string, what: string): HostError {
  return new HostError('InitrdUnsupported', `the initrd ${path} ${what}`);
}

function truncated(path: string, detail = 'it ends inside an archive', cause?: unknown): HostError {
  const message = `the initrd ${path} is truncated or damaged (${detail}): build or copy it again`;
  return new HostError('InitrdUnsupported', message, { cause });
}
