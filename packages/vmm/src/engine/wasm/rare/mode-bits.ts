/** Bits of CR0 and CR4 (SDM Vol. 3A "Control Registers") and what follows from them. */
import { Vector } from '../../../x86/instructions/semantics/context.ts';
import { Cpu } from '../interpreter/cpu-layout.ts';
import type { RareCpu } from './rare-cpu.ts';

export const Cr0Bit = {
  Protection: 1n << 0n,
  MonitorCoprocessor: 1n << 1n,
  Emulation: 1n << 2n,
  TaskSwitched: 1n << 3n,
  ExtensionType: 1n << 4n,
  NumericError: 1n << 5n,
  WriteProtect: 1n << 16n,
  AlignmentMask: 1n << 18n,
  NotWriteThrough: 1n << 29n,
  CacheDisable: 1n << 30n,
  Paging: 1n << 31n,
} as const;

export const Cr4Bit = {
  Virtual8086Extensions: 1n << 0n,
  ProtectedVirtualInterrupts: 1n << 1n,
  TimeStampDisable: 1n << 2n,
  DebuggingExtensions: 1n << 3n,
  PageSizeExtensions: 1n << 4n,
  PhysicalAddressExtension: 1n << 5n,
  MachineCheck: 1n << 6n,
  GlobalPages: 1n << 7n,
  PerformanceCounters: 1n << 8n,
  FxSave: 1n << 9n,
  SimdExceptions: 1n << 10n,
  UserModeInstructionPrevention: 1n << 11n,
  FsGsBase: 1n << 16n,
  ProcessContextIds: 1n << 17n,
  XSave: 1n << 18n,
  SupervisorExecutionPrevention: 1n << 20n,
  SupervisorAccessPrevention: 1n << 21n,
} as const;

/** State components that AVX needs in XCR0: SSE, AVX. */
const AvxComponents = 6n;

/** Keeps Cpu.SimdDisabled and Cpu.AvxDisabled: after CR0, CR4 or XCR0 changed. */
export function updateSimdDisabled(cpu: RareCpu): void {
  const cr0 = cpu.u64(Cpu.Cr0);
  const undefinedOpcode = (cr0 & Cr0Bit.Emulation) !== 0n || (cpu.u64(Cpu.Cr4) & Cr4Bit.FxSave) === 0n;
  const absent = (cr0 & Cr0Bit.TaskSwitched) !== 0n ? Vector.DeviceNotAvailable : 0;
  cpu.setU32(Cpu.SimdDisabled, undefinedOpcode ? Vector.InvalidOpcode : absent);
  const avx =
    (cpu.u64(Cpu.Cr4) & Cr4Bit.XSave) !== 0n &&
    (cpu.u64(Cpu.Xcr0) & AvxComponents) === AvxComponents &&
    (cr0 & Cr0Bit.Protection) !== 0n;
  cpu.setU32(Cpu.AvxDisabled, avx ? absent : Vector.InvalidOpcode);
}

const allBits = (bits: Readonly<Record<string, bigint>>): bigint =>
  Object.values(bits).reduce((all, bit) => all | bit, 0n);

/** What CR0 holds; other low bits ignore writes. */
export const Cr0Implemented = allBits(Cr0Bit);
/** What CR4 accepts; setting anything else is #GP. Not there: VME, PVI, PCID, SMAP. */
export const Cr4Implemented =
  allBits(Cr4Bit) &
  ~(
    Cr4Bit.Virtual8086Extensions |
    Cr4Bit.ProtectedVirtualInterrupts |
    Cr4Bit.ProcessContextIds |
    Cr4Bit.SupervisorAccessPrevention
  );
