/** Small kernel files for tests: ELF, bzImage and Multiboot images with every field to choose. */

export interface SegmentOptions {
  readonly physical: number;
  readonly virtual?: bigint;
  readonly bytes: Uint8Array;
  readonly memorySize?: number;
}

export interface NoteOptions {
  readonly owner: string;
  readonly type: number;
  readonly description: Uint8Array;
}

export interface ElfOptions {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly type?: number;
  readonly entry: bigint;
  readonly segments: readonly SegmentOptions[];
  readonly notes?: readonly NoteOptions[];
  readonly interpreter?: boolean;
}

/** An ELF executable: headers, then each segment's bytes behind the other. */
export function buildElf(options: ElfOptions): Uint8Array {
  const wide = (options.bits ?? 64) === 64;
  const notes = concat((options.notes ?? []).map(buildNote));
  const parts = [
    ...options.segments.map((segment) => ({ kind: 1, ...segment })),
    ...(notes.length > 0 ? [{ kind: 4, physical: 0, bytes: notes }] : []),
    ...(options.interpreter ? [{ kind: 3, physical: 0, bytes: new Uint8Array(4) }] : []),
  ];
  const headerSize = wide ? 64 : 52;
  const programSize = wide ? 56 : 32;
  const bodyStart = headerSize + parts.length * programSize;
  const file = new Uint8Array(bodyStart + parts.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(file.buffer);
  const word = (offset: number, value: bigint) =>
    wide ? view.setBigUint64(offset, value, true) : view.setUint32(offset, Number(value), true);
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, options.type ?? 2, true);
  view.setUint16(18, options.machine ?? (wide ? 62 : 3), true);
  word(24, options.entry);
  word(wide ? 32 : 28, BigInt(headerSize));
  view.setUint16(wide ? 54 : 42, programSize, true);
  view.setUint16(wide ? 56 : 44, parts.length, true);

  let offset = bodyStart;
  parts.forEach((part, i) => {
    const at = headerSize + i * programSize;
    const virtual = 'virtual' in part && part.virtual !== undefined ? part.virtual : BigInt(part.physical);
    const memorySize = 'memorySize' in part && part.memorySize !== undefined ? part.memorySize : part.bytes.length;
    view.setUint32(at, part.kind, true);
    word(at + (wide ? 8 : 4), BigInt(offset));
    word(at + (wide ? 16 : 8), virtual);
    word(at + (wide ? 24 : 12), BigInt(part.physical));
    word(at + (wide ? 32 : 16), BigInt(part.bytes.length));
    word(at + (wide ? 40 : 20), BigInt(memorySize));
    file.set(part.bytes, offset);
    offset += part.bytes.length;
  });
  return file;
}

function buildNote({ owner, type, description }: NoteOptions): Uint8Array {
  const align = (value: number) => Math.ceil(value / 4) * 4;
  const note = new Uint8Array(12 + align(owner.length + 1) + align(description.length));
  const view = new DataView(note.buffer);
  view.setUint32(0, owner.length + 1, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  for (let i = 0; i < owner.length; i++) note[12 + i] = owner.charCodeAt(i);
  note.set(description, 12 + align(owner.length + 1));
  return note;
}

export const LinuxNote: NoteOptions = { owner: 'Linux', type: 0x100, description: new Uint8Array(4) };

export function pvhNote(entry: number): NoteOptions {
  const description = new Uint8Array(8);
  new DataView(description.buffer).setUint32(0, entry, true);
  return { owner: 'Xen', type: 18, description };
}

export interface BzImageOptions {
  /** What lies at payload_offset: compressed data with its size trailer, as the kernel build leaves it. */
  readonly payload: Uint8Array;
  readonly version?: number;
  readonly loadFlags?: number;
  readonly xloadFlags?: number;
  readonly initrdMax?: number;
  readonly commandLineSize?: number;
}

/** A bzImage with one setup sector of code and the payload 0x100 bytes into the protected-mode part. */
export function buildBzImage(options: BzImageOptions): Uint8Array {
  const codeStart = 2 * 512;
  const payloadOffset = 0x100;
  const paragraphs = Math.ceil((payloadOffset + options.payload.length) / 16);
  const file = new Uint8Array(codeStart + paragraphs * 16);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, 1);
  view.setUint16(0x1f2, 1, true);
  view.setUint32(0x1f4, paragraphs, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  file.set([0x48, 0x64, 0x72, 0x53], 0x202);
  view.setUint16(0x206, options.version ?? 0x20f, true);
  view.setUint8(0x211, options.loadFlags ?? 1);
  view.setUint32(0x22c, options.initrdMax ?? 0x7fff_ffff, true);
  view.setUint16(0x236, options.xloadFlags ?? 0x7f, true);
  view.setUint32(0x238, options.commandLineSize ?? 2047, true);
  view.setUint32(0x248, payloadOffset, true);
  view.setUint32(0x24c, options.payload.length, true);
  file.set(options.payload, codeStart + payloadOffset);
  return file;
}

/** Appends the unpacked size, as the kernel build does to all formats but gzip. */
export function withSizeTrailer(compressed: Uint8Array, size: number): Uint8Array {
  const trailer = new Uint8Array(4);
  new DataView(trailer.buffer).setUint32(0, size, true);
  return concat([compressed, trailer]);
}

/** A Multiboot header; with `addresses` the load addresses of the "a.out kludge". */
export function multibootHeader(flags: number, addresses?: readonly number[]): Uint8Array {
  const words = [0x1bad_b002, flags, -(0x1bad_b002 + flags) >>> 0, ...(addresses ?? [])];
  return new Uint8Array(new Uint32Array(words).buffer);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Bytes that differ from place to place, for comparing copies. */
export function pattern(size: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (i * 7 + seed * 13 + (i >> 8)) & 0xff);
}
