/** Why KVM_RUN returned (KVM API documentation, section 5), by the names of include/uapi/linux/kvm.h. */

/** KVM_EXIT_…: `exit_reason`. Those of other architectures are left out. */
export const KvmExit = {
  Unknown: 0,
  Exception: 1,
  Io: 2,
  Hypercall: 3,
  Debug: 4,
  Hlt: 5,
  Mmio: 6,
  IrqWindowOpen: 7,
  Shutdown: 8,
  FailEntry: 9,
  Intr: 10,
  SetTpr: 11,
  TprAccess: 12,
  Nmi: 16,
  InternalError: 17,
  SystemEvent: 24,
  IoapicEoi: 26,
  Hyperv: 27,
  X86Rdmsr: 29,
  X86Wrmsr: 30,
  DirtyRingFull: 31,
  ApResetHold: 32,
  X86BusLock: 33,
  Xen: 34,
  Notify: 37,
  MemoryFault: 39,
} as const;
export type KvmExit = (typeof KvmExit)[keyof typeof KvmExit];

/** KVM_EXIT_IO_…: `io.direction`. */
export const IoDirection = { In: 0, Out: 1 } as const;

/** KVM_INTERNAL_ERROR_…: `internal.suberror`. */
export const InternalError = {
  Emulation: 1,
  SimulEx: 2,
  DeliveryEv: 3,
  UnexpectedExitReason: 4,
} as const;

/** KVM_INTERNAL_ERROR_EMULATION_FLAG_…: `emulation_failure.flags`. */
export const EmulationFlag = { InstructionBytes: 1n << 0n } as const;

/** KVM_SYSTEM_EVENT_…: `system_event.type`. */
export const SystemEvent = { Shutdown: 1, Reset: 2, Crash: 3, Wakeup: 4, Suspend: 5, SevTerm: 6 } as const;

/** KVM_MSR_EXIT_REASON_…: `msr.reason`. */
export const MsrExitReason = { Inval: 1 << 0, Unknown: 1 << 1, Filter: 1 << 2 } as const;

/** KVM_RUN_X86_…: `flags` of struct kvm_run. */
export const RunFlag = { Smm: 1 << 0, BusLock: 1 << 1 } as const;

const exitNames = new Map(Object.entries(KvmExit).map(([name, number]) => [number as number, name]));

/** For reports: `KVM_EXIT_INTERNAL_ERROR`. */
export function exitName(reason: number): string {
  const name = exitNames.get(reason);
  return name === undefined ? `exit reason ${reason}` : `KVM_EXIT_${constantName(name)}`;
}

/** The C spelling of a PascalCase name: FailEntry -> FAIL_ENTRY. */
export function constantName(name: string): string {
  return name.replaceAll(/(?<=.)[A-Z]/g, '_$&').toUpperCase();
}
