/**
 * Delivery of exceptions and interrupts outside long mode (SDM Vol. 3A "Protected-Mode Exceptions and Interrupts",
 * "Interrupt and Exception Handling in Real-Address Mode", "Interrupt and Exception Handling in Virtual-8086 Mode"),
 * and the INT instructions of all modes.
 */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, LoopExit, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { EventKind } from '../interpreter/events.ts';
import { Rflag } from '../emit/lazy-flags.ts';
import { checkTarget, enterCode, enterRealCode, readCode } from './code-segment.ts';
import { Descriptor, SystemType, fail, markAccessed, nullSegment } from './descriptor.ts';
import type { RareCpu, RareInstruction, RareResult } from './rare-cpu.ts';
import { type SlotBytes, currentStack, enterStack, innerStack, isWideTss, pushAll, setStackPointer } from './stack.ts';
import { switchTask, taskGate } from './task-switch.ts';

/** Delivers at Cpu.Rip. 0, or 1 with the next fault recorded. */
export function legacyEvent(cpu: RareCpu, vector: number, kind: number): number {
  const errorCode =
    kind === EventKind.Exception && cpu.u32(Cpu.FaultHasError) ? cpu.u32(Cpu.FaultErrorCode) : undefined;
  const event: LegacyEvent = { vector, kind, errorCode };
  const delivered = cpu.protectedMode ? protectedEvent(cpu, event) : realEvent(cpu, event);
  if (delivered) {
    cpu.setU32(Cpu.Shadow, 0);
    return 0;
  }
  // A table or stack that is a device cannot be waited for here
  if (cpu.slowStatus === HandlerResult.Exit) cpu.raise(Vector.DoubleFault);
  if (kind !== EventKind.Software) markExternal(cpu);
  return 1;
}

interface LegacyEvent {
  readonly vector: number;
  readonly kind: number;
  readonly errorCode: number | undefined;
}

/** Sets EXT in a selector error code (SDM Vol. 3A "Error Code"). */
function markExternal(cpu: RareCpu): void {
  const vector = cpu.u32(Cpu.FaultVector);
  const hasSelector = vector >= Vector.InvalidTss && vector <= Vector.GeneralProtection;
  if (hasSelector) cpu.setU32(Cpu.FaultErrorCode, cpu.u32(Cpu.FaultErrorCode) | 1);
}

const codeSelector = (cpu: RareCpu): bigint => BigInt(cpu.segment(SegmentIndex.Cs).selector);

function realEvent(cpu: RareCpu, { vector }: LegacyEvent): boolean {
  const entry = vector * 4;
  if (entry + 3 > cpu.u32(Cpu.IdtLimit)) {
    cpu.raise(Vector.GeneralProtection);
    return false;
  }
  const target = cpu.readSystem(cpu.u64(Cpu.IdtBase) + BigInt(entry), 4);
  if (target === undefined) return false;
  const stack = currentStack(cpu);
  const flags = cpu.rflags;
  const top = pushAll(cpu, stack, [BigInt(flags & 0xffff), codeSelector(cpu), cpu.rip], 2);
  if (top === undefined || !enterRealCode(cpu, Number(target >> 16n), target & 0xffffn)) return false;
  setStackPointer(cpu, stack.width, top);
  cpu.rflags = flags & ~(Rflag.Interrupt | Rflag.Trap | Rflag.AlignmentCheck | Rflag.Resume);
  return true;
}

/** Error code that names an IDT entry. */
const gateError = (vector: number): number => (vector << 3) | 2;

function protectedEvent(cpu: RareCpu, event: LegacyEvent): boolean {
  const gate = readGate(cpu, event);
  if (!gate) return false;
  if (gate.systemType === SystemType.TaskGate) return taskEvent(cpu, gate, event);
  const target = readCode(cpu, gate.gateSelector);
  if (!target) return false;
  if (target.dpl > cpu.cpl) return refuse(cpu, target);
  const offset = BigInt(gate.gateOffset);
  const inward = !target.isConforming && target.dpl < cpu.cpl;
  if (cpu.virtual8086 && (!inward || target.dpl !== 0)) return refuse(cpu, target);
  if (!checkTarget(cpu, target, offset) || !markAccessed(cpu, target)) return false;
  const stack = inward ? innerStack(cpu, target.dpl) : currentStack(cpu);
  if (!stack) return false;
  const wide = (gate.systemType & 8) !== 0;
  const frame = eventFrame(cpu, event, inward);
  const top = pushAll(cpu, stack, frame, wide ? 4 : 2);
  if (top === undefined) return false;
  const IsTrapGate = 1;
  const flags = cpu.rflags & ~(Rflag.Trap | Rflag.NestedTask | Rflag.Resume | Rflag.Virtual8086);
  if (cpu.virtual8086) dropVirtual8086Segments(cpu);
  cpu.rflags = gate.systemType & IsTrapGate ? flags : flags & ~Rflag.Interrupt;
  const cpl = inward ? target.dpl : cpu.cpl;
  if (inward) enterStack(cpu, stack, top, cpl);
  else setStackPointer(cpu, stack.width, top);
  enterCode(cpu, target, offset, cpl);
  return true;
}

function refuse(cpu: RareCpu, target: Descriptor): boolean {
  cpu.raise(Vector.GeneralProtection, target.error);
  return false;
}

const Gates: readonly number[] = [
  SystemType.TaskGate,
  SystemType.InterruptGate16,
  SystemType.TrapGate16,
  SystemType.InterruptGate32,
  SystemType.TrapGate32,
];

function readGate(cpu: RareCpu, { vector, kind }: LegacyEvent): Descriptor | undefined {
  const error = gateError(vector);
  const entry = vector * 8;
  if (entry + 7 > cpu.u32(Cpu.IdtLimit)) return fail(cpu, Vector.GeneralProtection, error);
  const linear = cpu.u64(Cpu.IdtBase) + BigInt(entry);
  const raw = cpu.readSystem(linear, 8);
  if (raw === undefined) return undefined;
  const gate = new Descriptor(error, linear, raw);
  const usable = gate.isSystem && Gates.includes(gate.systemType);
  const allowed = kind !== EventKind.Software || gate.dpl >= cpu.cpl;
  if (!usable || !allowed) return fail(cpu, Vector.GeneralProtection, error);
  return gate.present ? gate : fail(cpu, Vector.SegmentNotPresent, error);
}

/** In the order of pushing: [GS FS DS ES] [SS ESP] EFLAGS CS EIP [error code]. */
function eventFrame(cpu: RareCpu, event: LegacyEvent, inward: boolean): bigint[] {
  const selector = (index: number): bigint => BigInt(cpu.segment(index).selector);
  const frame: bigint[] = [];
  if (cpu.virtual8086)
    frame.push(...[SegmentIndex.Gs, SegmentIndex.Fs, SegmentIndex.Ds, SegmentIndex.Es].map(selector));
  if (inward) frame.push(selector(SegmentIndex.Ss), currentStack(cpu).pointer);
  frame.push(BigInt(savedFlags(cpu, event)), codeSelector(cpu), cpu.rip);
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  return frame;
}

const Traps: readonly number[] = [Vector.Debug, Vector.Nmi, Vector.Breakpoint, Vector.Overflow];

/** Faults save RF set, so that an instruction breakpoint does not strike again (SDM Vol. 3B "Instruction-Breakpoint Exception Condition"). */
function savedFlags(cpu: RareCpu, { vector, kind }: LegacyEvent): number {
  const isFault = kind === EventKind.Exception && !Traps.includes(vector);
  return cpu.rflags | (isFault ? Rflag.Resume : 0);
}

function dropVirtual8086Segments(cpu: RareCpu): void {
  for (const index of [SegmentIndex.Es, SegmentIndex.Ds, SegmentIndex.Fs, SegmentIndex.Gs]) {
    cpu.setSegment(index, nullSegment(0));
  }
}

function taskEvent(cpu: RareCpu, gate: Descriptor, { errorCode }: LegacyEvent): boolean {
  const task = taskGate(cpu, gate);
  if (!task || switchTask(cpu, task, 'gate')) return false;
  if (errorCode === undefined) return true;
  const stack = currentStack(cpu);
  const bytes: SlotBytes = isWideTss(cpu) ? 4 : 2;
  const top = pushAll(cpu, stack, [BigInt(errorCode)], bytes);
  if (top === undefined) return false;
  setStackPointer(cpu, stack.width, top);
  return true;
}

/**
 * Delivers at the next instruction. A fault on the way is the instruction's own: RIP goes back, unless a task gate got as
 * far as the new task.
 */
function deliverAfter(cpu: RareCpu, vector: number, kind: number): RareResult {
  const own = cpu.rip;
  const next = cpu.u64(Cpu.RareArgument2);
  const task = cpu.segment(SegmentIndex.Tr).selector;
  cpu.rip = next;
  cpu.setU32(Cpu.FaultHasError, 0);
  if (cpu.core.event(cpu.at, vector, kind) === 0) return HandlerResult.Resync;
  if (cpu.segment(SegmentIndex.Tr).selector !== task) {
    const exit = cpu.core.deliver(cpu.at);
    if (exit === 0) return HandlerResult.Resync;
    cpu.setU32(Cpu.ExitKind, exit);
    return HandlerResult.Exit;
  }
  cpu.rip = own;
  return HandlerResult.Fault;
}

/** RareArgument: vector; RareArgument2: RIP of the next instruction; RareResult: 1 for INT n, 0 for INT3 and INTO. */
function softwareInterrupt(cpu: RareCpu): RareResult {
  const isIntN = cpu.u64(Cpu.RareResult) === 1n;
  const restricted = (cpu.u32(Cpu.Rflags) & Rflag.IoPrivilege) !== Rflag.IoPrivilege;
  if (isIntN && cpu.virtual8086 && restricted) return cpu.raise(Vector.GeneralProtection);
  const vector = Number(cpu.u64(Cpu.RareArgument) & 0xffn);
  if (cpu.int3Leaves && !isIntN && vector === Vector.Breakpoint) {
    cpu.setU32(Cpu.ExitKind, LoopExit.Debug);
    return HandlerResult.Exit;
  }
  return deliverAfter(cpu, vector, EventKind.Software);
}

export const eventInstructions: Readonly<Record<string, RareInstruction>> = {
  softwareInterrupt,
  // No privilege check: delivered as the processor's own #DB
  int1: (cpu) => deliverAfter(cpu, Vector.Debug, EventKind.Exception),
};
