/** Stacks as transfers and events use them: the current one, and those that a TSS names for inner privilege levels. */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Access } from '../softmmu/access.ts';
import { Cpu, SegmentField, SegmentIndex, segmentOffset } from '../interpreter/cpu-layout.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import {
  SystemType,
  fail,
  isCanonical,
  isCode64,
  isNullSelector,
  markAccessed,
  nullSegment,
  readDescriptor,
  selectorError,
} from './descriptor.ts';
import type { RareCpu, SegmentCache } from './rare-cpu.ts';

const Rsp = 4;

export type SlotBytes = 2 | 4 | 8;

export interface Stack {
  readonly segment: SegmentCache;
  /** Bits of the stack pointer. */
  readonly width: 16 | 32 | 64;
  readonly pointer: bigint;
  /** Access flags of pushes and pops. */
  readonly access: number;
  /** Error code of #SS. */
  readonly error: number;
}

const isBig = (segment: SegmentCache): boolean => (segment.attributes & SegmentAttribute.Big) !== 0;

/** Bits of the stack pointer with this SS in the current kind of code. */
export function stackWidth(cpu: RareCpu, segment: SegmentCache, long = isCode64(cpu)): 16 | 32 | 64 {
  if (long) return 64;
  return isBig(segment) ? 32 : 16;
}

const accessAt = (cpl: number): number => Access.Stack | (cpl === 3 ? Access.User : Access.System);

/** `long`: as 64-bit code sees it. */
export function currentStack(cpu: RareCpu, long = isCode64(cpu)): Stack {
  const segment = cpu.segment(SegmentIndex.Ss);
  const width = stackWidth(cpu, segment, long);
  return { segment, width, pointer: BigInt.asUintN(width, cpu.gpr(Rsp)), access: accessAt(cpu.cpl), error: 0 };
}

/** Loads the stack pointer: 16 bits keep the rest of RSP. */
export function setStackPointer(cpu: RareCpu, width: 16 | 32 | 64, pointer: bigint): void {
  const kept = width === 16 ? cpu.gpr(Rsp) & ~0xffffn : 0n;
  cpu.setGpr(Rsp, kept | BigInt.asUintN(width, pointer));
}

/** Whether a data segment holds `bytes` bytes at `offset` for writing (SDM Vol. 3A "Limit Checking"). */
function holds(segment: SegmentCache, offset: bigint, bytes: number): boolean {
  const { attributes } = segment;
  if (attributes & (SegmentAttribute.Unusable | SegmentAttribute.Code)) return false;
  if (!(attributes & SegmentAttribute.WritableReadable)) return false;
  const last = offset + BigInt(bytes) - 1n;
  if (!(attributes & SegmentAttribute.DownConforming)) return last <= BigInt(segment.limit);
  return offset > BigInt(segment.limit) && last <= (isBig(segment) ? 0xffff_ffffn : 0xffffn);
}

/** Linear address of the slot at `delta` from the stack pointer; undefined with #SS recorded. */
function slot(cpu: RareCpu, stack: Stack, delta: number, bytes: SlotBytes): bigint | undefined {
  const offset = BigInt.asUintN(stack.width, stack.pointer + BigInt(delta));
  if (stack.width === 64) return offset;
  if (!holds(stack.segment, offset, bytes)) return fail(cpu, Vector.StackFault, stack.error);
  return (stack.segment.base + offset) & 0xffff_ffffn;
}

/** Reads the slot at `delta` bytes from the stack pointer. */
export function peek(cpu: RareCpu, stack: Stack, delta: number, bytes: SlotBytes): bigint | undefined {
  const linear = slot(cpu, stack, delta, bytes);
  return linear === undefined ? undefined : cpu.readLinear(linear, bytes, stack.access);
}

/** Reads `count` slots from the one at `delta` on; the processor looks at the last one first. */
export function peekAll(cpu: RareCpu, stack: Stack, count: number, bytes: SlotBytes, delta = 0): bigint[] | undefined {
  const values: bigint[] = [];
  for (let i = count - 1; i >= 0; i--) {
    const value = peek(cpu, stack, delta + i * bytes, bytes);
    if (value === undefined) return undefined;
    values.unshift(value);
  }
  return values;
}

/** Drops `bytes` bytes from the stack as the code that CS now is sees it. */
export function dropStack(cpu: RareCpu, bytes: number): void {
  setStackPointer(cpu, stackWidth(cpu, cpu.segment(SegmentIndex.Ss)), cpu.gpr(Rsp) + BigInt(bytes));
}

/** Pushes values, the first one first, after checking all slots; answers the new stack pointer without loading it. */
export function pushAll(cpu: RareCpu, stack: Stack, values: readonly bigint[], bytes: SlotBytes): bigint | undefined {
  const addresses: bigint[] = [];
  for (let i = 1; i <= values.length; i++) {
    const linear = slot(cpu, stack, -i * bytes, bytes);
    if (linear === undefined || !cpu.probeWrite(linear, bytes, stack.access)) return undefined;
    addresses.push(linear);
  }
  for (const [i, linear] of addresses.entries()) {
    if (!cpu.writeLinear(linear, bytes, BigInt.asUintN(bytes * 8, values[i]!), stack.access)) return undefined;
  }
  return BigInt.asUintN(stack.width, stack.pointer - BigInt(values.length * bytes));
}

/** As {@link pushAll}, but a fault finds the values that were pushed before. */
export function pushEach(cpu: RareCpu, stack: Stack, values: readonly bigint[], bytes: SlotBytes): bigint | undefined {
  let top: bigint | undefined = stack.pointer;
  for (const value of values) {
    if (top !== undefined) top = pushAll(cpu, { ...stack, pointer: top }, [value], bytes);
  }
  return top;
}

/** The stack that the TSS names for privilege `level` (SDM Vol. 3A "Stack Switching"). */
export function innerStack(cpu: RareCpu, level: number): Stack | undefined {
  return cpu.longMode ? innerStack64(cpu, level) : innerStackLegacy(cpu, level);
}

function innerStack64(cpu: RareCpu, level: number): Stack | undefined {
  const pointer = readTss(cpu, 4 + level * 8, 8);
  if (pointer === undefined) return undefined;
  if (!isCanonical(pointer)) return fail(cpu, Vector.StackFault);
  return { segment: nullSegment(level, level), width: 64, pointer, access: accessAt(level), error: 0 };
}

function innerStackLegacy(cpu: RareCpu, level: number): Stack | undefined {
  const wide = isWideTss(cpu);
  const at = wide ? 4 + level * 8 : 2 + level * 4;
  const pointer = readTss(cpu, at, wide ? 4 : 2);
  if (pointer === undefined) return undefined;
  const selector = readTss(cpu, at + (wide ? 4 : 2), 2);
  if (selector === undefined) return undefined;
  const segment = newStackSegment(cpu, Number(selector), level);
  if (!segment) return undefined;
  const width = isBig(segment) ? 32 : 16;
  const error = selectorError(segment.selector);
  return { segment, width, pointer: BigInt.asUintN(width, pointer), access: accessAt(level), error };
}

/** SS from a TSS: #TS where a load would raise #GP. */
export function newStackSegment(cpu: RareCpu, selector: number, cpl: number): SegmentCache | undefined {
  if (isNullSelector(selector)) return fail(cpu, Vector.InvalidTss, selectorError(selector));
  const descriptor = readDescriptor(cpu, selector, Vector.InvalidTss);
  if (!descriptor) return undefined;
  const wrong = descriptor.rpl !== cpl || descriptor.dpl !== cpl || !descriptor.isWritable;
  if (wrong) return fail(cpu, Vector.InvalidTss, descriptor.error);
  if (!descriptor.present) return fail(cpu, Vector.StackFault, descriptor.error);
  return markAccessed(cpu, descriptor) ? descriptor.cache() : undefined;
}

/** The current TSS has the 32-bit (in long mode: 64-bit) layout. */
export function isWideTss(cpu: RareCpu): boolean {
  const Wide = 8 << 8;
  return (cpu.u32(segmentOffset(SegmentIndex.Tr) + SegmentField.Attributes) & Wide) !== 0;
}

/** Reads the current TSS; #TS with its selector beyond the limit. */
function readTss(cpu: RareCpu, offset: number, bytes: SlotBytes): bigint | undefined {
  const task = cpu.segment(SegmentIndex.Tr);
  const unusable = (task.attributes & SegmentAttribute.Unusable) !== 0;
  if (unusable || offset + bytes - 1 > task.limit) {
    return fail(cpu, Vector.InvalidTss, selectorError(task.selector));
  }
  return cpu.readSystem(task.base + BigInt(offset), bytes);
}

export const isTask32 = (type: number): boolean => type === SystemType.Tss32 || type === SystemType.BusyTss32;

/** Loads SS, its stack pointer and CPL of a switch to `stack`; CS and {@link RareCpu.updateMode} are the caller's. */
export function enterStack(cpu: RareCpu, stack: Stack, pointer: bigint, cpl: number): void {
  cpu.setSegment(SegmentIndex.Ss, stack.segment);
  setStackPointer(cpu, stack.width, pointer);
  cpu.setU32(Cpu.Cpl, cpl);
}
