/**
 * Structures of C as the kernel reads them: little-endian, naturally aligned.
 *
 * A structure is declared by its fields in order, padding included: a gap that nobody named is refused when the module
 * is loaded. Fields keep the names that they have in C, so that a test can compare every offset with the C headers; a name
 * that starts with `_` is padding that the compiler adds and C has no name for.
 *
 * `read` and `write` walk the fields and are for state, not for the exit path: code that is run often takes constants
 * from `offset` and uses a DataView.
 */

/** How a value of one type lies in memory and what it is in TypeScript. */
export interface Type<T> {
  /** The C name for messages and tests: `__u32`, `struct kvm_regs`. */
  readonly cName: string;
  readonly size: number;
  readonly align: number;
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: T): void;
}

type NumberGetter = 'getUint8' | 'getUint16' | 'getUint32' | 'getInt8' | 'getInt16' | 'getInt32';
type NumberSetter = 'setUint8' | 'setUint16' | 'setUint32' | 'setInt8' | 'setInt16' | 'setInt32';

function numberType(cName: string, size: number, get: NumberGetter, set: NumberSetter): Type<number> {
  return {
    cName,
    size,
    align: size,
    read: (view, offset) => view[get](offset, true),
    write: (view, offset, value) => view[set](offset, value, true),
  };
}

export const u8 = numberType('__u8', 1, 'getUint8', 'setUint8');
export const u16 = numberType('__u16', 2, 'getUint16', 'setUint16');
export const u32 = numberType('__u32', 4, 'getUint32', 'setUint32');
export const s16 = numberType('__s16', 2, 'getInt16', 'setInt16');
export const s32 = numberType('__s32', 4, 'getInt32', 'setInt32');

export const u64: Type<bigint> = {
  cName: '__u64',
  size: 8,
  align: 8,
  read: (view, offset) => view.getBigUint64(offset, true),
  write: (view, offset, value) => view.setBigUint64(offset, value, true),
};

export const s64: Type<bigint> = {
  cName: '__s64',
  size: 8,
  align: 8,
  read: (view, offset) => view.getBigInt64(offset, true),
  write: (view, offset, value) => view.setBigInt64(offset, value, true),
};

/** `__u8 name[length]`: a copy of the bytes. */
export function bytes(length: number): Type<Uint8Array> {
  return {
    cName: `__u8[${length}]`,
    size: length,
    align: 1,
    read: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, length).slice(),
    write: (view, offset, value) => {
      if (value.length > length) throw new RangeError(`${value.length} bytes do not fit into ${length}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, length).set(value);
    },
  };
}

/** `type name[length]`. A shorter array given to `write` leaves the rest as it is. */
export function array<T>(type: Type<T>, length: number): ArrayType<T> {
  return {
    cName: `${type.cName}[${length}]`,
    size: type.size * length,
    align: type.align,
    element: type,
    read: (view, offset) => Array.from({ length }, (_, index) => type.read(view, offset + index * type.size)),
    write: (view, offset, values) => {
      if (values.length > length) throw new RangeError(`${values.length} elements do not fit into ${length}`);
      values.forEach((value, index) => type.write(view, offset + index * type.size, value));
    },
  };
}

export interface ArrayType<T> extends Type<readonly T[]> {
  readonly element: Type<T>;
}

/**
 * `type name[]`, the last field: it adds nothing to the size. Its elements are read and written one by one at
 * `offset.name + index * element.size`; `read` and `write` of the structure leave them out.
 */
export function flexible<T>(element: Type<T>): FlexibleType<T> {
  return {
    cName: `${element.cName}[]`,
    size: 0,
    align: element.align,
    element,
    flexible: true,
    read: () => undefined,
    write: () => {},
  };
}

export interface FlexibleType<T> extends Type<undefined> {
  readonly element: Type<T>;
  readonly flexible: true;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Fields = Readonly<Record<string, Type<any>>>;
type ValueOf<F> = F extends Type<infer T> ? T : never;
/** What `read` answers. */
export type StructValue<F extends Fields> = { [K in keyof F]: ValueOf<F[K]> };
/** The value that a structure stands for: `Value<typeof Regs>`. */
export type Value<S> = S extends Type<infer T> ? T : never;
/** What `write` takes at the outermost level: fields left out stay as they are. */
export type StructUpdate<F extends Fields> = { readonly [K in keyof F]?: ValueOf<F[K]> };

export interface Struct<F extends Fields> extends Type<StructValue<F>> {
  readonly fields: F;
  readonly offset: { readonly [K in keyof F]: number };
  /** Size with `count` elements in the flexible last field. */
  sizeWith(count: number): number;
  /** A new zeroed buffer with the given fields set. */
  create(value?: StructUpdate<F>, count?: number): Uint8Array;
  /** The structure at `offset` of `memory`. */
  decode(memory: Uint8Array, offset?: number): StructValue<F>;
  /** Sets the given fields of the structure at `offset`. */
  update(view: DataView, value: StructUpdate<F>, offset?: number): void;
  /** A nested structure or union that has no name in C: its fields are addressed without one. */
  readonly anonymous: boolean;
}

/** A structure. `cName` is `struct …`, or '' for one declared inside another. */
export function struct<const F extends Fields>(cName: string, fields: F): Struct<F> {
  const offset: Record<string, number> = {};
  let end = 0;
  let align = 1;
  for (const [name, type] of Object.entries(fields)) {
    if (end % type.align !== 0) throw new TypeError(`${cName || 'struct'}: name the padding before ${name}`);
    offset[name] = end;
    end += type.size;
    align = Math.max(align, type.align);
  }
  if (end % align !== 0) throw new TypeError(`${cName || 'struct'}: name the padding at the end`);
  return aggregate(cName, fields, offset, end, align, false);
}

/** A union: every member starts at 0. `read` answers all of them; `write` sets those that are given. */
export function union<const F extends Fields>(fields: F, { anonymous = false } = {}): Struct<F> {
  const members = Object.values(fields);
  const align = Math.max(...members.map((type) => type.align));
  const largest = Math.max(...members.map((type) => type.size));
  const size = Math.ceil(largest / align) * align;
  const offset = Object.fromEntries(Object.keys(fields).map((name) => [name, 0]));
  return aggregate('', fields, offset, size, align, anonymous);
}

function aggregate<F extends Fields>(
  cName: string,
  fields: F,
  offsets: Record<string, number>,
  size: number,
  align: number,
  anonymous: boolean,
): Struct<F> {
  const offset = offsets as Struct<F>['offset'];
  const names = Object.keys(fields) as (keyof F & string)[];
  const sizeWith = (count: number): number => size + count * flexibleElementSize(fields);
  const read = (view: DataView, start: number): StructValue<F> => {
    const entries = names.map((name) => [name, fields[name]!.read(view, start + offset[name])]);
    return Object.fromEntries(entries) as StructValue<F>;
  };
  const update = (view: DataView, value: StructUpdate<F>, start = 0): void => {
    for (const name of names) {
      const given: unknown = value[name];
      if (given !== undefined) fields[name]!.write(view, start + offset[name], given);
    }
  };
  return {
    cName,
    fields,
    offset,
    size,
    align,
    anonymous,
    sizeWith,
    read,
    update,
    write: (view, start, value) => update(view, value, start),
    create(value = {}, count = 0) {
      const buffer = new Uint8Array(sizeWith(count));
      update(viewOfBytes(buffer), value);
      return buffer;
    },
    decode: (memory, start = 0) => read(viewOfBytes(memory), start),
  };
}

function flexibleElementSize(fields: Fields): number {
  const last = Object.values(fields).at(-1) as Partial<FlexibleType<unknown>> | undefined;
  return last?.flexible === true ? last.element!.size : 0;
}

/** A DataView of exactly these bytes. */
export function viewOfBytes(memory: Uint8Array): DataView {
  return new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
}
