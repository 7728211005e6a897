/** Names of guest addresses. */

export interface GuestSymbol {
  readonly name: string;
  readonly address: bigint;
  /** In bytes; 0 where it is not known: up to the next symbol. */
  readonly size: number;
  /** Preferred to others at the same address. */
  readonly global: boolean;
}

/** Where addresses that were linked for one place are found at another. */
export interface AddressAlias {
  readonly start: bigint;
  readonly size: number;
  /** What to add to get to the address that symbols have. */
  readonly distance: bigint;
}

export interface FoundSymbol {
  readonly name: string;
  readonly address: bigint;
  readonly offset: number;
}

export class SymbolTable {
  readonly #all: readonly GuestSymbol[];
  /** By address, one at each. */
  readonly #symbols: readonly GuestSymbol[];
  readonly #addresses: BigUint64Array;
  readonly #end: bigint;
  readonly #aliases: readonly AddressAlias[];

  /** `end`: no symbol reaches beyond it. */
  constructor(symbols: readonly GuestSymbol[], end: bigint, aliases: readonly AddressAlias[] = []) {
    this.#all = symbols;
    this.#symbols = onePerAddress(symbols);
    this.#addresses = BigUint64Array.from(this.#symbols, ({ address }) => address);
    this.#end = end;
    this.#aliases = aliases;
  }

  get size(): number {
    return this.#symbols.length;
  }

  /** The symbol that an address belongs to. */
  find(address: bigint): FoundSymbol | undefined {
    return this.#find(address) ?? this.#find(this.#linked(address));
  }

  addressOf(name: string): bigint | undefined {
    return this.#all.find((symbol) => symbol.name === name)?.address;
  }

  #linked(address: bigint): bigint {
    const alias = this.#aliases.find(({ start, size }) => address >= start && address < start + BigInt(size));
    return alias ? address + alias.distance : address;
  }

  #find(address: bigint): FoundSymbol | undefined {
    if (address >= this.#end) return undefined;
    let low = 0;
    let high = this.#addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#addresses[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    const symbol = this.#symbols[low - 1];
    if (!symbol) return undefined;
    const offset = Number(address - symbol.address);
    if (symbol.size > 0 && offset >= symbol.size) return undefined;
    return { name: symbol.name, address: symbol.address, offset };
  }
}

/** `name+0x12`, or the name alone at its start. */
export function symbolText({ name, offset }: FoundSymbol): string {
  return offset === 0 ? name : `${name}+0x${offset.toString(16)}`;
}

/** By address; of several names the one that people know: with the fewest underscores before it, and global. */
function onePerAddress(symbols: readonly GuestSymbol[]): GuestSymbol[] {
  const rank = ({ name, global }: GuestSymbol): number => /^_*/.exec(name)![0].length * 2 + (global ? 0 : 1);
  const best = new Map<bigint, GuestSymbol>();
  for (const symbol of symbols) {
    const known = best.get(symbol.address);
    if (!known || rank(symbol) < rank(known)) best.set(symbol.address, symbol);
  }
  return [...best.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
}
