/** A vCPU's state block and the engine-neutral format: reset, save and load. */
import { HostError } from '../../errors/host-error.ts';
import type { LocalApic } from '../../interrupts/local-apic.ts';
import type { TscRate } from '../../time/tsc-rate.ts';
import { Efer, EferWritable, Msr } from '../../x86/msr.ts';
import type { ExtendedState, FpuState, GeneralRegisters, Segment, SystemRegisters, VcpuState } from '../state.ts';
import {
  Cpu,
  InterruptShadow,
  SegmentIndex,
  gprOffset,
  x87Offset,
  xmmOffset,
  ymmHighOffset,
} from './interpreter/cpu-layout.ts';
import { SegmentAttribute } from './interpreter/mode.ts';
import type { Paravirtual } from './pv/paravirtual.ts';
import { Cr4Implemented, updateSimdDisabled } from './rare/mode-bits.ts';
import type { RareCpu, SegmentCache } from './rare/rare-cpu.ts';

const RegisterNames = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const; // prettier-ignore

const SegmentNames = [
  ['es', SegmentIndex.Es], ['cs', SegmentIndex.Cs], ['ss', SegmentIndex.Ss], ['ds', SegmentIndex.Ds],
  ['fs', SegmentIndex.Fs], ['gs', SegmentIndex.Gs], ['ldt', SegmentIndex.Ldtr], ['tr', SegmentIndex.Tr],
] as const; // prettier-ignore

/** MSRs that live in the state block: index and field. */
export const StateMsrs: readonly (readonly [index: number, field: number])[] = [
  [0x174, Cpu.SysenterCs],
  [0x175, Cpu.SysenterEsp],
  [0x176, Cpu.SysenterEip],
  [0x277, Cpu.Pat],
  [0xc000_0081, Cpu.Star],
  [0xc000_0082, Cpu.Lstar],
  [0xc000_0083, Cpu.Cstar],
  [0xc000_0084, Cpu.SyscallMask],
  [0xc000_0102, Cpu.KernelGsBase],
  [0xc000_0103, Cpu.TscAux],
];
const PatReset = 0x0007_0406_0007_0406n;

const realMode = (selector: number, base: bigint, type: number): SegmentCache => ({
  selector,
  base,
  limit: 0xffff,
  attributes: SegmentAttribute.Present | SegmentAttribute.CodeOrData | (type << 8),
});

/** The state after RESET# or INIT (SDM Vol. 3A Table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT"). */
export function initState(cpu: RareCpu): void {
  for (let i = 0; i < 16; i++) cpu.setGpr(i, 0n);
  cpu.setGpr(2, 0x600n);
  cpu.rflags = 2;
  cpu.rip = 0xfff0n;
  for (const [, index] of SegmentNames) cpu.setSegment(index, realMode(0, 0n, 3));
  cpu.setSegment(SegmentIndex.Cs, realMode(0xf000, 0xffff_0000n, 0xb));
  const system = { selector: 0, base: 0n, limit: 0xffff };
  cpu.setSegment(SegmentIndex.Ldtr, { ...system, attributes: SegmentAttribute.Present | (2 << 8) });
  cpu.setSegment(SegmentIndex.Tr, { ...system, attributes: SegmentAttribute.Present | (0xb << 8) });
  for (const field of [Cpu.Cr2, Cpu.Cr3, Cpu.Cr4, Cpu.Cr8, Cpu.Efer, Cpu.GdtBase, Cpu.IdtBase]) cpu.setU64(field, 0n);
  cpu.setU64(Cpu.Cr0, 0x6000_0010n);
  cpu.setU32(Cpu.GdtLimit, 0xffff);
  cpu.setU32(Cpu.IdtLimit, 0xffff);
  for (let i = 0; i < 4; i++) cpu.setU64(Cpu.Dr + 8 * i, 0n);
  cpu.setU64(Cpu.Dr6, 0xffff_0ff0n);
  cpu.setU64(Cpu.Dr7, 0x400n);
  for (const [, field] of StateMsrs) cpu.setU64(field, 0n);
  cpu.setU64(Cpu.Pat, PatReset);
  cpu.setU64(Cpu.Xcr0, 1n);
  cpu.setU32(Cpu.FpuControl, 0x37f);
  for (const field of [Cpu.FpuStatus, Cpu.FpuTags, Cpu.FpuTop, Cpu.FpuLastOpcode]) cpu.setU32(field, 0);
  cpu.setU32(Cpu.Mxcsr, 0x1f80);
  cpu.setU32(Cpu.Cpl, 0);
  for (const field of [Cpu.Shadow, Cpu.NmiMasked]) cpu.setU32(field, 0);
  forgetProgress(cpu);
}

/** What the engine keeps of an instruction or event on the way; and what follows from the registers. */
function forgetProgress(cpu: RareCpu): void {
  for (const field of [Cpu.InterruptWindow, Cpu.ReplayCount, Cpu.DeliveryClass, Cpu.PendingDebug, Cpu.ModeKey]) {
    cpu.setU32(field, 0);
  }
  updateSimdDisabled(cpu);
  cpu.updateMode();
}

function saveSegment({ selector, base, limit, attributes }: SegmentCache): Segment {
  const bit = (mask: number): boolean => (attributes & mask) !== 0;
  return {
    base,
    limit,
    selector,
    type: (attributes >> 8) & 0xf,
    present: bit(SegmentAttribute.Present),
    dpl: (attributes >> SegmentAttribute.DplShift) & 3,
    db: bit(SegmentAttribute.Big),
    s: bit(SegmentAttribute.CodeOrData),
    l: bit(SegmentAttribute.Long),
    g: bit(SegmentAttribute.Granularity),
    avl: bit(1 << 20),
    unusable: bit(SegmentAttribute.Unusable),
  };
}

function loadSegment(segment: Segment): SegmentCache {
  const bit = (set: boolean, mask: number): number => (set ? mask : 0);
  return {
    selector: segment.selector,
    base: BigInt.asUintN(64, segment.base),
    limit: segment.limit,
    attributes:
      (segment.type << 8) |
      bit(segment.present, SegmentAttribute.Present) |
      (segment.dpl << SegmentAttribute.DplShift) |
      bit(segment.db, SegmentAttribute.Big) |
      bit(segment.s, SegmentAttribute.CodeOrData) |
      bit(segment.l, SegmentAttribute.Long) |
      bit(segment.g, SegmentAttribute.Granularity) |
      bit(segment.avl, 1 << 20) |
      bit(segment.unusable, SegmentAttribute.Unusable),
  };
}

/** What a vCPU has beside its state block. */
export interface VcpuParts {
  readonly id: number;
  readonly cpu: RareCpu;
  readonly apic: LocalApic;
  readonly tsc: TscRate;
  readonly paravirtual: Paravirtual;
  /** What another engine's state held and this one does not have: handed on. */
  readonly foreign: ForeignState;
  /** State components that XCR0 may turn on. */
  readonly xstateSupported: bigint;
  /** The first vCPU's; undefined for that one itself. */
  readonly firstTscOffset: bigint | undefined;
  /** The clock's nanoseconds. */
  now(): bigint;
}

export interface ForeignState {
  msrs: (readonly [index: number, value: bigint])[];
  xsave: ExtendedState | undefined;
}

/** What the vCPU object holds of its run. */
export type VcpuRunState = Pick<VcpuState, 'mpState' | 'events'>;

export function saveState(parts: VcpuParts, run: VcpuRunState): VcpuState {
  const { cpu, apic, foreign } = parts;
  const regs: Partial<GeneralRegisters> = { rip: cpu.rip, rflags: BigInt(cpu.rflags >>> 0) };
  RegisterNames.forEach((name, i) => (regs[name] = cpu.gpr(i)));
  return {
    version: 1,
    regs: regs as GeneralRegisters,
    sregs: saveSystem(cpu, apic),
    fpu: saveFpu(cpu),
    ...saveExtended(cpu, foreign),
    debug: {
      db: [cpu.u64(Cpu.Dr), cpu.u64(Cpu.Dr + 8), cpu.u64(Cpu.Dr + 16), cpu.u64(Cpu.Dr + 24)],
      dr6: cpu.u64(Cpu.Dr6),
      dr7: cpu.u64(Cpu.Dr7),
    },
    xcr0: cpu.u64(Cpu.Xcr0),
    msrs: saveMsrs(parts),
    events: run.events,
    mpState: run.mpState,
    localApic: apic.save(),
    tscKhz: parts.tsc.khz,
  };
}

function saveMsrs({ id, cpu, apic, tsc, paravirtual, foreign, now }: VcpuParts): VcpuState['msrs'] {
  return [
    ...StateMsrs.map(([index, field]) => [index, cpu.u64(field)] as const),
    [Msr.TimeStampCounter, BigInt.asUintN(64, cpu.u64(Cpu.TscOffset) + tsc.ticks(now()))],
    [Msr.TscAdjust, cpu.u64(Cpu.TscAdjust)],
    [Msr.TscDeadline, apic.timer.tscDeadline],
    ...paravirtual.saveMsrs(id),
    ...foreign.msrs,
  ];
}

/** The interrupt shadow of the instruction at RIP. */
export function saveShadow(cpu: RareCpu): VcpuState['events']['interruptShadow'] {
  if (cpu.u32(Cpu.Shadow) === 0 || cpu.u64(Cpu.ShadowRip) !== cpu.rip) return 'none';
  return cpu.u32(Cpu.Shadow) === InterruptShadow.MovSs ? 'mov-ss' : 'sti';
}

function saveSystem(cpu: RareCpu, apic: LocalApic): SystemRegisters {
  const segments = Object.fromEntries(SegmentNames.map(([name, index]) => [name, saveSegment(cpu.segment(index))]));
  return {
    ...(segments as Pick<SystemRegisters, (typeof SegmentNames)[number][0]>),
    gdt: { base: cpu.u64(Cpu.GdtBase), limit: cpu.u32(Cpu.GdtLimit) },
    idt: { base: cpu.u64(Cpu.IdtBase), limit: cpu.u32(Cpu.IdtLimit) },
    cr0: cpu.u64(Cpu.Cr0),
    cr2: cpu.u64(Cpu.Cr2),
    cr3: cpu.u64(Cpu.Cr3),
    cr4: cpu.u64(Cpu.Cr4),
    cr8: BigInt(apic.taskPriority >> 4),
    efer: cpu.u64(Cpu.Efer),
    apicBase: apic.apicBase,
  };
}

function saveFpu(cpu: RareCpu): FpuState {
  const top = cpu.u32(Cpu.FpuTop);
  return {
    st: Array.from({ length: 8 }, (_, i) => {
      const at = x87Offset((top + i) & 7);
      return { significand: cpu.u64(at), signExponent: cpu.u32(at + 8) & 0xffff };
    }),
    fcw: cpu.u32(Cpu.FpuControl),
    fsw: (cpu.u32(Cpu.FpuStatus) & ~0x3800) | (top << 11),
    ftw: cpu.u32(Cpu.FpuTags),
    lastOpcode: cpu.u32(Cpu.FpuLastOpcode),
    lastIp: cpu.u64(Cpu.FpuLastIp),
    lastDp: cpu.u64(Cpu.FpuLastDp),
    ...(cpu.u32(Cpu.FpuLastCs) !== 0 && { lastCs: cpu.u32(Cpu.FpuLastCs) }),
    ...(cpu.u32(Cpu.FpuLastDs) !== 0 && { lastDs: cpu.u32(Cpu.FpuLastDs) }),
    xmm: XmmIndices.map((i) => readVector(cpu, xmmOffset(i))),
    mxcsr: cpu.u32(Cpu.Mxcsr),
  };
}

const XmmIndices = Array.from({ length: 16 }, (_, i) => i);

/** Upper halves of vector registers, and what another engine's state held beside them. */
function saveExtended(cpu: RareCpu, { xsave }: ForeignState): Pick<VcpuState, 'xsave'> {
  const ymmHigh = XmmIndices.map((i) => readVector(cpu, ymmHighOffset(i)));
  const inUse = ymmHigh.some((value) => value !== 0n);
  if (!inUse && !xsave) return {};
  return { xsave: { ...structuredClone(xsave), ...(inUse && { ymmHigh }) } };
}

function loadExtended({ cpu, foreign }: VcpuParts, state: ExtendedState | undefined): void {
  XmmIndices.forEach((i) => writeVector(cpu, ymmHighOffset(i), state?.ymmHigh?.[i] ?? 0n));
  foreign.xsave = state?.others && structuredClone({ others: state.others });
}

function readVector(cpu: RareCpu, at: number): bigint {
  return cpu.u64(at) | (cpu.u64(at + 8) << 64n);
}

function writeVector(cpu: RareCpu, at: number, value: bigint): void {
  cpu.setU64(at, BigInt.asUintN(64, value));
  cpu.setU64(at + 8, BigInt.asUintN(64, value >> 64n));
}

/** Refuses what the engine's processor model cannot go on with. */
function checkState({ sregs, xcr0, events }: VcpuState, { xstateSupported }: VcpuParts): void {
  const cr4 = sregs.cr4 & ~Cr4Implemented;
  const efer = sregs.efer & ~(EferWritable | Efer.LongModeActive);
  const parts = [
    ...(cr4 === 0n ? [] : [`CR4 bits 0x${cr4.toString(16)}`]),
    ...(efer === 0n ? [] : [`EFER bits 0x${efer.toString(16)}`]),
    ...((xcr0 & ~xstateSupported) === 0n ? [] : [`XCR0 0x${xcr0.toString(16)}`]),
    ...(events.smi?.inSmm ? ['system management mode'] : []),
  ];
  if (parts.length === 0) return;
  throw new HostError(
    'InvalidArgument',
    `the saved processor uses ${parts.join(', ')}, which the wasm engine does not have, or which its CPU model leaves out: ` +
      'continue the machine on kvm, or start it with --cpu x86-64-v2 to be able to move it',
  );
}

export function loadState(parts: VcpuParts, state: VcpuState): void {
  checkState(state, parts);
  const { cpu, apic } = parts;
  const { regs, sregs } = state;
  RegisterNames.forEach((name, i) => cpu.setU64(gprOffset(i), BigInt.asUintN(64, regs[name])));
  cpu.rip = BigInt.asUintN(64, regs.rip);
  cpu.rflags = Number(BigInt.asUintN(32, regs.rflags));
  loadSystem(cpu, sregs);
  loadFpu(cpu, state.fpu);
  state.debug.db.forEach((value, i) => cpu.setU64(Cpu.Dr + 8 * i, value));
  cpu.setU64(Cpu.Dr6, state.debug.dr6);
  cpu.setU64(Cpu.Dr7, state.debug.dr7);
  cpu.setU64(Cpu.Xcr0, state.xcr0);
  if (state.localApic) apic.restore(state.localApic, sregs.apicBase);
  else apic.setApicBase(sregs.apicBase);
  apic.taskPriority = mergeTaskPriority(apic.taskPriority, Number(sregs.cr8));
  loadMsrs(parts, state);
  loadExtended(parts, state.xsave);
  const { interruptShadow } = state.events;
  const shadow = { none: 0, sti: InterruptShadow.Sti, 'mov-ss': InterruptShadow.MovSs } as const;
  cpu.setU32(Cpu.Shadow, shadow[interruptShadow]);
  cpu.setU64(Cpu.ShadowRip, cpu.rip);
  cpu.setU32(Cpu.NmiMasked, state.events.nmi.masked ? 1 : 0);
  // CPL is SS.DPL (SDM Vol. 3A "Privilege Levels"); real mode runs at 0, virtual-8086 mode at 3
  const protectedMode = (Number(sregs.cr0) & 1) !== 0;
  cpu.setU32(Cpu.Cpl, !protectedMode ? 0 : cpu.virtual8086 ? 3 : sregs.ss.dpl);
  forgetProgress(cpu);
}

/** CR8 is the class of the task priority: the subclass, which only the APIC has, stays. */
function mergeTaskPriority(taskPriority: number, cr8: number): number {
  return taskPriority >> 4 === cr8 ? taskPriority : cr8 << 4;
}

function loadSystem(cpu: RareCpu, sregs: SystemRegisters): void {
  for (const [name, index] of SegmentNames) cpu.setSegment(index, loadSegment(sregs[name]));
  cpu.setU64(Cpu.GdtBase, sregs.gdt.base);
  cpu.setU32(Cpu.GdtLimit, sregs.gdt.limit);
  cpu.setU64(Cpu.IdtBase, sregs.idt.base);
  cpu.setU32(Cpu.IdtLimit, sregs.idt.limit);
  cpu.setU64(Cpu.Cr0, sregs.cr0);
  cpu.setU64(Cpu.Cr2, sregs.cr2);
  cpu.setU64(Cpu.Cr3, sregs.cr3);
  cpu.setU64(Cpu.Cr4, sregs.cr4);
  cpu.setU64(Cpu.Efer, sregs.efer);
}

const stateFields = new Map(StateMsrs);

/**
 * vCPUs' states are read and set one after the other: TSCs that differ by less than a second from the first vCPU's are in
 * step with it, as KVM has it too (Linux arch/x86/kvm/x86.c, kvm_synchronize_tsc).
 */
function inStep({ tsc, firstTscOffset }: VcpuParts, offset: bigint): bigint {
  if (firstTscOffset === undefined) return offset;
  const distance = BigInt.asIntN(64, offset - firstTscOffset);
  const second = tsc.ticks(1_000_000_000n);
  return distance > -second && distance < second ? firstTscOffset : offset;
}

/** The TSC before what counts by it. */
function loadMsrs(parts: VcpuParts, state: VcpuState): void {
  const { id, cpu, apic, tsc, paravirtual, foreign, now } = parts;
  const msrs = new Map(state.msrs.map(([index, value]) => [index, BigInt.asUintN(64, value)]));
  const timeStamp = msrs.get(Msr.TimeStampCounter);
  if (timeStamp !== undefined) {
    const offset = inStep(parts, timeStamp - tsc.ticks(now()));
    cpu.setU64(Cpu.TscOffset, BigInt.asUintN(64, offset));
    apic.timer.tscOffset = BigInt.asIntN(64, offset);
  }
  const deadline = msrs.get(Msr.TscDeadline);
  if (deadline !== undefined) apic.timer.tscDeadline = deadline;
  const adjust = msrs.get(Msr.TscAdjust);
  if (adjust !== undefined) cpu.setU64(Cpu.TscAdjust, adjust);
  const timers: readonly number[] = [Msr.TimeStampCounter, Msr.TscDeadline, Msr.TscAdjust];
  foreign.msrs = [];
  for (const [index, value] of msrs) {
    const field = stateFields.get(index);
    if (field !== undefined) cpu.setU64(field, value);
    else if (!timers.includes(index) && !paravirtual.restoreMsr(id, index, value)) foreign.msrs.push([index, value]);
  }
}

function loadFpu(cpu: RareCpu, fpu: FpuState): void {
  const top = (fpu.fsw >> 11) & 7;
  cpu.setU32(Cpu.FpuTop, top);
  fpu.st.forEach(({ significand, signExponent }, i) => {
    const at = x87Offset((top + i) & 7);
    cpu.setU64(at, significand);
    cpu.setU64(at + 8, BigInt(signExponent));
  });
  cpu.setU32(Cpu.FpuControl, fpu.fcw);
  cpu.setU32(Cpu.FpuStatus, fpu.fsw & ~0x3800);
  cpu.setU32(Cpu.FpuTags, fpu.ftw);
  cpu.setU32(Cpu.FpuLastOpcode, fpu.lastOpcode);
  cpu.setU64(Cpu.FpuLastIp, fpu.lastIp);
  cpu.setU64(Cpu.FpuLastDp, fpu.lastDp);
  cpu.setU32(Cpu.FpuLastCs, fpu.lastCs ?? 0);
  cpu.setU32(Cpu.FpuLastDs, fpu.lastDs ?? 0);
  fpu.xmm.forEach((value, i) => writeVector(cpu, xmmOffset(i), value));
  cpu.setU32(Cpu.Mxcsr, fpu.mxcsr);
}
