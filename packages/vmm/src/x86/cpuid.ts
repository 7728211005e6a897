/**
 * CPUID of the named CPU model "Lodger-v2" (AMD APM Vol. 3 Appendix E "Obtaining Processor Information Via the CPUID
 * Instruction"; SDM Vol. 2A "CPUID—CPU Identification").
 *
 * The model is stable: a guest sees the same processor on every host and engine that can run it. It has the x86-64-v2
 * level with what guests profit from when an engine interprets or translates them, and says it is an AMD processor, so
 * that Linux leaves page-table isolation off. Neither engine speculates on a guest's behalf beyond its own processor's
 * protections, so the bits that say "not affected" are set; automatic IBRS spares Linux its retpolines.
 *
 * Left out: AVX and what needs it, SMAP, PCID, VME, MTRRs and machine checks, MONITOR, SVM, performance counters.
 */

export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What CPUID's answer depends on beside the leaf. */
export interface CpuidContext {
  readonly apicId: number;
  /** Processors of the machine: one package, one thread a core. */
  readonly vcpus: number;
  /** CR4.OSXSAVE. */
  readonly osxsave: boolean;
  /** IA32_APIC_BASE.EN: CPUID shows no APIC while it is off. */
  readonly apicEnabled: boolean;
}

export const ModelName = 'Lodger-v2';
const Brand = `${ModelName} virtual processor`;
const Vendor = 'AuthenticAMD';

/** Family 0x19, model 0x11, stepping 1, in the layout of leaf 1 EAX. */
const Signature = 0x00a10f11;

const Leaf = {
  Basic: 0x0,
  Version: 0x1,
  PowerManagement: 0x6,
  Structured: 0x7,
  Topology: 0xb,
  ExtendedState: 0xd,
  Extended: 0x8000_0000,
  ExtendedVersion: 0x8000_0001,
  BrandFirst: 0x8000_0002,
  BrandLast: 0x8000_0004,
  L1Cache: 0x8000_0005,
  L2Cache: 0x8000_0006,
  Advanced: 0x8000_0007,
  Addresses: 0x8000_0008,
  CacheProperties: 0x8000_001d,
  ExtendedTopology: 0x8000_001e,
  Extended2: 0x8000_0021,
} as const;
const LastBasic = Leaf.ExtendedState;
const LastExtended = Leaf.Extended2;

type Register = keyof CpuidResult;

/** Feature bits of one register. */
interface FeatureWord {
  readonly leaf: number;
  readonly subleaf?: number;
  readonly register: Register;
  readonly bits: Readonly<Record<string, number>>;
}

const Leaf1Edx = {
  fpu: 0, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, cx8: 8, apic: 9, sep: 11, pge: 13, cmov: 15, pat: 16, pse36: 17,
  clflush: 19, mmx: 23, fxsr: 24, sse: 25, sse2: 26,
} as const; // prettier-ignore

/** The features of the model. Those that the decoder knows have its names (CpuFeature). */
const Features: readonly FeatureWord[] = [
  { leaf: Leaf.Version, register: 'edx', bits: Leaf1Edx },
  {
    leaf: Leaf.Version,
    register: 'ecx',
    bits: {
      sse3: 0, pclmulqdq: 1, ssse3: 9, cx16: 13, 'sse4.1': 19, 'sse4.2': 20, x2apic: 21, movbe: 22, popcnt: 23,
      tscDeadline: 24, aes: 25, xsave: 26, rdrand: 30, hypervisor: 31,
    },
  }, // prettier-ignore
  { leaf: Leaf.PowerManagement, register: 'eax', bits: { alwaysRunningApicTimer: 2 } },
  {
    leaf: Leaf.Structured,
    register: 'ebx',
    bits: { fsgsbase: 0, tscAdjust: 1, bmi1: 3, smep: 7, bmi2: 8, erms: 9, rdseed: 18, clflushopt: 23 },
  },
  { leaf: Leaf.Structured, register: 'ecx', bits: { umip: 2 } },
  { leaf: Leaf.Structured, register: 'edx', bits: { fsrm: 4 } },
  { leaf: Leaf.Structured, subleaf: 1, register: 'eax', bits: { fastZeroRepMovs: 10, fastShortRepStos: 11 } },
  { leaf: Leaf.ExtendedState, subleaf: 1, register: 'eax', bits: { xsaveopt: 0 } },
  {
    leaf: Leaf.ExtendedVersion,
    register: 'ecx',
    bits: { lahf64: 0, lzcnt: 5, prefetchw: 8, topologyExtensions: 22 },
  },
  {
    leaf: Leaf.ExtendedVersion,
    register: 'edx',
    bits: { syscall: 11, nx: 20, mmxExtensions: 22, gigabytePages: 26, rdtscp: 27, long: 29 },
  },
  { leaf: Leaf.Advanced, register: 'edx', bits: { invariantTsc: 8 } },
  // FXSAVE and XSAVE always save the x87 error pointers; no speculative store bypass; no branch type confusion
  { leaf: Leaf.Addresses, register: 'ebx', bits: { errorPointers: 2, noStoreBypass: 26, noTypeConfusion: 29 } },
  {
    leaf: Leaf.Extended2,
    register: 'eax',
    bits: { lfenceSerializing: 2, nullSelectorClearsBase: 6, automaticIbrs: 8, noReturnSpeculation: 29 },
  },
  // Not affected by transient scheduler attacks (L1 and store queue)
  { leaf: Leaf.Extended2, register: 'ecx', bits: { noSchedulerAttackSq: 1, noSchedulerAttackL1: 2 } },
];

/** Names of all features of the model. */
export const modelFeatures: ReadonlySet<string> = new Set(Features.flatMap(({ bits }) => Object.keys(bits)));

/** Leaf 0x80000001 EDX repeats these bits of leaf 1 EDX. */
const RepeatedInExtended = 0x0183_f3ff;

const Zero: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Registers of the feature words of a leaf. */
function featureWords(leaf: number, subleaf: number): CpuidResult {
  const result = { ...Zero };
  for (const word of Features) {
    if (word.leaf !== leaf || (word.subleaf ?? 0) !== subleaf) continue;
    for (const bit of Object.values(word.bits)) result[word.register] = (result[word.register] | (1 << bit)) >>> 0;
  }
  return result;
}

/** Leaves that do not depend on the context, made once: by leaf, then subleaf. */
const featureTable = new Map<number, readonly CpuidResult[]>(
  [...new Set(Features.map(({ leaf }) => leaf))].map((leaf) => [leaf, [featureWords(leaf, 0), featureWords(leaf, 1)]]),
);

function features(leaf: number, subleaf = 0): CpuidResult {
  return featureTable.get(leaf)?.[subleaf] ?? Zero;
}

/** Bits of an APIC ID that number the processors of the package. */
function apicIdBits(vcpus: number): number {
  return 32 - Math.clz32(vcpus - 1);
}

/** Four characters of `text` from `at`, the first one lowest. */
function word(text: string, at: number): number {
  return [3, 2, 1, 0].reduce((value, i) => (value << 8) | (text.charCodeAt(at + i) || 0), 0) >>> 0;
}

const vendor = { ebx: word(Vendor, 0), edx: word(Vendor, 4), ecx: word(Vendor, 8) };

const ClflushLine = 8;

function version({ apicId, vcpus, osxsave, apicEnabled }: CpuidContext): CpuidResult {
  const { ecx, edx } = features(Leaf.Version);
  const osxsaveBit = osxsave ? 1 << 27 : 0;
  const multithreading = vcpus > 1 ? 1 << 28 : 0;
  const hiddenApic = apicEnabled ? 0 : 1 << Leaf1Edx.apic;
  return {
    eax: Signature,
    ebx: ((apicId & 0xff) << 24) | (Math.min(vcpus, 255) << 16) | (ClflushLine << 8),
    ecx: ecx | osxsaveBit,
    edx: (edx | multithreading) & ~hiddenApic,
  };
}

/** Leaf 0xB: subleaf 0 the threads of a core, 1 the cores of the package. */
function topology(subleaf: number, { apicId, vcpus }: CpuidContext): CpuidResult {
  const Level = { Invalid: 0, Thread: 1, Core: 2 } as const;
  if (subleaf === 0) return { eax: 0, ebx: 1, ecx: Level.Thread << 8, edx: apicId };
  if (subleaf === 1) return { eax: apicIdBits(vcpus), ebx: vcpus, ecx: (Level.Core << 8) | 1, edx: apicId };
  return { eax: 0, ebx: 0, ecx: (Level.Invalid << 8) | (subleaf & 0xff), edx: apicId };
}

/** Legacy region and header; there are no further components, whatever XCR0 holds. */
const XSaveArea = 576;
/** x87 and SSE. */
const XStateComponents = 3;

function extendedState(subleaf: number): CpuidResult {
  if (subleaf === 0) return { eax: XStateComponents, ebx: XSaveArea, ecx: XSaveArea, edx: 0 };
  if (subleaf !== 1) return Zero;
  return features(Leaf.ExtendedState, 1);
}

function extendedVersion({ vcpus, apicEnabled }: CpuidContext): CpuidResult {
  const { ecx, edx } = features(Leaf.ExtendedVersion);
  const hiddenApic = apicEnabled ? 0 : 1 << Leaf1Edx.apic;
  // "Core multi-processing legacy mode": several processors in a package are cores, not threads
  const legacyCores = vcpus > 1 ? 1 << 1 : 0;
  const repeated = features(Leaf.Version).edx & RepeatedInExtended & ~hiddenApic;
  return { eax: Signature, ebx: 0, ecx: ecx | legacyCores, edx: edx | repeated };
}

function brand(leaf: number): CpuidResult {
  const at = (leaf - Leaf.BrandFirst) * 16;
  return { eax: word(Brand, at), ebx: word(Brand, at + 4), ecx: word(Brand, at + 8), edx: word(Brand, at + 12) };
}

interface Cache {
  readonly level: 1 | 2 | 3;
  readonly type: 'data' | 'instruction' | 'unified';
  readonly kilobytes: number;
  readonly ways: number;
}

/** In the order of leaf 0x8000001D's subleaves. */
const Caches: readonly Cache[] = [
  { level: 1, type: 'data', kilobytes: 32, ways: 8 },
  { level: 1, type: 'instruction', kilobytes: 32, ways: 8 },
  { level: 2, type: 'unified', kilobytes: 512, ways: 8 },
  { level: 3, type: 'unified', kilobytes: 16384, ways: 16 },
];
const CacheLine = 64;
const CacheType = { data: 1, instruction: 2, unified: 3 } as const;

function cacheProperties(subleaf: number, { vcpus }: CpuidContext): CpuidResult {
  const cache = Caches[subleaf];
  if (!cache) return Zero;
  const sharing = cache.level === 3 ? 1 << apicIdBits(vcpus) : 1;
  const selfInitialising = 1 << 8;
  return {
    eax: ((sharing - 1) << 14) | selfInitialising | (cache.level << 5) | CacheType[cache.type],
    ebx: ((cache.ways - 1) << 22) | (CacheLine - 1),
    ecx: (cache.kilobytes * 1024) / (CacheLine * cache.ways) - 1,
    edx: 0,
  };
}

/** Sizes in KiB (L1, L2) and in units of 512 KiB (L3), one line a tag. */
function legacyCaches(leaf: number): CpuidResult {
  const [data, instruction, second, third] = Caches as [Cache, Cache, Cache, Cache];
  if (leaf === Leaf.L1Cache) {
    const field = ({ kilobytes, ways }: Cache): number => (kilobytes << 24) | (ways << 16) | (1 << 8) | CacheLine;
    return { eax: 0, ebx: 0, ecx: field(data), edx: field(instruction) };
  }
  /** Encodings of 8 and 16 ways (AMD APM Vol. 3 "L2/L3 Cache and TLB Associativity Field Encoding"). */
  const [eightWays, sixteenWays] = [6, 8];
  return {
    eax: 0,
    ebx: 0,
    ecx: (second.kilobytes << 16) | (eightWays << 12) | (1 << 8) | CacheLine,
    edx: ((third.kilobytes / 512) << 18) | (sixteenWays << 12) | (1 << 8) | CacheLine,
  };
}

/** MAXPHYADDR, and bits of a linear address. */
const PhysicalBits = 48;
const LinearBits = 48;

function addresses({ vcpus }: CpuidContext): CpuidResult {
  const { ebx } = features(Leaf.Addresses);
  return { eax: (LinearBits << 8) | PhysicalBits, ebx, ecx: (apicIdBits(vcpus) << 12) | ((vcpus - 1) & 0xff), edx: 0 };
}

function evaluate(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  switch (leaf) {
    case Leaf.Basic:
      return { eax: LastBasic, ...vendor };
    case Leaf.Version:
      return version(context);
    case Leaf.PowerManagement:
      return features(leaf);
    case Leaf.Structured:
      // EAX of subleaf 0: the last subleaf
      return subleaf === 0 ? { ...features(leaf), eax: 1 } : features(leaf, subleaf);
    case Leaf.Topology:
      return topology(subleaf, context);
    case Leaf.ExtendedState:
      return extendedState(subleaf);
    case Leaf.Extended:
      return { eax: LastExtended, ...vendor };
    case Leaf.ExtendedVersion:
      return extendedVersion(context);
    case Leaf.BrandFirst:
    case Leaf.BrandFirst + 1:
    case Leaf.BrandLast:
      return brand(leaf);
    case Leaf.L1Cache:
    case Leaf.L2Cache:
      return legacyCaches(leaf);
    case Leaf.Addresses:
      return addresses(context);
    case Leaf.CacheProperties:
      return cacheProperties(subleaf, context);
    case Leaf.ExtendedTopology:
      // One thread a core, one node
      return { eax: context.apicId, ebx: context.apicId & 0xff, ecx: 0, edx: 0 };
    default:
      return features(leaf, 0);
  }
}

/** CPUID of the model; reserved leaves read as zero. Registers are unsigned. */
export function cpuid(leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const { eax, ebx, ecx, edx } = evaluate(leaf, subleaf, context);
  return { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}
