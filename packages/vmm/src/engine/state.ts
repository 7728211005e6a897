/**
 * Engine-neutral vCPU state, in the shape of KVM's get/set structures (KVM API documentation: kvm_regs, kvm_sregs,
 * kvm_fpu, kvm_msrs, kvm_vcpu_events, kvm_debugregs, kvm_mp_state). 64-bit values are bigint, unsigned.
 */

export interface VcpuState {
  readonly version: 1;
  readonly regs: GeneralRegisters;
  readonly sregs: SystemRegisters;
  readonly fpu: FpuState;
  readonly debug: DebugRegisters;
  readonly xcr0: bigint;
  /** MSR index to value. */
  readonly msrs: readonly (readonly [index: number, value: bigint])[];
  readonly events: VcpuEvents;
  readonly mpState: 'runnable' | 'uninitialized' | 'init-received' | 'sipi-received' | 'halted';
}

export interface GeneralRegisters {
  rax: bigint;
  rbx: bigint;
  rcx: bigint;
  rdx: bigint;
  rsi: bigint;
  rdi: bigint;
  rsp: bigint;
  rbp: bigint;
  r8: bigint;
  r9: bigint;
  r10: bigint;
  r11: bigint;
  r12: bigint;
  r13: bigint;
  r14: bigint;
  r15: bigint;
  rip: bigint;
  rflags: bigint;
}

export interface Segment {
  base: bigint;
  /** In bytes, granularity applied. */
  limit: number;
  selector: number;
  type: number;
  present: boolean;
  dpl: number;
  db: boolean;
  /** Code or data (not system). */
  s: boolean;
  l: boolean;
  g: boolean;
  avl: boolean;
  unusable: boolean;
}

export interface DescriptorTable {
  base: bigint;
  limit: number;
}

export interface SystemRegisters {
  cs: Segment;
  ds: Segment;
  es: Segment;
  fs: Segment;
  gs: Segment;
  ss: Segment;
  tr: Segment;
  ldt: Segment;
  gdt: DescriptorTable;
  idt: DescriptorTable;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  apicBase: bigint;
}

export interface FpuState {
  /** Eight 80-bit registers in stack order ST(0)…ST(7): significand and sign+exponent. */
  st: { significand: bigint; signExponent: number }[];
  fcw: number;
  fsw: number;
  /** Abridged tag word of FXSAVE: bit set is "not empty", physical register order. */
  ftw: number;
  lastOpcode: number;
  lastIp: bigint;
  lastDp: bigint;
  /** Sixteen 128-bit registers. */
  xmm: bigint[];
  mxcsr: number;
}

export interface DebugRegisters {
  db: [bigint, bigint, bigint, bigint];
  dr6: bigint;
  dr7: bigint;
}

export interface VcpuEvents {
  exception: { vector: number; errorCode: number | undefined } | undefined;
  interrupt: { vector: number; soft: boolean } | undefined;
  interruptShadow: boolean;
  nmi: { pending: boolean; masked: boolean };
}
