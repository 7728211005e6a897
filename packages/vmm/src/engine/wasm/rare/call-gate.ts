/** Transfers through call gates (SDM Vol. 3A "Call Gates", "IA-32e Mode Call Gates"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { checkTarget, enterCode, readCode } from './code-segment.ts';
import { type Descriptor, SystemType, markAccessed, readUpperHalf } from './descriptor.ts';
import type { RareCpu, RareResult } from './rare-cpu.ts';
import {
  type SlotBytes,
  type Stack,
  currentStack,
  enterStack,
  innerStack,
  peek,
  pushAll,
  setStackPointer,
} from './stack.ts';

export function callGate(cpu: RareCpu, gate: Descriptor, isCall: boolean): RareResult {
  const { cpl } = cpu;
  if (gate.dpl < cpl || gate.dpl < gate.rpl) return cpu.raise(Vector.GeneralProtection, gate.error);
  let offset = BigInt(gate.gateOffset);
  if (cpu.longMode) {
    const upper = readUpperHalf(cpu, gate);
    if (upper === undefined) return cpu.slowStatus;
    offset |= upper;
  }
  if (!gate.present) return cpu.raise(Vector.SegmentNotPresent, gate.error);
  const target = readCode(cpu, gate.gateSelector);
  if (!target) return cpu.slowStatus;
  const inward = !target.isConforming && target.dpl < cpl;
  const wrongSize = cpu.longMode && !target.isLong;
  if (target.dpl > cpl || wrongSize || (inward && !isCall)) return cpu.raise(Vector.GeneralProtection, target.error);
  if (!checkTarget(cpu, target, offset) || !markAccessed(cpu, target)) return cpu.slowStatus;
  if (inward) return callInward(cpu, gate, target, offset);
  if (isCall) {
    const stack = currentStack(cpu);
    const top = pushAll(cpu, stack, returnAddress(cpu), slotBytes(cpu, gate));
    if (top === undefined) return cpu.slowStatus;
    setStackPointer(cpu, stack.width, top);
  }
  enterCode(cpu, target, offset, cpl);
  return HandlerResult.Resync;
}

function slotBytes(cpu: RareCpu, gate: Descriptor): SlotBytes {
  if (cpu.longMode) return 8;
  return gate.systemType === SystemType.CallGate16 ? 2 : 4;
}

const returnAddress = (cpu: RareCpu): bigint[] => [BigInt(cpu.segment(SegmentIndex.Cs).selector), cpu.nextRip];

/** The outer stack's address and the parameters go to the inner stack before the return address. */
function callInward(cpu: RareCpu, gate: Descriptor, target: Descriptor, offset: bigint): RareResult {
  const bytes = slotBytes(cpu, gate);
  const inner = innerStack(cpu, target.dpl);
  if (!inner) return cpu.slowStatus;
  const outer = currentStack(cpu);
  const parameters = cpu.longMode ? [] : readParameters(cpu, outer, gate.high & 31, bytes);
  if (!parameters) return cpu.slowStatus;
  const frame = [BigInt(outer.segment.selector), outer.pointer, ...parameters, ...returnAddress(cpu)];
  const top = pushAll(cpu, inner, frame, bytes);
  if (top === undefined) return cpu.slowStatus;
  enterStack(cpu, inner, top, target.dpl);
  enterCode(cpu, target, offset, target.dpl);
  return HandlerResult.Resync;
}

/** In the order of pushing: the one that was pushed first comes first. */
function readParameters(cpu: RareCpu, outer: Stack, count: number, bytes: SlotBytes): bigint[] | undefined {
  const values: bigint[] = [];
  for (let i = count - 1; i >= 0; i--) {
    const value = peek(cpu, outer, i * bytes, bytes);
    if (value === undefined) return undefined;
    values.push(value);
  }
  return values;
}
