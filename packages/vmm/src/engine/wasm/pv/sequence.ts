/** Structures that a guest reads without a lock: an odd version means "being written", a changed one "read again". */
import { type GuestPhysicalAddress, gpa } from '../../../memory/address.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';

/**
 * Writes `body` at `address + bodyOffset` between two writes of the version. Answers false, having written nothing, when
 * any of it lies outside RAM.
 */
export function writeVersioned(
  memory: GuestMemory,
  address: number,
  versionOffset: number,
  bodyOffset: number,
  body: Uint8Array,
): boolean {
  const at = (offset: number): GuestPhysicalAddress => gpa(address + offset);
  const old = memory.readU32(at(versionOffset));
  const probe = new Uint8Array(body.length);
  if (old === undefined || !memory.read(at(bodyOffset), probe)) return false;
  const writing = (old | 1) >>> 0;
  memory.writeU32(at(versionOffset), writing);
  memory.write(at(bodyOffset), body);
  memory.writeU32(at(versionOffset), (writing + 1) >>> 0);
  return true;
}

/** A guest-chosen address, or undefined when it is none that RAM can have. */
export function guestAddress(value: bigint): number | undefined {
  return value < 1n << 52n ? Number(value) : undefined;
}
