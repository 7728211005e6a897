/**
 * Host memory for a guest's RAM: one private anonymous mapping, so that Linux's own mechanisms apply to it (huge pages,
 * KSM, swap, cgroup accounting, MADV_DONTNEED).
 *
 * Pages are had when they are first touched (MAP_NORESERVE), or all at once by option.
 */
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { gpa, PageSize } from '@lodger/vmm/memory/address.js';
import type { MemoryRange } from '@lodger/vmm/memory/guest-memory.js';
import { MaxRamSize, ramParts } from '@lodger/vmm/machine/memory-map.js';
import { readFileSync } from 'node:fs';
import { Advice, Errno, LinuxError, madvise, MapFlag, mmap, munmap, Prot } from './linux/libc.ts';
import { createWrittenPages } from './written-pages.ts';

const MiB = 1024 * 1024;
/** Size of the huge pages used, and what the mapping is aligned to so that the kernel can use them. */
const HugePageSize = 2 * MiB;

export type HugePages = 'transparent' | 'hugetlb' | 'none';

export interface HostMemoryOptions {
  /** Takes all pages now: no page faults later, and no failure for want of memory. */
  readonly prefault?: boolean;
  /**
   * `transparent`: the kernel is asked to use huge pages (MADV_HUGEPAGE); `hugetlb`: pages of the reserved pool
   * (vm.nr_hugepages); `none` (default): the host's own policy.
   */
  readonly hugePages?: HugePages;
}

/** A range of guest memory and where it is in the host. */
export interface HostRange extends MemoryRange {
  readonly address: bigint;
}

/** A guest's RAM as any thread of the process can use it: plain data. */
export interface SharedKvmMemory {
  readonly address: bigint;
  /** Bytes of the mapping. */
  readonly length: number;
  /** In ascending guest address order. */
  readonly ranges: readonly HostRange[];
  /** Pages written by the host's side (written-pages.ts). */
  readonly written: SharedArrayBuffer;
}

/** Maps RAM of `size` bytes. Whoever asked for it releases it when no thread uses it any more. */
export function allocateRam(size: number, options: HostMemoryOptions = {}): SharedKvmMemory {
  checkSize(size, options);
  const huge = options.hugePages === 'hugetlb';
  const parts = ramParts(size);
  const last = parts.at(-1)!;
  const length = roundUp(last.offset + last.length, huge ? HugePageSize : PageSize);
  const address = huge ? mapHugePages(length) : mapAligned(length);
  try {
    adviseKernel(address, length, options);
    const ranges = parts.map(({ start, length, offset }) => ({
      start: gpa(start),
      length,
      address: address + BigInt(offset),
    }));
    if (options.prefault) for (const range of ranges) populate(range, huge ? HugePageSize : PageSize);
    return { address, length, ranges, written: createWrittenPages(length) };
  } catch (error) {
    munmap(address, length);
    throw error;
  }
}

/** Zeroed memory for a slot that is added later. */
export function allocateSlotMemory(size: number): bigint {
  return map(size, MapFlag.NoReserve, size);
}

export function releaseRam(memory: SharedKvmMemory): void {
  munmap(memory.address, memory.length);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function megabytes(size: number): string {
  return `${Math.ceil(size / MiB)} MiB`;
}

/** Refuses what the machine or the host can't have, before the kernel's OOM killer does. */
function checkSize(size: number, { prefault, hugePages }: HostMemoryOptions): void {
  if (!Number.isSafeInteger(size) || size <= 0 || size % PageSize !== 0) {
    throw new HostError('InvalidArgument', `guest memory of ${size} bytes: give a multiple of ${PageSize}`);
  }
  if (size > MaxRamSize) {
    throw tooLarge(`a machine has at most ${megabytes(MaxRamSize)} of memory, not ${megabytes(size)}`);
  }
  if (hugePages === 'hugetlb') return;
  const { MemTotal = 0, SwapTotal = 0, MemAvailable = MemTotal } = memoryInformation();
  const swap = `${megabytes(SwapTotal)} of swap`;
  if (size > MemTotal + SwapTotal) {
    throw tooLarge(`the host has ${megabytes(MemTotal)} of memory and ${swap}, not ${megabytes(size)}`);
  }
  if (prefault && size > MemAvailable) {
    throw tooLarge(`only ${megabytes(MemAvailable)} of the host’s memory are free to be taken at once`);
  }
}

function tooLarge(message: string, remedy = '', cause?: unknown): HostError {
  const text = `${message}: use a smaller --memory${remedy}`;
  return new HostError('MemoryTooLarge', text, cause === undefined ? undefined : { cause });
}

/** /proc/meminfo in bytes; empty where it can't be read. */
function memoryInformation(): Partial<Record<string, number>> {
  try {
    const lines = readFileSync('/proc/meminfo', 'utf8').matchAll(/^(\w+):\s+(\d+) kB$/gm);
    return Object.fromEntries([...lines].map(([, name, kilobytes]) => [name!, Number(kilobytes) * 1024]));
  } catch {
    return { MemTotal: Infinity };
  }
}

function map(length: number, flags: number, asked: number): bigint {
  try {
    return mmap(length, Prot.ReadWrite, MapFlag.Private | MapFlag.Anonymous | flags);
  } catch (error) {
    throw tooLarge(
      `the host refuses ${megabytes(asked)} of memory (${(error as LinuxError).code})`,
      ', raise the limit of the process (ulimit -v) or allow overcommitment (sysctl vm.overcommit_memory=0)',
      error,
    );
  }
}

/** A mapping that starts where a huge page could. */
function mapAligned(length: number): bigint {
  const start = map(length + HugePageSize, MapFlag.NoReserve, length);
  const address = BigInt.asUintN(64, (start + BigInt(HugePageSize - 1)) & ~BigInt(HugePageSize - 1));
  const before = Number(address - start);
  if (before > 0) munmap(start, before);
  munmap(address + BigInt(roundUp(length, PageSize)), HugePageSize - before);
  return address;
}

/** Pages are reserved now: a pool that is too small is noticed here and not by a SIGBUS later. */
function mapHugePages(length: number): bigint {
  try {
    return mmap(length, Prot.ReadWrite, MapFlag.Private | MapFlag.Anonymous | MapFlag.HugeTlb | MapFlag.HugePage2M);
  } catch (error) {
    const pages = length / HugePageSize;
    const { HugePages_Free: free } = hugePageCounts();
    throw tooLarge(
      `${pages} huge pages of 2 MiB are not to be had (${free} are free)`,
      `, reserve more with "sudo sysctl vm.nr_hugepages=${pages}", or do without hugetlb pages`,
      error,
    );
  }
}

function hugePageCounts(): { HugePages_Free: string } {
  try {
    const free = /^HugePages_Free:\s+(\d+)$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
    return { HugePages_Free: free ?? '0' };
  } catch {
    return { HugePages_Free: '0' };
  }
}

function adviseKernel(address: bigint, length: number, { hugePages }: HostMemoryOptions): void {
  // A child process has no use for a guest's memory, and copying its page tables would stop the guest
  madvise(address, length, Advice.DontFork);
  if (hugePages !== 'transparent') return;
  try {
    madvise(address, length, Advice.HugePage);
  } catch (cause) {
    const message = 'the host’s kernel has no transparent huge pages: leave them out, or use hugetlb pages';
    throw new HostError('InvalidArgument', message, { cause });
  }
}

/** Takes the pages of a range (Linux 5.14). */
function populate({ address, length }: HostRange, pageSize: number): void {
  // Huge pages come whole: the ranges beside the VGA window end within one
  const unit = BigInt(pageSize);
  const from = (address / unit) * unit;
  const to = ((address + BigInt(length) + unit - 1n) / unit) * unit;
  const size = Number(to - from);
  try {
    madvise(from, size, Advice.PopulateWrite);
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
    if (error.errno === Errno.EINVAL) {
      throw new HostError('InvalidArgument', 'taking all memory at once needs Linux 5.14: do without prefault', {
        cause: error,
      });
    }
    throw tooLarge(`the host cannot give ${megabytes(length)} of memory at once (${error.code})`, '', error);
  }
}
