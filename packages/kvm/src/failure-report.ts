/**
 * What is said when KVM can't go on with a guest: why, in KVM's words, the registers and the instruction.
 *
 * Reading them must not fail in its turn: what can't be had is left out.
 */
import type { GuestMemory } from '@lodger/vmm/memory/guest-memory.js';
import { gpa } from '@lodger/vmm/memory/address.js';
import { constantName, EmulationFlag, exitName, InternalError, KvmExit, SystemEvent } from './api/exits.ts';
import { Translation } from './api/layouts.ts';
import { KvmRequest } from './api/requests.ts';
import { RunOffset } from './api/run-layout.ts';
import { Regs, Sregs } from './api/state-layouts.ts';
import type { Struct, Value } from './api/struct.ts';
import { LinuxError, tryIoctl } from './linux/libc.ts';

/** Bytes of code in a report: the longest instruction (SDM Vol. 2A "Instruction Format"). */
const InstructionBytes = 15;
const PageSize = 4096;
const MaximumInternalData = 16;

export interface FailedVcpu {
  readonly id: number;
  readonly fd: number;
  readonly run: DataView;
  readonly memory: GuestMemory;
}

/** An exit with which the guest can't go on. */
export function reportExit(vcpu: FailedVcpu): string {
  return report(vcpu, describeExit(vcpu.run));
}

/** KVM_RUN failed. */
export function reportError(vcpu: FailedVcpu, errno: number): string {
  const { message } = new LinuxError('KVM_RUN', errno);
  const { run } = vcpu;
  const isMemoryFault = run.getUint32(RunOffset.ExitReason, true) === KvmExit.MemoryFault;
  return report(vcpu, isMemoryFault ? `${message} (${describeExit(run)})` : message);
}

function report(vcpu: FailedVcpu, cause: string): string {
  const regs = read(vcpu.fd, KvmRequest.GetRegs, Regs);
  const sregs = read(vcpu.fd, KvmRequest.GetSregs, Sregs);
  const lines = [`${cause} on vCPU ${vcpu.id}`];
  if (regs) lines.push(...generalRegisters(regs));
  if (sregs) lines.push(...systemRegisters(sregs));
  if (regs && sregs) lines.push(`code at RIP: ${codeBytes(vcpu, sregs.cs.base + regs.rip) ?? 'not readable'}`);
  return lines.join('\n  ');
}

function describeExit(run: DataView): string {
  const reason = run.getUint32(RunOffset.ExitReason, true);
  const name = exitName(reason);
  switch (reason) {
    case KvmExit.Unknown:
      return `${name} (hardware reason ${hex(run.getBigUint64(RunOffset.HardwareExitReason, true))})`;
    case KvmExit.FailEntry: {
      const hardware = run.getBigUint64(RunOffset.FailEntryReason, true);
      return `${name} (hardware reason ${hex(hardware)}, host processor ${run.getUint32(RunOffset.FailEntryCpu, true)})`;
    }
    case KvmExit.InternalError:
      return `${name} (${describeInternalError(run)})`;
    case KvmExit.SystemEvent:
      return `${name} (${nameOf('KVM_SYSTEM_EVENT', SystemEvent, run.getUint32(RunOffset.SystemEventType, true))})`;
    default:
      return name;
  }
}

function describeInternalError(run: DataView): string {
  const suberror = run.getUint32(RunOffset.InternalSuberror, true);
  const name = nameOf('KVM_INTERNAL_ERROR', InternalError, suberror);
  const count = Math.min(run.getUint32(RunOffset.InternalDataCount, true), MaximumInternalData);
  if (suberror === InternalError.Emulation && count > 0) {
    const flags = run.getBigUint64(RunOffset.EmulationFlags, true);
    if (!(flags & EmulationFlag.InstructionBytes)) return name;
    const size = Math.min(run.getUint8(RunOffset.EmulationInsnSize), InstructionBytes);
    return `${name}, instruction ${hexBytes(new Uint8Array(run.buffer, RunOffset.EmulationInsnBytes, size))}`;
  }
  const data = Array.from({ length: count }, (_, i) => hex(run.getBigUint64(RunOffset.InternalData + 8 * i, true)));
  return count > 0 ? `${name}, data ${data.join(' ')}` : name;
}

/** `KVM_INTERNAL_ERROR_EMULATION`, or the number. */
function nameOf(prefix: string, names: Readonly<Record<string, number>>, value: number): string {
  const found = Object.keys(names).find((name) => names[name] === value);
  return found === undefined ? `${prefix} ${value}` : `${prefix}_${constantName(found)}`;
}

const RegistersPerLine = 4;

function generalRegisters(regs: Value<typeof Regs>): string[] {
  const texts = Object.entries(regs).map(([name, value]) => `${name}=${hex(value)}`);
  const lines: string[] = [];
  for (let i = 0; i < texts.length; i += RegistersPerLine) lines.push(texts.slice(i, i + RegistersPerLine).join(' '));
  return lines;
}

function systemRegisters(sregs: Value<typeof Sregs>): string[] {
  const control = (['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apic_base'] as const).map(
    (name) => `${name}=${hex(sregs[name])}`,
  );
  const segments = (['cs', 'ss', 'ds', 'es', 'fs', 'gs', 'tr', 'ldt'] as const).map((name) => {
    const { selector, base, limit, type, dpl, db, l } = sregs[name];
    return `${name}=${hex(selector)} base=${hex(base)} limit=${hex(limit)} type=${hex(type)} dpl=${dpl} d=${db} l=${l}`;
  });
  const tables = (['gdt', 'idt'] as const).map(
    (name) => `${name} base=${hex(sregs[name].base)} limit=${hex(sregs[name].limit)}`,
  );
  return [control.join(' '), ...segments, ...tables];
}

/** The bytes at a linear address, through the guest's page tables; taken for a physical one when they have none. */
function codeBytes(vcpu: FailedVcpu, linear: bigint): string | undefined {
  const bytes: number[] = [];
  for (let i = 0; i < InstructionBytes;) {
    const address = BigInt.asUintN(64, linear + BigInt(i));
    const physical = translate(vcpu.fd, address) ?? Number(address);
    const length = Math.min(InstructionBytes - i, PageSize - (physical % PageSize));
    const part = new Uint8Array(length);
    if (!Number.isSafeInteger(physical) || !vcpu.memory.read(gpa(physical), part)) break;
    bytes.push(...part);
    i += length;
  }
  return bytes.length > 0 ? hexBytes(Uint8Array.from(bytes)) : undefined;
}

/** KVM API documentation 4.5 "KVM_TRANSLATE". */
function translate(fd: number, linear: bigint): number | undefined {
  const buffer = Translation.create({ linear_address: linear });
  if (tryIoctl(fd, KvmRequest.Translate, buffer) < 0) return undefined;
  const { valid, physical_address } = Translation.decode(buffer);
  return valid ? Number(physical_address) : undefined;
}

function read<T>(fd: number, request: number, layout: Pick<Struct<never>, 'size'> & { decode(m: Uint8Array): T }) {
  const buffer = new Uint8Array(layout.size);
  return tryIoctl(fd, request, buffer) < 0 ? undefined : layout.decode(buffer);
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const hexBytes = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
