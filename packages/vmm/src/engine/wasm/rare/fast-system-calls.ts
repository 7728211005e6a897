/**
 * SYSENTER and SYSEXIT, SYSCALL and SYSRET outside 64-bit code (SDM Vol. 2; AMD APM Vol. 3 "SYSCALL", "SYSRET"). On AMD
 * processors SYSENTER and SYSEXIT do not exist in long mode.
 */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { Rflag } from '../emit/lazy-flags.ts';
import { SegmentAttribute } from '../interpreter/mode.ts';
import { isRealLike } from './descriptor.ts';
import type { RareCpu, RareInstruction, RareResult } from './rare-cpu.ts';

const Rcx = 1;
const Rdx = 2;
const Rsp = 4;
const R11 = 11;

const Flat =
  SegmentAttribute.Present |
  SegmentAttribute.CodeOrData |
  SegmentAttribute.WritableReadable |
  SegmentAttribute.Accessed |
  SegmentAttribute.Granularity;

/** Flat CS and SS at `cpl`; RIP. */
function enterFlat(cpu: RareCpu, code: number, stack: number, cpl: number, rip: bigint, isLong = false): void {
  const common = Flat | (cpl << SegmentAttribute.DplShift);
  const size = isLong ? SegmentAttribute.Long : SegmentAttribute.Big;
  const selector = (value: number): number => (value & 0xfffc) | cpl;
  const flat = { base: 0n, limit: 0xffff_ffff };
  cpu.setSegment(SegmentIndex.Cs, {
    ...flat,
    selector: selector(code),
    attributes: common | SegmentAttribute.Code | size,
  });
  cpu.setSegment(SegmentIndex.Ss, { ...flat, selector: selector(stack), attributes: common | SegmentAttribute.Big });
  cpu.setU32(Cpu.Cpl, cpl);
  cpu.rip = rip;
  cpu.updateMode();
}

/** The SYSENTER_CS MSR, or undefined with #UD or #GP recorded. */
function sysenterSelector(cpu: RareCpu): number | undefined {
  const selector = Number(cpu.u64(Cpu.SysenterCs) & 0xfffcn);
  if (cpu.longMode) cpu.raise(Vector.InvalidOpcode);
  else if (!cpu.protectedMode || selector === 0) cpu.raise(Vector.GeneralProtection);
  else return selector;
  return undefined;
}

function sysenter(cpu: RareCpu): RareResult {
  const selector = sysenterSelector(cpu);
  if (selector === undefined) return HandlerResult.Fault;
  cpu.rflags = cpu.rflags & ~(Rflag.Interrupt | Rflag.Virtual8086 | Rflag.Resume);
  cpu.setGpr(Rsp, cpu.u64(Cpu.SysenterEsp) & 0xffff_ffffn);
  enterFlat(cpu, selector, selector + 8, 0, cpu.u64(Cpu.SysenterEip) & 0xffff_ffffn);
  return HandlerResult.Resync;
}

function sysexit(cpu: RareCpu): RareResult {
  const selector = sysenterSelector(cpu);
  if (selector === undefined) return HandlerResult.Fault;
  if (cpu.cpl !== 0) return cpu.raise(Vector.GeneralProtection);
  cpu.setGpr(Rsp, cpu.gpr(Rcx) & 0xffff_ffffn);
  enterFlat(cpu, selector + 16, selector + 24, 3, cpu.gpr(Rdx) & 0xffff_ffffn);
  return HandlerResult.Resync;
}

/** From compatibility mode to CSTAR in 64-bit code, or in legacy protected mode to STAR's EIP. */
function syscallLegacy(cpu: RareCpu): RareResult {
  if (isRealLike(cpu)) return cpu.raise(Vector.InvalidOpcode);
  const star = cpu.u64(Cpu.Star);
  const selector = Number((star >> 32n) & 0xffffn);
  cpu.setGpr(Rcx, cpu.nextRip & 0xffff_ffffn);
  if (!cpu.longMode) {
    cpu.rflags = cpu.rflags & ~(Rflag.Interrupt | Rflag.Resume);
    enterFlat(cpu, selector, selector + 8, 0, star & 0xffff_ffffn);
    return HandlerResult.Resync;
  }
  const flags = cpu.rflags & ~Rflag.Resume;
  cpu.setGpr(R11, BigInt(flags));
  cpu.rflags = flags & ~cpu.u32(Cpu.SyscallMask);
  cpu.setU32(Cpu.PendingDebug, cpu.rflags & Rflag.Trap);
  enterFlat(cpu, selector, selector + 8, 0, cpu.u64(Cpu.Cstar), true);
  return HandlerResult.Resync;
}

/** From compatibility or legacy mode at CPL 0, which was checked. */
function sysretLegacy(cpu: RareCpu): RareResult {
  if (isRealLike(cpu)) return cpu.raise(Vector.InvalidOpcode);
  const selector = Number(cpu.u64(Cpu.Star) >> 48n);
  cpu.rflags = cpu.rflags | Rflag.Interrupt;
  enterFlat(cpu, selector, selector + 8, 3, cpu.gpr(Rcx) & 0xffff_ffffn);
  return HandlerResult.Resync;
}

export const fastSystemCallInstructions: Readonly<Record<string, RareInstruction>> = {
  sysenter,
  sysexit,
  syscallLegacy,
  sysretLegacy,
};
