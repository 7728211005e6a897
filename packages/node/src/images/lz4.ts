/**
 * The legacy LZ4 frame format, in which Linux kernels and initrds come (`lz4 -l`).
 *
 * LZ4 Frame Format Description 1.6.3 "Legacy frame": magic, then blocks of at most 8 MiB, each with its compressed size.
 * LZ4 Block Format Description: sequences of literals and matches.
 */

const LegacyMagic = 0x184c_2102;
const MaxBlockSize = 8 * 1024 * 1024;
/** A block cannot grow by more than this when compressed (LZ4_compressBound). */
const MaxCompressedBlock = MaxBlockSize + Math.floor(MaxBlockSize / 255) + 16;
/** Room for a usual kernel; more is taken when it is needed. */
const FirstCapacity = 64 * 1024 * 1024;

/** @throws Error on damaged or truncated input and on more than `maxSize` bytes of output */
export function decompressLz4Legacy(input: Uint8Array, maxSize: number): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (input.length < 8 || view.getUint32(0, true) !== LegacyMagic) throw new Error('no legacy LZ4 frame');
  let output = new Uint8Array(Math.min(maxSize, FirstCapacity));
  let at = 4;
  let written = 0;
  while (at < input.length) {
    if (at + 4 > input.length) throw new Error('a block size is cut off');
    const size = view.getUint32(at, true);
    at += 4;
    // Frames may follow each other, as the kernel's own decompressor allows.
    if (size === LegacyMagic) continue;
    if (size === 0 || size > MaxCompressedBlock) throw new Error(`impossible block size ${size}`);
    if (at + size > input.length) throw new Error('a block is cut off');
    const limit = Math.min(maxSize, written + MaxBlockSize);
    if (limit > output.length) output = grown(output, Math.min(maxSize, Math.max(limit, 2 * output.length)));
    written = decompressBlock(input.subarray(at, at + size), output, written, limit);
    at += size;
  }
  return output.subarray(0, written);
}

function grown(bytes: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(size);
  larger.set(bytes);
  return larger;
}

const MinMatch = 4;

/** Unpacks one block behind `start`; matches reach back into this block only. Returns the new end. */
function decompressBlock(input: Uint8Array, output: Uint8Array, start: number, limit: number): number {
  let from = 0;
  let to = start;
  const extended = (length: number): number => {
    if (length !== 15) return length;
    let byte: number;
    do {
      if (from >= input.length) throw new Error('a length is cut off');
      byte = input[from++]!;
      length += byte;
    } while (byte === 255);
    return length;
  };
  while (from < input.length) {
    const token = input[from++]!;
    const literals = extended(token >> 4);
    if (from + literals > input.length) throw new Error('literals are cut off');
    if (to + literals > limit) throw new Error('a block unpacks to more than it may');
    output.set(input.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === input.length) return to;

    if (from + 2 > input.length) throw new Error('a match offset is cut off');
    const offset = input[from]! | (input[from + 1]! << 8);
    from += 2;
    const length = extended(token & 15) + MinMatch;
    if (offset === 0 || to - offset < start) throw new Error('a match reaches before its block');
    if (to + length > limit) throw new Error('a block unpacks to more than it may');
    copyMatch(output, to, offset, length);
    to += length;
  }
  throw new Error('a block ends without its last literals');
}

/** A match may overlap its own output: then it repeats with the period `offset`. */
function copyMatch(output: Uint8Array, to: number, offset: number, length: number): void {
  if (offset >= length && length > 32) {
    output.copyWithin(to, to - offset, to - offset + length);
    return;
  }
  for (let i = 0; i < length; i++) output[to + i] = output[to - offset + i]!;
}
