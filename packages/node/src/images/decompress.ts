/** The compression formats of kernels, initrds and modules (docs/dependencies.md says why each is done the way it is). */
import { spawnSync } from 'node:child_process';
import * as zlib from 'node:zlib';
import { decompress as fzstdDecompress } from 'fzstd';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import type { CompressionFormat } from '@lodger/vmm/boot/compression.js';
import { decompressLz4Legacy } from './lz4.ts';

/** Node has zstd from 22.15 on. */
const nodeZstd = (
  zlib as { zstdDecompressSync?: (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array }
).zstdDecompressSync;

/** Unpacks one whole stream; throws on damage and on more than `maxSize` bytes. Fits loadKernel()'s `decompress`. */
export function decompress(format: CompressionFormat, bytes: Uint8Array, maxSize: number): Uint8Array {
  switch (format) {
    case 'gzip':
      return zlib.gunzipSync(bytes, { maxOutputLength: maxSize });
    case 'lz4':
      return decompressLz4Legacy(bytes, maxSize);
    case 'zstd':
      return decompressZstd(bytes, maxSize);
    case 'xz':
      return decompressXz(bytes, maxSize);
    default:
      return format satisfies never;
  }
}

function decompressZstd(bytes: Uint8Array, maxSize: number): Uint8Array {
  if (nodeZstd) return nodeZstd(bytes, { maxOutputLength: maxSize });
  if (bytes.length === 0) throw new Error('it is empty');
  const output = fzstdDecompress(bytes);
  if (output.length > maxSize) throw new Error(`it unpacks to more than ${maxSize} bytes`);
  return output;
}

function decompressXz(bytes: Uint8Array, maxSize: number): Uint8Array {
  const { status, stdout, stderr, error } = spawnSync('xz', ['--decompress', '--stdout'], {
    input: bytes,
    maxBuffer: maxSize,
  });
  if (error && (error as NodeJS.ErrnoException).code === 'ENOENT') {
    throw new HostError(
      'KernelUnsupported',
      'an xz-compressed kernel or module needs the xz tool, which this host does not have: install xz-utils, or pass ' +
        'an unpacked kernel',
      { cause: error },
    );
  }
  if (error && (error as NodeJS.ErrnoException).code === 'ENOBUFS') {
    throw new Error(`it unpacks to more than ${maxSize} bytes`);
  }
  if (error && (error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  if (status !== 0) throw new Error(stderr.toString().trim() || `xz failed with status ${status}`);
  return stdout;
}
