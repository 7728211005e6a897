/** Far jumps, calls and returns (SDM Vol. 2 "JMP—Jump", "CALL—Call Procedure", "RET—Return From Procedure"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { callGate } from './call-gate.ts';
import { checkTarget, enterCode, enterRealCode, readCode } from './code-segment.ts';
import { type Descriptor, SystemType, isNullSelector, isRealLike, markAccessed, readDescriptor } from './descriptor.ts';
import { iret } from './interrupt-return.ts';
import { leaveToOuter, outerStackSegment } from './outer-return.ts';
import type { RareCpu, RareInstruction, RareResult } from './rare-cpu.ts';
import {
  type SlotBytes,
  type Stack,
  currentStack,
  dropStack,
  peekAll,
  pushAll,
  pushEach,
  setStackPointer,
  stackWidth,
} from './stack.ts';
import { jumpToTask, readTaskDescriptor, taskGate } from './task-switch.ts';

/** Operand width in bits to bytes of a stack slot. */
const slotBytes = (width: bigint): SlotBytes => Number(width / 8n) as SlotBytes;

/** RareArgument: selector; RareArgument2: offset; RareResult: operand width. */
const farTransfer =
  (isCall: boolean): RareInstruction =>
  (cpu) => {
    const selector = Number(cpu.u64(Cpu.RareArgument) & 0xffffn);
    const offset = cpu.u64(Cpu.RareArgument2);
    const bytes = slotBytes(cpu.u64(Cpu.RareResult));
    if (isRealLike(cpu)) return realTransfer(cpu, selector, offset, isCall ? bytes : undefined);
    if (isNullSelector(selector)) return cpu.raise(Vector.GeneralProtection);
    const descriptor = readDescriptor(cpu, selector);
    if (!descriptor) return cpu.slowStatus;
    if (descriptor.isSystem) return systemTransfer(cpu, descriptor, isCall);
    return directTransfer(cpu, descriptor, offset, isCall ? bytes : undefined);
  };

/** CS and return address of the running instruction, in the order of pushing. */
const returnAddress = (cpu: RareCpu): bigint[] => [BigInt(cpu.segment(SegmentIndex.Cs).selector), cpu.nextRip];

/** `pushed`: bytes of a slot for calls, undefined for jumps. */
function realTransfer(cpu: RareCpu, selector: number, offset: bigint, pushed: SlotBytes | undefined): RareResult {
  if (offset > BigInt(cpu.segment(SegmentIndex.Cs).limit)) return cpu.raise(Vector.GeneralProtection);
  if (pushed !== undefined) {
    const stack = currentStack(cpu);
    const top = pushAll(cpu, stack, returnAddress(cpu), pushed);
    if (top === undefined) return cpu.slowStatus;
    setStackPointer(cpu, stack.width, top);
  }
  return enterRealCode(cpu, selector, offset) ? HandlerResult.Resync : cpu.slowStatus;
}

function directTransfer(cpu: RareCpu, target: Descriptor, offset: bigint, pushed: SlotBytes | undefined): RareResult {
  const { cpl } = cpu;
  const impossible = cpu.longMode && target.isLong && target.isBig;
  const allowed = target.isConforming ? target.dpl <= cpl : target.rpl <= cpl && target.dpl === cpl;
  if (!target.isCode || impossible || !allowed) return cpu.raise(Vector.GeneralProtection, target.error);
  if (!checkTarget(cpu, target, offset) || !markAccessed(cpu, target)) return cpu.slowStatus;
  if (pushed !== undefined) {
    // The stack is the one that the target's kind of code sees
    const stack = currentStack(cpu, cpu.longMode && target.isLong);
    const top = pushEach(cpu, stack, returnAddress(cpu), pushed);
    if (top === undefined) return cpu.slowStatus;
    setStackPointer(cpu, stack.width, top);
  }
  enterCode(cpu, target, offset, cpl);
  return HandlerResult.Resync;
}

/** Through a gate or to a TSS. */
function systemTransfer(cpu: RareCpu, descriptor: Descriptor, isCall: boolean): RareResult {
  const type = descriptor.systemType;
  if (type === SystemType.CallGate32 || (type === SystemType.CallGate16 && !cpu.longMode)) {
    return callGate(cpu, descriptor, isCall);
  }
  const isTask = type === SystemType.Tss16 || type === SystemType.Tss32;
  if (cpu.longMode || (!isTask && type !== SystemType.TaskGate)) {
    return cpu.raise(Vector.GeneralProtection, descriptor.error);
  }
  const visible = descriptor.dpl >= cpu.cpl && descriptor.dpl >= descriptor.rpl;
  if (!visible) return cpu.raise(Vector.GeneralProtection, descriptor.error);
  if (!descriptor.present) return cpu.raise(Vector.SegmentNotPresent, descriptor.error);
  const task = isTask ? readTaskDescriptor(cpu, descriptor.selector) : taskGate(cpu, descriptor);
  return task ? jumpToTask(cpu, task, isCall ? 'call' : 'jump') : cpu.slowStatus;
}

/** RareArgument: bytes to release; RareArgument2: operand width. */
function farReturn(cpu: RareCpu): RareResult {
  const released = Number(cpu.u64(Cpu.RareArgument));
  const bytes = slotBytes(cpu.u64(Cpu.RareArgument2));
  const stack = currentStack(cpu);
  const address = peekAll(cpu, stack, 2, bytes);
  if (!address) return cpu.slowStatus;
  const [offset, selector] = address as [bigint, bigint];
  const frame: ReturnFrame = { stack, bytes, offset, selector: Number(selector & 0xffffn), released };
  return isRealLike(cpu) ? realReturn(cpu, frame) : protectedReturn(cpu, frame);
}

interface ReturnFrame {
  readonly stack: Stack;
  readonly bytes: SlotBytes;
  readonly offset: bigint;
  readonly selector: number;
  readonly released: number;
}

function realReturn(cpu: RareCpu, frame: ReturnFrame): RareResult {
  if (!enterRealCode(cpu, frame.selector, frame.offset)) return cpu.slowStatus;
  dropStack(cpu, 2 * frame.bytes + frame.released);
  return HandlerResult.Resync;
}

function protectedReturn(cpu: RareCpu, frame: ReturnFrame): RareResult {
  const { stack, bytes, released } = frame;
  const otherLevel = (frame.selector & 3) !== cpu.cpl;
  const outer = otherLevel ? peekAll(cpu, stack, 2, bytes, 2 * bytes + released) : [0n, 0n];
  if (!outer) return cpu.slowStatus;
  const target = readCode(cpu, frame.selector);
  if (!target) return cpu.slowStatus;
  const allowed = target.isConforming ? target.dpl <= target.rpl : target.dpl === target.rpl;
  if (target.rpl < cpu.cpl || !allowed) return cpu.raise(Vector.GeneralProtection, target.error);
  if (target.rpl > cpu.cpl) return outerReturn(cpu, target, frame, outer as [bigint, bigint]);
  if (!checkTarget(cpu, target, frame.offset) || !markAccessed(cpu, target)) return cpu.slowStatus;
  enterCode(cpu, target, frame.offset, target.rpl);
  dropStack(cpu, 2 * bytes + released);
  return HandlerResult.Resync;
}

function outerReturn(
  cpu: RareCpu,
  target: Descriptor,
  { offset, released }: ReturnFrame,
  [pointer, selector]: readonly [bigint, bigint],
): RareResult {
  if (!target.present) return cpu.raise(Vector.SegmentNotPresent, target.error);
  const segment = outerStackSegment(cpu, Number(selector & 0xffffn), target);
  if (!segment || !checkTarget(cpu, target, offset) || !markAccessed(cpu, target)) return cpu.slowStatus;
  cpu.setSegment(SegmentIndex.Ss, segment);
  enterCode(cpu, target, offset, target.rpl);
  setStackPointer(cpu, stackWidth(cpu, segment), pointer + BigInt(released));
  leaveToOuter(cpu);
  return HandlerResult.Resync;
}

export const farTransferInstructions: Readonly<Record<string, RareInstruction>> = {
  farJump: farTransfer(false),
  farCall: farTransfer(true),
  farReturn,
  iret,
};
