/** Copies boot structures, kernels and initrds into guest memory, or says how much memory they would need. */
import { HostError } from '../errors/host-error.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { gpa, PageSize } from '../memory/address.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';
import type { ByteSource } from './byte-source.ts';
import { findHighest } from './memory-regions.ts';
import type { MemoryRegion } from './memory-regions.ts';

const MiB = 1024 * 1024;

export function memoryTooSmall(memory: GuestMemory, what: string, bytesNeeded: number): HostError {
  const needed = Math.ceil(bytesNeeded / MiB);
  return new HostError(
    'MemoryTooSmall',
    `the guest's ${Math.floor(memory.size / MiB)} MiB of memory cannot hold ${what}: at least ${needed} MiB are needed ` +
      `to load it, and more to run it (--memory ${Math.max(64, 2 ** Math.ceil(Math.log2(needed * 1.5)))}M)`,
  );
}

/** Writes one of the boot structures, whose places are RAM in every machine that can run a kernel. */
export function writeBootData(memory: GuestMemory, address: GuestPhysicalAddress, bytes: Uint8Array): void {
  if (!memory.write(address, bytes)) throw memoryTooSmall(memory, 'the boot data', 2 * MiB);
}

/** Copies a kernel segment and clears the rest of its memory. */
export function writeSegment(memory: GuestMemory, address: number, bytes: Uint8Array, memorySize: number): void {
  const written = memory.write(gpa(address), bytes) && zero(memory, address + bytes.length, memorySize - bytes.length);
  if (!written) throw refused(address);
}

/** Where a segment is in its file. */
export interface SegmentInFile {
  readonly source: ByteSource;
  readonly offset: number;
  readonly fileSize: number;
}

/** Reads a kernel segment or an initrd from its file and clears the rest of its memory. */
export function readSegment(memory: GuestMemory, address: number, segment: SegmentInFile, memorySize: number): void {
  const { source, offset, fileSize } = segment;
  // In one piece where guest memory is.
  const step = memory.view(gpa(address), fileSize) ? fileSize : MiB;
  for (let done = 0; done < fileSize; done += step) {
    readPiece(memory, address + done, source, offset + done, Math.min(step, fileSize - done));
  }
  if (!zero(memory, address + fileSize, memorySize - fileSize)) throw refused(address);
}

function readPiece(memory: GuestMemory, address: number, source: ByteSource, offset: number, length: number): void {
  const view = memory.view(gpa(address), length);
  const bytes = view ?? new Uint8Array(length);
  if (source.read(offset, bytes) !== length) {
    throw new HostError(
      'KernelTruncated',
      'a file became shorter while it was read: fetch or copy the kernel and its initrd again',
    );
  }
  if (view) memory.markWritten(gpa(address), length);
  else if (!memory.write(gpa(address), bytes)) throw refused(address);
}

function refused(address: number): HostError {
  return new HostError('Internal', `guest memory at 0x${address.toString(16)} refused a kernel segment`);
}

function zero(memory: GuestMemory, address: number, size: number): boolean {
  if (size <= 0) return true;
  const view = memory.view(gpa(address), size);
  if (view) {
    view.fill(0);
    memory.markWritten(gpa(address), size);
    return true;
  }
  const zeros = new Uint8Array(Math.min(size, MiB));
  for (let done = 0; done < size; done += zeros.length) {
    const chunk = zeros.subarray(0, Math.min(zeros.length, size - done));
    if (!memory.write(gpa(address + done), chunk)) return false;
  }
  return true;
}

export interface PlacedModule {
  readonly start: GuestPhysicalAddress;
  readonly size: number;
}

/** Places an initrd as high as possible below `limit` and above the kernel, and copies it there. */
export function placeInitrd(
  memory: GuestMemory,
  regions: readonly MemoryRegion[],
  initrd: ByteSource,
  kernelEnd: number,
  limit: number,
): PlacedModule {
  const start = findHighest(regions, initrd.length, kernelEnd, limit);
  if (start === undefined) {
    const needed = Math.ceil(kernelEnd / PageSize) * PageSize + initrd.length;
    if (needed > limit) {
      throw new HostError(
        'InitrdUnsupported',
        `the initrd of ${Math.ceil(initrd.length / MiB)} MiB does not fit below ${Math.floor(limit / MiB)} MiB, ` +
          'the highest address that this kernel accepts: pass a smaller one',
      );
    }
    throw memoryTooSmall(memory, 'the kernel and its initrd', needed);
  }
  readSegment(memory, start, { source: initrd, offset: 0, fileSize: initrd.length }, initrd.length);
  return { start, size: initrd.length };
}
