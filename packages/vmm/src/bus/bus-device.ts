/** What a bus asks of a device. A device gets an offset and does not know where it sits. */

export type AccessSize = 1 | 2 | 4 | 8;

/**
 * A device on a port or MMIO bus.
 *
 * Values of up to 4 bytes are unsigned numbers. An 8-byte access is split into two 4-byte ones (low half first) by the
 * bus unless the device has `wide`.
 */
export interface BusDevice {
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
