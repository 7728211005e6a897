/**
 * The CPU model `host`: what KVM_GET_SUPPORTED_CPUID answers, but for what is the machine's and not the host's: topology,
 * APIC IDs, the sharing of caches, frequencies, and the hypervisor's leaves.
 *
 * Left out: SGX (it needs memory of its own), Intel PT (tracing of the guest), memory encryption, ARCH_CAPABILITIES on AMD
 * (guests do not expect it there), and nested virtualization unless asked for.
 */
import type { CpuFeatureName, CpuidResult } from '@lodger/vmm/x86/cpu-features.js';
import { Leaf, bitOf, placeOf, withDependents } from '@lodger/vmm/x86/cpu-features.js';
import type { CpuidEntry } from '@lodger/vmm/x86/cpuid.js';
import * as topology from '@lodger/vmm/x86/cpu-topology.js';
import { findEntry, hasFeature, isAmd } from './cpuid.ts';
import { brandText, mwaitLeaf, paravirtualLeaves, processorFrequency, tscFrequency } from './host-leaves.ts';

export interface HostModelContext extends topology.Place {
  readonly without: readonly CpuFeatureName[];
  readonly tscDeadline: boolean;
  /** What the guest's TSC counts at; undefined when KVM does not say. */
  readonly tscKhz: number | undefined;
  readonly nested: boolean;
  /** HLT does not exit: there is nothing for another vCPU to kick. */
  readonly haltsInGuest: boolean;
  /** MWAIT does not exit. */
  readonly mwait: boolean;
  readonly realtimeHint: boolean;
}

/** Bits that no portable model has: of leaf 1 ECX, leaf 7 EBX, ECX, EDX and leaf 0x80000001 ECX. */
const Bit = {
  Monitor: 1 << 3,
  Vmx: 1 << 5,
  Osxsave: 1 << 27,
  Sgx: 1 << 2,
  IntelPt: 1 << 25,
  Ospke: 1 << 4,
  SgxLaunchControl: 1 << 30,
  ArchCapabilities: 1 << 29,
  Svm: 1 << 2,
} as const;

interface Shaping extends HostModelContext {
  readonly amd: boolean;
  readonly supported: readonly CpuidEntry[];
}

/** What becomes of one entry; undefined: it reads as zero. */
type Shape = (entry: CpuidEntry, context: Shaping) => CpuidResult | undefined;

const dropped: Shape = () => undefined;

const shapes: Readonly<Record<number, Shape>> = {
  [Leaf.Version]: (entry, context) => {
    const { vcpus, nested, mwait, tscDeadline } = context;
    const emulated = bitOf('hypervisor') | bitOf('x2apic') | (tscDeadline ? bitOf('tsc_deadline_timer') : 0);
    const hidden = Bit.Osxsave | (nested ? 0 : Bit.Vmx);
    return {
      ...entry,
      ebx: (entry.ebx & ~topology.VersionTopologyMask) | topology.versionTopology(context),
      ecx: (entry.ecx & ~hidden) | emulated | (mwait ? Bit.Monitor : 0),
      edx: (entry.edx & ~topology.Multithreading) | (vcpus > 1 ? topology.Multithreading : 0),
    };
  },
  [Leaf.CacheParameters]: sharedCache,
  [Leaf.Monitor]: (entry, { mwait }) => (mwait ? mwaitLeaf(entry) : entry),
  [Leaf.PowerManagement]: (entry) => ({ ...entry, eax: entry.eax | bitOf('arat') }),
  [Leaf.Structured]: (entry, { amd }) => {
    if (entry.subleaf !== 0) return entry;
    return {
      ...entry,
      ebx: (entry.ebx & ~(Bit.Sgx | Bit.IntelPt)) | bitOf('tsc_adjust'),
      ecx: entry.ecx & ~(Bit.Ospke | Bit.SgxLaunchControl),
      edx: amd ? entry.edx & ~Bit.ArchCapabilities : entry.edx,
    };
  },
  // Made anew, with levels
  [Leaf.Topology]: dropped,
  [Leaf.TopologyV2]: dropped,
  [Leaf.ExtendedTopologyV2]: dropped,
  [Leaf.ExtendedState]: extendedState,
  [Leaf.Sgx]: dropped,
  [Leaf.IntelPt]: dropped,
  [Leaf.Hypervisor]: dropped,
  [Leaf.HypervisorFeatures]: dropped,
  [Leaf.TscFrequency]: (entry, { amd, tscKhz }) => (amd || tscKhz === undefined ? entry : tscFrequency(tscKhz)),
  [Leaf.ProcessorFrequency]: (entry, { amd, tscKhz }) =>
    amd || tscKhz === undefined ? entry : processorFrequency(tscKhz),
  [Leaf.ExtendedVersion]: (entry, { amd, vcpus, nested }) => {
    const hidden = topology.LegacyCores | (nested ? 0 : Bit.Svm);
    const legacyCores = amd && vcpus > 1 ? topology.LegacyCores : 0;
    return { ...entry, ecx: (entry.ecx & ~hidden) | legacyCores };
  },
  [Leaf.BrandFirst]: brand,
  [Leaf.BrandFirst + 1]: brand,
  [Leaf.BrandLast]: brand,
  [Leaf.Svm]: (entry, { nested }) => (nested ? entry : undefined),
  [Leaf.Addresses]: (entry, { amd, vcpus }) => ({ ...entry, ecx: amd ? topology.coreCount(vcpus) : 0 }),
  [Leaf.CacheProperties]: sharedCache,
  [Leaf.ExtendedTopology]: (entry, context) => (context.amd ? topology.extendedTopology(context) : entry),
  [Leaf.Encryption]: dropped,
};

/** KVM_SET_CPUID2's entries of one vCPU. */
export function hostCpuid(supported: readonly CpuidEntry[], context: HostModelContext): CpuidEntry[] {
  const shaping: Shaping = { ...context, amd: isAmd(supported), supported };
  const entries = supported.flatMap((entry) => {
    const shaped = (shapes[entry.leaf] ?? ((same) => same))(entry, shaping);
    return shaped === undefined ? [] : [unsigned({ ...entry, ...shaped })];
  });
  const reduced = withoutFeatures(entries, context.without);
  return [...reduced, ...topologyLeaves(supported, context), ...paravirtualLeaves(supported, context)].map(unsigned);
}

function unsigned({ leaf, subleaf, eax, ebx, ecx, edx }: CpuidEntry): CpuidEntry {
  return { leaf, subleaf, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}

/** The host's name for its processor; a KVM that withholds it gets one. */
function brand(entry: CpuidEntry, { supported }: Shaping): CpuidResult {
  const { eax = 0 } = findEntry(supported, Leaf.BrandFirst) ?? {};
  return eax === 0 ? brandText(entry.leaf) : entry;
}

/** The host's cache with the machine's sharing: leaf 4 also counts the cores of the package. */
function sharedCache(entry: CpuidEntry, { vcpus }: Shaping): CpuidResult | undefined {
  const { LevelShift, LevelMask, SharingShift, SharingMask, TypeMask } = topology.CacheField;
  if ((entry.eax & TypeMask) === 0) return { ...entry, eax: 0 };
  const shared = ((entry.eax >>> LevelShift) & LevelMask) >= topology.FirstSharedCacheLevel;
  const others = (shared ? topology.packageShare(vcpus) : 1) - 1;
  const cores = entry.leaf === Leaf.CacheParameters ? Math.min(topology.packageShare(vcpus) - 1, CoresMask) : 0;
  const kept = entry.eax & ~((SharingMask << SharingShift) | (CoresMask << CoresShift));
  return { ...entry, eax: kept | (others << SharingShift) | (cores << CoresShift) };
}
/** Leaf 4 EAX: APIC IDs reserved for cores of the package, less one. */
const CoresShift = 26;
const CoresMask = 0x3f;

/** Leaf 0xB, which every 64-bit guest understands, and 0x1F where the processor has leaves up to there. */
function topologyLeaves(supported: readonly CpuidEntry[], place: topology.Place): CpuidEntry[] {
  const last = findEntry(supported, Leaf.Basic)?.eax ?? 0;
  const leaves = [Leaf.Topology, Leaf.TopologyV2].filter((leaf) => leaf <= last);
  return leaves.flatMap((leaf) =>
    Array.from({ length: topology.TopologyLevels }, (_, subleaf) => {
      return { leaf, subleaf, ...topology.topologyLevel(subleaf, place) };
    }),
  );
}

/** x87, SSE and protection keys: what is left of XCR0 without AVX. */
const ComponentsWithoutAvx = 0b10_0000_0011;
const LegacyXSaveArea = 576;
const FirstSizedComponent = 2;

/** The state components of leaf 0xD: none without XSAVE, no vectors without AVX. KVM keeps subleaf 0 EBX true. */
function extendedState(entry: CpuidEntry, { supported, without }: Shaping): CpuidResult | undefined {
  const left = withDependents(without);
  if (!hasFeature(supported, 'xsave') || left.has('xsave')) return undefined;
  if (!left.has('avx')) return entry;
  const { subleaf = 0 } = entry;
  if (subleaf >= FirstSizedComponent) return ComponentsWithoutAvx & (1 << subleaf) ? entry : undefined;
  if (subleaf !== 0) return entry;
  const eax = entry.eax & ComponentsWithoutAvx;
  const kept = supported.filter(({ leaf, subleaf = 0 }) => {
    return leaf === Leaf.ExtendedState && subleaf >= FirstSizedComponent && eax & (1 << subleaf);
  });
  return { eax, ebx: LegacyXSaveArea, ecx: Math.max(LegacyXSaveArea, ...kept.map((c) => c.eax + c.ebx)), edx: 0 };
}

/** Features that the user takes away. */
function withoutFeatures(entries: readonly CpuidEntry[], without: readonly CpuFeatureName[]): CpuidEntry[] {
  const hidden = [...withDependents(without)].map(placeOf);
  return entries.map((entry) => {
    const result = { ...entry };
    for (const { leaf, subleaf, register, mask } of hidden) {
      if (entry.leaf === leaf && (entry.subleaf ?? 0) === subleaf) result[register] &= ~mask;
    }
    return result;
  });
}
