/** Segment and gate descriptors (SDM Vol. 3A "Segment Descriptors", "System Descriptor Types"; AMD APM Vol. 2 "Descriptor Tables"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, SegmentField, SegmentIndex, segmentOffset } from '../interpreter/cpu-layout.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import type { RareCpu, SegmentCache } from './rare-cpu.ts';

/** Types of system descriptors (S = 0). In long mode those with a 32-bit name are 64-bit ones. */
export const SystemType = {
  Tss16: 1,
  Ldt: 2,
  BusyTss16: 3,
  CallGate16: 4,
  TaskGate: 5,
  InterruptGate16: 6,
  TrapGate16: 7,
  Tss32: 9,
  BusyTss32: 0xb,
  CallGate32: 0xc,
  InterruptGate32: 0xe,
  TrapGate32: 0xf,
} as const;

/** Descriptor bits that {@link SegmentCache.attributes} keeps. */
const AttributeMask = 0xf0_ff00;
const LocalTable = 4;

/** Selector with its RPL as an error code has it. */
export const selectorError = (selector: number): number => selector & 0xfffc;
export const isNullSelector = (selector: number): boolean => (selector & 0xfffc) === 0;
export const isCanonical = (address: bigint): boolean =>
  BigInt.asUintN(64, BigInt.asIntN(48, address)) === BigInt.asUintN(64, address);

/** Eight bytes of a descriptor table and where they came from. */
export class Descriptor {
  readonly selector: number;
  /** Linear address of the descriptor. */
  readonly linear: bigint;
  readonly low: number;
  readonly high: number;

  constructor(selector: number, linear: bigint, raw: bigint) {
    this.selector = selector;
    this.linear = linear;
    this.low = Number(raw & 0xffff_ffffn);
    this.high = Number(raw >> 32n);
  }

  get error(): number {
    return selectorError(this.selector);
  }
  get rpl(): number {
    return this.selector & 3;
  }
  get dpl(): number {
    return (this.high >>> SegmentAttribute.DplShift) & 3;
  }
  get present(): boolean {
    return this.#has(SegmentAttribute.Present);
  }
  get isSystem(): boolean {
    return !this.#has(SegmentAttribute.CodeOrData);
  }
  /** Of a system descriptor: {@link SystemType}. */
  get systemType(): number {
    return (this.high >>> 8) & 0xf;
  }
  get isCode(): boolean {
    return !this.isSystem && this.#has(SegmentAttribute.Code);
  }
  get isConforming(): boolean {
    return this.isCode && this.#has(SegmentAttribute.DownConforming);
  }
  get isReadable(): boolean {
    return !this.isSystem && (!this.#has(SegmentAttribute.Code) || this.#has(SegmentAttribute.WritableReadable));
  }
  get isWritable(): boolean {
    return !this.isSystem && !this.#has(SegmentAttribute.Code) && this.#has(SegmentAttribute.WritableReadable);
  }
  get isLong(): boolean {
    return this.#has(SegmentAttribute.Long);
  }
  get isBig(): boolean {
    return this.#has(SegmentAttribute.Big);
  }
  get base(): bigint {
    return BigInt(((this.high & 0xff00_0000) | ((this.high & 0xff) << 16) | (this.low >>> 16)) >>> 0);
  }
  get limit(): number {
    const raw = (this.high & 0xf_0000) | (this.low & 0xffff);
    return this.#has(SegmentAttribute.Granularity) ? ((raw << 12) | 0xfff) >>> 0 : raw;
  }
  /** Of a gate. */
  get gateSelector(): number {
    return this.low >>> 16;
  }
  /** Of a gate: low 16 or 32 bits of the offset. */
  get gateOffset(): number {
    const wide = (this.systemType & 8) !== 0;
    return ((this.low & 0xffff) | (wide ? this.high & 0xffff_0000 : 0)) >>> 0;
  }

  /** The register with this descriptor loaded; the accessed bit is set. */
  cache(selector: number = this.selector): SegmentCache {
    const accessed = this.isSystem ? 0 : SegmentAttribute.Accessed;
    return { selector, base: this.base, limit: this.limit, attributes: (this.high & AttributeMask) | accessed };
  }

  #has(bit: number): boolean {
    return (this.high & bit) !== 0;
  }
}

/** Records a fault; what functions that answer a value answer instead: their callers return `cpu.slowStatus`. */
export function fail(cpu: RareCpu, vector: number, errorCode = 0): undefined {
  cpu.raise(vector, errorCode);
  return undefined;
}

/** Linear address of a descriptor of `bytes` bytes; undefined, with nothing raised, when the selector is beyond its table. */
export function descriptorAddress(cpu: RareCpu, selector: number, bytes = 8): bigint | undefined {
  const offset = selector & 0xfff8;
  if (!(selector & LocalTable)) {
    return offset + bytes - 1 > cpu.u32(Cpu.GdtLimit) ? undefined : cpu.u64(Cpu.GdtBase) + BigInt(offset);
  }
  const ldt = segmentOffset(SegmentIndex.Ldtr);
  if (cpu.u32(ldt + SegmentField.Attributes) & SegmentAttribute.Unusable) return undefined;
  if (offset + bytes - 1 > cpu.u32(ldt + SegmentField.Limit)) return undefined;
  return cpu.u64(ldt + SegmentField.Base) + BigInt(offset);
}

/** Reads a selector's descriptor; beyond its table: `vector` with the selector. */
export function readDescriptor(
  cpu: RareCpu,
  selector: number,
  vector: number = Vector.GeneralProtection,
): Descriptor | undefined {
  const linear = descriptorAddress(cpu, selector);
  if (linear === undefined) return fail(cpu, vector, selectorError(selector));
  const raw = cpu.readSystem(linear, 8);
  return raw === undefined ? undefined : new Descriptor(selector, linear, raw);
}

/**
 * The second half of a 16-byte system descriptor of long mode: bits 32 to 63 of its base or offset. Its type field must
 * be 0.
 */
export function readUpperHalf(cpu: RareCpu, descriptor: Descriptor): bigint | undefined {
  if (descriptorAddress(cpu, descriptor.selector, 16) === undefined) {
    return fail(cpu, Vector.GeneralProtection, descriptor.error);
  }
  const upper = cpu.readSystem(descriptor.linear + 8n, 8);
  if (upper === undefined) return undefined;
  const UpperType = 0x1f00_0000_0000n;
  if (upper & UpperType) return fail(cpu, Vector.GeneralProtection, descriptor.error);
  return (upper & 0xffff_ffffn) << 32n;
}

const AccessByte = 5n;

/** Sets the accessed bit in the table; false when the write faulted. */
export function markAccessed(cpu: RareCpu, descriptor: Descriptor): boolean {
  const byte = (descriptor.high >>> 8) & 0xff;
  return (byte & 1) !== 0 || cpu.writeSystem(descriptor.linear + AccessByte, 1, BigInt(byte | 1));
}

/** Sets or clears a TSS descriptor's busy bit in the table; false when the write faulted. */
export function markBusy(cpu: RareCpu, linear: bigint, busy: boolean): boolean {
  const Busy = 2n;
  const byte = cpu.readSystem(linear + AccessByte, 1);
  if (byte === undefined) return false;
  return cpu.writeSystem(linear + AccessByte, 1, busy ? byte | Busy : byte & ~Busy);
}

/** A register that holds a null selector. */
export const nullSegment = (selector: number, dpl = 0): SegmentCache => ({
  selector,
  base: 0n,
  limit: 0,
  attributes: SegmentAttribute.Unusable | (dpl << SegmentAttribute.DplShift),
});

/** 64-bit code runs now. */
export function isCode64(cpu: RareCpu): boolean {
  return cpu.longMode && (cpu.segment(SegmentIndex.Cs).attributes & SegmentAttribute.Long) !== 0;
}

const RealAttributes =
  SegmentAttribute.Present |
  SegmentAttribute.CodeOrData |
  SegmentAttribute.WritableReadable |
  SegmentAttribute.Accessed;
const Virtual8086Attributes = RealAttributes | (3 << SegmentAttribute.DplShift);

/**
 * A segment register loaded in real or virtual-8086 mode. Real mode keeps limit and attributes of what protected mode
 * left there, which "unreal" code relies on; CS becomes writable data.
 */
export function realSegment(cpu: RareCpu, index: number, selector: number): SegmentCache {
  const base = BigInt(selector << 4);
  if (cpu.virtual8086) return virtual8086Segment(selector);
  const old = cpu.segment(index);
  if (old.attributes & SegmentAttribute.Unusable) return { selector, base, limit: 0xffff, attributes: RealAttributes };
  if (index !== SegmentIndex.Cs) return { ...old, selector, base };
  const size = old.attributes & (SegmentAttribute.Big | SegmentAttribute.Granularity);
  return { selector, base, limit: old.limit, attributes: RealAttributes | size };
}

export const virtual8086Segment = (selector: number): SegmentCache => ({
  selector,
  base: BigInt(selector << 4),
  limit: 0xffff,
  attributes: Virtual8086Attributes,
});

/** No descriptors: real or virtual-8086 mode. */
export const isRealLike = (cpu: RareCpu): boolean => !cpu.protectedMode || cpu.virtual8086;
