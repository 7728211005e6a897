/**
 * Address micro-operations: records that compute a memory operand's linear address for the record after them, where
 * base + index * scale + displacement in one 64-bit sum is not enough (16- and 32-bit addressing, segment limits).
 *
 * Record.Immediate holds the displacement, Record.Extra the segment and the access.
 */
import { i32 } from '../encoder/values.ts';
import { Cpu, SegmentField, segmentOffset } from './cpu-layout.ts';

import type { CoreFunctions, HandlerSite } from './record-semantics.ts';
import { Record } from './record.ts';

export interface AddressForm {
  readonly addressWidth: 16 | 32 | 64;
  readonly codeSize: 16 | 32 | 64;
  /** SegmentIndex, or -1 for LEA. */
  readonly segment: number;
  readonly bytes: number;
  readonly write: boolean;
}

export const addressKey = (form: AddressForm): string =>
  `EA.${form.addressWidth}.${form.codeSize}.${form.segment}.${form.bytes}${form.write ? 'w' : 'r'}`;

/** Emits the micro-operation. */
export function emitAddress(site: HandlerSite, core: CoreFunctions, form: AddressForm): void {
  const { f, cpu, pc } = site;
  const base = cpu.add(pc.load16u(Record.Base)).load64();
  const index = cpu.add(pc.load16u(Record.Index)).load64();
  const sum = base.add(index.shl(pc.load8u(Record.Scale).toI64u())).add(pc.load64(Record.Immediate));
  const offset = f.let(form.addressWidth === 64 ? sum : sum.zeroExtend(form.addressWidth));
  if (form.segment < 0) {
    f.store64(cpu, Cpu.EffectiveAddress, offset);
  } else if (form.codeSize === 64) {
    const based = form.segment >= 4;
    const segmentBase = cpu.load64(segmentOffset(form.segment) + SegmentField.Base);
    f.store64(cpu, Cpu.EffectiveAddress, based ? offset.add(segmentBase) : offset);
  } else {
    const write = i32(form.write ? 1 : 0);
    const bytes = i32(Math.max(form.bytes, 1));
    const linear = f.callValue('i64', core.segmented, cpu, i32(form.segment), offset, bytes, write);
    const status = f.let(cpu.load32(Cpu.SlowStatus));
    f.unlikely(status, () => site.leave(status));
    f.store64(cpu, Cpu.EffectiveAddress, linear);
  }
}
