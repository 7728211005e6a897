/**
 * Bit layouts of registers, checked when the module loads.
 *
 * A layout names every bit, reserved ones too: overlaps, unnamed gaps and fields beyond the width are refused at load.
 *
 * ```ts
 * const LineControl = bitfield(8, { WordLength: [1, 0], StopBits: 2, Parity: [5, 3], Break: 6, DivisorLatch: 7 });
 * LineControl.WordLength.get(0x83); // 3
 * LineControl.DivisorLatch.isSet(0x83); // true
 * LineControl.Break.set(0x03, 1); // 0x43
 * LineControl.of({ WordLength: 3, DivisorLatch: 1 }); // 0x83
 * ```
 */

/** Where a field sits: one bit, or `[highest, lowest]` as manuals write it. */
export type BitRange = number | readonly [highest: number, lowest: number];

/** One field of a layout of up to 32 bits. Values are unsigned numbers. */
export class BitField {
  readonly shift: number;
  readonly width: number;
  /** The field's bits in place. */
  readonly mask: number;
  /** The largest value that the field holds. */
  readonly maximum: number;

  constructor(shift: number, width: number) {
    this.shift = shift;
    this.width = width;
    this.maximum = 2 ** width - 1;
    this.mask = (this.maximum * 2 ** shift) >>> 0;
  }

  /** The field's value in `register`. */
  get(register: number): number {
    return (register & this.mask) >>> this.shift;
  }

  /** True when any bit of the field is set in `register`. */
  isSet(register: number): boolean {
    return (register & this.mask) !== 0;
  }

  /** `register` with the field replaced; bits of `value` beyond the field are ignored. */
  set(register: number, value: number | boolean): number {
    return ((register & ~this.mask) | ((Number(value) << this.shift) & this.mask)) >>> 0;
  }
}

/** One field of a 64-bit layout. Values are unsigned bigints. */
export class WideBitField {
  readonly shift: bigint;
  readonly width: number;
  /** The field's bits in place. */
  readonly mask: bigint;
  readonly maximum: bigint;

  constructor(shift: number, width: number) {
    this.shift = BigInt(shift);
    this.width = width;
    this.maximum = (1n << BigInt(width)) - 1n;
    this.mask = this.maximum << this.shift;
  }

  get(register: bigint): bigint {
    return (register & this.mask) >> this.shift;
  }

  isSet(register: bigint): boolean {
    return (register & this.mask) !== 0n;
  }

  set(register: bigint, value: bigint | number | boolean): bigint {
    return BigInt.asUintN(64, (register & ~this.mask) | ((BigInt(value) << this.shift) & this.mask));
  }
}

type Ranges = Readonly<Record<string, BitRange>>;

/** A layout: its fields by name, and `of` to compose a register from field values (the others are zero). */
export type BitLayout<R extends Ranges> = { readonly [Name in keyof R]: BitField } & {
  of(values: { readonly [Name in keyof R]?: number | boolean }): number;
};

export type WideBitLayout<R extends Ranges> = { readonly [Name in keyof R]: WideBitField } & {
  of(values: { readonly [Name in keyof R]?: bigint | number | boolean }): bigint;
};

/** Defines a bit layout. Throws RangeError at load when the fields do not tile the register exactly. */
export function bitfield<const R extends Ranges>(width: 8 | 16 | 32, ranges: R): BitLayout<R>;
export function bitfield<const R extends Ranges>(width: 64, ranges: R): WideBitLayout<R>;
export function bitfield(width: 8 | 16 | 32 | 64, ranges: Ranges): unknown {
  const placed = place(width, ranges);
  if (width === 64) return wideLayout(placed);
  const fields = new Map(placed.map(({ name, low, bits }) => [name, new BitField(low, bits)]));
  const of = (values: Readonly<Record<string, number | boolean>>): number =>
    Object.entries(values).reduce((register, [name, value]) => fields.get(name)!.set(register, value), 0);
  return Object.freeze({ ...Object.fromEntries(fields), of });
}

interface PlacedField {
  readonly name: string;
  readonly low: number;
  readonly bits: number;
}

function wideLayout(placed: readonly PlacedField[]): unknown {
  const fields = new Map(placed.map(({ name, low, bits }) => [name, new WideBitField(low, bits)]));
  const of = (values: Readonly<Record<string, bigint | number | boolean>>): bigint =>
    Object.entries(values).reduce((register, [name, value]) => fields.get(name)!.set(register, value), 0n);
  return Object.freeze({ ...Object.fromEntries(fields), of });
}

/** The fields in ascending bit order, having checked that they cover bits 0 to `width - 1` once each. */
function place(width: number, ranges: Ranges): PlacedField[] {
  const placed = Object.entries(ranges).map(([name, range]) => {
    const [high, low] = typeof range === 'number' ? [range, range] : range;
    if (name === 'of') throw new RangeError('bitfield: a field cannot be called "of"');
    if (!Number.isInteger(low) || !Number.isInteger(high) || low < 0 || high < low || high >= width) {
      throw new RangeError(`bitfield: ${name} [${high}:${low}] does not fit into ${width} bits`);
    }
    return { name, low, bits: high - low + 1 };
  });
  placed.sort((a, b) => a.low - b.low);
  let next = 0;
  for (const { name, low, bits } of placed) {
    if (low < next) throw new RangeError(`bitfield: ${name} overlaps the field below it at bit ${low}`);
    if (low > next) throw new RangeError(`bitfield: bits ${next} to ${low - 1}, below ${name}, have no name`);
    next = low + bits;
  }
  if (next !== width) throw new RangeError(`bitfield: bits ${next} to ${width - 1} have no name`);
  return placed;
}
