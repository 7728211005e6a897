/** CPUID, MSRs, the time-stamp counter and other instructions about the processor itself. */
import {
  isLocalApicMsr,
  readMsr as readApicMsr,
  writeMsr as writeApicMsr,
} from '../../../interrupts/local-apic-interface.ts';
import type { IrqChip } from '../../../interrupts/irqchip.ts';
import type { Clock } from '../../../time/clock.ts';
import type { TscRate } from '../../../time/tsc-rate.ts';
import { Cpu, HandlerResult, LoopExit, SegmentField, SegmentIndex, segmentOffset } from '../interpreter/cpu-layout.ts';
import { EferBit } from '../interpreter/mode.ts';
import { EferWritable } from '../../../x86/msr.ts';
import { StateMsrs } from '../vcpu-state.ts';
import type { RareHooks } from './hooks.ts';
import { updateSimdDisabled } from './mode-bits.ts';
import type { RareCpu, RareInstruction } from './rare-cpu.ts';

const GeneralProtection = 13;
const Cr0Paging = 1 << 31;
const MsrEfer = 0xc000_0080;
const MsrFsBase = 0xc000_0100;
const MsrGsBase = 0xc000_0101;
const MsrTsc = 0x10;
const MsrTscAdjust = 0x3b;
const MsrKernelGsBase = 0xc000_0102;
const CanonicalMsrs = new Set([MsrFsBase, MsrGsBase, MsrKernelGsBase, 0xc000_0082, 0xc000_0083, 0x175, 0x176]);

const isCanonical = (value: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;

/** The parts of a VM that these instructions reach. */
export interface ProcessorHost extends RareHooks {
  readonly clock: Clock;
  readonly tsc: TscRate;
  readonly irqchip: IrqChip;
  idOf(cpu: RareCpu): number;
  cpuid(cpu: RareCpu, leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
  /** MSRs of the paravirtual interface and of the CPU model; undefined is #GP. */
  readOtherMsr(cpu: RareCpu, index: number): bigint | undefined;
  /** False is #GP. */
  writeOtherMsr(cpu: RareCpu, index: number, value: bigint): boolean;
  random(): bigint;
  /** The guest wrote a TSC. */
  tscChanged(): void;
}

/** The TSC: the ticks in the clock's nanoseconds plus the guest's offset. */
function readTsc(cpu: RareCpu, host: ProcessorHost): bigint {
  return BigInt.asUintN(64, host.tsc.ticks(BigInt(Math.floor(host.clock.now()))) + cpu.u64(Cpu.TscOffset));
}

/** SDM Vol. 3B "IA32_TSC_ADJUST MSR": a write of the TSC shows there, and the other way round. */
function moveTsc(host: ProcessorHost, cpu: RareCpu, distance: bigint): void {
  const offset = cpu.u64(Cpu.TscOffset) + distance;
  cpu.setU64(Cpu.TscOffset, BigInt.asUintN(64, offset));
  cpu.setU64(Cpu.TscAdjust, BigInt.asUintN(64, cpu.u64(Cpu.TscAdjust) + distance));
  host.irqchip.apic(host.idOf(cpu)).timer.tscOffset = BigInt.asIntN(64, offset);
  host.tscChanged();
}

export function processorInstructions(host: ProcessorHost): Readonly<Record<string, RareInstruction>> {
  return {
    nothing: () => HandlerResult.Next,
    fpuAvailability(cpu) {
      updateSimdDisabled(cpu);
      return HandlerResult.Next;
    },
    rdtsc(cpu) {
      cpu.setU64(Cpu.RareResult, readTsc(cpu, host));
      return HandlerResult.Next;
    },
    random(cpu) {
      cpu.setU64(Cpu.RareResult, host.random());
      return HandlerResult.Next;
    },
    cpuid(cpu) {
      const { eax, ebx, ecx, edx } = host.cpuid(
        cpu,
        Number(cpu.gpr(0) & 0xffff_ffffn),
        Number(cpu.gpr(1) & 0xffff_ffffn),
      );
      [eax, ecx, edx, ebx].forEach((value, register) => cpu.setGpr(register, BigInt(value >>> 0)));
      return HandlerResult.Next;
    },
    hypercall(cpu) {
      cpu.setU32(Cpu.ExitKind, LoopExit.Hypercall);
      return HandlerResult.ExitAfter;
    },
    rdmsr(cpu) {
      const value = readMsr(host, cpu, Number(cpu.gpr(1) & 0xffff_ffffn));
      if (value === undefined) return cpu.raise(GeneralProtection);
      cpu.setGpr(0, value & 0xffff_ffffn);
      cpu.setGpr(2, value >> 32n);
      return HandlerResult.Next;
    },
    wrmsr(cpu) {
      const value = ((cpu.gpr(2) & 0xffff_ffffn) << 32n) | (cpu.gpr(0) & 0xffff_ffffn);
      const ok = writeMsr(host, cpu, Number(cpu.gpr(1) & 0xffff_ffffn), value);
      return ok ? HandlerResult.Next : cpu.raise(GeneralProtection);
    },
  };
}

const stateFields = new Map(StateMsrs);
const segmentBase = (index: number): number =>
  segmentOffset(index === MsrFsBase ? SegmentIndex.Fs : SegmentIndex.Gs) + SegmentField.Base;

function readMsr(host: ProcessorHost, cpu: RareCpu, index: number): bigint | undefined {
  const field = stateFields.get(index);
  if (field !== undefined) return cpu.u64(field);
  if (isLocalApicMsr(index)) return readApicMsr(host.irqchip.apic(host.idOf(cpu)), index);
  switch (index) {
    case MsrEfer:
      return cpu.u64(Cpu.Efer);
    case MsrFsBase:
    case MsrGsBase:
      return cpu.u64(segmentBase(index));
    case MsrTsc:
      return readTsc(cpu, host);
    case MsrTscAdjust:
      return cpu.u64(Cpu.TscAdjust);
    default:
      return host.readOtherMsr(cpu, index);
  }
}

function writeMsr(host: ProcessorHost, cpu: RareCpu, index: number, value: bigint): boolean {
  if (CanonicalMsrs.has(index) && !isCanonical(value)) return false;
  const field = stateFields.get(index);
  if (field !== undefined) {
    if (field === Cpu.Pat && !validPat(value)) return false;
    cpu.setU64(field, value);
    return true;
  }
  const apic = host.irqchip.apic(host.idOf(cpu));
  if (isLocalApicMsr(index)) return writeApicMsr(apic, index, value);
  switch (index) {
    case MsrEfer:
      return writeEfer(host, cpu, value);
    case MsrFsBase:
    case MsrGsBase:
      cpu.setU64(segmentBase(index), value);
      return true;
    case MsrTsc:
      moveTsc(host, cpu, value - readTsc(cpu, host));
      return true;
    case MsrTscAdjust:
      moveTsc(host, cpu, value - cpu.u64(Cpu.TscAdjust));
      return true;
    default:
      return host.writeOtherMsr(cpu, index, value);
  }
}

/** LMA is read-only; LME may not change while paging is on (AMD APM Vol. 2 "Extended Feature Enable Register (EFER)"). */
function writeEfer(host: ProcessorHost, cpu: RareCpu, value: bigint): boolean {
  const old = cpu.u64(Cpu.Efer);
  const active = BigInt(EferBit.LongModeActive);
  if ((value & ~(EferWritable | active)) !== 0n) return false;
  const enable = BigInt(EferBit.LongModeEnable);
  if (((old ^ value) & enable) !== 0n && cpu.u32(Cpu.Cr0) & Cr0Paging) return false;
  cpu.setU64(Cpu.Efer, (value & EferWritable) | (old & active));
  host.flushTlb(cpu, true);
  cpu.updateMode();
  return true;
}

/** Memory types 0, 1, 4 to 7 (SDM Vol. 3A "IA32_PAT MSR"). */
function validPat(value: bigint): boolean {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = Number((value >> i) & 0xffn);
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
}
