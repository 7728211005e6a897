/** ENTER, the I/O permission bit map, and divisions of 128 by 64 bits. */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import { Record as InstructionRecord } from '../interpreter/record.ts';
import type { RareCpu, RareInstruction, RareResult } from './rare-cpu.ts';
import { type SlotBytes, type Stack, currentStack, isWideTss, peek, pushAll, setStackPointer } from './stack.ts';

const Rax = 0;
const Rdx = 2;
const Rsp = 4;
const Rbp = 5;

/**
 * RareArgument: operand width. The record's immediate holds the frame's size and the nesting level (SDM Vol. 2 "ENTER—Make
 * Stack Frame for Procedure Parameters"). What a fault leaves behind lies below the stack pointer.
 */
function enter(cpu: RareCpu): RareResult {
  const width = Number(cpu.u64(Cpu.RareArgument));
  const bytes = (width / 8) as SlotBytes;
  const size = cpu.view.getUint16(cpu.record + InstructionRecord.Immediate, true);
  const level = cpu.view.getUint8(cpu.record + InstructionRecord.Immediate + 4) & 31;
  const stack = currentStack(cpu);
  const oldFrame = cpu.gpr(Rbp);
  let top = pushAll(cpu, stack, [oldFrame], bytes);
  if (top === undefined) return cpu.slowStatus;
  // A 16-bit stack pointer leaves the upper half of the frame's address
  const frame = stack.width === 16 ? (cpu.gpr(Rsp) & 0xffff_0000n) | top : top;
  if (level > 0) {
    top = copyFramePointers(cpu, { ...stack, pointer: top }, frame, level, bytes);
    if (top === undefined) return cpu.slowStatus;
  }
  const end = BigInt.asUintN(stack.width, top - BigInt(size));
  if (!probeTop(cpu, { ...stack, pointer: end }, bytes)) return cpu.slowStatus;
  const mask = (1n << BigInt(width)) - 1n;
  const kept = width === 16 ? oldFrame & ~mask : 0n;
  cpu.setGpr(Rbp, kept | (frame & mask));
  setStackPointer(cpu, stack.width, end);
  return HandlerResult.Next;
}

/** Pushes the enclosing frames' pointers and the new frame's; answers the stack pointer after. */
function copyFramePointers(
  cpu: RareCpu,
  stack: Stack,
  frame: bigint,
  level: number,
  bytes: SlotBytes,
): bigint | undefined {
  const outer = { ...stack, pointer: BigInt.asUintN(stack.width, cpu.gpr(Rbp)) };
  let top: bigint | undefined = stack.pointer;
  for (let i = 1; i <= level && top !== undefined; i++) {
    const value = i === level ? frame : peek(cpu, outer, -i * bytes, bytes);
    if (value === undefined) return undefined;
    top = pushAll(cpu, { ...stack, pointer: top }, [value], bytes);
  }
  return top;
}

/** The final top of the stack must be writable. */
function probeTop(cpu: RareCpu, stack: Stack, bytes: SlotBytes): boolean {
  const { width, pointer } = stack;
  const linear = width === 64 ? pointer : cpu.segmented(SegmentIndex.Ss, pointer, bytes, true);
  return linear !== undefined && cpu.probeWrite(linear, bytes, stack.access);
}

const IoMapPointer = 0x66n;
const LowestTask32Limit = 0x67;

/**
 * RareArgument: port; RareArgument2: bytes. #GP(0) unless the TSS permits all of them (SDM Vol. 1 "I/O Permission Bit
 * Map").
 */
function checkPort(cpu: RareCpu): RareResult {
  const port = Number(cpu.u64(Cpu.RareArgument) & 0xffffn);
  const bytes = Number(cpu.u64(Cpu.RareArgument2));
  const task = cpu.segment(SegmentIndex.Tr);
  const usable = !(task.attributes & SegmentAttribute.Unusable) && isWideTss(cpu) && task.limit >= LowestTask32Limit;
  if (!usable) return cpu.raise(Vector.GeneralProtection);
  const map = cpu.readSystem(task.base + IoMapPointer, 2);
  if (map === undefined) return cpu.slowStatus;
  const at = Number(map) + (port >> 3);
  if (at + 1 > task.limit) return cpu.raise(Vector.GeneralProtection);
  const bits = cpu.readSystem(task.base + BigInt(at), 2);
  if (bits === undefined) return cpu.slowStatus;
  const denied = (Number(bits) >> (port & 7)) & ((1 << bytes) - 1);
  return denied ? cpu.raise(Vector.GeneralProtection) : HandlerResult.Next;
}

/** RareArgument: divisor. */
function div128(cpu: RareCpu): RareResult {
  const divisor = cpu.u64(Cpu.RareArgument);
  if (divisor === 0n) return cpu.raise(Vector.DivideError);
  const dividend = (cpu.gpr(Rdx) << 64n) | cpu.gpr(Rax);
  const quotient = dividend / divisor;
  if (quotient >> 64n) return cpu.raise(Vector.DivideError);
  cpu.setGpr(Rax, quotient);
  cpu.setGpr(Rdx, dividend % divisor);
  return HandlerResult.Next;
}

function idiv128(cpu: RareCpu): RareResult {
  const divisor = BigInt.asIntN(64, cpu.u64(Cpu.RareArgument));
  if (divisor === 0n) return cpu.raise(Vector.DivideError);
  const dividend = BigInt.asIntN(128, (cpu.gpr(Rdx) << 64n) | cpu.gpr(Rax));
  const quotient = dividend / divisor;
  if (BigInt.asIntN(64, quotient) !== quotient) return cpu.raise(Vector.DivideError);
  cpu.setGpr(Rax, BigInt.asUintN(64, quotient));
  cpu.setGpr(Rdx, BigInt.asUintN(64, dividend % divisor));
  return HandlerResult.Next;
}

export const miscellaneousInstructions: Readonly<Record<string, RareInstruction>> = {
  enter,
  checkPort,
  div128,
  idiv128,
};
