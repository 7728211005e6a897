/** What listings of translated regions say (region-listing.ts), and how they are printed. */

/** Plain data, that can be sent between threads. */
export interface RegionListing {
  /** Linear addresses at which the region is entered. */
  readonly entries: readonly bigint[];
  /** The code runs at CPL 3. */
  readonly user: boolean;
  readonly blocks: number;
  readonly instructions: number;
  /** Of the function, in bytes. */
  readonly size: number;
  readonly lines: readonly ListingLine[];
}

export type ListingLine =
  | { readonly kind: 'wasm'; readonly text: string }
  /** The lines that follow are this instruction's. */
  | { readonly kind: 'guest'; readonly address: bigint; readonly length: number; readonly text: string }
  /** The lines that follow are no instruction's. */
  | { readonly kind: 'shared' };

export interface ListingFormat {
  /** What lies at an address. */
  readonly symbol?: (address: bigint) => string | undefined;
  /** Without the code that belongs to no instruction. Default: false. */
  readonly brief?: boolean;
}

/** Text of a listing; the guest's instructions are comments of the WebAssembly text. */
export function formatListing(listing: RegionListing, { symbol, brief = false }: ListingFormat = {}): string {
  const { entries, user, blocks, instructions, size, lines } = listing;
  const at = (address: bigint): string => {
    const name = symbol?.(address);
    return `0x${address.toString(16)}${name === undefined ? '' : ` <${name}>`}`;
  };
  const text = [
    `;; region at ${at(entries[0]!)}, ${user ? 'CPL 3' : 'CPL 0 to 2'}: ${instructions} instructions in ${blocks} blocks, ` +
      `${size} bytes of WebAssembly`,
    ...entries.slice(1).map((entry) => `;; entered at ${at(entry)} as well`),
  ];
  let isShared = false;
  for (const line of lines) {
    if (line.kind === 'shared') text.push(brief ? ';; …' : ';; entry and exits');
    else if (line.kind === 'guest') text.push(`;; ${at(line.address)}: ${line.text}`);
    else if (!brief || !isShared) text.push(line.text);
    if (line.kind !== 'wasm') isShared = line.kind === 'shared';
  }
  return [...text, ''].join('\n');
}
