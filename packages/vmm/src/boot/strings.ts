/** NUL-terminated strings for the guest: module command lines and the boot loader's name. */
import { HostError } from '../errors/host-error.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { gpa } from '../memory/address.ts';
import type { GuestPhysicalAddress } from '../memory/address.ts';
import { BootLayout } from './boot-layout.ts';
import { cString } from './byte-reader.ts';
import { writeBootData } from './place.ts';

/** Writes the strings one behind the other and returns their addresses. */
export function placeStrings(memory: GuestMemory, strings: readonly string[]): GuestPhysicalAddress[] {
  const { start, size } = BootLayout.Strings;
  let next: number = start;
  return strings.map((text) => {
    const bytes = cString(text);
    const address = gpa(next);
    next += bytes.length;
    if (next > start + size) {
      throw new HostError('InvalidArgument', 'the command lines of the boot modules are too long: shorten them');
    }
    writeBootData(memory, address, bytes);
    return address;
  });
}
