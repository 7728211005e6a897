/**
 * Structures of the KVM API for x86-64, by the kernel's include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h; what
 * they mean is in the KVM API documentation (Documentation/virt/kvm/api.rst), section 4. A test compares every size
 * and offset with the C headers.
 *
 * The structure of KVM_RUN is in run-layout.ts, those of a vCPU's state in state-layouts.ts.
 */
import { array, bytes, flexible, s32, struct, u16, u32, u64, u8, union } from './struct.ts';

/** 4.35 "KVM_SET_USER_MEMORY_REGION". */
export const UserspaceMemoryRegion = struct('struct kvm_userspace_memory_region', {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

export const MemoryFlag = { LogDirtyPages: 1 << 0, Readonly: 1 << 1 } as const;

/** 4.8 "KVM_GET_DIRTY_LOG". */
export const DirtyLog = struct('struct kvm_dirty_log', {
  slot: u32,
  padding1: u32,
  /** `dirty_bitmap`: address of a bitmap with one bit a page. */
  padding2: u64,
});

/** 4.117 "KVM_CLEAR_DIRTY_LOG". */
export const ClearDirtyLog = struct('struct kvm_clear_dirty_log', {
  slot: u32,
  num_pages: u32,
  first_page: u64,
  /** `dirty_bitmap`. */
  padding2: u64,
});

/** 7.36 "KVM_CAP_DIRTY_LOG_RING/KVM_CAP_DIRTY_LOG_RING_ACQ_REL". */
export const DirtyGfn = struct('struct kvm_dirty_gfn', { flags: u32, slot: u32, offset: u64 });

export const DirtyGfnFlag = { Dirty: 1 << 0, Reset: 1 << 1 } as const;
/** Argument of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. */
export const DirtyLogFlag = { ManualProtectEnable: 1 << 0, InitiallySet: 1 << 1 } as const;

/** Pages of the mapping of a vCPU's file where its parts start. */
export const VcpuMapPage = { Run: 0, Pio: 1, CoalescedMmio: 2, DirtyLog: 64 } as const;

/** 4.25 "KVM_IRQ_LINE". The union's other name is `status` (KVM_IRQ_LINE_STATUS). */
export const IrqLevel = struct('struct kvm_irq_level', { irq: u32, level: u32 });

/** 4.71 "KVM_SIGNAL_MSI". */
export const Msi = struct('struct kvm_msi', {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  flags: u32,
  devid: u32,
  pad: bytes(12),
});

/** 4.75 "KVM_IRQFD". */
export const Irqfd = struct('struct kvm_irqfd', {
  fd: u32,
  gsi: u32,
  flags: u32,
  resamplefd: u32,
  pad: bytes(16),
});

export const IrqfdFlag = { Deassign: 1 << 0, Resample: 1 << 1 } as const;

/** 4.59 "KVM_IOEVENTFD". */
export const Ioeventfd = struct('struct kvm_ioeventfd', {
  datamatch: u64,
  addr: u64,
  /** 1, 2, 4 or 8 bytes; 0 for any length. */
  len: u32,
  fd: s32,
  flags: u32,
  pad: bytes(36),
});

export const IoeventfdFlag = { Datamatch: 1 << 0, Pio: 1 << 1, Deassign: 1 << 2 } as const;

/** 4.52 "KVM_SET_GSI_ROUTING". */
export const IrqRoutingIrqchip = struct('struct kvm_irq_routing_irqchip', { irqchip: u32, pin: u32 });

export const IrqRoutingMsi = struct('struct kvm_irq_routing_msi', {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  devid: u32,
});

export const IrqRoutingEntry = struct('struct kvm_irq_routing_entry', {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  u: union({ irqchip: IrqRoutingIrqchip, msi: IrqRoutingMsi, pad: array(u32, 8) }),
});

export const IrqRouting = struct('struct kvm_irq_routing', {
  nr: u32,
  flags: u32,
  entries: flexible(IrqRoutingEntry),
});

export const IrqRoutingType = { Irqchip: 1, Msi: 2 } as const;

/** 4.116 "KVM_(UN)REGISTER_COALESCED_MMIO". */
export const CoalescedMmioZone = struct('struct kvm_coalesced_mmio_zone', { addr: u64, size: u32, pio: u32 });

export const CoalescedMmio = struct('struct kvm_coalesced_mmio', {
  phys_addr: u64,
  len: u32,
  pio: u32,
  data: bytes(8),
});

/** One page of a vCPU's mapping, at {@link VcpuMapPage}.CoalescedMmio; shared by the vCPUs of a VM. */
export const CoalescedMmioRing = struct('struct kvm_coalesced_mmio_ring', {
  first: u32,
  last: u32,
  coalesced_mmio: flexible(CoalescedMmio),
});

/** 4.37 "KVM_ENABLE_CAP". */
export const EnableCap = struct('struct kvm_enable_cap', {
  cap: u32,
  flags: u32,
  args: array(u64, 4),
  pad: bytes(64),
});

/** 4.21 "KVM_SET_SIGNAL_MASK": the kernel's own signal set of 8 bytes. */
export const SignalMask = struct('struct kvm_signal_mask', { len: u32, sigset: flexible(u8) });

/** 4.87 "KVM_SET_GUEST_DEBUG". */
export const GuestDebug = struct('struct kvm_guest_debug', {
  control: u32,
  pad: u32,
  arch: struct('struct kvm_guest_debug_arch', { debugreg: array(u64, 8) }),
});

export const GuestDebugControl = {
  Enable: 1 << 0,
  Singlestep: 1 << 1,
  UseSwBp: 1 << 16,
  UseHwBp: 1 << 17,
  InjectDb: 1 << 18,
  InjectBp: 1 << 19,
  Blockirq: 1 << 20,
} as const;

/** 4.46 "KVM_GET_SUPPORTED_CPUID", 4.20 "KVM_SET_CPUID2". */
export const CpuidEntry2 = struct('struct kvm_cpuid_entry2', {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

/** Flags of {@link CpuidEntry2}; the C header spells the first one "SIGNIFCANT". */
export const CpuidFlag = { SignificantIndex: 1 << 0, StatefulFunc: 1 << 1, StateReadNext: 1 << 2 } as const;

export const Cpuid2 = struct('struct kvm_cpuid2', { nent: u32, padding: u32, entries: flexible(CpuidEntry2) });

/** 4.3 "KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST". */
export const MsrList = struct('struct kvm_msr_list', { nmsrs: u32, indices: flexible(u32) });

/** 4.18 "KVM_GET_MSRS", 4.19 "KVM_SET_MSRS". */
export const MsrEntry = struct('struct kvm_msr_entry', { index: u32, reserved: u32, data: u64 });

export const Msrs = struct('struct kvm_msrs', { nmsrs: u32, pad: u32, entries: flexible(MsrEntry) });

/** "KVM_X86_SET_MSR_FILTER". */
export const MsrFilterRange = struct('struct kvm_msr_filter_range', {
  flags: u32,
  nmsrs: u32,
  base: u32,
  _beforeBitmap: u32,
  /** Address of the bitmap. */
  bitmap: u64,
});

export const MsrFilter = struct('struct kvm_msr_filter', {
  flags: u32,
  _beforeRanges: u32,
  ranges: array(MsrFilterRange, 16),
});

/** 4.15 "KVM_TRANSLATE". */
export const Translation = struct('struct kvm_translation', {
  linear_address: u64,
  physical_address: u64,
  valid: u8,
  writeable: u8,
  usermode: u8,
  pad: bytes(5),
});

/** 4.16 "KVM_INTERRUPT". */
export const Interrupt = struct('struct kvm_interrupt', { irq: u32 });

/** 4.71 "KVM_CREATE_PIT2". */
export const PitConfig = struct('struct kvm_pit_config', { flags: u32, pad: array(u32, 15) });

/** KVM answers the speaker port 0x61 itself. */
export const PitSpeakerDummy = 1;

/** "KVM_REINJECT_CONTROL": its ioctl takes the address of it although its number holds no size. */
export const ReinjectControl = struct('struct kvm_reinject_control', { pit_reinject: u8, reserved: bytes(31) });

/** 4.80 "KVM_SET_DEVICE_ATTR/KVM_GET_DEVICE_ATTR" (of a vCPU: the TSC offset). */
export const DeviceAttr = struct('struct kvm_device_attr', { flags: u32, group: u32, attr: u64, addr: u64 });

export const VcpuAttribute = { TscCtrl: 0, TscOffset: 0 } as const;

/** "KVM_GET_STATS_FD". */
export const StatsHeader = struct('struct kvm_stats_header', {
  flags: u32,
  name_size: u32,
  num_desc: u32,
  id_offset: u32,
  desc_offset: u32,
  data_offset: u32,
});

export const StatsDesc = struct('struct kvm_stats_desc', {
  flags: u32,
  exponent: u16,
  size: u16,
  offset: u32,
  bucket_size: u32,
  name: flexible(u8),
});
