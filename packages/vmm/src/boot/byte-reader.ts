/** Little-endian fields of a host-side file. Reads past the end answer 0: callers check lengths by name first. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    return this.#has(offset, 1) ? this.#view.getUint8(offset) : 0;
  }

  u16(offset: number): number {
    return this.#has(offset, 2) ? this.#view.getUint16(offset, true) : 0;
  }

  u32(offset: number): number {
    return this.#has(offset, 4) ? this.#view.getUint32(offset, true) : 0;
  }

  u64(offset: number): bigint {
    return this.#has(offset, 8) ? this.#view.getBigUint64(offset, true) : 0n;
  }

  /** A 64-bit field as a double; values of 2^53 and more lose their low bits (no valid offset or address is so large). */
  number64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * 2 ** 32;
  }

  /** True when the bytes at `offset` are those of the ASCII or Latin-1 `text`. */
  matches(offset: number, text: string): boolean {
    if (!this.#has(offset, text.length)) return false;
    for (let i = 0; i < text.length; i++) if (this.bytes[offset + i] !== text.charCodeAt(i)) return false;
    return true;
  }

  #has(offset: number, size: number): boolean {
    return offset >= 0 && offset + size <= this.bytes.length;
  }
}

/** A NUL-terminated copy of `text` in UTF-8, as kernels take command lines and names. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
