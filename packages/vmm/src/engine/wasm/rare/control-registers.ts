/**
 * MOV to and from control registers, LMSW, INVLPG, XGETBV, XSETBV (SDM Vol. 2; SDM Vol. 3A "Control Registers"; AMD APM
 * Vol. 2 "System-Control Registers").
 *
 * Left out: PAE page-directory pointers are not loaded (nor checked) by writes, as under nested paging of AMD processors.
 */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult, SegmentIndex } from '../interpreter/cpu-layout.ts';
import { EferBit, SegmentAttribute } from '../interpreter/mode.ts';
import { isCode64 } from './descriptor.ts';
import type { RareHooks } from './hooks.ts';
import { Cr0Bit, Cr0Implemented, Cr4Bit, Cr4Implemented, updateSimdDisabled } from './mode-bits.ts';
import type { RareCpu, RareInstruction, RareResult } from './rare-cpu.ts';

const Rax = 0;
const Rcx = 1;
const Rdx = 2;
/** MAXPHYADDR is 48. */
const Cr3Reserved = 0xffff_0000_0000_0000n;
const Cr8Mask = 0xfn;
/** Bits whose change alters what translations mean. */
const Cr0Translation = Cr0Bit.Paging | Cr0Bit.WriteProtect;
const Cr4Translation =
  Cr4Bit.PageSizeExtensions |
  Cr4Bit.PhysicalAddressExtension |
  Cr4Bit.GlobalPages |
  Cr4Bit.SupervisorExecutionPrevention;

/** RareArgument2: register; RareResult: its value. */
const readControl =
  (hooks: RareHooks): RareInstruction =>
  (cpu) => {
    const index = Number(cpu.u64(Cpu.RareArgument2));
    const fields: Record<number, number> = { 0: Cpu.Cr0, 2: Cpu.Cr2, 3: Cpu.Cr3, 4: Cpu.Cr4, 8: Cpu.Cr8 };
    const field = fields[index];
    if (field === undefined) return cpu.raise(Vector.InvalidOpcode);
    if (cpu.cpl !== 0) return cpu.raise(Vector.GeneralProtection);
    cpu.setU64(Cpu.RareResult, index === 8 ? BigInt(hooks.readCr8(cpu)) : cpu.u64(field));
    return HandlerResult.Next;
  };

/** RareArgument: value; RareArgument2: register. */
const writeControl =
  (hooks: RareHooks): RareInstruction =>
  (cpu) => {
    const writers: Record<number, Writer> = { 0: writeCr0, 2: writeCr2, 3: writeCr3, 4: writeCr4, 8: writeCr8 };
    const write = writers[Number(cpu.u64(Cpu.RareArgument2))];
    if (!write) return cpu.raise(Vector.InvalidOpcode);
    if (cpu.cpl !== 0) return cpu.raise(Vector.GeneralProtection);
    return write(cpu, cpu.u64(Cpu.RareArgument), hooks);
  };

type Writer = (cpu: RareCpu, value: bigint, hooks: RareHooks) => RareResult;

const writeCr0: Writer = (cpu, value, hooks) => {
  const has = (bit: bigint): boolean => (value & bit) !== 0n;
  const contradictory =
    value >> 32n !== 0n ||
    (has(Cr0Bit.Paging) && !has(Cr0Bit.Protection)) ||
    (has(Cr0Bit.NotWriteThrough) && !has(Cr0Bit.CacheDisable));
  if (contradictory) return cpu.raise(Vector.GeneralProtection);
  const old = cpu.u64(Cpu.Cr0);
  const changed = (old ^ value) & Cr0Implemented;
  if (changed & Cr0Bit.Paging && !switchPaging(cpu, has(Cr0Bit.Paging))) return cpu.raise(Vector.GeneralProtection);
  cpu.setU64(Cpu.Cr0, (value & Cr0Implemented) | Cr0Bit.ExtensionType);
  if (changed & Cr0Translation) hooks.flushTlb(cpu, true);
  if (changed === 0n) return HandlerResult.Next;
  updateSimdDisabled(cpu);
  cpu.updateMode();
  hooks.modeChanged(cpu);
  return HandlerResult.Next;
};

/** Long mode begins and ends with paging (AMD APM Vol. 2 "Activating Long Mode"); false when it must not. */
function switchPaging(cpu: RareCpu, on: boolean): boolean {
  const efer = cpu.u64(Cpu.Efer);
  const active = BigInt(EferBit.LongModeActive);
  if (!on) {
    if (isCode64(cpu)) return false;
    cpu.setU64(Cpu.Efer, efer & ~active);
    return true;
  }
  if (!(efer & BigInt(EferBit.LongModeEnable))) return true;
  const codeIsLong = (cpu.segment(SegmentIndex.Cs).attributes & SegmentAttribute.Long) !== 0;
  if (!(cpu.u64(Cpu.Cr4) & Cr4Bit.PhysicalAddressExtension) || codeIsLong) return false;
  cpu.setU64(Cpu.Efer, efer | active);
  return true;
}

const writeCr2: Writer = (cpu, value) => {
  cpu.setU64(Cpu.Cr2, value);
  return HandlerResult.Next;
};

const writeCr3: Writer = (cpu, value, hooks) => {
  if (cpu.longMode && value & Cr3Reserved) return cpu.raise(Vector.GeneralProtection);
  cpu.setU64(Cpu.Cr3, value);
  hooks.flushTlb(cpu, false);
  return HandlerResult.Next;
};

const writeCr4: Writer = (cpu, value, hooks) => {
  if (value & ~Cr4Implemented) return cpu.raise(Vector.GeneralProtection);
  if (cpu.longMode && !(value & Cr4Bit.PhysicalAddressExtension)) return cpu.raise(Vector.GeneralProtection);
  const changed = cpu.u64(Cpu.Cr4) ^ value;
  cpu.setU64(Cpu.Cr4, value);
  if (changed & Cr4Translation) hooks.flushTlb(cpu, true);
  updateSimdDisabled(cpu);
  if (changed !== 0n) hooks.modeChanged(cpu);
  return HandlerResult.Next;
};

const writeCr8: Writer = (cpu, value, hooks) => {
  if (value & ~Cr8Mask) return cpu.raise(Vector.GeneralProtection);
  cpu.setU64(Cpu.Cr8, value);
  hooks.writeCr8(cpu, Number(value));
  return HandlerResult.Next;
};

/** RareArgument: machine status word. PE is set but never cleared. */
const lmsw =
  (hooks: RareHooks): RareInstruction =>
  (cpu) => {
    const Writable = Cr0Bit.MonitorCoprocessor | Cr0Bit.Emulation | Cr0Bit.TaskSwitched;
    const word = cpu.u64(Cpu.RareArgument);
    const value = (cpu.u64(Cpu.Cr0) & ~Writable) | (word & (Writable | Cr0Bit.Protection));
    return writeCr0(cpu, value, hooks);
  };

function requireXSave(cpu: RareCpu): RareResult {
  return cpu.u64(Cpu.Cr4) & Cr4Bit.XSave ? HandlerResult.Next : cpu.raise(Vector.InvalidOpcode);
}

const low32 = (cpu: RareCpu, register: number): bigint => cpu.gpr(register) & 0xffff_ffffn;

function xgetbv(cpu: RareCpu): RareResult {
  const status = requireXSave(cpu);
  if (status !== HandlerResult.Next) return status;
  if (low32(cpu, Rcx) !== 0n) return cpu.raise(Vector.GeneralProtection);
  const value = cpu.u64(Cpu.Xcr0);
  cpu.setGpr(Rax, value & 0xffff_ffffn);
  cpu.setGpr(Rdx, value >> 32n);
  return HandlerResult.Next;
}

/** State components in XCR0: x87 is always on, AVX needs SSE. */
export const XState = { X87: 1n, Sse: 2n, Avx: 4n } as const;

/** `supported`: what the processor model has. */
const xsetbv =
  (supported: bigint): RareInstruction =>
  (cpu) => {
    const status = requireXSave(cpu);
    if (status !== HandlerResult.Next) return status;
    const value = (low32(cpu, Rdx) << 32n) | low32(cpu, Rax);
    const incomplete = !(value & XState.X87) || ((value & XState.Avx) !== 0n && !(value & XState.Sse));
    const bad = low32(cpu, Rcx) !== 0n || incomplete || (value & ~supported) !== 0n;
    if (bad || cpu.cpl !== 0) return cpu.raise(Vector.GeneralProtection);
    cpu.setU64(Cpu.Xcr0, value);
    updateSimdDisabled(cpu);
    return HandlerResult.Next;
  };

export const controlInstructions = (hooks: RareHooks): Readonly<Record<string, RareInstruction>> => ({
  readControl: readControl(hooks),
  writeControl: writeControl(hooks),
  lmsw: lmsw(hooks),
  /** RareArgument: linear address. */
  invlpg: (cpu) => {
    hooks.flushPage(cpu, cpu.u64(Cpu.RareArgument));
    return HandlerResult.Next;
  },
  xgetbv,
  xsetbv: xsetbv(hooks.xstateSupported),
});
