/**
 * Initrds from files, checked before a guest fails on them: an archive that the kernel will not recognize or that is cut
 * off would end in "VFS: Unable to mount root fs" or in a half-filled root.
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { detectCompression, MaxKernelSize } from '@lodger/vmm/boot/compression.js';
import { decompress } from './decompress.ts';
import { knownOfFile, noteOfFile } from './file-identity.ts';
import { readWhole, withFile } from './kernel-file.ts';

/** Where the cache has which initrds were found whole. */
const CheckedFolder = 'checked-initrds';

/**
 * Reads and checks an initrd, unless it is known to be whole.
 *
 * @throws HostError when the file cannot be read, is no initrd or is cut off
 */
export async function checkInitrdFile(path: string): Promise<void> {
  await withFile(path, 'initrd', 'InitrdUnreadable', async (file, status) => {
    if ((await knownOfFile(CheckedFolder, status)) !== undefined) return;
    check(path, await file.readFile());
    await noteOfFile(CheckedFolder, status, '');
  });
}

/** The bytes of an initrd, checked. */
export async function loadInitrdFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
  await checkInitrdFile(path);
  return readWhole(path, 'initrd', 'InitrdUnreadable');
}

function check(path: string, bytes: Uint8Array): void {
  if (bytes.length === 0) throw unsupported(path, 'is empty: build or copy it again');
  let at = 0;
  // Archives may follow each other with zeros between them (buffer-format.rst "initramfs buffer format").
  while (at < bytes.length) {
    if (bytes[at] === 0) at++;
    else if (isCpio(bytes, at)) at = skipCpio(path, bytes, at);
    else {
      checkCompressed(path, bytes.subarray(at), at === 0);
      break;
    }
  }
  if (bytes.every((byte) => byte === 0)) throw unsupported(path, 'holds only zeros: build or copy it again');
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

/** Unpacks to see that nothing is missing. */
function checkCompressed(path: string, bytes: Uint8Array, wholeFile: boolean): void {
  const format = detectCompression(bytes);
  if (format === undefined) {
    if (!wholeFile) throw unsupported(path, 'holds something behind its first archive that is none: build it again');
    throw unsupported(path, 'is no initrd: pass a cpio archive in newc format, compressed or not');
  }
  if (format === 'bzip2' || format === 'lzma' || format === 'lzo') return;
  try {
    decompress(format, bytes, 2 * MaxKernelSize - 1);
  } catch (cause) {
    if (cause instanceof HostError) return;
    throw truncated(path, `its ${format} data: ${(cause as Error).message}`, cause);
  }
}

function unsupported(path: string, what: string): HostError {
  return new HostError('InitrdUnsupported', `the initrd ${path} ${what}`);
}

function truncated(path: string, detail = 'it ends inside an archive', cause?: unknown): HostError {
  const message = `the initrd ${path} is truncated or damaged (${detail}): build or copy it again`;
  return new HostError('InitrdUnsupported', message, { cause });
}
