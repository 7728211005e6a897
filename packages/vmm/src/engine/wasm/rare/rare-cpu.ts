/**
 * A vCPU's state as rare instructions in JavaScript see it: named fields over the shared memory, and guest memory through
 * the core's slow paths.
 */
import { Access } from '../softmmu/access.ts';
import type { CoreExports } from '../interpreter/core-module.ts';
import { Cpu, HandlerResult, SegmentField, gprOffset, segmentOffset } from '../interpreter/cpu-layout.ts';
import { ArithmeticFlags, Rflag } from '../emit/lazy-flags.ts';
import { EferBit } from '../interpreter/mode.ts';
import { Record } from '../interpreter/record.ts';

export type RareResult = (typeof HandlerResult)[keyof typeof HandlerResult];

/** A segment register with its cache. `attributes` as SegmentAttribute lays them out (bits 8 to 23 of the descriptor's high half). */
export interface SegmentCache {
  selector: number;
  base: bigint;
  limit: number;
  attributes: number;
}

/** 32-bit immediates and 64-bit masks. */
export const Mask64 = (1n << 64n) - 1n;

export class RareCpu {
  /** Offset of the state block in the shared memory. */
  readonly at: number;
  readonly view: DataView;
  readonly core: CoreExports;
  /** Pointer to the record of the running instruction. */
  record = 0;
  /** INT3 leaves to the debugger instead of raising its exception. */
  int3Leaves = false;
  /** Drops cached translations, global ones only when asked. Set by the engine. */
  flushTlb: (includeGlobal: boolean) => void = () => {};

  constructor(view: DataView, at: number, core: CoreExports) {
    this.view = view;
    this.at = at;
    this.core = core;
  }

  u32(offset: number): number {
    return this.view.getUint32(this.at + offset, true);
  }
  setU32(offset: number, value: number): void {
    this.view.setUint32(this.at + offset, value, true);
  }
  u64(offset: number): bigint {
    return this.view.getBigUint64(this.at + offset, true);
  }
  setU64(offset: number, value: bigint): void {
    this.view.setBigUint64(this.at + offset, value, true);
  }
  gpr(index: number): bigint {
    return this.u64(gprOffset(index));
  }
  setGpr(index: number, value: bigint): void {
    this.setU64(gprOffset(index), value);
  }

  get cpl(): number {
    return this.u32(Cpu.Cpl);
  }
  get rip(): bigint {
    return this.u64(Cpu.Rip);
  }
  set rip(value: bigint) {
    this.setU64(Cpu.Rip, value);
  }
  get nextRip(): bigint {
    return this.rip + BigInt(this.view.getUint8(this.record + Record.Length) & 15);
  }
  get longMode(): boolean {
    return (this.u32(Cpu.Efer) & EferBit.LongModeActive) !== 0;
  }
  get protectedMode(): boolean {
    return (this.u32(Cpu.Cr0) & 1) !== 0;
  }
  get virtual8086(): boolean {
    return (this.u32(Cpu.Rflags) & Rflag.Virtual8086) !== 0;
  }

  segment(index: number): SegmentCache {
    const at = segmentOffset(index);
    return {
      selector: this.u32(at + SegmentField.Selector),
      base: this.u64(at + SegmentField.Base),
      limit: this.u32(at + SegmentField.Limit),
      attributes: this.u32(at + SegmentField.Attributes),
    };
  }
  /** After CS or SS, and after changing Cpl or EFER, call {@link updateMode}. */
  setSegment(index: number, segment: SegmentCache): void {
    const at = segmentOffset(index);
    this.setU32(at + SegmentField.Selector, segment.selector);
    this.setU64(at + SegmentField.Base, segment.base);
    this.setU32(at + SegmentField.Limit, segment.limit);
    this.setU32(at + SegmentField.Attributes, segment.attributes);
  }
  updateMode(): void {
    this.core.updateMode(this.at);
  }

  /** All of RFLAGS, the lazy flags evaluated. */
  get rflags(): number {
    const result = this.view.getBigInt64(this.at + Cpu.CcResult, true);
    const adjust = this.view.getBigInt64(this.at + Cpu.CcAdjust, true);
    const low = Number(result & 0xffn) | Number(adjust & 0x100n);
    let flags = this.u32(Cpu.Rflags) | Rflag.Fixed;
    if (this.u64(Cpu.CcA) < this.u64(Cpu.CcB)) flags |= Rflag.Carry;
    if (evenParity(low)) flags |= Rflag.Parity;
    if (adjust & 16n) flags |= Rflag.Adjust;
    if (result === 0n) flags |= Rflag.Zero;
    if ((result ^ adjust) < 0n) flags |= Rflag.Sign;
    if (this.view.getBigInt64(this.at + Cpu.CcOverflow, true) < 0n) flags |= Rflag.Overflow;
    return flags;
  }
  set rflags(flags: number) {
    this.setU32(Cpu.Rflags, ((flags & ~ArithmeticFlags) | Rflag.Fixed) >>> 0);
    const zero = (flags & Rflag.Zero) !== 0;
    const parity = (flags & Rflag.Parity) !== 0;
    this.setU64(Cpu.CcResult, zero ? 0n : 1n);
    this.setU64(Cpu.CcA, 0n);
    this.setU64(Cpu.CcB, BigInt(flags & 1));
    this.setU64(Cpu.CcOverflow, flags & Rflag.Overflow ? 1n << 63n : 0n);
    const sign = flags & Rflag.Sign ? 1n << 63n : 0n;
    this.setU64(Cpu.CcAdjust, BigInt(flags & Rflag.Adjust) | (zero === parity ? 0n : 0x100n) | sign);
  }

  /** Records an exception; what the instruction's implementation returns. */
  raise(vector: number, errorCode = 0): RareResult {
    this.core.raise(this.at, vector, errorCode);
    return HandlerResult.Fault;
  }

  /** Access flags of ordinary accesses at the current privilege. */
  get dataAccess(): number {
    return this.cpl === 3 ? Access.User : 0;
  }

  /** Reads guest memory by linear address, zero-extended; undefined when it faulted: return {@link slowStatus}. */
  readLinear(linear: bigint, size: 1 | 2 | 4 | 8, access: number = this.dataAccess): bigint | undefined {
    const value = this.core.read(this.at, BigInt.asIntN(64, linear), size, access);
    return this.u32(Cpu.SlowStatus) ? undefined : BigInt.asUintN(size * 8, value);
  }
  /** False when it faulted: return {@link slowStatus}. */
  writeLinear(linear: bigint, size: 1 | 2 | 4 | 8, value: bigint, access: number = this.dataAccess): boolean {
    this.core.write(this.at, BigInt.asIntN(64, linear), size, access | Access.Write, BigInt.asIntN(64, value));
    return this.u32(Cpu.SlowStatus) === 0;
  }
  /** Checks write access to `size` bytes (at most one page boundary inside) without writing. */
  probeWrite(linear: bigint, size: 1 | 2 | 4 | 8, access: number = this.dataAccess): boolean {
    this.core.modify(this.at, BigInt.asIntN(64, linear), size, access | Access.Write);
    return this.u32(Cpu.SlowStatus) === 0;
  }
  /** Descriptor tables and TSS: with the processor's own (supervisor) rights. */
  readSystem(linear: bigint, size: 1 | 2 | 4 | 8): bigint | undefined {
    return this.readLinear(linear, size, Access.System);
  }
  writeSystem(linear: bigint, size: 1 | 2 | 4 | 8, value: bigint): boolean {
    return this.writeLinear(linear, size, value, Access.System);
  }
  /** Linear address of an offset in a segment outside 64-bit code, limit and type checked; undefined when it faulted. */
  segmented(segment: number, offset: bigint, bytes: number, write: boolean): bigint | undefined {
    const linear = this.core.segmented(this.at, segment, BigInt.asIntN(64, offset), bytes, write ? 1 : 0);
    return this.u32(Cpu.SlowStatus) ? undefined : BigInt.asUintN(64, linear);
  }
  /** The HandlerResult of the last memory access that did not succeed. */
  get slowStatus(): RareResult {
    return this.u32(Cpu.SlowStatus) as RareResult;
  }
}

const evenParity = (byte: number): boolean => {
  let bits = byte ^ (byte >> 8);
  bits ^= (bits >> 4) & 15;
  bits ^= bits >> 2;
  bits ^= bits >> 1;
  return (bits & 1) === 0;
};

/** A rare instruction: answers a HandlerResult. */
export type RareInstruction = (cpu: RareCpu) => RareResult;
