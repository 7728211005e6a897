/** LEB128 integers (WebAssembly Core Specification, "Binary Format: Values"). The bytes are not to be changed. */

type Bytes = readonly number[];

/** One-byte encodings, made once: most numbers in code are small. */
const OneByte: readonly Bytes[] = Array.from({ length: 0x80 }, (_, value) => [value]);

export function unsigned(value: number): Bytes {
  if (value < 0x80) return OneByte[value]!;
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return bytes;
}

/** Of a signed 32-bit number. */
export function signed32(value: number): Bytes {
  if (value >= -0x40 && value < 0x40) return OneByte[value & 0x7f]!;
  const bytes: number[] = [];
  let rest = value | 0;
  for (;;) {
    const byte = rest & 0x7f;
    rest >>= 7;
    const done = (rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0);
    bytes.push(done ? byte : byte | 0x80);
    if (done) return bytes;
  }
}

export function signed(value: bigint): Bytes {
  const small = Number(value);
  if (small === (small | 0)) return signed32(small);
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    const done = (rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0);
    bytes.push(done ? byte : byte | 0x80);
    if (done) return bytes;
  }
}
