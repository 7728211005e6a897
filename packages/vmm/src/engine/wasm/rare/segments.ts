/** Loading and probing segment registers (SDM Vol. 2 "MOV—Move", "LLDT", "LTR", "LAR", "LSL", "VERR/VERW"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import {
  Descriptor,
  SystemType,
  descriptorAddress,
  fail,
  isCanonical,
  isCode64,
  isNullSelector,
  isRealLike,
  markAccessed,
  markBusy,
  nullSegment,
  readDescriptor,
  readUpperHalf,
  realSegment,
  selectorError,
} from './descriptor.ts';
import type { RareCpu, RareInstruction, RareResult, SegmentCache } from './rare-cpu.ts';

const argument = (cpu: RareCpu): number => Number(cpu.u64(Cpu.RareArgument) & 0xffffn);

/** RareArgument: selector; RareArgument2: SegmentIndex. */
function loadSegment(cpu: RareCpu): RareResult {
  const selector = argument(cpu);
  const index = Number(cpu.u64(Cpu.RareArgument2));
  if (index === SegmentIndex.Cs || index > SegmentIndex.Gs) return cpu.raise(Vector.InvalidOpcode);
  const segment = isRealLike(cpu) ? realSegment(cpu, index, selector) : protectedSegment(cpu, index, selector);
  if (!segment) return cpu.slowStatus;
  cpu.setSegment(index, segment);
  if (index === SegmentIndex.Ss) cpu.updateMode();
  return HandlerResult.Next;
}

function protectedSegment(cpu: RareCpu, index: number, selector: number): SegmentCache | undefined {
  if (index === SegmentIndex.Ss) return stackSegment(cpu, selector, cpu.cpl);
  return isNullSelector(selector) ? nullSegment(selector) : dataSegment(cpu, selector, cpu.cpl);
}

/** SS at privilege `cpl`. A null selector is legal in 64-bit code outside CPL 3. */
function stackSegment(cpu: RareCpu, selector: number, cpl: number): SegmentCache | undefined {
  if (isNullSelector(selector)) {
    const legal = isCode64(cpu) && cpl < 3 && (selector & 3) === cpl;
    return legal ? nullSegment(selector, cpl) : fail(cpu, Vector.GeneralProtection);
  }
  const descriptor = readDescriptor(cpu, selector);
  if (!descriptor) return undefined;
  const wrong = descriptor.rpl !== cpl || !descriptor.isWritable || descriptor.dpl !== cpl;
  if (wrong) return fail(cpu, Vector.GeneralProtection, descriptor.error);
  if (!descriptor.present) return fail(cpu, Vector.StackFault, descriptor.error);
  return markAccessed(cpu, descriptor) ? descriptor.cache() : undefined;
}

/** Whether privilege rules of data segments let `cpl` and the selector's RPL use the segment. */
const mayUse = (descriptor: Descriptor, cpl: number): boolean =>
  descriptor.isConforming || (cpl <= descriptor.dpl && descriptor.rpl <= descriptor.dpl);

/** DS, ES, FS or GS with a selector that is not null. `vector`: #GP, or #TS in a task switch. */
export function dataSegment(
  cpu: RareCpu,
  selector: number,
  cpl: number,
  vector: number = Vector.GeneralProtection,
): SegmentCache | undefined {
  const descriptor = readDescriptor(cpu, selector, vector);
  if (!descriptor) return undefined;
  if (!descriptor.isReadable || !mayUse(descriptor, cpl)) return fail(cpu, vector, descriptor.error);
  if (!descriptor.present) return fail(cpu, Vector.SegmentNotPresent, descriptor.error);
  return markAccessed(cpu, descriptor) ? descriptor.cache() : undefined;
}

/** LDT or TSS descriptor of LLDT and LTR; 16 bytes in long mode. */
function systemDescriptor(cpu: RareCpu, selector: number, types: readonly number[]): SystemSegment | undefined {
  const LocalTable = 4;
  if (selector & LocalTable) return fail(cpu, Vector.GeneralProtection, selectorError(selector));
  const descriptor = readDescriptor(cpu, selector);
  if (!descriptor) return undefined;
  if (!descriptor.isSystem || !types.includes(descriptor.systemType)) {
    return fail(cpu, Vector.GeneralProtection, descriptor.error);
  }
  if (!descriptor.present) return fail(cpu, Vector.SegmentNotPresent, descriptor.error);
  const cache = descriptor.cache();
  if (!cpu.longMode) return { descriptor, cache };
  const upper = readUpperHalf(cpu, descriptor);
  if (upper === undefined) return undefined;
  cache.base |= upper;
  return isCanonical(cache.base) ? { descriptor, cache } : fail(cpu, Vector.GeneralProtection, selectorError(selector));
}

interface SystemSegment {
  readonly descriptor: Descriptor;
  readonly cache: SegmentCache;
}

function lldt(cpu: RareCpu): RareResult {
  const selector = argument(cpu);
  if (isNullSelector(selector)) {
    cpu.setSegment(SegmentIndex.Ldtr, nullSegment(selector));
    return HandlerResult.Next;
  }
  const segment = systemDescriptor(cpu, selector, [SystemType.Ldt]);
  if (!segment) return cpu.slowStatus;
  cpu.setSegment(SegmentIndex.Ldtr, segment.cache);
  return HandlerResult.Next;
}

function ltr(cpu: RareCpu): RareResult {
  const selector = argument(cpu);
  if (isNullSelector(selector)) return cpu.raise(Vector.GeneralProtection);
  const types = cpu.longMode ? [SystemType.Tss32] : [SystemType.Tss16, SystemType.Tss32];
  const segment = systemDescriptor(cpu, selector, types);
  if (!segment || !markBusy(cpu, segment.descriptor.linear, true)) return cpu.slowStatus;
  const Busy = 2 << 8;
  cpu.setSegment(SegmentIndex.Tr, { ...segment.cache, attributes: segment.cache.attributes | Busy });
  return HandlerResult.Next;
}

const LarTypes: readonly number[] = [
  SystemType.Tss16,
  SystemType.Ldt,
  SystemType.BusyTss16,
  SystemType.CallGate16,
  SystemType.TaskGate,
  SystemType.Tss32,
  SystemType.BusyTss32,
  SystemType.CallGate32,
];
const LslTypes: readonly number[] = [
  SystemType.Tss16,
  SystemType.Ldt,
  SystemType.BusyTss16,
  SystemType.Tss32,
  SystemType.BusyTss32,
];
const LongTypes: readonly number[] = [SystemType.Ldt, SystemType.Tss32, SystemType.BusyTss32, SystemType.CallGate32];

/** Runs `test` on the selector's descriptor; ZF (RareResult) is clear when it cannot be looked at or the test fails. */
function probe(test: (cpu: RareCpu, descriptor: Descriptor) => boolean): RareInstruction {
  return (cpu) => {
    const selector = argument(cpu);
    cpu.setU64(Cpu.RareResult, 0n);
    const linear = isNullSelector(selector) ? undefined : descriptorAddress(cpu, selector);
    if (linear === undefined) return HandlerResult.Next;
    const raw = cpu.readSystem(linear, 8);
    if (raw === undefined) return cpu.slowStatus;
    if (test(cpu, new Descriptor(selector, linear, raw))) cpu.setU64(Cpu.RareResult, 1n);
    return HandlerResult.Next;
  };
}

function isVisible(cpu: RareCpu, descriptor: Descriptor, types: readonly number[]): boolean {
  if (descriptor.isSystem) {
    const type = descriptor.systemType;
    if (!types.includes(type) || (cpu.longMode && !LongTypes.includes(type))) return false;
  }
  return mayUse(descriptor, cpu.cpl);
}

/** RareArgument2 gets the value. */
const lar = probe((cpu, descriptor) => {
  const RightsMask = 0x00ff_ff00;
  cpu.setU64(Cpu.RareArgument2, BigInt(descriptor.high & RightsMask));
  return isVisible(cpu, descriptor, LarTypes);
});

const lsl = probe((cpu, descriptor) => {
  cpu.setU64(Cpu.RareArgument2, BigInt(descriptor.limit));
  return isVisible(cpu, descriptor, LslTypes);
});

export const segmentInstructions: Readonly<Record<string, RareInstruction>> = {
  loadSegment,
  lldt,
  ltr,
  lar,
  lsl,
  verr: probe((cpu, descriptor) => descriptor.isReadable && mayUse(descriptor, cpu.cpl)),
  verw: probe((cpu, descriptor) => descriptor.isWritable && mayUse(descriptor, cpu.cpl)),
};
