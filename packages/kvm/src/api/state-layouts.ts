/**
 * Structures with the state of a vCPU and of the controllers in the kernel, by arch/x86/include/uapi/asm/kvm.h; KVM API
 * documentation, section 4.
 */
import { array, bytes, flexible, s64, struct, u16, u32, u64, u8, union } from './struct.ts';

/** 4.11 "KVM_GET_REGS". */
export const Regs = struct('struct kvm_regs', {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

export const Segment = struct('struct kvm_segment', {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const Dtable = struct('struct kvm_dtable', { base: u64, limit: u16, padding: array(u16, 3) });

const systemRegisters = {
  cs: Segment,
  ds: Segment,
  es: Segment,
  fs: Segment,
  gs: Segment,
  ss: Segment,
  tr: Segment,
  ldt: Segment,
  gdt: Dtable,
  idt: Dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
} as const;

/** 4.13 "KVM_GET_SREGS". */
export const Sregs = struct('struct kvm_sregs', { ...systemRegisters, interrupt_bitmap: array(u64, 4) });

/** 4.131 "KVM_GET_SREGS2". */
export const Sregs2 = struct('struct kvm_sregs2', { ...systemRegisters, flags: u64, pdptrs: array(u64, 4) });

export const Sregs2Flag = { PdptrsValid: 1n } as const;

/** 4.22 "KVM_GET_FPU". */
export const Fpu = struct('struct kvm_fpu', {
  fpr: array(bytes(16), 8),
  fcw: u16,
  fsw: u16,
  /** In FXSAVE's short format. */
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64,
  last_dp: u64,
  xmm: array(bytes(16), 16),
  mxcsr: u32,
  pad2: u32,
});

/** 4.42 "KVM_GET_XSAVE"; KVM_GET_XSAVE2 answers as many bytes as KVM_CAP_XSAVE2 says, at least this size. */
export const Xsave = struct('struct kvm_xsave', { region: bytes(4096), extra: flexible(u32) });

export const Xcr = struct('struct kvm_xcr', { xcr: u32, reserved: u32, value: u64 });

/** 4.44 "KVM_GET_XCRS". */
export const Xcrs = struct('struct kvm_xcrs', {
  nr_xcrs: u32,
  flags: u32,
  xcrs: array(Xcr, 16),
  padding: array(u64, 16),
});

/** 4.31 "KVM_GET_VCPU_EVENTS". */
export const VcpuEvents = struct('struct kvm_vcpu_events', {
  exception: struct('', { injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32 }),
  interrupt: struct('', { injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct('', { injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32,
  flags: u32,
  smi: struct('', { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct('', { pending: u8 }),
  reserved: bytes(26),
  exception_has_payload: u8,
  exception_payload: u64,
});

export const VcpuEventFlag = {
  ValidNmiPending: 1 << 0,
  ValidSipiVector: 1 << 1,
  ValidShadow: 1 << 2,
  ValidSmm: 1 << 3,
  ValidPayload: 1 << 4,
  ValidTripleFault: 1 << 5,
} as const;

/** `interrupt.shadow` of {@link VcpuEvents}. */
export const InterruptShadow = { MovSs: 1 << 0, Sti: 1 << 1 } as const;

/** 4.33 "KVM_GET_DEBUGREGS". */
export const Debugregs = struct('struct kvm_debugregs', {
  db: array(u64, 4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: array(u64, 9),
});

/** 4.38 "KVM_GET_MP_STATE". */
export const MpState = struct('struct kvm_mp_state', { mp_state: u32 });

export const MpStateValue = {
  Runnable: 0,
  Uninitialized: 1,
  InitReceived: 2,
  Halted: 3,
  SipiReceived: 4,
} as const;

/** 4.57 "KVM_GET_LAPIC": the registers of the APIC page, each in the first 4 of 16 bytes. */
export const LapicState = struct('struct kvm_lapic_state', { regs: bytes(0x400) });

export const PicState = struct('struct kvm_pic_state', {
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
});

export const IoapicPins = 24;

export const IoapicState = struct('struct kvm_ioapic_state', {
  base_address: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  pad: u32,
  /** The `bits` of each redirection entry, as the register reads. */
  redirtbl: array(u64, IoapicPins),
});

/** 4.26 "KVM_GET_IRQCHIP". */
export const Irqchip = struct('struct kvm_irqchip', {
  chip_id: u32,
  pad: u32,
  chip: union({ dummy: bytes(512), pic: PicState, ioapic: IoapicState }),
});

/** `chip_id` of {@link Irqchip} and `irqchip` of a routing entry. */
export const IrqchipId = { PicMaster: 0, PicSlave: 1, Ioapic: 2 } as const;

export const PitChannelState = struct('struct kvm_pit_channel_state', {
  /** 1 to 65536. */
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  /** Host time (CLOCK_MONOTONIC, nanoseconds) of the load: KVM sets it when the state is set. */
  count_load_time: s64,
});

/** 4.72 "KVM_GET_PIT2". */
export const PitState2 = struct('struct kvm_pit_state2', {
  channels: array(PitChannelState, 3),
  flags: u32,
  reserved: array(u32, 9),
});

export const PitFlag = { HpetLegacy: 1 << 0, SpeakerDataOn: 1 << 1 } as const;

/** 4.29 "KVM_GET_CLOCK". */
export const ClockData = struct('struct kvm_clock_data', {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: array(u32, 4),
});

export const ClockFlag = { TscStable: 1 << 1, Realtime: 1 << 2, HostTsc: 1 << 3 } as const;
