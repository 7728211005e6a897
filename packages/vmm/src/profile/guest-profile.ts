/**
 * Samples with names: what a guest spent its time on.
 *
 * Leaves out who called the code, symbols of kernel modules, and which program a process runs.
 */
import type { FoundSymbol } from '../symbols/symbol-table.ts';
import type { ProfileSamples, Tier } from './samples.ts';

/** What names of guest code come from. */
export interface ProfileSymbols {
  /** Of code at CPL 0 to 2. */
  kernel(address: bigint): FoundSymbol | undefined;
  /** Of code at CPL 3. */
  user(address: bigint): FoundSymbol | undefined;
}

/** A sample, or several in a row of the same code. */
export interface ProfileEntry {
  /** From the outside in: `kernel` or the process, then the symbol, or the page where there is none. */
  readonly frames: readonly [string, string];
  /** By {@link Tier}. */
  readonly tiers: readonly [TierPart, TierPart];
}

export interface TierPart {
  /** Milliseconds. */
  readonly time: number;
  readonly instructions: number;
}

/** What one tier or symbol took of the whole. */
export interface ProfileShare {
  readonly name: string;
  /** Milliseconds. */
  readonly time: number;
  /** Of the time of all samples. */
  readonly share: number;
  readonly instructions: number;
}

const PageMask = ~0xfffn;
/**
 * How many instructions of translated code take as long as one of the interpreter, about: what both did up to a sample is
 * counted, but not how long each of them took.
 */
const InterpreterCost = 5;
const UserPrivilege = 3;
/** Page-table isolation has a page table for user code behind the kernel's (bit 12); the bits below are the PCID. */
const SpaceMask = ((1n << 52n) - 1n) & ~0x1fffn;

export class GuestProfile {
  readonly samples: number;
  /** In the order of time. */
  readonly entries: readonly ProfileEntry[];

  constructor(boots: readonly ProfileSamples[], symbols: ProfileSymbols) {
    this.samples = boots.reduce((sum, { count }) => sum + count, 0);
    const names = new Map<string, string>();
    this.entries = merged(boots.flatMap((samples) => entriesOf(samples, symbols, names)));
  }

  /** Milliseconds in guest code. */
  get time(): number {
    return this.entries.reduce(
      (sum, { tiers: [interpreted, translated] }) => sum + interpreted.time + translated.time,
      0,
    );
  }

  /** Of a tier: its instructions are counted, its time is estimated. */
  tier(tier: Tier, name: string): ProfileShare {
    const parts = this.entries.map(({ tiers }) => tiers[tier]);
    const time = parts.reduce((sum, part) => sum + part.time, 0);
    const instructions = parts.reduce((sum, part) => sum + part.instructions, 0);
    return { name, time, share: time / (this.time || 1), instructions };
  }

  /** What took the most time, first. */
  hottest(): ProfileShare[] {
    const whole = this.time || 1;
    const found = new Map<string, TierPart>();
    for (const { frames, tiers } of this.entries)
      found.set(frames[1], tiers.reduce(add, found.get(frames[1]) ?? Nothing));
    return [...found]
      .map(([name, { time, instructions }]) => ({ name, time, share: time / whole, instructions }))
      .sort((a, b) => b.time - a.time);
  }
}

const Nothing: TierPart = { time: 0, instructions: 0 };

const add = (a: TierPart, b: TierPart): TierPart => ({
  time: a.time + b.time,
  instructions: a.instructions + b.instructions,
});

function entriesOf(samples: ProfileSamples, symbols: ProfileSymbols, names: Map<string, string>): ProfileEntry[] {
  return Array.from({ length: samples.count }, (_, i) => {
    const address = samples.addresses[i]!;
    const isUser = samples.privileges[i]! === UserPrivilege;
    const key = `${isUser} ${address}`;
    let name = names.get(key);
    if (name === undefined) {
      name = nameOf(address, isUser ? symbols.user(address) : symbols.kernel(address));
      names.set(key, name);
    }
    const space = (samples.spaces[i]! & SpaceMask).toString(16);
    return {
      frames: [isUser ? `process with CR3 0x${space}` : 'kernel', name],
      tiers: partsOf(samples.times[i]!, samples.interpreted[i]!, samples.translated[i]!),
    };
  });
}

function partsOf(time: number, interpreted: number, translated: number): [TierPart, TierPart] {
  const cost = interpreted * InterpreterCost;
  const ofInterpreter = cost + translated === 0 ? time : (time * cost) / (cost + translated);
  return [
    { time: ofInterpreter, instructions: interpreted },
    { time: time - ofInterpreter, instructions: translated },
  ];
}

const nameOf = (address: bigint, symbol: FoundSymbol | undefined): string =>
  symbol?.name ?? `page 0x${(address & PageMask).toString(16)}`;

function merged(entries: readonly ProfileEntry[]): ProfileEntry[] {
  const all: ProfileEntry[] = [];
  for (const entry of entries) {
    const last = all.at(-1);
    if (!last?.frames.every((frame, i) => frame === entry.frames[i])) all.push(entry);
    else {
      const tiers = [add(last.tiers[0], entry.tiers[0]), add(last.tiers[1], entry.tiers[1])] as const;
      all[all.length - 1] = { frames: last.frames, tiers };
    }
  }
  return all;
}
