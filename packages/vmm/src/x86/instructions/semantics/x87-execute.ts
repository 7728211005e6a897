/**
 * What all x87 instructions share: availability and pending exceptions at the start, the last-instruction pointers, and
 * reading memory operands (SDM Vol. 1 §8.1.8 "x87 FPU Instruction and Data (Operand) Pointers", §8.6 "x87 FPU
 * Exception Synchronization").
 *
 * As on AMD processors, every instruction that is not a control instruction updates the instruction pointer and opcode,
 * whether or not it raises an exception; those with a memory operand update the data pointer.
 */
import type { I32 } from '../../../engine/wasm/encoder/values.ts';
import { Cpu, SegmentField, SegmentIndex, segmentOffset } from '../../../engine/wasm/interpreter/cpu-layout.ts';
import { type Operand, type Semantics, Vector } from './context.ts';
import { fromDouble, fromInteger, fromSingle } from './x87-convert.ts';
import { Slot, Status } from './x87-state.ts';

const Cr0 = { MonitorCoprocessor: 1 << 1, Emulation: 1 << 2, TaskSwitched: 1 << 3, NumericError: 1 << 5 } as const;

/** #NM: for every x87 instruction but FWAIT. */
export function requireX87(s: Semantics): void {
  s.raiseIf(s.state32(Cpu.Cr0).and(Cr0.Emulation | Cr0.TaskSwitched), Vector.DeviceNotAvailable);
}

/** #NM of FWAIT: with CR0.MP and CR0.TS both set. */
export function requireWait(s: Semantics): void {
  const both = Cr0.MonitorCoprocessor | Cr0.TaskSwitched;
  s.raiseIf(s.state32(Cpu.Cr0).and(both).eq(both), Vector.DeviceNotAvailable);
}

/** #MF for an unmasked exception of an earlier instruction. With CR0.NE clear it stays pending (no FERR#, no IRQ 13). */
export function deliverPending(s: Semantics): void {
  const native = s.state32(Cpu.Cr0).and(Cr0.NumericError);
  s.raiseIf(s.state32(Cpu.FpuStatus).and(Status.ErrorSummary).andAlso(native), Vector.MathFault);
}

/** The checks of a waiting instruction. */
export function begin(s: Semantics): void {
  requireX87(s);
  deliverPending(s);
}

/** Records this instruction in the pointers; after the last memory access that can fault. */
export function recordPointers(s: Semantics): void {
  s.setState64(Cpu.FpuLastIp, s.rip());
  s.setState32(Cpu.FpuLastCs, s.state32(segmentOffset(SegmentIndex.Cs) + SegmentField.Selector).and(0xffff));
  s.setState32(Cpu.FpuLastOpcode, s.x87Opcode?.() ?? 0);
  const memory = s.operands.find((operand) => operand.kind === 'memory');
  if (!memory) return;
  s.setState64(Cpu.FpuLastDp, memory.effective());
  s.setState32(Cpu.FpuLastDs, memory.selector().and(0xffff));
}

/** Reads a floating-point memory operand into {@link Slot.Memory}; answers DE for a denormal. Records the pointers. */
export function readReal(s: Semantics, operand: Operand): I32 {
  const bits = operand.readUnsigned(operand.bits === 32 ? 32 : 64);
  recordPointers(s);
  const to = s.cpu.add(Slot.Memory);
  return s.let(operand.bits === 32 ? fromSingle(s.helper.bind(s), to, bits) : fromDouble(s.helper.bind(s), to, bits));
}

/** Reads an integer memory operand into {@link Slot.Memory}. Records the pointers. */
export function readInteger(s: Semantics, operand: Operand): I32 {
  const value = operand.read(operand.bits as 16 | 32 | 64);
  recordPointers(s);
  return s.let(fromInteger(s.helper.bind(s), s.cpu.add(Slot.Memory), value));
}
