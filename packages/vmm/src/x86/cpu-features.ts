/**
 * The feature bits of CPUID that a CPU model can have, by word and by name.
 *
 * Features that the decoder knows have its names (CpuFeature); the others have those of Linux's /proc/cpuinfo, or of the
 * kernel's sources where /proc/cpuinfo has none. Words and bits: AMD APM Vol. 3 Appendix E "Obtaining Processor Information
 * Via the CPUID Instruction", SDM Vol. 2A "CPUID—CPU Identification".
 */

export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export type CpuidRegister = keyof CpuidResult;

export const Leaf = {
  Basic: 0x0,
  Version: 0x1,
  CacheDescriptors: 0x2,
  /** Intel: caches and their sharing. */
  CacheParameters: 0x4,
  Monitor: 0x5,
  PowerManagement: 0x6,
  Structured: 0x7,
  Topology: 0xb,
  ExtendedState: 0xd,
  Sgx: 0x12,
  IntelPt: 0x14,
  TscFrequency: 0x15,
  ProcessorFrequency: 0x16,
  /** Intel: the topology leaf with more levels. */
  TopologyV2: 0x1f,
  Hypervisor: 0x4000_0000,
  HypervisorFeatures: 0x4000_0001,
  /** Frequencies of TSC and local APIC timer: VMware's leaf, which guests look for under KVM too. */
  HypervisorFrequency: 0x4000_0010,
  Extended: 0x8000_0000,
  ExtendedVersion: 0x8000_0001,
  BrandFirst: 0x8000_0002,
  BrandLast: 0x8000_0004,
  L1Cache: 0x8000_0005,
  L2Cache: 0x8000_0006,
  Advanced: 0x8000_0007,
  Addresses: 0x8000_0008,
  Svm: 0x8000_000a,
  CacheProperties: 0x8000_001d,
  ExtendedTopology: 0x8000_001e,
  Encryption: 0x8000_001f,
  Extended2: 0x8000_0021,
  /** AMD: the topology leaf with more levels. */
  ExtendedTopologyV2: 0x8000_0026,
} as const;

/** Feature bits of one register. */
interface FeatureWord {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bits: Readonly<Record<string, number>>;
}

// prettier-ignore
const words = [
  {
    leaf: Leaf.Version, subleaf: 0, register: 'edx',
    bits: {
      fpu: 0, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, cx8: 8, apic: 9, sep: 11, pge: 13, cmov: 15, pat: 16, pse36: 17,
      clflush: 19, mmx: 23, fxsr: 24, sse: 25, sse2: 26,
    },
  },
  {
    leaf: Leaf.Version, subleaf: 0, register: 'ecx',
    bits: {
      sse3: 0, pclmulqdq: 1, ssse3: 9, fma: 12, cx16: 13, 'sse4.1': 19, 'sse4.2': 20, x2apic: 21, movbe: 22, popcnt: 23,
      tsc_deadline_timer: 24, aes: 25, xsave: 26, avx: 28, f16c: 29, rdrand: 30, hypervisor: 31,
    },
  },
  { leaf: Leaf.PowerManagement, subleaf: 0, register: 'eax', bits: { arat: 2 } },
  {
    leaf: Leaf.Structured, subleaf: 0, register: 'ebx',
    bits: { fsgsbase: 0, tsc_adjust: 1, bmi1: 3, avx2: 5, smep: 7, bmi2: 8, erms: 9, rdseed: 18, clflushopt: 23 },
  },
  { leaf: Leaf.Structured, subleaf: 0, register: 'ecx', bits: { umip: 2 } },
  { leaf: Leaf.Structured, subleaf: 0, register: 'edx', bits: { fsrm: 4 } },
  { leaf: Leaf.Structured, subleaf: 1, register: 'eax', bits: { fzrm: 10, fsrs: 11 } },
  { leaf: Leaf.ExtendedState, subleaf: 1, register: 'eax', bits: { xsaveopt: 0 } },
  {
    leaf: Leaf.ExtendedVersion, subleaf: 0, register: 'ecx',
    bits: { lahf_lm: 0, lzcnt: 5, '3dnowprefetch': 8, topoext: 22 },
  },
  {
    leaf: Leaf.ExtendedVersion, subleaf: 0, register: 'edx',
    bits: { syscall: 11, nx: 20, mmxext: 22, pdpe1gb: 26, rdtscp: 27, lm: 29 },
  },
  { leaf: Leaf.Advanced, subleaf: 0, register: 'edx', bits: { invtsc: 8 } },
  { leaf: Leaf.Addresses, subleaf: 0, register: 'ebx', bits: { xsaveerptr: 2, ssb_no: 26, btc_no: 29 } },
  {
    leaf: Leaf.Extended2, subleaf: 0, register: 'eax',
    bits: { lfence_rdtsc: 2, null_sel_clr_base: 6, autoibrs: 8, srso_no: 29 },
  },
  { leaf: Leaf.Extended2, subleaf: 0, register: 'ecx', bits: { tsa_sq_no: 1, tsa_l1_no: 2 } },
] as const satisfies readonly FeatureWord[];

type NamesOf<W> = W extends { readonly bits: infer B } ? keyof B & string : never;
export type CpuFeatureName = NamesOf<(typeof words)[number]>;

export const FeatureWords: readonly FeatureWord[] = words;

/** In the order of the words. */
export const CpuFeatureNames = FeatureWords.flatMap(({ bits }) => Object.keys(bits)) as CpuFeatureName[];

export function isCpuFeatureName(name: string): name is CpuFeatureName {
  return (CpuFeatureNames as readonly string[]).includes(name);
}

/** What every 64-bit operating system takes for granted: no model is without these. */
const Baseline: readonly CpuFeatureName[] = [
  'fpu', 'de', 'pse', 'tsc', 'msr', 'pae', 'cx8', 'apic', 'pge', 'cmov', 'pat', 'clflush', 'mmx', 'fxsr', 'sse', 'sse2',
  'syscall', 'nx', 'lm', 'hypervisor',
]; // prettier-ignore

export function isBaseline(name: CpuFeatureName): boolean {
  return Baseline.includes(name);
}

/**
 * Claims: what a processor says of its speed or of its flaws, and what no instruction depends on. A guest that is not shown
 * one is slower or more careful, and works. Hosts differ in them more than in anything else, so a KVM that does not offer
 * one is no reason to refuse a model: the guest is not shown it there.
 *
 * `invtsc` is one of them, since it is a promise that only a host which keeps the model's TSC frequency can make.
 */
export const ClaimNames: readonly CpuFeatureName[] = [
  'erms', 'fsrm', 'fzrm', 'fsrs', 'invtsc', 'xsaveerptr', 'ssb_no', 'btc_no', 'lfence_rdtsc', 'null_sel_clr_base',
  'autoibrs', 'srso_no', 'tsa_sq_no', 'tsa_l1_no',
]; // prettier-ignore

/** What a feature is nothing without. */
const Needs: Partial<Record<CpuFeatureName, CpuFeatureName>> = {
  ssse3: 'sse3',
  'sse4.1': 'ssse3',
  'sse4.2': 'sse4.1',
  xsaveopt: 'xsave',
  avx: 'xsave',
  avx2: 'avx',
  fma: 'avx',
  f16c: 'avx',
};

/** `names` and everything that is nothing without them. */
export function withDependents(names: Iterable<CpuFeatureName>): ReadonlySet<CpuFeatureName> {
  const all = new Set(names);
  for (let before = -1; before !== all.size;) {
    before = all.size;
    for (const [name, needed] of Object.entries(Needs)) if (all.has(needed)) all.add(name as CpuFeatureName);
  }
  return all;
}

const places = new Map(
  FeatureWords.flatMap(({ bits, ...place }) =>
    Object.entries(bits).map(([name, bit]) => [name, { ...place, mask: (1 << bit) >>> 0 }] as const),
  ),
);

/** Where CPUID shows a feature. */
export interface FeaturePlace {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly mask: number;
}

export function placeOf(name: CpuFeatureName): FeaturePlace {
  return places.get(name)!;
}

/** The bit of a feature in its register. */
export function bitOf(name: CpuFeatureName): number {
  return placeOf(name).mask;
}
