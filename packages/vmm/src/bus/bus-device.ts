/** What a bus asks of a device. A device gets an offset and does not know where it sits. */

export type AccessSize = 1 | 2 | 4 | 8;

/**
 * A device on a port or MMIO bus.
 *
 * Values of up to 4 bytes are unsigned numbers. The bus splits accesses that are wider than `maxAccess`, and those that
 * reach beyond the device's end (lower addresses first), so a device never sees an 8-byte access.
 */
export interface BusDevice {
  /** The widest access that the device decodes; 4 unless it says otherwise. 8-bit ISA devices say 1. */
  readonly maxAccess?: 1 | 2 | 4;
  /** Reads `size` bytes at `offset`; the upper bits beyond `size` are ignored. */
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** Device state as saved: named fields with a version, structured-cloneable. */
export interface SavedState {
  readonly version: number;
  readonly [field: string]: unknown;
}

/** Every device, controller and vCPU can be saved and restored from its first day. */
export interface Saveable {
  save(): SavedState;
  /** Throws HostError('Internal') on a version it does not know. */
  restore(state: SavedState): void;
}
