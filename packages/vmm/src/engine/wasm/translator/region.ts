/**
 * Regions: the blocks of guest code that a hot address leads to, with their control flow. What is translated as one
 * function.
 *
 * A region follows direct branches and calls to places where the interpreter has been, and goes on after calls. It may
 * spread over the pages around its entry that the guest has mapped while it is found; whoever goes from one page to another
 * checks that they still are. It ends where an instruction is left to the interpreter, and where it would become too large.
 *
 * Places in a region are offsets from the start of the entry's page: negative in pages before it.
 */
import type { DecodedInstruction, Decoder } from '../../../x86/decode/decoder.ts';
import { OperandKind, RegisterClass, createDecodedInstruction } from '../../../x86/decode/decoder.ts';
import { allRows } from '../../../x86/instructions/table/rows.ts';

/** Most guest instructions in a region. */
export const MaxRegionInstructions = 300;
/** Most instructions in a basic block: exits count them in 8 bits. */
const MaxBlockInstructions = 200;
const PageSize = 4096;

export interface RegionInstruction {
  readonly offset: number;
  readonly decoded: DecodedInstruction;
}

export interface BasicBlock {
  readonly start: number;
  readonly instructions: readonly RegionInstruction[];
  /** Where a direct branch at the end goes to, or undefined. */
  readonly taken: number | undefined;
  /** Where control falls through to, or undefined when it never does. */
  readonly fall: number | undefined;
  /** The last instruction is a call: control may come back after it. */
  readonly calls: boolean;
  /** The last instruction is a near return. */
  readonly returns: boolean;
}

export interface Region {
  /** The code runs at CPL 3. */
  readonly user: boolean;
  /** Where the hot address is. */
  readonly entry: number;
  /** By start, the entry's block first. */
  readonly blocks: ReadonlyMap<number, BasicBlock>;
  /** Starts of the blocks that may be entered from outside: the entry, and where calls come back to. */
  readonly entries: readonly number[];
  /** Bytes of code, as [start, end) ranges, none of which spreads over two pages. */
  readonly ranges: readonly (readonly [number, number])[];
  readonly instructions: number;
}

export interface RegionSource {
  readonly entry: number;
  readonly user: boolean;
  /** The page so many pages after the entry's, if a region may use it. */
  page(distance: number): RegionPage | undefined;
}

export interface RegionPage {
  readonly bytes: Uint8Array;
  /** Offsets in the page at which the interpreter has blocks: what no block starts at was never branched to. */
  readonly heads: ReadonlySet<number>;
}

/** Which page, counted from the entry's, a place is in. */
export const pageOf = (offset: number): number => Math.floor(offset / PageSize);
/** Where in its page a place is. */
export const inPage = (offset: number): number => offset - pageOf(offset) * PageSize;

/** Two-way branches by mnemonic; JMP, CALL and RET have cases of their own. */
const Conditional = /^(J(?!MP)\w+|LOOP(NE|E)?)$/;

/**
 * What the interpreter does: whatever changes the mode, privilege, mappings or segments, talks to devices, works on the
 * whole vector or x87 state in memory, or is rare.
 */
const Left = new Set([
  'CALLF', 'JMPF', 'RETF', 'IRET', 'INT', 'INT1', 'INT3', 'INTO', 'BOUND', 'UD0', 'UD1', 'UD2', 'ENTER', 'PUSHA', 'POPA',
  'LES', 'LDS', 'LSS', 'LFS', 'LGS', 'FXSAVE', 'FXRSTOR', 'FNSAVE', 'FRSTOR', 'FNSTENV', 'FLDENV', 'INS', 'OUTS', 'ARPL',
  'XSAVE', 'XSAVEOPT', 'XSAVEC', 'XSAVES', 'XRSTOR', 'XRSTORS', 'CMPXCHG8B', 'CMPXCHG16B', 'EMMS',
]); // prettier-ignore
const SystemAllowed = new Set([
  'NOP', 'PAUSE', 'ENDBR64', 'ENDBR32', 'PREFETCH', 'PREFETCHNTA', 'PREFETCHT0', 'PREFETCHT1', 'PREFETCHT2', 'PREFETCHW',
  'LFENCE', 'MFENCE', 'SFENCE', 'CLI', 'SWAPGS', 'RDFSBASE', 'RDGSBASE', 'WRFSBASE', 'WRGSBASE', 'RDPID', 'RDTSC', 'RDTSCP',
]); // prettier-ignore
const StaticClasses: readonly number[] = [RegisterClass.Segment, RegisterClass.Control, RegisterClass.Debug];

/** Whether translated code does this instruction itself. */
export function isTranslated(instruction: DecodedInstruction, hasSemantic: (mnemonic: string) => boolean): boolean {
  const { row, operandCount, operands } = instruction;
  const { mnemonic, group } = row;
  if (Left.has(mnemonic) || !hasSemantic(mnemonic)) return false;
  if ((group === 'system' || group === 'misc') && !SystemAllowed.has(mnemonic)) return false;
  for (let i = 0; i < operandCount; i++) {
    const { kind, registerClass, vectorIndex } = operands[i]!;
    if (kind === OperandKind.Memory && vectorIndex) return false;
    if (kind === OperandKind.FarPointer) return false;
    if (kind === OperandKind.Register && StaticClasses.includes(registerClass)) return false;
  }
  return true;
}

/** Finds the region of a hot address; undefined when not even its first instruction is translated. */
export function findRegion(
  source: RegionSource,
  decoder: Decoder,
  hasSemantic: (mnemonic: string) => boolean,
): Region | undefined {
  return new RegionFinder(source, decoder, hasSemantic).find();
}

class RegionFinder {
  readonly #source: RegionSource;
  readonly #decoder: Decoder;
  readonly #hasSemantic: (mnemonic: string) => boolean;
  /** By offset; null where an instruction is left to the interpreter. */
  readonly #decoded = new Map<number, RegionInstruction | null>();
  readonly #leaders = new Set<number>();
  readonly #entries = new Set<number>();
  #instructions = 0;

  constructor(source: RegionSource, decoder: Decoder, hasSemantic: (mnemonic: string) => boolean) {
    this.#source = source;
    this.#decoder = decoder;
    this.#hasSemantic = hasSemantic;
  }

  find(): Region | undefined {
    const { entry } = this.#source;
    if (!this.#at(entry)) return undefined;
    this.#explore(entry);
    const blocks = new Map<number, BasicBlock>();
    for (const leader of this.#leaders) {
      const block = this.#block(leader);
      if (block) blocks.set(leader, block);
    }
    const entries = [entry, ...[...this.#entries].filter((start) => start !== entry && blocks.has(start))];
    return {
      user: this.#source.user,
      entry,
      blocks,
      entries,
      ranges: rangesOf(blocks.values()),
      instructions: this.#instructions,
    };
  }

  /** Finds the leaders, nearest first, until the region is large enough. */
  #explore(entry: number): void {
    const queue = [entry];
    this.#leaders.add(entry);
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      for (const successor of this.#walk(next)) {
        if (this.#leaders.has(successor) || this.#instructions >= MaxRegionInstructions) continue;
        this.#leaders.add(successor);
        queue.push(successor);
      }
    }
  }

  /** Decodes on from a leader to the end of its run; answers where it leads to. */
  #walk(leader: number): number[] {
    let offset = leader;
    for (let count = 0; count < MaxBlockInstructions; count++) {
      const known = this.#decoded.has(offset);
      const instruction = this.#at(offset);
      if (!instruction) return [];
      if (!known) this.#instructions++;
      else if (offset !== leader && this.#leaders.has(offset)) return [];
      const { taken, fall, ends, calls } = flowOf(instruction);
      if (ends) {
        if (calls && fall !== undefined && this.#isHead(fall)) this.#entries.add(fall);
        return [taken, fall].filter(
          (target): target is number => target !== undefined && this.#isWorthwhile(target, fall, calls),
        );
      }
      offset = fall!;
      if (this.#leaders.has(offset)) return [];
      if (pageOf(offset) !== pageOf(leader)) return [offset];
    }
    return [offset];
  }

  #isWorthwhile(target: number, fall: number | undefined, calls: boolean): boolean {
    if (!this.#at(target)) return false;
    if (target === fall && !calls) return true;
    return this.#isHead(target) || this.#leaders.has(target) || this.#decoded.has(target);
  }

  #isHead(offset: number): boolean {
    return this.#source.page(pageOf(offset))?.heads.has(inPage(offset)) ?? false;
  }

  /** The instruction at a page offset, unless the interpreter does it. */
  #at(offset: number): RegionInstruction | null {
    const known = this.#decoded.get(offset);
    if (known !== undefined) return known;
    const decoded = createDecodedInstruction(allRows[0]!);
    const page = this.#source.page(pageOf(offset));
    const status = page ? this.#decoder.decode(page.bytes, inPage(offset), PageSize, 64, decoded) : 'need-more';
    const instruction = status === 'ok' && isTranslated(decoded, this.#hasSemantic) ? { offset, decoded } : null;
    this.#decoded.set(offset, instruction);
    return instruction;
  }

  /** The basic block of a leader: up to the next leader. */
  #block(leader: number): BasicBlock | undefined {
    const instructions: RegionInstruction[] = [];
    let offset = leader;
    for (;;) {
      const instruction = this.#decoded.get(offset);
      if (!instruction || instructions.length >= MaxBlockInstructions) break;
      instructions.push(instruction);
      const { taken, fall, ends, calls, returns } = flowOf(instruction);
      if (ends) return { start: leader, instructions, taken, fall: calls ? undefined : fall, calls, returns };
      offset = fall!;
      if (this.#leaders.has(offset) || pageOf(offset) !== pageOf(leader)) break;
    }
    if (instructions.length === 0) return undefined;
    return { start: leader, instructions, taken: undefined, fall: offset, calls: false, returns: false };
  }
}

interface Flow {
  readonly taken: number | undefined;
  /** The offset after the instruction, where control may reach it (after a call: comes back to). */
  readonly fall: number | undefined;
  /** A basic block ends with it. */
  readonly ends: boolean;
  readonly calls: boolean;
  readonly returns: boolean;
}

function flowOf({ offset, decoded }: RegionInstruction): Flow {
  const { mnemonic } = decoded.row;
  const next = offset + decoded.length;
  const operand = decoded.operands[0];
  const relative = decoded.operandCount > 0 && operand.kind === OperandKind.Relative;
  const target = relative ? next + operand.low : undefined;
  if (mnemonic === 'RET') return { taken: undefined, fall: undefined, ends: true, calls: false, returns: true };
  if (mnemonic === 'JMP') return { taken: target, fall: undefined, ends: true, calls: false, returns: false };
  if (mnemonic === 'CALL') return { taken: target, fall: next, ends: true, calls: true, returns: false };
  const ends = Conditional.test(mnemonic);
  return { taken: ends ? target : undefined, fall: next, ends, calls: false, returns: false };
}

/** Merged byte ranges of the blocks' instructions. */
function rangesOf(blocks: Iterable<BasicBlock>): [number, number][] {
  const pieces = [...blocks].map(({ start, instructions }): [number, number] => {
    const last = instructions.at(-1)!;
    return [start, last.offset + last.decoded.length];
  });
  pieces.sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const piece of pieces) {
    const before = merged.at(-1);
    if (before && piece[0] <= before[1] && pageOf(piece[0]) === pageOf(before[0]))
      before[1] = Math.max(before[1], piece[1]);
    else merged.push(piece);
  }
  return merged;
}
