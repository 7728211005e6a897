/**
 * KVM's paravirtual interface: CPUID leaves and MSR numbers (Linux Documentation/virt/kvm/x86/cpuid.rst "KVM CPUID bits",
 * msr.rst "KVM-specific MSRs").
 *
 * Left out: asynchronous page faults, the hypercalls (kick, TLB flush, IPIs, yield), polling and migration control.
 */
import type { CpuidResult } from './cpuid.ts';

export const KvmMsr = {
  /** The first two are deprecated names of WallClock and SystemTime. */
  OldWallClock: 0x11,
  OldSystemTime: 0x12,
  WallClock: 0x4b56_4d00,
  SystemTime: 0x4b56_4d01,
  StealTime: 0x4b56_4d03,
  EndOfInterrupt: 0x4b56_4d04,
} as const;
export type KvmMsr = (typeof KvmMsr)[keyof typeof KvmMsr];

/** Bits of leaf 0x40000001 EAX. */
export const KvmFeature = {
  OldClock: 1 << 0,
  /** Port accesses need no delay after them. */
  NoIoDelay: 1 << 1,
  Clock: 1 << 3,
  StealTime: 1 << 5,
  EndOfInterrupt: 1 << 6,
  /** Bit 0 of the clock's flags counts. */
  StableClock: 1 << 24,
} as const;

/** All but PV end of interrupt, which needs the interrupt controller's help. */
export const ClockFeatures =
  KvmFeature.OldClock | KvmFeature.NoIoDelay | KvmFeature.Clock | KvmFeature.StealTime | KvmFeature.StableClock;

const SignatureLeaf = 0x4000_0000;
const FeaturesLeaf = 0x4000_0001;
/** "KVMKVMKVM" and three zero bytes in EBX, ECX, EDX. */
const Signature = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };

/** The hypervisor's leaves; undefined for all others. */
export function kvmCpuid(leaf: number, features: number): CpuidResult | undefined {
  if (leaf === SignatureLeaf) return { eax: FeaturesLeaf, ...Signature };
  if (leaf === FeaturesLeaf) return { eax: features >>> 0, ebx: 0, ecx: 0, edx: 0 };
  return undefined;
}
