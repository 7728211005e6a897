/**
 * Engine-neutral state of a machine's processors and interrupt controllers, in the shape of KVM's get/set structures (KVM
 * API documentation: kvm_regs, kvm_sregs, kvm_xsave, kvm_xcrs, kvm_msrs, kvm_vcpu_events, kvm_debugregs, kvm_mp_state,
 * kvm_lapic_state, kvm_ioapic_state, kvm_pic_state, kvm_pit_state2, kvm_clock_data). 64-bit values are bigint, unsigned.
 *
 * Plain values that can be cloned (structured clone); snapshot/state-json.ts makes text of them.
 */
import type { PitState } from '../devices/pit-8254.ts';
import type { SpeakerPortState } from '../devices/speaker-port.ts';
import type { IoApicState } from '../interrupts/ioapic.ts';
import type { LocalApicState } from '../interrupts/local-apic.ts';
import type { PicPairState } from '../interrupts/pic-8259.ts';

export type { IoApicState, LocalApicState, PicPairState, PitState, SpeakerPortState };

/** A vCPU. What boot protocols hand over leaves out the optional parts: those stay as they are in a new vCPU. */
export interface VcpuState {
  readonly version: 1;
  readonly regs: GeneralRegisters;
  readonly sregs: SystemRegisters;
  /** x87 and SSE: XSAVE components 0 and 1. */
  readonly fpu: FpuState;
  /** The other XSAVE components. Those that are absent are in their initial state. */
  readonly xsave?: ExtendedState;
  readonly debug: DebugRegisters;
  readonly xcr0: bigint;
  /** MSR index to value: all that have state and are not named elsewhere (EFER, FS.BASE, GS.BASE, APIC_BASE). */
  readonly msrs: readonly (readonly [index: number, value: bigint])[];
  readonly events: VcpuEvents;
  readonly mpState: 'runnable' | 'uninitialized' | 'init-received' | 'sipi-received' | 'halted';
  /** The local APIC's registers; their base is `sregs.apicBase`, IA32_TSC_DEADLINE is among the MSRs. */
  readonly localApic?: LocalApicState;
  /** Frequency of the TSC. Time does not pass for it while a state is kept. */
  readonly tscKhz?: number;
}

/** What the vCPUs share: set before their states. */
export interface VmState {
  readonly version: 1;
  readonly ioapic: IoApicState;
  readonly pic: PicPairState;
  readonly pit: PitState;
  readonly speaker: SpeakerPortState;
  readonly clock: VmClockState;
}

export interface VmClockState {
  /** kvm-clock's nanoseconds. */
  readonly kvmClock: bigint;
  /** Nanoseconds since 1970-01-01 UTC on the host when the state was read. */
  readonly wallClock: bigint;
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
  /** Selectors of the last instruction and operand, on engines that keep them. */
  lastCs?: number;
  lastDs?: number;
  /** Sixteen 128-bit registers. */
  xmm: bigint[];
  mxcsr: number;
}

export interface ExtendedState {
  /** Component 2: the upper halves of sixteen YMM registers. */
  ymmHigh?: bigint[];
  /** Further components as their bytes in the standard (not compacted) format. */
  others?: { component: number; bytes: Uint8Array }[];
}

export interface DebugRegisters {
  db: [bigint, bigint, bigint, bigint];
  dr6: bigint;
  dr7: bigint;
}

export interface VcpuEvents {
  exception: PendingException | undefined;
  interrupt: { vector: number; soft: boolean } | undefined;
  /** Interrupts (after MOV SS debug traps too) wait for one instruction. */
  interruptShadow: 'none' | 'sti' | 'mov-ss';
  nmi: {
    /** Being delivered: masks others already. */
    injected?: boolean;
    pending: boolean;
    masked: boolean;
  };
  /** Of `sipi-received`. */
  sipiVector?: number;
  /** An INIT waits for the end of SMM. */
  initPending?: boolean;
  smi?: { inSmm: boolean; pending: boolean; insideNmi: boolean };
  tripleFault?: boolean;
}

export interface PendingException {
  vector: number;
  errorCode: number | undefined;
  /** Raised, but what comes before its delivery has not happened: `payload` goes to CR2 (#PF) or DR6 (#DB). */
  pending?: boolean;
  payload?: bigint;
}
