/**
 * A register block described as data: an ordered list of named fields, accessed at any offset and width.
 *
 * PCI configuration space and virtio's common configuration structure are both described this way, so what an access of
 * an odd width or one across several fields does is decided here, once.
 */
import type { AccessSize, BusDevice } from '../../bus/bus-device.ts';
import { HostError } from '../../errors/host-error.ts';

/** One register, little-endian. Values are unsigned numbers of `bytes` bytes. */
export interface RegisterField {
  readonly name: string;
  /** 1, 2 or 4; a {@link reserved} span may be longer. */
  readonly bytes: number;
  read(): number;
  /**
   * Writes the bytes of the register that `mask` covers (whole bytes; in place, as `value` is). Bits of `value` outside
   * of `mask` are zero: a write-one-to-clear register needs no more; others merge with {@link merge}.
   */
  write(value: number, mask: number): void;
}

/** `current` with the bits of `mask` replaced by those of `value`. */
export function merge(current: number, value: number, mask: number): number {
  return ((current & ~mask) | (value & mask)) >>> 0;
}

/** A register that reads as `value` and ignores writes. */
export function constant(name: string, bytes: 1 | 2 | 4, value: number): RegisterField {
  return { name, bytes, read: () => value, write: ignoreWrite };
}

/** A span of any length that reads as zero and ignores writes. */
export function reserved(bytes: number): RegisterField {
  return { name: 'reserved', bytes, read: () => 0, write: ignoreWrite };
}

/** A register kept elsewhere: `set` gets the whole merged value, of which only `writable` bits can change. */
export function register(
  name: string,
  bytes: 1 | 2 | 4,
  access: { get(): number; set(value: number): void; writable?: number },
): RegisterField {
  const writable = access.writable ?? 0xffff_ffff;
  return {
    name,
    bytes,
    read: access.get,
    write: (value, mask) => access.set(merge(access.get(), value, mask & writable)),
  };
}

function ignoreWrite(): void {}

/** The register block of `size` bytes that `fields` describe from offset 0 on. Bytes after the last field are reserved. */
export class RegisterSpace implements BusDevice {
  readonly size: number;
  readonly fields: readonly RegisterField[];
  readonly #starts: readonly number[];
  /** The index of the field that holds each byte. */
  readonly #fieldOf: Uint16Array;

  constructor(size: number, fields: readonly RegisterField[]) {
    const starts: number[] = [];
    let end = 0;
    for (const field of fields) {
      starts.push(end);
      end += field.bytes;
    }
    if (end > size) throw new HostError('Internal', `registers of ${end} bytes do not fit into a space of ${size}`);
    this.size = size;
    this.fields = end < size ? [...fields, reserved(size - end)] : fields;
    this.#starts = end < size ? [...starts, end] : starts;
    this.#fieldOf = new Uint16Array(size);
    this.fields.forEach((field, index) => {
      const start = this.#starts[index]!;
      this.#fieldOf.fill(index, start, start + field.bytes);
    });
  }

  /** The offset of the first field called `name`. */
  offsetOf(name: string): number {
    const index = this.fields.findIndex((field) => field.name === name);
    if (index < 0) throw new HostError('Internal', `there is no register called ${name}`);
    return this.#starts[index]!;
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    this.#eachPart(offset, size, (field, shift, bytes, at) => {
      value |= ((field.read() >>> shift) & byteMask(bytes)) << at;
    });
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.#eachPart(offset, size, (field, shift, bytes, at) => {
      const mask = byteMask(bytes);
      field.write((((value >>> at) & mask) << shift) >>> 0, (mask << shift) >>> 0);
    });
  }

  /** Calls `visit` for each field that an access touches: bit positions in the field and in the accessed value. */
  #eachPart(
    offset: number,
    size: number,
    visit: (field: RegisterField, shift: number, bytes: number, at: number) => void,
  ): void {
    const end = Math.min(offset + Math.min(size, 4), this.size);
    for (let byte = offset; byte < end;) {
      const index = this.#fieldOf[byte]!;
      const field = this.fields[index]!;
      const within = byte - this.#starts[index]!;
      const bytes = Math.min(field.bytes - within, end - byte);
      // Longer fields are reserved spans: which of their (zero) bytes are meant does not matter.
      visit(field, field.bytes > 4 ? 0 : within * 8, bytes, (byte - offset) * 8);
      byte += bytes;
    }
  }
}

function byteMask(bytes: number): number {
  return bytes >= 4 ? 0xffff_ffff : (1 << (bytes * 8)) - 1;
}
