/** The caches of the portable CPU models: numbers like those of a real processor, which guests size their loops by. */
import { type CpuidResult, Leaf } from './cpu-features.ts';
import { CacheField, FirstSharedCacheLevel, packageShare } from './cpu-topology.ts';

interface Cache {
  readonly level: 1 | 2 | 3;
  readonly type: 'data' | 'instruction' | 'unified';
  readonly kilobytes: number;
  readonly ways: number;
}

/** In the order of leaf 0x8000001D's subleaves. */
const Caches: readonly [data: Cache, instruction: Cache, second: Cache, third: Cache] = [
  { level: 1, type: 'data', kilobytes: 32, ways: 8 },
  { level: 1, type: 'instruction', kilobytes: 32, ways: 8 },
  { level: 2, type: 'unified', kilobytes: 512, ways: 8 },
  { level: 3, type: 'unified', kilobytes: 16384, ways: 16 },
];
export const CacheCount = Caches.length;
const CacheLine = 64;
const CacheType = { data: 1, instruction: 2, unified: 3 } as const;
const SelfInitialising = 1 << 8;

/** Leaf 0x8000001D; undefined past the last cache. */
export function cacheProperties(subleaf: number, vcpus: number): CpuidResult | undefined {
  const cache = Caches[subleaf];
  if (!cache) return undefined;
  const sharing = cache.level >= FirstSharedCacheLevel ? packageShare(vcpus) : 1;
  const level = cache.level << CacheField.LevelShift;
  return {
    eax: ((sharing - 1) << CacheField.SharingShift) | SelfInitialising | level | CacheType[cache.type],
    ebx: ((cache.ways - 1) << 22) | (CacheLine - 1),
    ecx: (cache.kilobytes * 1024) / (CacheLine * cache.ways) - 1,
    edx: 0,
  };
}

/** Leaves 0x80000005 and 0x80000006: sizes in KiB (L1, L2) and in units of 512 KiB (L3), one line a tag. */
export function legacyCaches(leaf: number): CpuidResult {
  const [data, instruction, second, third] = Caches;
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
