/** The host's memory as guests will have it: huge pages, page merging, and what limits a process. */
import type { HostFiles } from './host-files.ts';

export interface MemoryReport {
  readonly total: number | undefined;
  readonly available: number | undefined;
  readonly swapFree: number | undefined;
  /** Transparent huge pages: when they are used. */
  readonly transparentHugePages: 'always' | 'madvise' | 'never' | undefined;
  readonly hugePagePools: readonly HugePagePool[];
  /** Kernel samepage merging; undefined when this kernel has none. */
  readonly merging: MergingReport | undefined;
  readonly overcommit: OvercommitReport;
  readonly limits: LimitsReport;
}

/** Pages reserved for hugetlbfs, of one size. Sizes in bytes. */
export interface HugePagePool {
  readonly size: number;
  readonly total: number;
  readonly free: number;
}

export interface MergingReport {
  readonly running: boolean;
  readonly pagesShared: number | undefined;
  readonly pagesSharing: number | undefined;
}

export interface OvercommitReport {
  /** /proc/sys/vm/overcommit_memory. */
  readonly mode: 'heuristic' | 'always' | 'strict' | undefined;
  /** Bytes that may still be promised; only with `strict`. */
  readonly left: number | undefined;
}

/** Limits of this process (`ulimit`), which its machines inherit. Infinity: unlimited. */
export interface LimitsReport {
  readonly addressSpace: number | undefined;
  readonly lockedMemory: number | undefined;
  readonly openFiles: number | undefined;
  readonly processes: number | undefined;
}

const KiB = 1024;
const OvercommitModes = ['heuristic', 'always', 'strict'] as const;
const HugePages = '/sys/kernel/mm/hugepages';
const Ksm = '/sys/kernel/mm/ksm';

export function probeMemory(host: HostFiles): MemoryReport {
  return {
    total: meminfo(host, 'MemTotal'),
    available: meminfo(host, 'MemAvailable'),
    swapFree: meminfo(host, 'SwapFree'),
    transparentHugePages: transparentHugePages(host),
    hugePagePools: hugePagePools(host),
    merging: merging(host),
    overcommit: overcommit(host),
    limits: limits(host),
  };
}

/** A value of /proc/meminfo, in bytes. */
function meminfo(host: HostFiles, key: string): number | undefined {
  const match = /^(\d+) kB$/.exec(host.field('/proc/meminfo', key) ?? '');
  return match ? Number(match[1]) * KiB : undefined;
}

/** The chosen one of `always [madvise] never`. */
function transparentHugePages(host: HostFiles): MemoryReport['transparentHugePages'] {
  const chosen = /\[(always|madvise|never)\]/.exec(host.text('/sys/kernel/mm/transparent_hugepage/enabled') ?? '');
  return chosen?.[1] as MemoryReport['transparentHugePages'];
}

function hugePagePools(host: HostFiles): HugePagePool[] {
  return host.list(HugePages).flatMap((name) => {
    const size = /^hugepages-(\d+)kB$/.exec(name)?.[1];
    if (size === undefined) return [];
    return {
      size: Number(size) * KiB,
      total: host.number(`${HugePages}/${name}/nr_hugepages`) ?? 0,
      free: host.number(`${HugePages}/${name}/free_hugepages`) ?? 0,
    };
  });
}

/** Documentation/admin-guide/mm/ksm.rst: `run` is 0 (stopped), 1 (running) or 2 (stopped, everything unmerged). */
function merging(host: HostFiles): MergingReport | undefined {
  const run = host.number(`${Ksm}/run`);
  if (run === undefined) return undefined;
  return {
    running: run === 1,
    pagesShared: host.number(`${Ksm}/pages_shared`),
    pagesSharing: host.number(`${Ksm}/pages_sharing`),
  };
}

function overcommit(host: HostFiles): OvercommitReport {
  const mode = OvercommitModes[host.number('/proc/sys/vm/overcommit_memory') ?? -1];
  const limit = meminfo(host, 'CommitLimit');
  const used = meminfo(host, 'Committed_AS');
  const known = mode === 'strict' && limit !== undefined && used !== undefined;
  return { mode, left: known ? Math.max(0, limit - used) : undefined };
}

/** /proc/self/limits: a name, its soft and hard limit and a unit, in columns. */
function limits(host: HostFiles): LimitsReport {
  const text = host.text('/proc/self/limits') ?? '';
  const soft = (name: string) => {
    const value = new RegExp(`^${name}\\s+(\\d+|unlimited)\\s`, 'm').exec(text)?.[1];
    if (value === undefined) return undefined;
    return value === 'unlimited' ? Infinity : Number(value);
  };
  return {
    addressSpace: soft('Max address space'),
    lockedMemory: soft('Max locked memory'),
    openFiles: soft('Max open files'),
    processes: soft('Max processes'),
  };
}
