/** Leaves of the model `host` that are made up, since KVM_GET_SUPPORTED_CPUID has nothing in them. */
import type { CpuidResult } from '@lodger/vmm/x86/cpu-features.js';
import { Leaf } from '@lodger/vmm/x86/cpu-features.js';
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import { kvmCpuid } from '@lodger/vmm/x86/kvm-interface.js';
import { findEntry, hasFeature } from './cpuid.ts';

const Brand = 'KVM virtual processor';
const BrandBytes = 16;

/** Leaves 0x80000002 to 0x80000004. */
export function brandText(leaf: number): CpuidResult {
  const bytes = new TextEncoder().encode(Brand.padEnd(3 * BrandBytes, '\0'));
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = new Uint32Array(bytes.buffer, (leaf - Leaf.BrandFirst) * BrandBytes, 4);
  return { eax, ebx, ecx, edx };
}

/** Leaf 5: one line is watched; interrupts end MWAIT even when masked, if asked so; C-states are the host's affair. */
export function mwaitLeaf(entry: CpuidEntry): CpuidResult {
  const line = 64;
  const extensionsAndInterruptBreak = 3;
  return entry.eax === 0 ? { eax: line, ebx: line, ecx: extensionsAndInterruptBreak, edx: 0 } : entry;
}

/** KVM's local APIC timers count at 1 GHz (KVM API documentation, "KVM_CAP_X86_APIC_BUS_CYCLES_NS"). */
const ApicBusKhz = 1_000_000;

/** Leaf 0x15: TSC = crystal * EBX / EAX. The crystal is what the local APIC's timer counts. */
export function tscFrequency(tscKhz: number): CpuidResult {
  return { eax: ApicBusKhz, ebx: tscKhz, ecx: ApicBusKhz * 1000, edx: 0 };
}

const BusMhz = 100;
/** Leaf 0x16: base, highest and bus frequency in MHz. */
export function processorFrequency(tscKhz: number): CpuidResult {
  const mhz = Math.round(tscKhz / 1000);
  return { eax: mhz, ebx: mhz, ecx: BusMhz, edx: 0 };
}

/** Bits of leaf 0x40000001 EAX (Linux Documentation/virt/kvm/x86/cpuid.rst "KVM CPUID bits"). */
const PvBit = {
  Unhalt: 1 << 7,
  /** These need an answer from the VMM. */
  ExtendedMsiDestination: 1 << 15,
  MapGuestMemory: 1 << 16,
  MigrationControl: 1 << 17,
} as const;
/** Bit of leaf 0x40000001 EDX: KVM_HINTS_REALTIME. */
const RealtimeHint = 1 << 0;

export interface ParavirtualContext {
  readonly tscKhz: number | undefined;
  readonly haltsInGuest: boolean;
  readonly realtimeHint: boolean;
}

/** The hypervisor's leaves: everything of KVM's interface that the host's KVM does by itself. */
export function paravirtualLeaves(supported: readonly CpuidEntry[], context: ParavirtualContext): CpuidEntry[] {
  const offered = findEntry(supported, Leaf.HypervisorFeatures)?.eax ?? 0;
  const unanswered = PvBit.ExtendedMsiDestination | PvBit.MapGuestMemory | PvBit.MigrationControl;
  // KVM forgets to take it back from a guest whose HLT does not exit, in some of its versions
  const unhalt = context.haltsInGuest ? PvBit.Unhalt : 0;
  const features = offered & ~(unanswered | unhalt);
  const hint = context.realtimeHint ? RealtimeHint : 0;
  // Only a frequency that stays is worth telling
  const frequency = hasFeature(supported, 'invtsc') ? context.tscKhz : undefined;
  const last = frequency === undefined ? Leaf.HypervisorFeatures : Leaf.HypervisorFrequency;
  const entry = (leaf: number, result: Partial<CpuidResult>): CpuidEntry => {
    return { leaf, subleaf: undefined, eax: 0, ebx: 0, ecx: 0, edx: 0, ...result };
  };
  return [
    entry(Leaf.Hypervisor, { ...kvmCpuid(Leaf.Hypervisor, features), eax: last }),
    entry(Leaf.HypervisorFeatures, { ...kvmCpuid(Leaf.HypervisorFeatures, features), edx: hint }),
    ...(frequency === undefined ? [] : [entry(last, { eax: frequency, ebx: ApicBusKhz })]),
  ];
}
