/**
 * CPUID of a portable CPU model: one code for all of them, since a model is data (cpu-models.ts). (AMD APM Vol. 3 Appendix E
 * "Obtaining Processor Information Via the CPUID Instruction"; SDM Vol. 2A "CPUID—CPU Identification".)
 */
import { CacheCount, cacheProperties, legacyCaches } from './cpu-caches.ts';
import { type CpuFeatureName, type CpuidResult, FeatureWords, Leaf, bitOf } from './cpu-features.ts';
import type { PortableModel } from './cpu-models.ts';
import {
  LegacyCores,
  Multithreading,
  type Place,
  TopologyLevels,
  coreCount,
  extendedTopology,
  topologyLevel,
  versionTopology,
} from './cpu-topology.ts';

export type { CpuidResult } from './cpu-features.ts';

/** What CPUID's answer depends on beside model and leaf. */
export interface CpuidContext extends Place {
  /** CR4.OSXSAVE. */
  readonly osxsave: boolean;
  /** IA32_APIC_BASE.EN: CPUID shows no APIC while it is off. */
  readonly apicEnabled: boolean;
  /** The state components that software turned on. */
  readonly xcr0: bigint;
}

const Vendor = 'AuthenticAMD';

/** Family 0x19, model 0x11, stepping 1, in the layout of leaf 1 EAX. */
const Signature = 0x00a10f11;

const LastBasic = Leaf.ExtendedState;
const LastExtended = Leaf.Extended2;

const Zero: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

type Features = (leaf: number, subleaf?: number) => CpuidResult;

/** Feature words, made once for each model. */
const wordsOfModels = new WeakMap<PortableModel, Features>();

/** Registers with the feature bits that the model has, by leaf and subleaf. */
function featuresOf(model: PortableModel): Features {
  const known = wordsOfModels.get(model);
  if (known) return known;
  const table = new Map<number, [CpuidResult, CpuidResult]>();
  for (const { leaf, subleaf, register, bits } of FeatureWords) {
    const results = table.get(leaf) ?? [Zero, Zero];
    const names = Object.keys(bits).filter((name) => model.features.has(name as CpuFeatureName));
    const word = names.reduce((value, name) => value | (1 << bits[name]!), 0);
    results[subleaf] = { ...results[subleaf]!, [register]: word };
    table.set(leaf, results);
  }
  const features: Features = (leaf, subleaf = 0) => table.get(leaf)?.[subleaf] ?? Zero;
  wordsOfModels.set(model, features);
  return features;
}

/** Four characters of `text` from `at`, the first one lowest. */
function word(text: string, at: number): number {
  return [3, 2, 1, 0].reduce((value, i) => (value << 8) | (text.charCodeAt(at + i) || 0), 0);
}

const vendor = { ebx: word(Vendor, 0), edx: word(Vendor, 4), ecx: word(Vendor, 8) };

const ApicBit = bitOf('apic');
/** Leaf 1 ECX. */
const OsxsaveBit = 1 << 27;
/** Leaf 1 EBX: the line of CLFLUSH, in units of 8 bytes. */
const ClflushLine = 8 << 8;

function version(features: Features, context: CpuidContext): CpuidResult {
  const { ecx, edx } = features(Leaf.Version);
  const hiddenApic = context.apicEnabled ? 0 : ApicBit;
  return {
    eax: Signature,
    ebx: versionTopology(context) | ClflushLine,
    ecx: ecx | (context.osxsave ? OsxsaveBit : 0),
    edx: (edx | (context.vcpus > 1 ? Multithreading : 0)) & ~hiddenApic,
  };
}

/** Leaf 0x80000001 EDX repeats these bits of leaf 1 EDX. */
const RepeatedInExtended = 0x0183_f3ff;

function extendedVersion(features: Features, { vcpus, apicEnabled }: CpuidContext): CpuidResult {
  const { ecx, edx } = features(Leaf.ExtendedVersion);
  const hiddenApic = apicEnabled ? 0 : ApicBit;
  const repeated = features(Leaf.Version).edx & RepeatedInExtended & ~hiddenApic;
  return { eax: Signature, ebx: 0, ecx: ecx | (vcpus > 1 ? LegacyCores : 0), edx: edx | repeated };
}

/** Legacy region and header, which x87 and SSE fill. */
const LegacyXSaveArea = 576;
/** Bits of XCR0. */
const LegacyComponents = 3;
const YmmComponent = { bit: 1 << 2, subleaf: 2, size: 256, offset: LegacyXSaveArea } as const;

/** Subleaf 0 tells the components and the sizes of the XSAVE area: as turned on (EBX), and at most (ECX). */
function extendedState(model: PortableModel, subleaf: number, { xcr0 }: CpuidContext): CpuidResult {
  if (!model.features.has('xsave')) return Zero;
  const ymm = model.features.has('avx');
  if (subleaf === 0) {
    const most = ymm ? YmmComponent.offset + YmmComponent.size : LegacyXSaveArea;
    const now = (Number(xcr0 & 0xffn) & YmmComponent.bit) !== 0 ? most : LegacyXSaveArea;
    return { eax: LegacyComponents | (ymm ? YmmComponent.bit : 0), ebx: now, ecx: most, edx: 0 };
  }
  if (subleaf === 1) return featuresOf(model)(Leaf.ExtendedState, 1);
  if (subleaf === YmmComponent.subleaf && ymm) {
    return { eax: YmmComponent.size, ebx: YmmComponent.offset, ecx: 0, edx: 0 };
  }
  return Zero;
}

function brand(text: string, leaf: number): CpuidResult {
  const at = (leaf - Leaf.BrandFirst) * 16;
  return { eax: word(text, at), ebx: word(text, at + 4), ecx: word(text, at + 8), edx: word(text, at + 12) };
}

/** MAXPHYADDR, and bits of a linear address. */
const PhysicalBits = 48;
const LinearBits = 48;
const AddressBits = (LinearBits << 8) | PhysicalBits;

/** Leaf 7 subleaf 0 EAX. */
const LastStructuredSubleaf = 1;

function evaluate(model: PortableModel, leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const features = featuresOf(model);
  switch (leaf) {
    case Leaf.Basic:
      return { eax: LastBasic, ...vendor };
    case Leaf.Version:
      return version(features, context);
    case Leaf.Structured:
      return subleaf === 0 ? { ...features(leaf), eax: LastStructuredSubleaf } : features(leaf, subleaf);
    case Leaf.Topology:
      return topologyLevel(subleaf, context);
    case Leaf.ExtendedState:
      return extendedState(model, subleaf, context);
    case Leaf.Extended:
      return { eax: LastExtended, ...vendor };
    case Leaf.ExtendedVersion:
      return extendedVersion(features, context);
    case Leaf.BrandFirst:
    case Leaf.BrandFirst + 1:
    case Leaf.BrandLast:
      return brand(model.brand, leaf);
    case Leaf.L1Cache:
    case Leaf.L2Cache:
      return legacyCaches(leaf);
    case Leaf.Addresses:
      return { eax: AddressBits, ebx: features(leaf).ebx, ecx: coreCount(context.vcpus), edx: 0 };
    case Leaf.CacheProperties:
      return cacheProperties(subleaf, context.vcpus) ?? Zero;
    case Leaf.ExtendedTopology:
      return extendedTopology(context);
    default:
      return features(leaf);
  }
}

/** CPUID of the model; reserved leaves read as zero. Registers are unsigned. */
export function cpuid(model: PortableModel, leaf: number, subleaf: number, context: CpuidContext): CpuidResult {
  const { eax, ebx, ecx, edx } = evaluate(model, leaf, subleaf, context);
  return { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
}

/** A leaf, or a subleaf of one that has them: those not listed read as zero, or (leaf 0xB) as past the last level. */
export interface CpuidEntry extends CpuidResult {
  readonly leaf: number;
  /** Undefined: ECX does not matter. */
  readonly subleaf: number | undefined;
}

/** How many subleaves the leaves have whose answer depends on ECX. */
const Subleaves: Readonly<Record<number, number>> = {
  [Leaf.Structured]: LastStructuredSubleaf + 1,
  [Leaf.Topology]: TopologyLevels,
  [Leaf.ExtendedState]: YmmComponent.subleaf + 1,
  [Leaf.CacheProperties]: CacheCount + 1,
};

/** All of CPUID, as a table. */
export function cpuidTable(model: PortableModel, context: CpuidContext): CpuidEntry[] {
  const entries: CpuidEntry[] = [];
  for (const [first, last] of [
    [Leaf.Basic, LastBasic],
    [Leaf.Extended, LastExtended],
  ] as const) {
    for (let leaf: number = first; leaf <= last; leaf++) {
      const count = Subleaves[leaf];
      const subleaves = count === undefined ? [undefined] : Array.from({ length: count }, (_, subleaf) => subleaf);
      for (const subleaf of subleaves) entries.push({ leaf, subleaf, ...cpuid(model, leaf, subleaf ?? 0, context) });
    }
  }
  return entries;
}
