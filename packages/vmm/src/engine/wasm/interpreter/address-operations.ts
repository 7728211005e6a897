/**
 * Address micro-operations: records that compute a memory operand's address for the record after them, where
 * base + index * scale + displacement in one 64-bit sum is not enough: narrower addressing, and two registers beside the
 * base of FS or GS. Outside of 64-bit code they leave the offset: the operand's handler applies the segment.
 *
 * Record.Immediate holds the displacement.
 */
import { Cpu, SegmentField, segmentOffset } from './cpu-layout.ts';
import type { HandlerSite } from './record-semantics.ts';
import { Record } from './record.ts';

export interface AddressForm {
  readonly addressWidth: 16 | 32 | 64;
  /** Segment whose base is added, or -1. */
  readonly segment: number;
}

export const addressKey = (form: AddressForm): string => `EA.${form.addressWidth}.${form.segment}`;

/** Emits the micro-operation. */
export function emitAddress({ f, cpu, pc }: HandlerSite, form: AddressForm): void {
  const base = cpu.add(pc.load16u(Record.Base)).load64();
  const index = cpu.add(pc.load16u(Record.Index)).load64();
  const sum = base.add(index.shl(pc.load8u(Record.Scale).toI64u())).add(pc.load64(Record.Immediate));
  const offset = form.addressWidth === 64 ? sum : sum.zeroExtend(form.addressWidth);
  const segmentBase = segmentOffset(form.segment) + SegmentField.Base;
  f.store64(cpu, Cpu.EffectiveAddress, form.segment < 0 ? offset : offset.add(cpu.load64(segmentBase)));
}
