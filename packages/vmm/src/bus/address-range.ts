/** Ranges of a bus's address space, and what attaching a device to one answers. */
import { HostError } from '../errors/host-error.ts';

export interface AddressRange {
  readonly start: number;
  readonly size: number;
}

/** A device's place on a bus. */
export interface Attachment {
  readonly range: AddressRange;
  /** Takes the device off the bus. Idempotent. */
  detach(): void;
}

/** The failure of an attachment that the host's own configuration asked for. */
export function overlapError(bus: string, range: AddressRange): HostError {
  const end = range.start + range.size - 1;
  return new HostError(
    'Internal',
    `${bus}: 0x${range.start.toString(16)} to 0x${end.toString(16)} overlaps a device or leaves the bus; ` +
      `move one of them in the machine's memory map`,
  );
}
