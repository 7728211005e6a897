/** Branded addresses: 52 physical bits fit a double exactly; 64-bit linear addresses are bigint at the API's edge. */

declare const physical: unique symbol;

/** A guest-physical address in bytes, 0 to 2^52 - 1. */
export type GuestPhysicalAddress = number & { readonly [physical]: true };

/** Brands a number as a guest-physical address. */
export function gpa(address: number): GuestPhysicalAddress {
  return address as GuestPhysicalAddress;
}

export const PageSize = 4096;
