/** Segments, descriptor tables and control registers: KVM API documentation 4.13 "KVM_GET_SREGS". */
import type { DescriptorTable, Segment, SystemRegisters } from '@lodger/vmm/engine/state.js';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { Sregs } from '../api/state-layouts.ts';
import type { Value } from '../api/struct.ts';
import { getState } from './transfer.ts';

type RawSegment = Value<typeof Sregs>['cs'];

export function readSregs(fd: number): SystemRegisters {
  const raw = getState(fd, KvmRequest.GetSregs, Sregs);
  const table = ({ base, limit }: DescriptorTable): DescriptorTable => ({ base, limit });
  return {
    cs: decodeSegment(raw.cs),
    ds: decodeSegment(raw.ds),
    es: decodeSegment(raw.es),
    fs: decodeSegment(raw.fs),
    gs: decodeSegment(raw.gs),
    ss: decodeSegment(raw.ss),
    tr: decodeSegment(raw.tr),
    ldt: decodeSegment(raw.ldt),
    gdt: table(raw.gdt),
    idt: table(raw.idt),
    cr0: raw.cr0,
    cr2: raw.cr2,
    cr3: raw.cr3,
    cr4: raw.cr4,
    cr8: raw.cr8,
    efer: raw.efer,
    apicBase: raw.apic_base,
  };
}

/** The interrupt bitmap, which is of controllers in user space, stays empty: such an interrupt is among the events. */
export function writeSregs(fd: number, sregs: SystemRegisters): void {
  const table = ({ base, limit }: DescriptorTable) => ({ base, limit, padding: [] });
  const raw = Sregs.create({
    cs: encodeSegment(sregs.cs),
    ds: encodeSegment(sregs.ds),
    es: encodeSegment(sregs.es),
    fs: encodeSegment(sregs.fs),
    gs: encodeSegment(sregs.gs),
    ss: encodeSegment(sregs.ss),
    tr: encodeSegment(sregs.tr),
    ldt: encodeSegment(sregs.ldt),
    gdt: table(sregs.gdt),
    idt: table(sregs.idt),
    cr0: sregs.cr0,
    cr2: sregs.cr2,
    cr3: sregs.cr3,
    cr4: sregs.cr4,
    cr8: sregs.cr8,
    efer: sregs.efer,
    apic_base: sregs.apicBase,
  });
  kvmIoctl(fd, KvmRequest.SetSregs, raw);
}

function decodeSegment(raw: RawSegment): Segment {
  return {
    base: raw.base,
    limit: raw.limit,
    selector: raw.selector,
    type: raw.type,
    present: raw.present !== 0,
    dpl: raw.dpl,
    db: raw.db !== 0,
    s: raw.s !== 0,
    l: raw.l !== 0,
    g: raw.g !== 0,
    avl: raw.avl !== 0,
    unusable: raw.unusable !== 0,
  };
}

function encodeSegment(segment: Segment): RawSegment {
  return {
    base: segment.base,
    limit: segment.limit,
    selector: segment.selector,
    type: segment.type,
    present: Number(segment.present),
    dpl: segment.dpl,
    db: Number(segment.db),
    s: Number(segment.s),
    l: Number(segment.l),
    g: Number(segment.g),
    avl: Number(segment.avl),
    unusable: Number(segment.unusable),
    padding: 0,
  };
}
