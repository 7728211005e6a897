/** Little-endian bytes, put together piece by piece. */

export function u8(value: number): Uint8Array {
  return Uint8Array.of(value);
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8);
}

export function u32(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

/** For addresses and sizes, which are exact as numbers. */
export function u64(value: number): Uint8Array {
  return concat([u32(value % 2 ** 32), u32(Math.floor(value / 2 ** 32))]);
}

export function zeros(count: number): Uint8Array {
  return new Uint8Array(count);
}

/** ASCII characters, padded with `padding` to `length` if given. */
export function ascii(text: string, length = text.length, padding = ' '): Uint8Array {
  const padded = text.padEnd(length, padding).slice(0, length);
  return Uint8Array.from(padded, (character) => character.charCodeAt(0) & 0x7f);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** What makes the sum of all bytes zero modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
