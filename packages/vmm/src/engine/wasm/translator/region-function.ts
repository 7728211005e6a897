/**
 * Translated code of a region: one function `(cpu, left, entry) -> left`.
 *
 * `left` is what is left of the slice's budget, in instructions. The function leaves with Cpu.RegionStatus: 0 is a jump to
 * Cpu.Rip, anything else a HandlerResult of the instruction that Cpu.ExitRecord describes.
 */
import type { FunctionBuilder, Label, Template } from '../encoder/function-builder.ts';
import { type I32, type I64, type Local, i32 } from '../encoder/values.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';
import type { AccessContext } from '../emit/memory-access.ts';
import { Cpu, FetchCacheEntry, HandlerResult, fetchCacheEntry, jumpGeneration } from '../interpreter/cpu-layout.ts';
import { Access } from '../softmmu/access.ts';
import { ModeKey } from '../softmmu/block-header.ts';
import { Record } from '../interpreter/record.ts';
import { Dispatcher, type FlowPlan, planFlow } from './control-flow.ts';
import { KnownFlags, UnknownOperation } from './known-flags.ts';
import { KnownSemantics, type RegionSite } from './known-semantics.ts';
import { type BasicBlock, type Region, type RegionInstruction, endsBlock, inPage, pageOf } from './region.ts';
import { RegisterLocals } from './registers.ts';
import { emitStackRun, stackRunLength } from './stack-runs.ts';
import type { InstructionTemplate, InstructionTemplates, Place } from './templates.ts';
import { openPlace, slotsOf, templateKey } from './templates.ts';

/** A return compares with so many places of the region that calls come back to. */
const MaxReturnSites = 8;

/** A place where a region may be entered. */
export interface RegionEntry {
  readonly offset: number;
  /** Third argument of the region's function: which of its entries, and in the upper half how many pages after the first. */
  readonly number: number;
}

/** An instruction where it is emitted. */
interface PlacedInstruction {
  readonly instruction: RegionInstruction;
  readonly place: Place;
}

/** Emits instructions; `helped` is told of calls of helper functions, whose numbers differ from module to module. */
type EmitPlaced = (instructions: readonly PlacedInstruction[], helped?: () => void) => void;

/** Bits of an entry's number that tell which it is. */
const EntryBits = 16;

export function emitRegion(
  f: FunctionBuilder,
  region: Region,
  core: CoreFunctions,
  semantic: (mnemonic: string) => Semantic,
  emission: RegionEmission,
): RegionEntry[] {
  const emitter = new RegionEmitter(f, region, core, semantic, emission);
  emitter.emit();
  return region.entries.map((offset) => ({
    offset,
    number: emitter.entryNumber(offset) | (pageOf(offset) << EntryBits),
  }));
}

export interface RegionEmission {
  readonly hostPage: HostPage;
  readonly templates: InstructionTemplates;
  /** The budget may end at any instruction, not at loops only. */
  readonly stopsAnywhere: boolean;
}

/** RAM page index of the page so many pages after the entry's. */
export type HostPage = (distance: number) => number;

class RegionEmitter {
  readonly #f: FunctionBuilder;
  readonly #core: CoreFunctions;
  readonly #semantic: (mnemonic: string) => Semantic;
  readonly #hostPage: HostPage;
  readonly #templates: InstructionTemplates;
  readonly #stopsAnywhere: boolean;
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
  /** 0 until the function is left with another one. */
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
    { hostPage, templates, stopsAnywhere }: RegionEmission,
  ) {
    this.#f = f;
    this.#templates = templates;
    this.#region = region;
    this.#core = core;
    this.#semantic = semantic;
    this.#hostPage = hostPage;
    this.#stopsAnywhere = stopsAnywhere;
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
    this.#noteNames();
    const blocks = [...region.blocks.values()];
    this.#blocks = [undefined, ...blocks];
    this.#nodes = new Map(blocks.map((block, i) => [block.start, i + 1]));
    this.#returnSites = returnSites(region);
    this.#plan = planFlow({ successors: this.#successors() });
  }

  #noteNames(): void {
    const locals = {
      cpu: this.#cpu,
      left: this.#left,
      next: this.#next,
      page: this.#page,
      stamp: this.#stamp,
      tlb: this.#tlb,
      at: this.#at,
      status: this.#status,
      target: this.#target,
    };
    if (this.#f.notes) for (const [name, local] of Object.entries(locals)) this.#f.noteName(local, name);
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
        f.notePlace(undefined);
        f.store64(this.#cpu, Cpu.Rip, this.#target);
        f.store32(this.#cpu, Cpu.ExitRecord, 0);
        f.set(this.#status, i32(0));
        f.br(out);
      });
      f.notePlace(undefined);
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
      const generation = jumpGeneration(this.#cpu, this.#page);
      f.set(this.#stamp, generation.shl(ModeKey.Bits).or(this.#cpu.load32(Cpu.ModeKey)));
      f.set(this.#tlb, this.#cpu.load32(Cpu.TlbBank));
      this.#registers.load();
    });
  }

  /** Tells what #at packs. A status that was not set is that of the slow paths. */
  #leftAt(): void {
    const f = this.#f;
    f.if(this.#status.eqz(), () => f.set(this.#status, this.#cpu.load32(Cpu.SlowStatus)));
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
    const { instructions } = block;
    for (let i = 0; i < instructions.length;) {
      if (this.#stopsAnywhere) this.#stopBefore(instructions[i]!, i + 1);
      const run = this.#stopsAnywhere ? 1 : Math.max(stackRunLength(instructions, i), 1);
      for (let j = i; j < i + run; j++) this.#f.notePlace(instructions[j]!.offset);
      if (run > 1) this.#copy(instructions.slice(i, i + run), i + 1, (places) => this.#stackRun(places));
      else this.#instruction(node, block, instructions[i]!, i + 1);
      i += run;
    }
    const count = instructions.length;
    if (block.fall !== undefined) this.#goTo(node, block.fall, count);
    else if (!endsItself(block)) throw new Error('a block without an end');
  }

  /** Emits: leave before an instruction when the budget is used up. `count`: its number in its block. */
  #stopBefore(instruction: RegionInstruction, count: number): void {
    const { place } = this.#placed(instruction, count);
    this.#f.unlikely(this.#left.ltS(count - 1), () => this.#waysOut(place).leave(i32(HandlerResult.Retry)));
  }

  #instruction(node: number, block: BasicBlock, instruction: RegionInstruction, count: number): void {
    const { row } = instruction.decoded;
    const emit: EmitPlaced = ([first], helped) => this.#emit(node, block, instruction, count, first!.place, helped);
    if (endsBlock(row.mnemonic) || EndsEarly.has(row.group)) emit([this.#placed(instruction, count)]);
    else this.#copy([instruction], count, emit);
  }

  /**
   * Puts the template of an instruction, or of some in a row, here. It is made by `emit` when there is none yet. `count`: the
   * first one's number in its block.
   */
  #copy(instructions: readonly RegionInstruction[], count: number, emit: EmitPlaced): void {
    const flags = this.#flags;
    const bytes = instructions.length === 1 ? instructions[0]!.bytes : instructions.map((one) => one.bytes).join('');
    const key = templateKey(bytes, flags.knowledge, this.#region.user);
    let template = this.#templates.get(key);
    if (template === undefined) {
      template = this.#record(instructions, emit);
      this.#templates.set(key, template);
    }
    if (template === null) return emit(instructions.map((one, i) => this.#placed(one, count + i)));
    const { offset, decoded } = instructions[0]!;
    const at = (operation: number, index: number): number =>
      packedPlace(instructions[index]!, count + index) | (operation << At.Operation);
    const slots = slotsOf({ offset, length: decoded.length }, { page: this.#pageAt(offset), at });
    this.#f.place(template.code, this.#leaveLabel, slots);
    this.#registers.note(template.use);
    flags.knowledge = template.after;
  }

  /** Null when the code is another one in each module. */
  #record(instructions: readonly RegionInstruction[], emit: EmitPlaced): InstructionTemplate | null {
    const flags = this.#flags;
    const before = flags.knowledge;
    let isWhole = true;
    let code: Template | undefined;
    const placed = instructions.map((instruction, i) => ({ instruction, place: openPlace(this.#page, i) }));
    const use = this.#registers.useOf(() => {
      code = this.#f.record(this.#leaveLabel, () => emit(placed, () => (isWhole = false)));
    });
    const after = flags.knowledge;
    flags.knowledge = before;
    return isWhole ? { code: code!, use, after } : null;
  }

  #stackRun(run: readonly PlacedInstruction[]): void {
    const f = this.#f;
    const context = ({ place }: PlacedInstruction): AccessContext => ({
      f,
      cpu: this.#cpu,
      mmu: this.#core.mmu,
      userFlag: () => i32(this.#region.user ? Access.User : 0),
      tlb: () => this.#tlb,
      ...this.#waysOut(place),
    });
    const instructions = run.map(({ instruction }) => instruction);
    f.scope(() => emitStackRun(instructions, this.#registers, (i) => context(run[i]!)));
  }

  #waysOut(place: Place): Pick<RegionSite, 'leave' | 'leaveOnSlowStatus'> {
    const f = this.#f;
    const here = (): void => {
      f.set(this.#at, place.at(this.#flags.operation));
      f.set(this.#target, place.page);
    };
    return {
      leave: (status) => {
        f.set(this.#status, status);
        here();
        f.br(this.#leaveLabel);
      },
      leaveOnSlowStatus: () => {
        here();
        f.brIf(this.#leaveLabel, this.#cpu.load32(Cpu.SlowStatus), false);
      },
    };
  }

  #emit(
    node: number,
    block: BasicBlock,
    instruction: RegionInstruction,
    count: number,
    place: Place,
    helped: () => void = () => {},
  ): void {
    const f = this.#f;
    const flags = this.#flags;
    const { decoded } = instruction;
    let end: Label | undefined;
    const site: RegionSite = {
      f,
      cpu: this.#cpu,
      core: this.#core,
      registers: this.#registers,
      flags,
      rip: place.rip,
      nextRip: place.nextRip,
      tlb: this.#tlb,
      user: this.#region.user,
      helped,
      describe: () => {
        f.store32(this.#cpu, Cpu.Left, this.#left);
        this.#describe(place.at(0));
      },
      ...this.#waysOut(place),
      branch: () => {
        const before = flags.knowledge;
        this.#goTo(node, block.taken!, count);
        flags.knowledge = before;
        flags.beginInstruction(decoded.operandSize);
      },
      jump: (target) => this.#jump(block, target, count),
      done: () => f.br(end!),
    };
    const { mnemonic } = decoded.row;
    const semantic = this.#semantic(mnemonic);
    const emit = (): void =>
      f.scope(() => {
        semantic(new KnownSemantics(site, instruction));
        if (mnemonic === 'STI') this.#afterSti(site);
      });
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

  /** An interrupt that waited comes after the next instruction: the interpreter sees to that. None can come before that. */
  #afterSti(site: RegionSite): void {
    const f = this.#f;
    f.unlikely(this.#cpu.load32(Cpu.InterruptWindow), () => site.leave(i32(HandlerResult.ResyncNext)));
    f.store32(this.#cpu, Cpu.Shadow, 0);
  }

  #placed(instruction: RegionInstruction, count: number): PlacedInstruction {
    const { offset, decoded } = instruction;
    const packed = packedPlace(instruction, count);
    const place = {
      rip: this.#page.add(offset),
      nextRip: this.#page.add(offset + decoded.length),
      page: this.#pageAt(offset),
      at: (operation: number) => i32(packed | (operation << At.Operation)),
    };
    return { instruction, place };
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

function packedPlace({ offset, decoded }: RegionInstruction, count: number): number {
  return inPage(offset) | (decoded.length << At.Length) | (count << At.Count);
}

const endsItself = ({ instructions, taken, returns }: BasicBlock): boolean =>
  taken !== undefined || returns || /^(JMP|CALL|SYSCALL|SYSRET)$/.test(instructions.at(-1)!.decoded.row.mnemonic);

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
