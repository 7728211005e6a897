/** A kernel's file, of which only parts have to be in memory: a segment goes straight from the file to guest memory. */
export interface ByteSource {
  readonly length: number;
  /** Fills `target` with what is at `position`; answers the number of bytes, fewer only at the end. */
  read(position: number, target: Uint8Array): number;
}

export function byteSource(bytes: Uint8Array | ByteSource): ByteSource {
  if (!(bytes instanceof Uint8Array)) return bytes;
  return {
    length: bytes.length,
    read(position, target) {
      const part = bytes.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
}

export function wholeOf(bytes: Uint8Array | ByteSource): Uint8Array {
  return bytes instanceof Uint8Array ? bytes : readPart(bytes, 0, bytes.length);
}

/** The bytes from `position` on, cut off at the end. */
export function readPart(source: ByteSource, position: number, length: number): Uint8Array {
  const part = new Uint8Array(Math.max(0, Math.min(length, source.length - position)));
  return part.subarray(0, source.read(position, part));
}
