/** Returns to an outer privilege level: RETF and IRET. */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { SegmentIndex } from '../interpreter/cpu-layout.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import { type Descriptor, fail, isNullSelector, markAccessed, nullSegment, readDescriptor } from './descriptor.ts';
import type { RareCpu, SegmentCache } from './rare-cpu.ts';

/** SS for the privilege of `code`'s RPL. A null selector is legal when 64-bit code outside CPL 3 is entered. */
export function outerStackSegment(cpu: RareCpu, selector: number, code: Descriptor): SegmentCache | undefined {
  const cpl = code.rpl;
  if (isNullSelector(selector)) {
    const legal = cpu.longMode && code.isLong && cpl < 3 && (selector & 3) === cpl;
    return legal ? nullSegment(selector, cpl) : fail(cpu, Vector.GeneralProtection);
  }
  const descriptor = readDescriptor(cpu, selector);
  if (!descriptor) return undefined;
  const wrong = descriptor.rpl !== cpl || descriptor.dpl !== cpl || !descriptor.isWritable;
  if (wrong) return fail(cpu, Vector.GeneralProtection, descriptor.error);
  if (!descriptor.present) return fail(cpu, Vector.StackFault, descriptor.error);
  return markAccessed(cpu, descriptor) ? descriptor.cache() : undefined;
}

/** Data segments that the new CPL may not use become null. */
export function leaveToOuter(cpu: RareCpu): void {
  for (const index of [SegmentIndex.Es, SegmentIndex.Ds, SegmentIndex.Fs, SegmentIndex.Gs]) {
    const { attributes, selector } = cpu.segment(index);
    if (isNullSelector(selector)) continue;
    const code = (attributes & SegmentAttribute.Code) !== 0;
    const conforming = code && (attributes & SegmentAttribute.DownConforming) !== 0;
    const dpl = (attributes >>> SegmentAttribute.DplShift) & 3;
    if (!conforming && dpl < cpu.cpl) cpu.setSegment(index, nullSegment(0));
  }
}
