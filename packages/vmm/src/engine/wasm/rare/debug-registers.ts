/** MOV to and from debug registers (SDM Vol. 3B "Debug Registers"). */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu, HandlerResult } from '../interpreter/cpu-layout.ts';
import type { RareHooks } from './hooks.ts';
import { Cr4Bit } from './mode-bits.ts';
import type { RareCpu, RareInstruction, RareResult } from './rare-cpu.ts';

/** DR6 (SDM Vol. 3B "Debug Status Register (DR6)"). */
export const Dr6 = {
  /** B0 to B3 */
  Breakpoints: 0xfn,
  AccessDetected: 1n << 13n,
  SingleStep: 1n << 14n,
  TaskSwitch: 1n << 15n,
  ReadAsOne: 0xffff_0ff0n,
} as const;
const Dr6Writable = Dr6.Breakpoints | Dr6.AccessDetected | Dr6.SingleStep | Dr6.TaskSwitch;

/** DR7 (SDM Vol. 3B "Debug Control Register (DR7)"). */
export const Dr7 = {
  /** L0 G0 to L3 G3 */
  Enables: 0xffn,
  GeneralDetect: 1n << 13n,
  ReadAsOne: 1n << 10n,
} as const;
const Dr7Writable = 0xffff_23ffn;

/** The register that DR0 to DR7 name, DR4 and DR5 being aliases; undefined with a fault recorded. */
function accessed(cpu: RareCpu): number | undefined {
  const index = Number(cpu.u64(Cpu.RareArgument2));
  const aliased = index === 4 || index === 5;
  if (index > 7 || (aliased && cpu.u64(Cpu.Cr4) & Cr4Bit.DebuggingExtensions)) {
    cpu.raise(Vector.InvalidOpcode);
    return undefined;
  }
  if (cpu.cpl !== 0) {
    cpu.raise(Vector.GeneralProtection);
    return undefined;
  }
  const control = cpu.u64(Cpu.Dr7);
  if (control & Dr7.GeneralDetect) {
    // The handler must be able to use the registers
    cpu.setU64(Cpu.Dr7, control & ~Dr7.GeneralDetect);
    cpu.setU64(Cpu.Dr6, cpu.u64(Cpu.Dr6) | Dr6.AccessDetected | Dr6.ReadAsOne);
    cpu.raise(Vector.Debug);
    return undefined;
  }
  return aliased ? index + 2 : index;
}

const addressField = (index: number): number => Cpu.Dr + index * 8;

/** RareArgument2: register; RareResult: its value. */
function readDebug(cpu: RareCpu): RareResult {
  const index = accessed(cpu);
  if (index === undefined) return cpu.slowStatus;
  const value =
    index === 6
      ? cpu.u64(Cpu.Dr6) | Dr6.ReadAsOne
      : index === 7
        ? cpu.u64(Cpu.Dr7) | Dr7.ReadAsOne
        : cpu.u64(addressField(index));
  cpu.setU64(Cpu.RareResult, value);
  return HandlerResult.Next;
}

/** RareArgument: value; RareArgument2: register. */
const writeDebug =
  (hooks: RareHooks): RareInstruction =>
  (cpu) => {
    const index = accessed(cpu);
    if (index === undefined) return cpu.slowStatus;
    const value = cpu.u64(Cpu.RareArgument);
    if (index >= 6 && value >> 32n !== 0n) return cpu.raise(Vector.GeneralProtection);
    if (index === 6) cpu.setU64(Cpu.Dr6, (value & Dr6Writable) | Dr6.ReadAsOne);
    else if (index === 7) cpu.setU64(Cpu.Dr7, (value & Dr7Writable) | Dr7.ReadAsOne);
    else cpu.setU64(addressField(index), value);
    hooks.modeChanged(cpu);
    return HandlerResult.Next;
  };

/** Writes tell `hooks.modeChanged`: breakpoints may be on now. */
export const debugInstructions = (hooks: RareHooks): Readonly<Record<string, RareInstruction>> => ({
  readDebug,
  writeDebug: writeDebug(hooks),
});
