/**
 * struct kvm_run: what a vCPU's thread and the kernel share (KVM API documentation, section 5 "The kvm_run structure").
 *
 * {@link RunOffset} has the constants that the exit path uses with a DataView.
 */
import { array, bytes, struct, u16, u32, u64, u8, union } from './struct.ts';
import { Regs, Sregs, VcpuEvents } from './state-layouts.ts';

const Io = struct('', { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 });
const Mmio = struct('', { phys_addr: u64, data: bytes(8), len: u32, is_write: u8, _end: bytes(3) });
const FailEntry = struct('', { hardware_entry_failure_reason: u64, cpu: u32, _end: u32 });
const Internal = struct('', { suberror: u32, ndata: u32, data: array(u64, 16) });
const EmulationFailure = struct('', {
  suberror: u32,
  ndata: u32,
  flags: u64,
  insn_size: u8,
  insn_bytes: bytes(15),
});
const DebugArch = struct('struct kvm_debug_exit_arch', { exception: u32, pad: u32, pc: u64, dr6: u64, dr7: u64 });
const Hypercall = struct('', { nr: u64, args: array(u64, 6), ret: u64, longmode: u32, pad: u32 });
const TprAccess = struct('', { rip: u64, is_write: u32, pad: u32 });
const SystemEvent = struct('', { type: u32, ndata: u32, data: array(u64, 16) });
const Msr = struct('', { error: u8, pad: bytes(7), reason: u32, index: u32, data: u64 });

export const SyncRegs = struct('struct kvm_sync_regs', { regs: Regs, sregs: Sregs, events: VcpuEvents });

/** The union of the exits has no name in C. */
const Exit = union(
  {
    hw: struct('', { hardware_exit_reason: u64 }),
    fail_entry: FailEntry,
    ex: struct('', { exception: u32, error_code: u32 }),
    io: Io,
    debug: struct('', { arch: DebugArch }),
    mmio: Mmio,
    hypercall: Hypercall,
    tpr_access: TprAccess,
    internal: Internal,
    emulation_failure: EmulationFailure,
    system_event: SystemEvent,
    eoi: struct('', { vector: u8 }),
    msr: Msr,
    notify: struct('', { flags: u32 }),
    padding: bytes(256),
  },
  { anonymous: true },
);

export const KvmRun = struct('struct kvm_run', {
  request_interrupt_window: u8,
  immediate_exit: u8,
  padding1: bytes(6),
  exit_reason: u32,
  ready_for_interrupt_injection: u8,
  if_flag: u8,
  flags: u16,
  cr8: u64,
  apic_base: u64,
  exit: Exit,
  kvm_valid_regs: u64,
  kvm_dirty_regs: u64,
  s: union({ regs: SyncRegs, padding: bytes(2048) }),
});

const exit = KvmRun.offset.exit;
const sync = KvmRun.offset.s;

/** Offsets into struct kvm_run. */
export const RunOffset = {
  RequestInterruptWindow: KvmRun.offset.request_interrupt_window,
  ImmediateExit: KvmRun.offset.immediate_exit,
  ExitReason: KvmRun.offset.exit_reason,
  ReadyForInterruptInjection: KvmRun.offset.ready_for_interrupt_injection,
  IfFlag: KvmRun.offset.if_flag,
  Flags: KvmRun.offset.flags,
  Cr8: KvmRun.offset.cr8,
  ApicBase: KvmRun.offset.apic_base,
  HardwareExitReason: exit,
  IoDirection: exit + Io.offset.direction,
  IoSize: exit + Io.offset.size,
  IoPort: exit + Io.offset.port,
  IoCount: exit + Io.offset.count,
  /** Where the data is, relative to struct kvm_run. */
  IoDataOffset: exit + Io.offset.data_offset,
  MmioAddress: exit + Mmio.offset.phys_addr,
  MmioData: exit + Mmio.offset.data,
  MmioLength: exit + Mmio.offset.len,
  MmioIsWrite: exit + Mmio.offset.is_write,
  FailEntryReason: exit + FailEntry.offset.hardware_entry_failure_reason,
  FailEntryCpu: exit + FailEntry.offset.cpu,
  InternalSuberror: exit + Internal.offset.suberror,
  InternalDataCount: exit + Internal.offset.ndata,
  InternalData: exit + Internal.offset.data,
  EmulationFlags: exit + EmulationFailure.offset.flags,
  EmulationInsnSize: exit + EmulationFailure.offset.insn_size,
  EmulationInsnBytes: exit + EmulationFailure.offset.insn_bytes,
  DebugException: exit + DebugArch.offset.exception,
  DebugPc: exit + DebugArch.offset.pc,
  DebugDr6: exit + DebugArch.offset.dr6,
  DebugDr7: exit + DebugArch.offset.dr7,
  HypercallNumber: exit + Hypercall.offset.nr,
  HypercallArgs: exit + Hypercall.offset.args,
  HypercallReturn: exit + Hypercall.offset.ret,
  HypercallLongmode: exit + Hypercall.offset.longmode,
  TprAccessRip: exit + TprAccess.offset.rip,
  TprAccessIsWrite: exit + TprAccess.offset.is_write,
  SystemEventType: exit + SystemEvent.offset.type,
  SystemEventDataCount: exit + SystemEvent.offset.ndata,
  SystemEventData: exit + SystemEvent.offset.data,
  EoiVector: exit,
  MsrError: exit + Msr.offset.error,
  MsrReason: exit + Msr.offset.reason,
  MsrIndex: exit + Msr.offset.index,
  MsrData: exit + Msr.offset.data,
  NotifyFlags: exit,
  ValidRegs: KvmRun.offset.kvm_valid_regs,
  DirtyRegs: KvmRun.offset.kvm_dirty_regs,
  SyncRegs: sync + SyncRegs.offset.regs,
  SyncSregs: sync + SyncRegs.offset.sregs,
  SyncEvents: sync + SyncRegs.offset.events,
} as const;

/** Bits of kvm_valid_regs and kvm_dirty_regs (KVM_CAP_SYNC_REGS). */
export const SyncRegsFlag = { Regs: 1n << 0n, Sregs: 1n << 1n, Events: 1n << 2n } as const;
