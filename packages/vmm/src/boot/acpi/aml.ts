/**
 * A small AML builder: functions that return encoded terms, named like the ASL operators.
 *
 * Spec: ACPI 6.4 chapter 20 "ACPI Machine Language (AML) Specification".
 */
import { ascii, concat, u16, u32, u64, u8 } from './bytes.ts';

/** An encoded term. */
export type Aml = Uint8Array;

/** ACPI 6.4 §20.3 "AML Byte Stream Byte Values". */
const Op = {
  Zero: 0x00,
  One: 0x01,
  Name: 0x08,
  BytePrefix: 0x0a,
  WordPrefix: 0x0b,
  DWordPrefix: 0x0c,
  QWordPrefix: 0x0e,
  Scope: 0x10,
  Buffer: 0x11,
  Package: 0x12,
  Method: 0x14,
  DualNamePrefix: 0x2e,
  MultiNamePrefix: 0x2f,
  ExtendedPrefix: 0x5b,
  RootCharacter: 0x5c,
  ParentCharacter: 0x5e,
  Argument0: 0x68,
  And: 0x7b,
  Or: 0x7d,
  CreateDWordField: 0x8a,
  LogicalEqual: 0x93,
  If: 0xa0,
  Else: 0xa1,
  Return: 0xa4,
} as const;
const ExtendedOp = { Device: 0x82 } as const;

/** §20.2.4 "Package Length Encoding". The length counts itself. */
function withLength(op: readonly number[], body: Uint8Array): Aml {
  const shortest = body.length + 1;
  if (shortest < 0x40) return concat([Uint8Array.from(op), u8(shortest), body]);
  const extra = body.length + 2 < 0x1000 ? 1 : body.length + 3 < 0x10_0000 ? 2 : 3;
  const length = body.length + 1 + extra;
  const lead = (extra << 6) | (length & 0xf);
  const rest = Array.from({ length: extra }, (_, index) => (length >>> (4 + index * 8)) & 0xff);
  return concat([Uint8Array.from(op), Uint8Array.of(lead, ...rest), body]);
}

/** §20.2.2 "Name Objects Encoding": `\_SB.PCI0`, `^COM1`, `CRES`. Segments are padded with underscores. */
export function nameString(path: string): Aml {
  const prefix = /^[\\^]*/.exec(path)![0];
  const segments = path.slice(prefix.length).split('.');
  const names = segments.map((segment) => ascii(segment, 4, '_'));
  const lead =
    segments.length === 1 ? [] : segments.length === 2 ? [Op.DualNamePrefix] : [Op.MultiNamePrefix, segments.length];
  return concat([ascii(prefix), Uint8Array.from(lead), ...names]);
}

/** The shortest encoding of an unsigned number below 2^53. */
export function integer(value: number): Aml {
  if (value === 0) return u8(Op.Zero);
  if (value === 1) return u8(Op.One);
  if (value < 0x100) return concat([u8(Op.BytePrefix), u8(value)]);
  if (value < 0x1_0000) return concat([u8(Op.WordPrefix), u16(value)]);
  if (value < 2 ** 32) return concat([u8(Op.DWordPrefix), u32(value)]);
  return concat([u8(Op.QWordPrefix), u64(value)]);
}

/** A compressed EISA ID: `eisaId('PNP0A08')`. §19.6.37 "EisaId". */
export function eisaId(id: string): Aml {
  const letters = [...id.slice(0, 3)].reduce((code, letter) => (code << 5) | (letter.charCodeAt(0) - 0x40), 0);
  const product = Number.parseInt(id.slice(3), 16);
  // The ID is big-endian inside of a little-endian double word.
  const swapped = [letters >>> 8, letters & 0xff, product >>> 8, product & 0xff];
  return concat([u8(Op.DWordPrefix), Uint8Array.from(swapped)]);
}

export function buffer(bytes: Uint8Array): Aml {
  return withLength([Op.Buffer], concat([integer(bytes.length), bytes]));
}

/** §19.6.142 "ToUUID": the first three groups are little-endian. */
export function uuid(text: string): Aml {
  const bytes = text
    .replaceAll('-', '')
    .match(/../g)!
    .map((pair) => Number.parseInt(pair, 16));
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return buffer(Uint8Array.from(order, (index) => bytes[index]!));
}

export function packageOf(elements: readonly Aml[]): Aml {
  return withLength([Op.Package], concat([u8(elements.length), ...elements]));
}

export function name(path: string, value: Aml): Aml {
  return concat([u8(Op.Name), nameString(path), value]);
}

export function scope(path: string, body: readonly Aml[]): Aml {
  return withLength([Op.Scope], concat([nameString(path), ...body]));
}

export function device(path: string, body: readonly Aml[]): Aml {
  return withLength([Op.ExtendedPrefix, ExtendedOp.Device], concat([nameString(path), ...body]));
}

/** §20.2.5.2 "Named Objects Encoding": method flags. */
const Serialized = 1 << 3;

/** A method of `args` arguments, serialized: it may create named objects. */
export function method(path: string, args: number, body: readonly Aml[]): Aml {
  return withLength([Op.Method], concat([nameString(path), u8(args | Serialized), ...body]));
}

export function argument(index: number): Aml {
  return u8(Op.Argument0 + index);
}

export function returns(value: Aml): Aml {
  return concat([u8(Op.Return), value]);
}

export function when(condition: Aml, body: readonly Aml[]): Aml {
  return withLength([Op.If], concat([condition, ...body]));
}

/** Directly after a {@link when}. */
export function otherwise(body: readonly Aml[]): Aml {
  return withLength([Op.Else], concat(body));
}

export function equal(left: Aml, right: Aml): Aml {
  return concat([u8(Op.LogicalEqual), left, right]);
}

/** `target = left & right`. */
export function and(left: Aml, right: Aml, target: Aml): Aml {
  return concat([u8(Op.And), left, right, target]);
}

/** `target = left | right`. */
export function or(left: Aml, right: Aml, target: Aml): Aml {
  return concat([u8(Op.Or), left, right, target]);
}

export function createDWordField(source: Aml, byteIndex: number, field: string): Aml {
  return concat([u8(Op.CreateDWordField), source, integer(byteIndex), nameString(field)]);
}
