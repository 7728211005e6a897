/**
 * Descriptor chains: what a driver made available as one request.
 *
 * Spec: virtio 1.2 §2.7.4 "Message Framing", §2.7.5 "The Virtqueue Descriptor Table".
 *
 * A chain that exists has been checked: its buffers lie in guest memory, device-readable ones come first, and the whole
 * is at most 2^32 bytes long.
 */
import type { GuestPhysicalAddress } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';

/** One buffer of a chain. */
export interface Segment {
  readonly address: GuestPhysicalAddress;
  readonly length: number;
}

export interface DescriptorChain {
  /** The index of the first descriptor: what the used ring reports. */
  readonly head: number;
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
}

export function totalLength(segments: readonly Segment[]): number {
  let total = 0;
  for (const segment of segments) total += segment.length;
  return total;
}

/** The part of `segments` from byte `start` on, `length` bytes or what there is. */
export function slice(segments: readonly Segment[], start: number, length: number): Segment[] {
  const result: Segment[] = [];
  let skip = start;
  let left = length;
  for (const segment of segments) {
    if (left <= 0) break;
    if (skip >= segment.length) {
      skip -= segment.length;
      continue;
    }
    const take = Math.min(segment.length - skip, left);
    result.push({ address: (segment.address + skip) as GuestPhysicalAddress, length: take });
    left -= take;
    skip = 0;
  }
  return result;
}

/** Copies from the start of `segments` into `target`. Returns how many bytes there were. */
export function readSegments(memory: GuestMemory, segments: readonly Segment[], target: Uint8Array): number {
  let done = 0;
  for (const { address, length } of segments) {
    const take = Math.min(length, target.length - done);
    if (take === 0 || !memory.read(address, target.subarray(done, done + take))) break;
    done += take;
  }
  return done;
}

/** Copies `source` to the start of `segments`. Returns how many bytes found room. */
export function writeSegments(memory: GuestMemory, segments: readonly Segment[], source: Uint8Array): number {
  let done = 0;
  for (const { address, length } of segments) {
    const take = Math.min(length, source.length - done);
    if (take === 0 || !memory.write(address, source.subarray(done, done + take))) break;
    done += take;
  }
  return done;
}
