/**
 * How CPUID describes the processors of a machine: one package of cores with one thread each, and an APIC ID for each that is
 * its number (SDM Vol. 3A "Hierarchical Mapping of Shared Resources"; AMD APM Vol. 3 Appendix E "Extended Topology").
 *
 * Fields only: the leaves they belong to have other contents, which differ between models and hosts.
 */
import type { CpuidResult } from './cpu-features.ts';

export interface Place {
  readonly apicId: number;
  /** Processors of the machine. */
  readonly vcpus: number;
}

/** Bits of an APIC ID that number the processors of the package. */
export function apicIdBits(vcpus: number): number {
  return 32 - Math.clz32(vcpus - 1);
}

/** Processors that share a cache of the package, as caches count them: a power of two. */
export function packageShare(vcpus: number): number {
  return 1 << apicIdBits(vcpus);
}

/** Fields of leaf 1 EBX. */
const InitialApicIdShift = 24;
const LogicalProcessorsShift = 16;
/** Leaf 1 EDX HTT: the field of EBX holds the number of processors. */
export const Multithreading = 1 << 28;
/** Leaf 0x80000001 ECX CmpLegacy: several processors in a package are cores, not threads. */
export const LegacyCores = 1 << 1;

/** Leaf 1 EBX, but for the size of a CLFLUSH line. */
export function versionTopology({ apicId, vcpus }: Place): number {
  return (((apicId & 0xff) << InitialApicIdShift) | (Math.min(vcpus, 0xff) << LogicalProcessorsShift)) >>> 0;
}
/** The bits of leaf 1 EBX that {@link versionTopology} has. */
export const VersionTopologyMask = 0xffff_0000;

const Level = { Invalid: 0, Thread: 1, Core: 2 } as const;
const LevelShift = 8;

/** Leaves 0xB and 0x1F: subleaf 0 the threads of a core, 1 the cores of the package. */
export function topologyLevel(subleaf: number, { apicId, vcpus }: Place): CpuidResult {
  if (subleaf === 0) return { eax: 0, ebx: 1, ecx: Level.Thread << LevelShift, edx: apicId };
  if (subleaf === 1) return { eax: apicIdBits(vcpus), ebx: vcpus, ecx: (Level.Core << LevelShift) | 1, edx: apicId };
  return { eax: 0, ebx: 0, ecx: (Level.Invalid << LevelShift) | (subleaf & 0xff), edx: apicId };
}
/** Subleaves of {@link topologyLevel} that describe something. */
export const TopologyLevels = 2;

/** Leaf 0x80000008 ECX: ApicIdSize and NC. */
export function coreCount(vcpus: number): number {
  return (apicIdBits(vcpus) << 12) | ((vcpus - 1) & 0xff);
}

/** Leaf 0x8000001E: one thread a core, one node. */
export function extendedTopology({ apicId }: Place): CpuidResult {
  return { eax: apicId, ebx: apicId & 0xff, ecx: 0, edx: 0 };
}

/** EAX of a subleaf of leaves 4 and 0x8000001D: level of the cache, and how many processors share it, less one. */
export const CacheField = {
  LevelShift: 5,
  LevelMask: 7,
  SharingShift: 14,
  SharingMask: 0xfff,
  TypeMask: 0x1f,
} as const;
/** Caches of this level and above belong to the package, those below to a core. */
export const FirstSharedCacheLevel = 3;
