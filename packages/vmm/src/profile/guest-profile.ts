/**
 * Samples with names: what a guest spent its time on.
 *
 * Leaves out who called the code, symbols of kernel modules, and which program a process runs.
 */
import type { FoundSymbol } from '../symbols/symbol-table.ts';
import { type ProfileSamples, type Tier, privilegeOf, tierOf } from './samples.ts';

/** What names of guest code come from. */
export interface ProfileSymbols {
  /** Of code at CPL 0 to 2. */
  kernel(address: bigint): FoundSymbol | undefined;
  /** Of code at CPL 3. */
  user(address: bigint): FoundSymbol | undefined;
}

/** A sample, or several in a row of the same code. */
export interface ProfileEntry {
  readonly tier: Tier;
  /** From the outside in: `kernel` or the process, then the symbol, or the page where there is none. */
  readonly frames: readonly [string, string];
  readonly time: number;
  readonly interpreted: number;
  readonly translated: number;
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
    return this.entries.reduce((sum, { time }) => sum + time, 0);
  }

  /** Of a tier; instructions are counted, not estimated. */
  tier(tier: Tier, name: string): ProfileShare {
    const time = this.entries.reduce((sum, entry) => sum + (entry.tier === tier ? entry.time : 0), 0);
    const kind = tier === 0 ? 'interpreted' : 'translated';
    const instructions = this.entries.reduce((sum, entry) => sum + entry[kind], 0);
    return { name, time, share: time / (this.time || 1), instructions };
  }

  /** What took the most time, first. */
  hottest(): ProfileShare[] {
    const whole = this.time || 1;
    const found = new Map<string, { time: number; instructions: number }>();
    for (const { frames, time, interpreted, translated } of this.entries) {
      const known = found.get(frames[1]) ?? { time: 0, instructions: 0 };
      found.set(frames[1], {
        time: known.time + time,
        instructions: known.instructions + interpreted + translated,
      });
    }
    return [...found]
      .map(([name, { time, instructions }]) => ({ name, time, share: time / whole, instructions }))
      .sort((a, b) => b.time - a.time);
  }
}

function entriesOf(samples: ProfileSamples, symbols: ProfileSymbols, names: Map<string, string>): ProfileEntry[] {
  return Array.from({ length: samples.count }, (_, i) => {
    const kind = samples.kinds[i]!;
    const address = samples.addresses[i]!;
    const isUser = privilegeOf(kind) === 3;
    const key = `${isUser} ${address}`;
    let name = names.get(key);
    if (name === undefined) {
      name = nameOf(address, isUser ? symbols.user(address) : symbols.kernel(address));
      names.set(key, name);
    }
    return {
      tier: tierOf(kind),
      frames: [isUser ? `process with CR3 0x${(samples.spaces[i]! & SpaceMask).toString(16)}` : 'kernel', name],
      time: samples.times[i]!,
      interpreted: samples.interpreted[i]!,
      translated: samples.translated[i]!,
    };
  });
}

const nameOf = (address: bigint, symbol: FoundSymbol | undefined): string =>
  symbol?.name ?? `page 0x${(address & PageMask).toString(16)}`;

function merged(entries: readonly ProfileEntry[]): ProfileEntry[] {
  const all: ProfileEntry[] = [];
  for (const entry of entries) {
    const last = all.at(-1);
    const isSame = last?.tier === entry.tier && last.frames.every((frame, i) => frame === entry.frames[i]);
    if (!last || !isSame) all.push(entry);
    else {
      all[all.length - 1] = {
        ...last,
        time: last.time + entry.time,
        interpreted: last.interpreted + entry.interpreted,
        translated: last.translated + entry.translated,
      };
    }
  }
  return all;
}
