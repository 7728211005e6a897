/** IRET in all modes (SDM Vol. 2 "IRET/IRETD/IRETQ—Interrupt Return"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { ArithmeticFlags, Rflag } from '../emit/lazy-flags.ts';
import { checkTarget, enterCode, enterRealCode, readCode } from './code-segment.ts';
import { Dr7 } from './debug-registers.ts';
import { type Descriptor, isCode64, markAccessed, virtual8086Segment } from './descriptor.ts';
import { leaveToOuter, outerStackSegment } from './outer-return.ts';
import type { RareCpu, RareResult } from './rare-cpu.ts';
import { type SlotBytes, type Stack, currentStack, dropStack, peekAll, setStackPointer, stackWidth } from './stack.ts';
import { returnToOuterTask } from './task-switch.ts';

const AlwaysWritable = ArithmeticFlags | Rflag.Trap | Rflag.Direction | Rflag.NestedTask;
const Wide = Rflag.Resume | Rflag.AlignmentCheck | Rflag.Identification;
const VirtualInterrupts = Rflag.VirtualInterrupt | Rflag.VirtualInterruptPending;

/** RareArgument: operand width. */
export function iret(cpu: RareCpu): RareResult {
  const status = returnFrom(cpu);
  const breakpoints = (cpu.u64(Cpu.Dr7) & Dr7.Enables) !== 0n;
  // RF only counts with breakpoints; without, nothing would clear it after the next instruction
  if (status === HandlerResult.Resync && !breakpoints) cpu.setU32(Cpu.Rflags, cpu.u32(Cpu.Rflags) & ~Rflag.Resume);
  return status;
}

function returnFrom(cpu: RareCpu): RareResult {
  const bytes = Number(cpu.u64(Cpu.RareArgument) / 8n) as SlotBytes;
  if (!cpu.protectedMode) return realReturn(cpu, bytes, Rflag.IoPrivilege | Rflag.Interrupt);
  if (cpu.virtual8086) {
    const allowed = (cpu.u32(Cpu.Rflags) & Rflag.IoPrivilege) === Rflag.IoPrivilege;
    return allowed ? realReturn(cpu, bytes, Rflag.Interrupt) : cpu.raise(Vector.GeneralProtection);
  }
  if (cpu.u32(Cpu.Rflags) & Rflag.NestedTask) {
    return cpu.longMode ? cpu.raise(Vector.GeneralProtection) : returnToOuterTask(cpu);
  }
  return protectedReturn(cpu, bytes);
}

/** Loads those bits of RFLAGS; 16-bit images have only the low half. */
function loadFlags(cpu: RareCpu, image: bigint, mask: number, bytes: SlotBytes): void {
  const effective = bytes === 2 ? mask & 0xffff : mask;
  cpu.rflags = (cpu.rflags & ~effective) | (Number(image & 0xffff_ffffn) & effective);
}

function realReturn(cpu: RareCpu, bytes: SlotBytes, extraFlags: number): RareResult {
  const stack = currentStack(cpu);
  const frame = peekAll(cpu, stack, 3, bytes);
  if (!frame) return cpu.slowStatus;
  const [offset, selector, image] = frame as [bigint, bigint, bigint];
  if (!enterRealCode(cpu, Number(selector & 0xffffn), offset)) return cpu.slowStatus;
  setStackPointer(cpu, stack.width, stack.pointer + BigInt(3 * bytes));
  loadFlags(cpu, image, AlwaysWritable | Wide | extraFlags, bytes);
  return HandlerResult.Resync;
}

function protectedReturn(cpu: RareCpu, bytes: SlotBytes): RareResult {
  const stack = currentStack(cpu);
  const frame = peekAll(cpu, stack, 3, bytes);
  if (!frame) return cpu.slowStatus;
  const [offset, selector, image] = frame as [bigint, bigint, bigint];
  const toVirtual8086 = bytes === 4 && (image & BigInt(Rflag.Virtual8086)) !== 0n && cpu.cpl === 0 && !cpu.longMode;
  if (toVirtual8086) return virtual8086Return(cpu, stack);
  // SS and the stack pointer are read before CS is looked at
  const popsStack = Number(selector & 3n) !== cpu.cpl || isCode64(cpu);
  const outer = popsStack ? peekAll(cpu, stack, 2, bytes, 3 * bytes) : [0n, 0n];
  if (!outer) return cpu.slowStatus;
  const target = readCode(cpu, Number(selector & 0xffffn));
  if (!target) return cpu.slowStatus;
  const allowed = target.isConforming ? target.dpl <= target.rpl : target.dpl === target.rpl;
  if (target.rpl < cpu.cpl || !allowed) return cpu.raise(Vector.GeneralProtection, target.error);
  if (popsStack) return returnWithStack(cpu, target, [...frame, ...outer], bytes);
  if (!checkTarget(cpu, target, offset) || !markAccessed(cpu, target)) return cpu.slowStatus;
  loadFlags(cpu, image, writableFlags(cpu), bytes);
  enterCode(cpu, target, offset, target.rpl);
  dropStack(cpu, 3 * bytes);
  return HandlerResult.Resync;
}

/** At the privilege that IRET runs with. */
function writableFlags(cpu: RareCpu): number {
  const ioPrivilege = (cpu.u32(Cpu.Rflags) >>> 12) & 3;
  const interrupt = cpu.cpl <= ioPrivilege ? Rflag.Interrupt : 0;
  const privileged = cpu.cpl === 0 ? Rflag.IoPrivilege | VirtualInterrupts : 0;
  return AlwaysWritable | Wide | interrupt | privileged;
}

/** To an outer level, and always from 64-bit code. */
function returnWithStack(cpu: RareCpu, target: Descriptor, frame: readonly bigint[], bytes: SlotBytes): RareResult {
  if (!target.present) return cpu.raise(Vector.SegmentNotPresent, target.error);
  const [offset, , image, pointer, selector] = frame as readonly [bigint, bigint, bigint, bigint, bigint];
  const segment = outerStackSegment(cpu, Number(selector & 0xffffn), target);
  if (!segment || !checkTarget(cpu, target, offset) || !markAccessed(cpu, target)) return cpu.slowStatus;
  const outward = target.rpl > cpu.cpl;
  loadFlags(cpu, image, writableFlags(cpu), bytes);
  cpu.setSegment(SegmentIndex.Ss, segment);
  enterCode(cpu, target, offset, target.rpl);
  setStackPointer(cpu, stackWidth(cpu, segment), pointer);
  if (outward) leaveToOuter(cpu);
  return HandlerResult.Resync;
}

function virtual8086Return(cpu: RareCpu, stack: Stack): RareResult {
  const frame = peekAll(cpu, stack, 9, 4);
  if (!frame) return cpu.slowStatus;
  const [offset, code, image, pointer, ...selectors] = frame as [bigint, bigint, bigint, bigint, ...bigint[]];
  if (offset > 0xffffn) return cpu.raise(Vector.GeneralProtection);
  const segment = (value: bigint): ReturnType<typeof virtual8086Segment> => virtual8086Segment(Number(value & 0xffffn));
  cpu.setSegment(SegmentIndex.Cs, segment(code));
  const order = [SegmentIndex.Ss, SegmentIndex.Es, SegmentIndex.Ds, SegmentIndex.Fs, SegmentIndex.Gs];
  for (const [i, index] of order.entries()) cpu.setSegment(index, segment(selectors[i]!));
  cpu.rflags = Number(image & 0xffff_ffffn) & FlagImage;
  cpu.setGpr(4, pointer);
  cpu.setU32(Cpu.Cpl, 3);
  cpu.rip = offset;
  cpu.updateMode();
  return HandlerResult.Resync;
}

/** Bits that exist in EFLAGS. */
const FlagImage = AlwaysWritable | Wide | VirtualInterrupts | Rflag.Interrupt | Rflag.IoPrivilege | Rflag.Virtual8086;
