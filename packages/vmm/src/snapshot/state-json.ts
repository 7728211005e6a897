/**
 * Saved state as JSON text. What JSON has no word for becomes an object with one member, whose name starts with `$`:
 *
 *     123n                 {"$bigint":"7b"}         hexadecimal
 *     Uint8Array.of(1, 2)  {"$bytes":"0102"}
 *     undefined            {"$undefined":true}      in arrays; members of objects are left out
 *     Infinity             {"$number":"Infinity"}   and -Infinity, NaN, -0
 */
import { HostError } from '../errors/host-error.ts';

const Tag = { BigInt: '$bigint', Bytes: '$bytes', Undefined: '$undefined', Number: '$number' } as const;

/** @throws HostError('Internal') when a value is none that state may have. */
export function encodeState(state: unknown): string {
  return JSON.stringify(toJson(state, 'state'));
}

/** @throws HostError('InvalidArgument') when the text is not what {@link encodeState} makes. */
export function decodeState(text: string): unknown {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw damaged('it is not JSON', cause);
  }
  return fromJson(json);
}

function damaged(why: string, cause?: unknown): HostError {
  return new HostError(
    'InvalidArgument',
    `the saved state is damaged (${why}): use another copy of the file, or save the machine again`,
    { cause },
  );
}

const PlainPrototypes: readonly unknown[] = [Object.prototype, null];

function toJson(value: unknown, path: string): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { [Tag.Number]: numberName(value) };
    case 'bigint':
      return { [Tag.BigInt]: value.toString(16) };
    case 'undefined':
      return { [Tag.Undefined]: true };
    case 'object':
      return objectToJson(value, path);
    default:
      throw new HostError('Internal', `${path} is a ${typeof value}, which cannot be saved`);
  }
}

const numberName = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

function objectToJson(value: object | null, path: string): unknown {
  if (value === null) return null;
  if (value instanceof Uint8Array) return { [Tag.Bytes]: toHex(value) };
  if (Array.isArray(value)) return value.map((element, index) => toJson(element, `${path}[${index}]`));
  if (!PlainPrototypes.includes(Object.getPrototypeOf(value))) {
    throw new HostError('Internal', `${path} is a ${value.constructor.name}, which cannot be saved`);
  }
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  const reserved = members.find(([name]) => name.startsWith('$'));
  if (reserved) throw new HostError('Internal', `${path}.${reserved[0]} has a name that cannot be saved`);
  return Object.fromEntries(members.map(([name, member]) => [name, toJson(member, `${path}.${name}`)]));
}

function fromJson(json: unknown): unknown {
  if (typeof json !== 'object' || json === null) return json;
  if (Array.isArray(json)) return json.map(fromJson);
  const members = Object.entries(json);
  const [first] = members;
  if (first?.[0].startsWith('$')) return fromTagged(first[0], first[1]);
  // __proto__ is a name like any other
  return Object.fromEntries(members.map(([name, member]) => [name, fromJson(member)]));
}

const SpecialNumbers: Readonly<Record<string, number>> = { Infinity, '-Infinity': -Infinity, NaN, '-0': -0 };

function fromTagged(tag: string, content: unknown): unknown {
  if (tag === Tag.Undefined) return undefined;
  if (typeof content === 'string') {
    if (tag === Tag.BigInt && /^-?[\da-f]+$/.test(content)) return parseHex(content);
    if (tag === Tag.Bytes && /^(?:[\da-f]{2})*$/.test(content)) return fromHex(content);
    const number = tag === Tag.Number ? SpecialNumbers[content] : undefined;
    if (number !== undefined) return number;
  }
  throw damaged(`a value of the unknown form ${tag}`);
}

const parseHex = (text: string): bigint => (text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`));

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
