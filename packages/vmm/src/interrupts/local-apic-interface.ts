/**
 * How software reaches a local APIC: the xAPIC's page of MMIO registers and the x2APIC's MSRs.
 *
 * SDM Vol. 3A "Local APIC Register Address Map" and "x2APIC Register Address Space".
 */
import type { AccessSize } from '../bus/bus-device.ts';
import { widenDestination } from './interrupt-message.ts';
import {
  ApicVersion,
  InterruptCommand,
  LocalApicMsr,
  LocalApicRegister,
  Lvt,
  LvtWritable,
  SpuriousVector,
  TimerDivide,
  VectorBitmapSpan,
  XApicTopByte,
} from './local-apic-registers.ts';
import type { LocalApic, LvtName } from './local-apic.ts';
import type { VectorSet } from './vector-set.ts';

const Register = LocalApicRegister;

/** Six LVT entries, no EOI broadcast suppression: what KVM's in-kernel controller shows. */
const VersionValue = ApicVersion.of({ Version: 0x14, MaximumLvtEntry: 5 });

/** The LVT entries but the timer's, with the bits that software can write. */
const LvtByRegister = new Map<number, { name: LvtName; writable: number }>([
  [Register.LvtThermal, { name: 'thermal', writable: LvtWritable.plain }],
  [Register.LvtPerformance, { name: 'performance', writable: LvtWritable.plain }],
  [Register.LvtLint0, { name: 'lint0', writable: LvtWritable.lint }],
  [Register.LvtLint1, { name: 'lint1', writable: LvtWritable.lint }],
  [Register.LvtError, { name: 'error', writable: LvtWritable.error }],
]);

/** Registers are 32 bits wide, 16 bytes apart. */
const RegisterSpacing = 16;
const LastRegisterByte = 3;

// xAPIC.

/** Reads the register page. Registers that do not exist read 0 and set an error. */
export function readXApic(apic: LocalApic, offset: number, size: AccessSize): number {
  const register = offset & ~(RegisterSpacing - 1);
  const byte = offset - register;
  if (byte + size - 1 > LastRegisterByte) return 0;
  const value = readXApicRegister(apic, register);
  if (value === undefined) {
    apic.reportIllegalRegister();
    return 0;
  }
  return value >>> (byte * 8);
}

function readXApicRegister(apic: LocalApic, register: number): number | undefined {
  switch (register) {
    case Register.Id:
      return XApicTopByte.of({ Value: apic.id });
    case Register.DestinationFormat:
      return apic.destinationFormat;
    case Register.InterruptCommandHigh:
      return apic.commandHigh;
    case Register.EndOfInterrupt:
    case Register.ArbitrationPriority:
    case Register.RemoteRead:
      return 0;
    default:
      return readCommonRegister(apic, register);
  }
}

/** Writes the register page. Only whole aligned registers can be written; anything else is dropped. */
export function writeXApic(apic: LocalApic, offset: number, size: AccessSize, value: number): void {
  if (size !== 4 || offset % RegisterSpacing !== 0) return;
  switch (offset) {
    case Register.EndOfInterrupt:
      apic.endOfInterrupt();
      return;
    case Register.ErrorStatus:
      apic.latchErrors();
      return;
    case Register.LogicalDestination:
      apic.logicalDestination = value;
      return;
    case Register.DestinationFormat:
      apic.destinationFormat = value;
      return;
    case Register.InterruptCommandLow:
      apic.sendIpi(value & InterruptCommandWritable, widenDestination(XApicTopByte.Value.get(apic.commandHigh)));
      return;
    case Register.InterruptCommandHigh:
      apic.commandHigh = (value & XApicTopByte.Value.mask) >>> 0;
      return;
    default:
      if (writableBits(offset) !== undefined) writeCommonRegister(apic, offset, value);
      else if (readXApicRegister(apic, offset) === undefined) apic.reportIllegalRegister();
  }
}

// x2APIC and the other MSRs of the local APIC.

/** True for the MSRs that {@link readMsr} and {@link writeMsr} own. */
export function isLocalApicMsr(index: number): boolean {
  if (index === LocalApicMsr.ApicBase || index === LocalApicMsr.TscDeadline) return true;
  return index >= LocalApicMsr.X2ApicFirst && index <= LocalApicMsr.X2ApicLast;
}

/** RDMSR; undefined is #GP. */
export function readMsr(apic: LocalApic, index: number): bigint | undefined {
  if (index === LocalApicMsr.ApicBase) return apic.apicBase;
  if (index === LocalApicMsr.TscDeadline) return apic.timer.tscDeadline;
  if (apic.mode !== 'x2apic' || !isLocalApicMsr(index)) return undefined;
  const register = (index - LocalApicMsr.X2ApicFirst) * RegisterSpacing;
  switch (register) {
    case Register.Id:
      return BigInt(apic.id);
    case Register.InterruptCommandLow:
      return (BigInt(apic.commandHigh) << 32n) | BigInt(apic.commandLow);
    default: {
      const value = readCommonRegister(apic, register);
      return value === undefined ? undefined : BigInt(value);
    }
  }
}

/** WRMSR; false is #GP. */
export function writeMsr(apic: LocalApic, index: number, value: bigint): boolean {
  if (index === LocalApicMsr.ApicBase) return apic.setApicBase(value);
  if (index === LocalApicMsr.TscDeadline) {
    apic.timer.tscDeadline = value;
    return true;
  }
  if (apic.mode !== 'x2apic' || !isLocalApicMsr(index)) return false;
  const register = (index - LocalApicMsr.X2ApicFirst) * RegisterSpacing;
  const low = Number(value & 0xffff_ffffn);
  const high = Number(value >> 32n);
  if (register === Register.InterruptCommandLow) return writeX2ApicCommand(apic, low, high);
  if (high !== 0) return false;
  switch (register) {
    case Register.EndOfInterrupt:
      if (low !== 0) return false;
      apic.endOfInterrupt();
      return true;
    case Register.ErrorStatus:
      if (low !== 0) return false;
      apic.latchErrors();
      return true;
    case Register.SelfIpi:
      return writeSelfIpi(apic, low);
    default: {
      const writable = writableBits(register);
      if (writable === undefined || (low & ~(writable | readOnlyBits(register))) !== 0) return false;
      writeCommonRegister(apic, register, low);
      return true;
    }
  }
}

const InterruptCommandWritable =
  InterruptCommand.Vector.mask |
  InterruptCommand.DeliveryMode.mask |
  InterruptCommand.Logical.mask |
  InterruptCommand.Assert.mask |
  InterruptCommand.LevelTriggered.mask |
  InterruptCommand.Shorthand.mask;

function writeX2ApicCommand(apic: LocalApic, low: number, high: number): boolean {
  const command = InterruptCommand.DeliveryStatus.set(low, 0);
  if ((command & ~InterruptCommandWritable) !== 0) return false;
  apic.commandHigh = high;
  apic.sendIpi(command, high);
  return true;
}

/** SDM Vol. 3A "SELF IPI Register". */
function writeSelfIpi(apic: LocalApic, low: number): boolean {
  if ((low & ~InterruptCommand.Vector.mask) !== 0) return false;
  apic.sendSelfIpi(low);
  return true;
}

// What both have in common.

function readCommonRegister(apic: LocalApic, register: number): number | undefined {
  const bitmap = readVectorBitmap(apic, register);
  if (bitmap !== undefined) return bitmap;
  switch (register) {
    case Register.Version:
      return VersionValue;
    case Register.TaskPriority:
      return apic.taskPriority;
    case Register.ProcessorPriority:
      return apic.processorPriority;
    case Register.LogicalDestination:
      return apic.logicalDestination;
    case Register.SpuriousVector:
      return apic.spuriousVector;
    case Register.ErrorStatus:
      return apic.errorStatus;
    case Register.InterruptCommandLow:
      return apic.commandLow;
    case Register.LvtTimer:
      return apic.timer.lvt;
    case Register.TimerInitialCount:
      return apic.timer.initialCount;
    case Register.TimerCurrentCount:
      return apic.timer.currentCount;
    case Register.TimerDivide:
      return apic.timer.divide;
    default: {
      const lvt = LvtByRegister.get(register);
      return lvt && apic.lvt(lvt.name);
    }
  }
}

function readVectorBitmap(apic: LocalApic, register: number): number | undefined {
  const word = (set: VectorSet, first: number): number => set.word((register - first) / RegisterSpacing);
  const { InService, TriggerMode, InterruptRequest } = Register;
  if (register < InService || register >= InterruptRequest + VectorBitmapSpan) return undefined;
  if (register < TriggerMode) return word(apic.inService, InService);
  if (register < InterruptRequest) return word(apic.triggerMode, TriggerMode);
  return word(apic.requests, InterruptRequest);
}

/** The bits that software can write in a register of {@link writeCommonRegister}; undefined when it is none. */
function writableBits(register: number): number | undefined {
  switch (register) {
    case Register.TaskPriority:
      return 0xff;
    case Register.SpuriousVector:
      return SpuriousVector.Vector.mask | SpuriousVector.SoftwareEnable.mask | SpuriousVector.FocusDisable.mask;
    case Register.LvtTimer:
      return LvtWritable.timer;
    case Register.TimerInitialCount:
      return 0xffff_ffff;
    case Register.TimerDivide:
      return TimerDivide.Low.mask | TimerDivide.High.mask;
    default:
      return LvtByRegister.get(register)?.writable;
  }
}

/**
 * Bits of a local vector table entry that are read-only but not reserved: x2APIC writes may set them. Linux writes
 * LINT0 with both set when it shuts down.
 */
function readOnlyBits(register: number): number {
  const isEntry = register === Register.LvtTimer || LvtByRegister.has(register);
  return isEntry ? Lvt.DeliveryStatus.mask | Lvt.RemoteIrr.mask : 0;
}

function writeCommonRegister(apic: LocalApic, register: number, value: number): void {
  switch (register) {
    case Register.TaskPriority:
      apic.taskPriority = value;
      return;
    case Register.SpuriousVector:
      apic.spuriousVector = value;
      return;
    case Register.LvtTimer:
      apic.setTimerLvt(value & LvtWritable.timer);
      return;
    case Register.TimerInitialCount:
      apic.timer.initialCount = value;
      return;
    case Register.TimerDivide:
      apic.timer.divide = value;
      return;
    default: {
      const lvt = LvtByRegister.get(register);
      if (lvt) apic.setLvt(lvt.name, value & lvt.writable);
    }
  }
}
