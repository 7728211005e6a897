/** Guest assembly beside the WebAssembly text that it became. */
import { formatInstruction } from '../../../x86/decode/format.ts';
import type { Region, RegionInstruction } from '../translator/region.ts';
import type { RegionModule } from '../translator/region-module.ts';
import { fieldName } from './field-names.ts';
import { functionText } from './function-text.ts';
import { readModule } from './module-reader.ts';

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

/** The listing of a region, by its position in the module, which was made with notes. */
export function listRegion(
  { bytes, notes, entries }: RegionModule,
  position: number,
  region: Region,
  page: bigint,
): RegionListing {
  const module = readModule(bytes);
  const index = module.functions.findIndex(({ body }) => body) + position;
  const { names, places } = notes[position]!;
  const text = functionText(module, index, {
    local: (local) => names.get(local),
    field: (local, offset) => (local === 'cpu' ? fieldName(offset) : undefined),
  });
  const instructions = instructionsOf(region);
  const lines: ListingLine[] = [{ kind: 'shared' }];
  let current: number | undefined;
  let next = 0;
  for (const line of text) {
    for (; next < places.length && places[next]!.offset <= line.at; next++) {
      const { place } = places[next]!;
      // What made no code of its own shows as well
      if (place !== undefined) lines.push(guestLine(instructions.get(place)!, page));
      else if (current !== undefined) lines.push({ kind: 'shared' });
      current = place;
    }
    lines.push({ kind: 'wasm', text: line.text });
  }
  return {
    entries: entries[position]!.map(({ offset }) => linear(page, offset)),
    user: region.user,
    blocks: region.blocks.size,
    instructions: instructions.size,
    size: module.functions[index]!.body!.code.length,
    lines,
  };
}

const linear = (page: bigint, offset: number): bigint => BigInt.asUintN(64, page + BigInt(offset));

function instructionsOf({ blocks }: Region): Map<number, RegionInstruction> {
  const all = [...blocks.values()].flatMap(({ instructions }) => instructions);
  return new Map(all.map((one) => [one.offset, one]));
}

function guestLine({ offset, decoded }: RegionInstruction, page: bigint): ListingLine {
  const address = linear(page, offset);
  return { kind: 'guest', address, length: decoded.length, text: formatInstruction(decoded, address) };
}

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
