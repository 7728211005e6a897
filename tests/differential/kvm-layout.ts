/**
 * Structures and request numbers of the KVM API (Documentation/virt/kvm/api.rst; include/uapi/linux/kvm.h for x86-64), as
 * far as the oracle needs them. All of them are little-endian.
 */
import type { GeneralRegisters, Segment, SystemRegisters } from '@lodger/vmm/engine/state.js';

export const KvmRequest = {
  GetApiVersion: 0xae00,
  CreateVm: 0xae01,
  GetVcpuMmapSize: 0xae04,
  GetSupportedCpuid: 0xc008ae05,
  CreateVcpu: 0xae41,
  SetUserMemoryRegion: 0x4020ae46,
  Run: 0xae80,
  GetRegs: 0x8090ae81,
  SetRegs: 0x4090ae82,
  SetSregs: 0x4138ae84,
  SetCpuid2: 0x4008ae90,
  SetXcrs: 0x4188aea7,
} as const;

/** Fields of struct kvm_run. */
export const KvmRun = {
  ExitReason: 8,
  /** KVM_EXIT_IO: direction (u8), size (u8), port (u16), count (u32), data offset (u64). */
  IoDirection: 32,
  IoPort: 34,
  /** KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR: reason or suberror. */
  FailureReason: 32,
} as const;

export const KvmExit = { Io: 2, Hlt: 5, Mmio: 6, Shutdown: 8, FailEntry: 9, InternalError: 17 } as const;
export const IoDirectionOut = 1;

const RegsOrder = [
  'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip',
  'rflags',
] as const; // prettier-ignore

/** struct kvm_regs. */
export function encodeRegs(regs: GeneralRegisters): Uint8Array {
  const view = new DataView(new ArrayBuffer(RegsOrder.length * 8));
  RegsOrder.forEach((name, index) => view.setBigUint64(index * 8, regs[name], true));
  return new Uint8Array(view.buffer);
}

const SegmentSize = 24;
const SregsSize = 312;

/** struct kvm_segment. */
function encodeSegment(view: DataView, offset: number, segment: Segment): void {
  view.setBigUint64(offset, segment.base, true);
  view.setUint32(offset + 8, segment.limit, true);
  view.setUint16(offset + 12, segment.selector, true);
  const flags = [segment.present, segment.dpl, segment.db, segment.s, segment.l, segment.g, segment.avl];
  view.setUint8(offset + 14, segment.type);
  flags.forEach((flag, index) => view.setUint8(offset + 15 + index, Number(flag)));
  view.setUint8(offset + 22, Number(segment.unusable));
}

/** struct kvm_sregs. */
export function encodeSregs(sregs: SystemRegisters): Uint8Array {
  const view = new DataView(new ArrayBuffer(SregsSize));
  const segments = [sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss, sregs.tr, sregs.ldt];
  segments.forEach((segment, index) => encodeSegment(view, index * SegmentSize, segment));
  let offset = segments.length * SegmentSize;
  for (const table of [sregs.gdt, sregs.idt]) {
    view.setBigUint64(offset, table.base, true);
    view.setUint16(offset + 8, table.limit, true);
    offset += 16;
  }
  for (const value of [sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.cr8, sregs.efer, sregs.apicBase]) {
    view.setBigUint64(offset, value, true);
    offset += 8;
  }
  return new Uint8Array(view.buffer);
}

/** struct kvm_userspace_memory_region. */
export function encodeMemoryRegion(slot: number, start: bigint, size: bigint, host: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setUint32(0, slot, true);
  [start, size, host].forEach((value, index) => view.setBigUint64(8 + index * 8, value, true));
  return new Uint8Array(view.buffer);
}

/** struct kvm_xcrs with XCR0 only. */
export function encodeXcr0(value: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(392));
  view.setUint32(0, 1, true);
  view.setBigUint64(16, value, true);
  return new Uint8Array(view.buffer);
}
