/**
 * Guest memory as devices, boot protocols and the debugger see it.
 *
 * Consumers know neither slots nor mappings. All multi-byte values are little-endian. Every access that is not wholly
 * inside RAM answers `false`/`undefined` and has no effect: guests choose these addresses.
 */
import type { GuestPhysicalAddress } from './address.ts';

export interface GuestMemory {
  /** Sum of all RAM, in bytes. */
  readonly size: number;
  /** RAM ranges in ascending address order. */
  readonly ranges: readonly MemoryRange[];
  /** Copies RAM into `target`. False (nothing copied) when any byte lies outside RAM. */
  read(address: GuestPhysicalAddress, target: Uint8Array): boolean;
  /** Copies `source` into RAM; translated code on those pages is dropped. False (nothing written) when outside RAM. */
  write(address: GuestPhysicalAddress, source: Uint8Array): boolean;
  readU8(address: GuestPhysicalAddress): number | undefined;
  readU16(address: GuestPhysicalAddress): number | undefined;
  readU32(address: GuestPhysicalAddress): number | undefined;
  readU64(address: GuestPhysicalAddress): bigint | undefined;
  writeU8(address: GuestPhysicalAddress, value: number): boolean;
  writeU16(address: GuestPhysicalAddress, value: number): boolean;
  writeU32(address: GuestPhysicalAddress, value: number): boolean;
  writeU64(address: GuestPhysicalAddress, value: bigint): boolean;
  /**
   * The bytes themselves, for bulk device I/O without a copy (a view over shared memory), or undefined when the range is
   * not RAM or not contiguous in the host. The caller that wrote to it must call {@link markWritten} afterwards.
   */
  view(address: GuestPhysicalAddress, length: number): Uint8Array | undefined;
  /** Tells the engine that a device wrote these bytes through {@link view}: translated code on them is dropped. */
  markWritten(address: GuestPhysicalAddress, length: number): void;
}

export interface MemoryRange {
  readonly start: GuestPhysicalAddress;
  readonly length: number;
}
