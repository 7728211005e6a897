/** A vCPU's state between KVM's structures and the engine-neutral one. First version: no XSAVE, no local APIC. */
import type { FpuState, Segment, SystemRegisters, VcpuEvents, VcpuState } from '@lodger/vmm/engine/state.js';
import { Msrs, MsrEntry } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import * as layout from '../api/state-layouts.ts';
import type { Struct, Value } from '../api/struct.ts';

const SavedMsrs = [0x10, 0x174, 0x175, 0x176, 0x277, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102, 0xc000_0103]; // prettier-ignore
const MpStates = ['runnable', 'uninitialized', 'init-received', 'halted', 'sipi-received'] as const;
const SegmentNames = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;

// eslint-disable-next-line @typescript-eslint/no-explicit-any
function get<S extends Struct<any>>(fd: number, request: number, type: S): Value<S> {
  const buffer = type.create();
  kvmIoctl(fd, request, buffer);
  return type.decode(buffer) as Value<S>;
}

export function readVcpuState(fd: number): VcpuState {
  const regs = get(fd, KvmRequest.GetRegs, layout.Regs);
  const sregs = get(fd, KvmRequest.GetSregs, layout.Sregs);
  const debug = get(fd, KvmRequest.GetDebugregs, layout.Debugregs);
  const { mp_state } = get(fd, KvmRequest.GetMpState, layout.MpState);
  const xcrs = get(fd, KvmRequest.GetXcrs, layout.Xcrs);
  const tables = { gdt: { ...sregs.gdt }, idt: { ...sregs.idt } };
  const segments = Object.fromEntries(SegmentNames.map((name) => [name, fromSegment(sregs[name])]));
  const { cr0, cr2, cr3, cr4, cr8, efer, apic_base: apicBase } = sregs;
  return {
    version: 1,
    regs,
    sregs: { ...segments, ...tables, cr0, cr2, cr3, cr4, cr8, efer, apicBase } as unknown as SystemRegisters,
    fpu: fromFpu(get(fd, KvmRequest.GetFpu, layout.Fpu)),
    debug: { db: [...debug.db] as [bigint, bigint, bigint, bigint], dr6: debug.dr6, dr7: debug.dr7 },
    xcr0: xcrs.nr_xcrs > 0 ? xcrs.xcrs[0]!.value : 1n,
    msrs: readMsrs(fd),
    events: fromEvents(get(fd, KvmRequest.GetVcpuEvents, layout.VcpuEvents)),
    mpState: MpStates[mp_state] ?? 'runnable',
  };
}

export function writeVcpuState(fd: number, state: VcpuState): void {
  const { sregs, debug, fpu } = state;
  const segments = Object.fromEntries(SegmentNames.map((name) => [name, toSegment(sregs[name])]));
  const table = (name: 'gdt' | 'idt') => ({ ...sregs[name], padding: [] });
  const encoded = layout.Sregs.create({
    ...(segments as Record<(typeof SegmentNames)[number], Value<typeof layout.Segment>>),
    gdt: table('gdt'),
    idt: table('idt'),
    cr0: sregs.cr0,
    cr2: sregs.cr2,
    cr3: sregs.cr3,
    cr4: sregs.cr4,
    cr8: sregs.cr8,
    efer: sregs.efer,
    apic_base: sregs.apicBase,
  });
  kvmIoctl(fd, KvmRequest.SetSregs, encoded);
  kvmIoctl(fd, KvmRequest.SetRegs, layout.Regs.create(state.regs));
  kvmIoctl(fd, KvmRequest.SetFpu, layout.Fpu.create(toFpu(fpu)));
  const xcrs = layout.Xcrs.create({ nr_xcrs: 1, xcrs: [{ xcr: 0, reserved: 0, value: state.xcr0 }] });
  kvmIoctl(fd, KvmRequest.SetXcrs, xcrs);
  kvmIoctl(fd, KvmRequest.SetDebugregs, layout.Debugregs.create({ ...debug }));
  for (const [index, value] of state.msrs) writeMsr(fd, index, value);
  kvmIoctl(fd, KvmRequest.SetMpState, layout.MpState.create({ mp_state: MpStates.indexOf(state.mpState) }));
  kvmIoctl(fd, KvmRequest.SetVcpuEvents, layout.VcpuEvents.create(toEvents(state.events)));
}

function fromSegment(segment: Value<typeof layout.Segment>): Segment {
  const { base, limit, selector, type, dpl, present, db, s, l, g, avl, unusable } = segment;
  const flags = { present, db, s, l, g, avl, unusable };
  const booleans = Object.fromEntries(Object.entries(flags).map(([name, value]) => [name, value !== 0]));
  return { base, limit, selector, type, dpl, ...booleans } as unknown as Segment;
}

function toSegment(segment: Segment): Value<typeof layout.Segment> {
  const { base, limit, selector, type, dpl, present, db, s, l, g, avl, unusable } = segment;
  const bits = { present, db, s, l, g, avl, unusable };
  const numbers = Object.fromEntries(Object.entries(bits).map(([name, value]) => [name, Number(value)]));
  return { base, limit, selector, type, dpl, ...numbers, padding: 0 } as Value<typeof layout.Segment>;
}

function fromFpu(fpu: Value<typeof layout.Fpu>): FpuState {
  const wide = (bytes: Uint8Array): [bigint, bigint] => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return [view.getBigUint64(0, true), view.getBigUint64(8, true)];
  };
  return {
    st: fpu.fpr.map((bytes) => {
      const [significand, high] = wide(bytes);
      return { significand, signExponent: Number(high & 0xffffn) };
    }),
    fcw: fpu.fcw,
    fsw: fpu.fsw,
    ftw: fpu.ftwx,
    lastOpcode: fpu.last_opcode,
    lastIp: fpu.last_ip,
    lastDp: fpu.last_dp,
    xmm: fpu.xmm.map((bytes) => {
      const [low, high] = wide(bytes);
      return (high << 64n) | low;
    }),
    mxcsr: fpu.mxcsr,
  };
}

function toFpu(fpu: FpuState): Omit<Value<typeof layout.Fpu>, 'pad1' | 'pad2'> {
  const wide = (low: bigint, high: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(low, high).buffer);
  return {
    fpr: fpu.st.map(({ significand, signExponent }) => wide(significand, BigInt(signExponent))),
    fcw: fpu.fcw,
    fsw: fpu.fsw,
    ftwx: fpu.ftw,
    last_opcode: fpu.lastOpcode,
    last_ip: fpu.lastIp,
    last_dp: fpu.lastDp,
    xmm: fpu.xmm.map((value) => wide(BigInt.asUintN(64, value), value >> 64n)),
    mxcsr: fpu.mxcsr,
  };
}

function readMsrs(fd: number): [number, bigint][] {
  const found: [number, bigint][] = [];
  for (const index of SavedMsrs) {
    const buffer = msrBuffer(index, 0n);
    if (kvmIoctl(fd, KvmRequest.GetMsrs, buffer) !== 1) continue;
    found.push([index, MsrEntry.decode(buffer, Msrs.offset.entries).data]);
  }
  return found;
}

function writeMsr(fd: number, index: number, value: bigint): void {
  kvmIoctl(fd, KvmRequest.SetMsrs, msrBuffer(index, value));
}

function msrBuffer(index: number, data: bigint): Uint8Array {
  const buffer = Msrs.create({ nmsrs: 1 }, 1);
  MsrEntry.update(new DataView(buffer.buffer), { index, data }, Msrs.offset.entries);
  return buffer;
}

function fromEvents(events: Value<typeof layout.VcpuEvents>): VcpuEvents {
  const { exception, interrupt, nmi } = events;
  const errorCode = exception.has_error_code ? exception.error_code : undefined;
  return {
    exception: exception.injected ? { vector: exception.nr, errorCode } : undefined,
    interrupt: interrupt.injected ? { vector: interrupt.nr, soft: interrupt.soft !== 0 } : undefined,
    interruptShadow: interrupt.shadow & layout.InterruptShadow.Sti ? 'sti' : interrupt.shadow ? 'mov-ss' : 'none',
    nmi: { injected: nmi.injected !== 0, pending: nmi.pending !== 0, masked: nmi.masked !== 0 },
  };
}

function toEvents({
  exception,
  interrupt,
  interruptShadow,
  nmi,
}: VcpuEvents): Partial<Value<typeof layout.VcpuEvents>> {
  const Shadow = { none: 0, sti: layout.InterruptShadow.Sti, 'mov-ss': layout.InterruptShadow.MovSs } as const;
  return {
    exception: {
      injected: Number(exception !== undefined),
      nr: exception?.vector ?? 0,
      has_error_code: Number(exception?.errorCode !== undefined),
      pending: 0,
      error_code: exception?.errorCode ?? 0,
    },
    interrupt: {
      injected: Number(interrupt !== undefined),
      nr: interrupt?.vector ?? 0,
      soft: Number(interrupt?.soft ?? false),
      shadow: Shadow[interruptShadow],
    },
    nmi: { injected: Number(nmi.injected ?? false), pending: Number(nmi.pending), masked: Number(nmi.masked), pad: 0 },
    flags: layout.VcpuEventFlag.ValidNmiPending | layout.VcpuEventFlag.ValidShadow,
  };
}
