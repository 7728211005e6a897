/**
 * Translated code of a region: one function `(cpu, left, entry) -> left`.
 *
 * `left` is what is left of the slice's budget, in instructions. The function leaves with Cpu.RegionStatus: 0 is a jump to
 * Cpu.Rip, anything else a HandlerResult of the instruction that Cpu.ExitRecord describes.
 */
import type { FunctionBuilder, Label } from '../encoder/function-builder.ts';
import { type I32, type I64, type Local, i32 } from '../encoder/values.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';
import { Cpu, FetchCacheEntry, fetchCacheEntry } from '../interpreter/cpu-layout.ts';
import { ModeKey } from '../softmmu/block-header.ts';
import { Record } from '../interpreter/record.ts';
import { Dispatcher, type FlowPlan, planFlow } from './control-flow.ts';
import { KnownFlags, UnknownOperation } from './known-flags.ts';
import { KnownSemantics, type RegionSite } from './known-semantics.ts';
import { type BasicBlock, type Region, type RegionInstruction, inPage, pageOf } from './region.ts';
import { RegisterLocals } from './registers.ts';

/** A return compares with so many places of the region that calls come back to. */
const MaxReturnSites = 8;

/** A place where a region may be entered. */
export interface RegionEntry {
  readonly offset: number;
  /** Third argument of the region's function: which of its entries, and in the upper half how many pages after the first. */
  readonly number: number;
}

/** Bits of an entry's number that tell which it is. */
const EntryBits = 16;

export function emitRegion(
  f: FunctionBuilder,
  region: Region,
  core: CoreFunctions,
  semantic: (mnemonic: string) => Semantic,
  hostPage: HostPage,
): RegionEntry[] {
  const emitter = new RegionEmitter(f, region, core, semantic, hostPage);
  emitter.emit();
  return region.entries.map((offset) => ({
    offset,
    number: emitter.entryNumber(offset) | (pageOf(offset) << EntryBits),
  }));
}

/** RAM page index of the page so many pages after the entry's. */
export type HostPage = (distance: number) => number;

class RegionEmitter {
  readonly #f: FunctionBuilder;
  readonly #core: CoreFunctions;
  readonly #semantic: (mnemonic: string) => Semantic;
  readonly #hostPage: HostPage;
  readonly #cpu: Local<I32>;
  readonly #left: Local<I32>;
  readonly #registers: RegisterLocals;
  readonly #flags: KnownFlags;
  /** RIP of the first byte of the entry's page. */
  readonly #page: Local<I64>;
  /** What marks cached fetches that count. */
  readonly #stamp: Local<I32>;
  readonly #tlb: Local<I32>;
  /** Next target of the dispatcher. */
  readonly #next: Local<I32>;
  /** The instruction that is left at, packed as {@link At} says. Then #target is the RIP of its page. */
  readonly #at: Local<I32>;
  readonly #status: Local<I32>;
  readonly #target: Local<I64>;
  readonly #region: Region;
  readonly #blocks: readonly (BasicBlock | undefined)[];
  /** Node of the block that starts at an offset. */
  readonly #nodes: ReadonlyMap<number, number>;
  readonly #returnSites: readonly number[];
  readonly #plan: FlowPlan;
  readonly #labels = new Map<number, Label>();
  readonly #loops = new Map<number, Label>();
  #leaveLabel!: Label;
  #jumpLabel!: Label;

  constructor(
    f: FunctionBuilder,
    region: Region,
    core: CoreFunctions,
    semantic: (mnemonic: string) => Semantic,
    hostPage: HostPage,
  ) {
    this.#f = f;
    this.#region = region;
    this.#core = core;
    this.#semantic = semantic;
    this.#hostPage = hostPage;
    this.#stamp = f.local('i32');
    this.#cpu = f.param('i32', 0);
    this.#left = f.param('i32', 1);
    this.#next = f.param('i32', 2);
    this.#registers = new RegisterLocals(f, this.#cpu);
    this.#flags = new KnownFlags(f, this.#registers);
    this.#page = f.local('i64');
    this.#tlb = f.local('i32');
    this.#at = f.local('i32');
    this.#status = f.local('i32');
    this.#target = f.local('i64');
    const blocks = [...region.blocks.values()];
    this.#blocks = [undefined, ...blocks];
    this.#nodes = new Map(blocks.map((block, i) => [block.start, i + 1]));
    this.#returnSites = returnSites(region);
    this.#plan = planFlow({ successors: this.#successors() });
  }

  /** Position of a block among the targets of the dispatcher. */
  entryNumber(start: number): number {
    return this.#plan.targets.indexOf(this.#nodes.get(start)!);
  }

  #successors(): number[][] {
    return this.#blocks.map((block) => {
      if (!block) return this.#region.entries.map((start) => this.#nodes.get(start)!);
      const direct = [block.taken, block.fall].map((offset) =>
        offset === undefined ? undefined : this.#nodes.get(offset),
      );
      const list = direct.filter((node): node is number => node !== undefined);
      return block.returns && this.#returnSites.length > 0 ? [...list, Dispatcher] : list;
    });
  }

  emit(): void {
    const f = this.#f;
    f.block((out) => {
      f.block((leave) => {
        this.#leaveLabel = leave;
        f.block((jump) => {
          this.#jumpLabel = jump;
          this.#tree(Dispatcher);
        });
        f.store64(this.#cpu, Cpu.Rip, this.#target);
        f.store32(this.#cpu, Cpu.ExitRecord, 0);
        f.set(this.#status, i32(0));
        f.br(out);
      });
      this.#leftAt();
    });
    this.#flags.forget();
    this.#flags.complete();
    this.#registers.store();
    f.store32(this.#cpu, Cpu.RegionStatus, this.#status);
    f.return(this.#left);
    f.prepend(() => {
      const distance = this.#next.shrS(EntryBits).toI64s().shl(12);
      f.set(this.#page, this.#cpu.load64(Cpu.RipPage).sub(distance));
      f.set(this.#next, this.#next.and((1 << EntryBits) - 1));
      f.set(this.#stamp, this.#cpu.load32(Cpu.JumpGeneration).shl(ModeKey.Bits).or(this.#cpu.load32(Cpu.ModeKey)));
      f.set(this.#tlb, this.#cpu.load32(Cpu.TlbBank));
      this.#registers.load();
    });
  }

  /** Tells what #at packs. */
  #leftAt(): void {
    const f = this.#f;
    this.#describe(this.#at);
    f.store64(this.#cpu, Cpu.RipPage, this.#target);
    const operation = f.let(this.#at.shrU(At.Operation));
    f.if(operation.ne(UnknownOperation), () => this.#flags.settleAs(operation));
  }

  #describe(at: I32): void {
    const f = this.#f;
    f.store8(this.#cpu, Cpu.ExitRecord + Record.Length, at.shrU(At.Length).and(15));
    f.store8(this.#cpu, Cpu.ExitRecord + Record.Count, at.shrU(At.Count));
    f.store16(this.#cpu, Cpu.ExitRecord + Record.Offset, at.and(0xfff));
  }

  /** A node, and what it dominates. */
  #tree(node: number): void {
    const within = (): void => this.#within(node, this.#plan.mergeChildren(node).slice());
    if (!this.#plan.isLoop(node)) return within();
    this.#f.loop((start) => {
      this.#loops.set(node, start);
      this.#flags.forget();
      within();
    });
  }

  /** The last of the merge nodes in reverse postorder is the outermost block. */
  #within(node: number, merges: number[]): void {
    const outermost = merges.pop();
    if (outermost === undefined) return this.#node(node);
    this.#f.block((end) => {
      this.#labels.set(outermost, end);
      this.#within(node, merges);
    });
    this.#flags.forget();
    this.#tree(outermost);
  }

  #node(node: number): void {
    const block = this.#blocks[node];
    if (block) this.#block(node, block);
    else this.#dispatch();
  }

  #dispatch(): void {
    const { targets } = this.#plan;
    if (targets.length === 1 && !this.#plan.isMerge(targets[0]!)) return this.#tree(targets[0]!);
    const labels = targets.map((target) => this.#labels.get(target)!);
    this.#f.brTable(this.#next, labels.slice(0, -1), labels.at(-1)!);
  }

  #block(node: number, block: BasicBlock): void {
    block.instructions.forEach((instruction, i) => this.#instruction(node, block, instruction, i + 1));
    const count = block.instructions.length;
    if (block.fall !== undefined) this.#goTo(node, block.fall, count);
    else if (!endsItself(block)) throw new Error('a block without an end');
  }

  #instruction(node: number, block: BasicBlock, instruction: RegionInstruction, count: number): void {
    const f = this.#f;
    const flags = this.#flags;
    const { offset, decoded } = instruction;
    const place = inPage(offset) | (decoded.length << At.Length) | (count << At.Count);
    let end: Label | undefined;
    const site: RegionSite = {
      f,
      cpu: this.#cpu,
      core: this.#core,
      registers: this.#registers,
      flags,
      page: this.#page,
      tlb: this.#tlb,
      user: this.#region.user,
      describe: () => this.#describe(i32(place)),
      leave: (status) => {
        f.set(this.#status, status);
        f.set(this.#at, i32(place | (flags.operation << At.Operation)));
        f.set(this.#target, this.#pageAt(offset));
        f.br(this.#leaveLabel);
      },
      branch: () => {
        const before = flags.knowledge;
        this.#goTo(node, block.taken!, count);
        flags.knowledge = before;
        flags.beginInstruction(decoded.operandSize);
      },
      jump: (target) => this.#jump(block, target, count),
      done: () => f.br(end!),
    };
    const semantic = this.#semantic(decoded.row.mnemonic);
    const emit = (): void => f.scope(() => semantic(new KnownSemantics(site, instruction)));
    if (EndsEarly.has(decoded.row.group)) {
      flags.complete();
      f.block((label) => {
        end = label;
        flags.beginInstruction(decoded.operandSize);
        emit();
      });
      return;
    }
    const start = f.mark();
    const before = flags.knowledge;
    flags.beginInstruction(decoded.operandSize);
    emit();
    if (!flags.onOnePath) return;
    f.backTo(start);
    flags.knowledge = before;
    flags.beginInstruction(decoded.operandSize);
    flags.complete();
    emit();
  }

  #count(instructions: number): void {
    this.#f.set(this.#left, this.#left.sub(instructions));
  }

  /** A direct jump to an offset of the page. */
  #goTo(from: number, offset: number, count: number): void {
    const f = this.#f;
    this.#count(count);
    const to = this.#nodes.get(offset);
    if (to === undefined) return this.#leaveTo(offset);
    this.#guard(pageOf(this.#blocks[from]!.start), offset, () => this.#leaveTo(offset));
    const kind = this.#plan.edge(from, to);
    if (kind === 'forward' && !this.#plan.isMerge(to) && !this.#plan.isLoop(to)) return this.#tree(to);
    this.#flags.settle();
    if (kind === 'forward') {
      if (this.#plan.isMerge(to)) f.br(this.#labels.get(to)!);
      else this.#tree(to);
      return;
    }
    f.unlikely(this.#left.ltS(0), () => this.#leaveTo(offset));
    if (kind === 'back') return f.br(this.#loops.get(to)!);
    f.set(this.#next, i32(this.#plan.targets.indexOf(to)));
    f.br(this.#loops.get(Dispatcher)!);
  }

  /**
   * Emits: before control goes from one page to an offset of another, a check that the other is still mapped as it was when
   * the region was found, and `otherwise`, which does not go on.
   */
  #guard(from: number, offset: number, otherwise: () => void): void {
    const distance = pageOf(offset);
    if (from === distance) return;
    const f = this.#f;
    const linear = f.let(this.#pageAt(offset));
    const entry = f.let(fetchCacheEntry(this.#cpu, linear));
    const differs = entry
      .load64(FetchCacheEntry.Tag)
      .xor(linear)
      .eqz()
      .eqz()
      .or(entry.load32(FetchCacheEntry.Stamp).xor(this.#stamp))
      .or(entry.load32(FetchCacheEntry.Page).xor(this.#hostPage(distance)));
    f.unlikely(differs, () => {
      const before = this.#flags.knowledge;
      otherwise();
      this.#flags.knowledge = before;
    });
  }

  /** RIP of the first byte of the page that an offset is in. */
  #pageAt(offset: number): I64 {
    const distance = pageOf(offset);
    return distance === 0 ? this.#page : this.#page.add(distance * 4096);
  }

  #leaveTo(offset: number): void {
    this.#flags.settle();
    this.#f.set(this.#target, this.#page.add(offset));
    this.#f.br(this.#jumpLabel);
  }

  /** A computed jump: to where a call of this region comes back to, or out of the region. */
  #jump(block: BasicBlock, target: I64, count: number): void {
    const f = this.#f;
    f.set(this.#target, target);
    this.#count(count);
    this.#flags.settle();
    if (block.returns && this.#returnSites.length > 0) {
      f.if(this.#left.geS(0), () => {
        const offset = f.let(this.#target.sub(this.#page));
        for (const site of this.#returnSites) {
          f.if(offset.eq(site), () => {
            this.#guard(pageOf(block.start), site, () => f.br(this.#jumpLabel));
            f.set(this.#next, i32(this.entryNumber(site)));
            f.br(this.#loops.get(Dispatcher)!);
          });
        }
      });
    }
    f.br(this.#jumpLabel);
  }
}

/** Groups with instructions that may be done before their semantic's end. */
const EndsEarly: ReadonlySet<string> = new Set(['string', 'x87']);

/** Where an instruction is left at, packed: its offset, length, count in its block, and the operation that flags follow from. */
const At = { Length: 12, Count: 16, Operation: 24 } as const;

const endsItself = ({ instructions, taken, returns }: BasicBlock): boolean =>
  taken !== undefined || returns || /^(JMP|CALL)$/.test(instructions.at(-1)!.decoded.row.mnemonic);

/** Where calls inside the region come back to. */
function returnSites(region: Region): number[] {
  const sites = [...region.blocks.values()]
    .filter(({ calls, taken }) => calls && taken !== undefined && region.blocks.has(taken))
    .map(({ instructions }) => {
      const { offset, decoded } = instructions.at(-1)!;
      return offset + decoded.length;
    });
  return [...new Set(sites)].filter((site) => region.entries.includes(site)).slice(0, MaxReturnSites);
}
