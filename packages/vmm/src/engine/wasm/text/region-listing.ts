/** Listings of translated regions: guest assembly beside the WebAssembly text that it became. */
import { formatInstruction } from '../../../x86/decode/format.ts';
import type { Region, RegionInstruction } from '../translator/region.ts';
import type { RegionModule } from '../translator/region-module.ts';
import { fieldName } from './field-names.ts';
import { functionText } from './function-text.ts';
import type { ListingLine, RegionListing } from './listing-format.ts';
import { readModule } from './module-reader.ts';

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
