/** Targets of far transfers: checks of code segments and loading CS (SDM Vol. 3A "Privilege Level Checking When Transferring Program Control Between Code Segments"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import { type Descriptor, fail, isCanonical, isNullSelector, readDescriptor, realSegment } from './descriptor.ts';
import type { RareCpu } from './rare-cpu.ts';

/** Reads the descriptor of a code segment: #GP for a null selector, what is no code, or L and D both set in long mode. */
export function readCode(cpu: RareCpu, selector: number): Descriptor | undefined {
  if (isNullSelector(selector)) return fail(cpu, Vector.GeneralProtection);
  const descriptor = readDescriptor(cpu, selector);
  if (!descriptor) return undefined;
  const impossible = cpu.longMode && descriptor.isLong && descriptor.isBig;
  if (!descriptor.isCode || impossible) return fail(cpu, Vector.GeneralProtection, descriptor.error);
  return descriptor;
}

/** #NP when absent; #GP(0) when `offset` is beyond the limit, or not canonical in 64-bit code. */
export function checkTarget(cpu: RareCpu, descriptor: Descriptor, offset: bigint): boolean {
  if (!descriptor.present) cpu.raise(Vector.SegmentNotPresent, descriptor.error);
  else if (isWithin(cpu, descriptor, offset)) return true;
  else cpu.raise(Vector.GeneralProtection);
  return false;
}

function isWithin(cpu: RareCpu, descriptor: Descriptor, offset: bigint): boolean {
  return cpu.longMode && descriptor.isLong ? isCanonical(offset) : offset <= BigInt(descriptor.limit);
}

/** Loads CS, CPL and RIP; everything was checked. SS and its stack pointer come before. */
export function enterCode(cpu: RareCpu, descriptor: Descriptor, offset: bigint, cpl: number): void {
  const cache = descriptor.cache((descriptor.selector & 0xfffc) | cpl);
  const flat = cpu.longMode && descriptor.isLong;
  if (!cpu.longMode) cache.attributes &= ~SegmentAttribute.Long;
  cpu.setSegment(SegmentIndex.Cs, flat ? { ...cache, base: 0n, limit: 0xffff_ffff } : cache);
  cpu.setU32(Cpu.Cpl, cpl);
  cpu.rip = offset;
  cpu.updateMode();
}

/** CS:IP in real and virtual-8086 mode; false with #GP(0) when IP is beyond the limit. */
export function enterRealCode(cpu: RareCpu, selector: number, offset: bigint): boolean {
  const segment = realSegment(cpu, SegmentIndex.Cs, selector);
  if (offset > BigInt(segment.limit)) {
    cpu.raise(Vector.GeneralProtection);
    return false;
  }
  cpu.setSegment(SegmentIndex.Cs, segment);
  cpu.rip = offset;
  cpu.updateMode();
  return true;
}
