/**
 * The core module: the interpreter loop with its inline handlers, block lookup, the memory slow paths and event
 * delivery. One instance serves all vCPUs of a thread; the state block is a parameter.
 */
import type { FunctionBuilder, FunctionRef, Label } from '../encoder/function-builder.ts';
import { ModuleBuilder } from '../encoder/module-builder.ts';
import { type I32, type I64, type Local, i32 } from '../encoder/values.ts';
import type { Semantic } from '../../../x86/instructions/semantics/context.ts';
import { Access } from '../softmmu/access.ts';
import { BlockHeader, BlockHeaderSize, ModeKey } from '../softmmu/block-header.ts';
import { type MmuFunctions, defineMmu } from '../softmmu/mmu.ts';
import { BlockHashBuckets, type VmLayout } from '../softmmu/vm-layout.ts';
import {
  Cpu,
  FetchCacheEntry,
  HandlerResult,
  JumpCacheEntries,
  JumpCacheEntry,
  JumpCacheOffset,
  LoopExit,
  SegmentField,
  SegmentIndex,
  fetchCacheEntry,
  segmentOffset,
} from './cpu-layout.ts';
import { type EventFunctions, defineEvents } from './events.ts';
import type { InstructionForm } from '../emit/form.ts';
import { HandlerParams, HandlerResults } from './handler-functions.ts';
import { Rflag } from '../emit/lazy-flags.ts';
import { defineSegmented, defineUpdateMode } from './mode.ts';
import type { CoreFunctions } from '../emit/base-semantics.ts';
import { helperRegistry } from '../emit/core-imports.ts';
import { RegionParams, RegionResults } from '../translator/region-signature.ts';
import { type HandlerSite, RecordSemantics } from './record-semantics.ts';
import { Record } from './record.ts';

/** A handler inside the loop. Handler numbers are positions in the list. */
export interface InlineHandler {
  readonly name: string;
  emit(site: HandlerSite, core: CoreFunctions): void;
}

/** Wraps a form's semantic as an inline handler. */
export function inlineHandler(form: InstructionForm, semantic: Semantic): InlineHandler {
  return {
    name: form.key,
    emit(site, core) {
      semantic(new RecordSemantics(site, core, form));
    },
  };
}

/** Exports of the core that other modules and JavaScript use. */
export interface CoreExports {
  run(cpu: number, budget: number): number;
  interrupt(cpu: number, vector: number, kind: number): number;
  event(cpu: number, vector: number, kind: number): number;
  deliver(cpu: number): number;
  updateMode(cpu: number): void;
  raise(cpu: number, vector: number, errorCode: number): void;
  walk(cpu: number, linear: bigint, access: number): bigint;
  read(cpu: number, linear: bigint, size: number, access: number): bigint;
  modify(cpu: number, linear: bigint, size: number, access: number): bigint;
  write(cpu: number, linear: bigint, size: number, access: number, value: bigint): void;
  pointer(cpu: number, linear: bigint, bytes: number, access: number): number;
  commit(cpu: number, linear: bigint, bytes: number): void;
  device(cpu: number, kind: number, address: bigint, size: number, value: bigint): bigint;
  hostOf(physical: bigint): number;
  segmented(cpu: number, segment: number, offset: bigint, bytes: number, write: number): bigint;
}

/** Functions that the core imports from JavaScript under module name `env`. */
export interface CoreImports {
  /** Drops decoded and translated code on written lines. Answers 1 when translated code that may be running was dropped. */
  codeWritten(cpu: number, host: number, size: number): number;
  rare(cpu: number, record: number, index: number): number;
  /** Decodes the block at Cpu.Rip whose first byte is at `host`; 0 with a fault recorded. Cpu.SlowPhysical is its physical address. */
  decode(cpu: number, host: number): number;
  legacyEvent(cpu: number, vector: number, kind: number): number;
}

export interface CoreModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly inlineCount: number;
}

/** Inline handlers with fixed numbers, before those of instruction forms. */
export const FixedHandler = {
  /** The record of an invalidated block: look its RIP up again. */
  Resync: 0,
  /** End of a block: go on at the address in Immediate. */
  End: 1,
  /** Enters at Cpu.Rip. */
  Entry: 2,
  /** Interrupt shadow ends here: leave when an interrupt waits. */
  ShadowEnd: 3,
  /** Translated code takes the block's place. */
  Translated: 4,
} as const;

const FixedNames = ['resync', 'end', 'entry', 'shadow-end', 'translated'];

export function buildCore(
  layout: VmLayout,
  inline: readonly InlineHandler[],
  environment: Pick<CoreFunctions, 'rareIndex' | 'data'>,
  /** Address of u32 counters by handler number: a core for benchmarks that counts what it executes. */
  counters?: number,
): CoreModule {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', layout.wasmPages, layout.wasmPages);
  module.importTable('env', 'handlers', 1);
  const imports = {
    codeWritten: module.importFunction('env', 'codeWritten', ['i32', 'i32', 'i32'], ['i32']),
    rare: module.importFunction('env', 'rare', ['i32', 'i32', 'i32'], ['i32']),
    decode: module.importFunction('env', 'decode', ['i32', 'i32'], ['i32']),
    legacyEvent: module.importFunction('env', 'legacyEvent', ['i32', 'i32', 'i32'], ['i32']),
  };
  const mmu = defineMmu(module, layout, imports);
  const updateMode = defineUpdateMode(module);
  const segmented = defineSegmented(module, mmu.raise);
  const events = defineEvents(module, mmu, updateMode, imports.legacyEvent);
  const lookup = defineLookup(module, layout, mmu, imports.decode);
  const core: CoreFunctions = {
    mmu,
    rare: imports.rare,
    segmented,
    updateMode,
    ...environment,
    helper: helperRegistry(module),
  };
  const run = module.declare('run', ['i32', 'i32'], ['i32']);
  defineRun(module, run, { lookup, events, core, inline, counters });
  const exported = { run, updateMode, segmented, ...events, ...mmu };
  for (const [name, ref] of Object.entries(exported)) module.export(name, ref);
  return { bytes: module.finish(), inlineCount: FixedNames.length + inline.length };
}

/** Bucket of a physical address and key in the block hash: byte offset of its head. */
export const blockBucket = (physical: number, key: number): number =>
  ((Math.imul(physical ^ (key << 20), 0x9e3779b1) >>> 16) & (BlockHashBuckets - 1)) * 4;

/**
 * `lookup(cpu) -> record`: the block at Cpu.Rip in the current mode; sets RipPage. 0 when fetching faulted (recorded).
 * First the jump cache by linear address, then the physical hash, then the decoder.
 */
function defineLookup(module: ModuleBuilder, layout: VmLayout, mmu: MmuFunctions, decode: FunctionRef): FunctionRef {
  return module.function('lookup', ['i32'], ['i32'], (f) => {
    const cpu = f.param('i32', 0);
    const rip = f.let(cpu.load64(Cpu.Rip));
    const key = f.let(cpu.load32(Cpu.ModeKey));
    const linear = f.let(rip);
    f.if(key.and(ModeKey.CodeMask).ne(ModeKey.Code64), () => {
      const cs = segmentOffset(SegmentIndex.Cs);
      f.if(rip.gtU(cpu.load64_32u(cs + SegmentField.Limit)), () => {
        f.call(mmu.raise, cpu, i32(13), i32(0));
        f.return(i32(0));
      });
      f.set(linear, rip.add(cpu.load64(cs + SegmentField.Base)).and(0xffff_ffffn));
    });
    f.store64(cpu, Cpu.RipPage, rip.sub(linear.and(0xfff)));
    const entry = f.let(jumpEntry(cpu, linear));
    const cached = f.let(entry.load32(JumpCacheEntry.Block));
    const hit = entry
      .load64(JumpCacheEntry.Tag)
      .eq(linear)
      .and(entry.load32(JumpCacheEntry.Stamp).eq(jumpStamp(cpu.load32(Cpu.JumpGeneration), key)));
    f.if(hit, () => f.if(cached.load16u(Record.Handler).ne(FixedHandler.Resync), () => f.return(cached)));
    const access = f.let(i32(Access.Execute).or(key.and(ModeKey.User).shrU(2)));
    const page = f.callValue('i64', mmu.walk, cpu, linear, access);
    f.if(page.eq(-1), () => f.return(i32(0)));
    const physical = f.let(page.and(-4096n).or(linear.and(0xfff)));
    f.store64(cpu, Cpu.SlowPhysical, physical);
    const host = f.callValue('i32', mmu.hostOf, physical);
    f.if(host.eqz(), () => {
      f.call(mmu.raise, cpu, i32(6), i32(0));
      f.return(i32(0));
    });
    f.if(key.and(ModeKey.CodeMask).eq(ModeKey.Code64), () => {
      fillFetchCache(f, cpu, f.let(linear.and(-4096n)), host.sub(layout.ram).shrU(12));
    });
    const block = f.let(i32(0));
    findBlock(f, cpu, layout, mmu, { physical, key, linear, access }, block);
    f.if(block.eqz(), () => {
      f.set(block, f.callValue('i32', decode, cpu, host));
      f.if(block.eqz(), () => f.return(i32(0)));
    });
    f.store64(entry, JumpCacheEntry.Tag, linear);
    f.store32(entry, JumpCacheEntry.Stamp, jumpStamp(cpu.load32(Cpu.JumpGeneration), key));
    f.store32(entry, JumpCacheEntry.Block, block);
    f.return(block);
  });
}

/** Notes which RAM page the code at a linear page is in: 64-bit code only. */
function fillFetchCache(f: FunctionBuilder, cpu: I32, linear: Local<I64>, page: I32): void {
  const entry = f.let(fetchCacheEntry(cpu, linear));
  f.store64(entry, FetchCacheEntry.Tag, linear);
  f.store32(entry, FetchCacheEntry.Stamp, jumpStamp(cpu.load32(Cpu.JumpGeneration), cpu.load32(Cpu.ModeKey)));
  f.store32(entry, FetchCacheEntry.Page, page);
}

const jumpStamp = (generation: I32, key: I32): I32 => generation.shl(ModeKey.Bits).or(key);

function jumpEntry(cpu: I32, linear: Local<I64>): I32 {
  const low = linear.toI32();
  const slot = low.xor(low.shrU(12)).and(JumpCacheEntries - 1);
  return cpu.add(slot.shl(4)).add(JumpCacheOffset);
}

interface BlockKey {
  readonly physical: Local<I64>;
  readonly key: Local<I32>;
  readonly linear: Local<I64>;
  readonly access: Local<I32>;
}

/** Sets `block` to the first matching block of the hash bucket. */
function findBlock(
  f: FunctionBuilder,
  cpu: I32,
  layout: VmLayout,
  mmu: MmuFunctions,
  wanted: BlockKey,
  block: Local<I32>,
): void {
  // Every vCPU has its own hash: blocks name registers by absolute address
  const hashes = f.let(cpu.load32(Cpu.BlockHash));
  const mixed = wanted.physical
    .toI32()
    .xor(wanted.key.shl(20))
    .mul(0x9e3779b1 | 0)
    .shrU(16);
  f.set(block, hashes.add(mixed.and(BlockHashBuckets - 1).shl(2)).load32());
  f.block((done) => {
    f.loop((next) => {
      f.brIf(done, block.eqz());
      const header = f.let(block.sub(BlockHeaderSize));
      const same = header
        .load64(BlockHeader.Physical)
        .eq(wanted.physical)
        .and(header.load32(BlockHeader.Key).eq(wanted.key));
      f.if(same, () => {
        const second = f.let(header.load32(BlockHeader.SecondPage));
        f.brIf(done, second.eqz());
        const next = f.let(wanted.linear.or(0xfff).add(1));
        f.if(wanted.key.and(ModeKey.CodeMask).ne(ModeKey.Code64), () => f.set(next, next.and(0xffff_ffffn)));
        const page = f.callValue('i64', mmu.walk, cpu, next, wanted.access);
        f.if(page.eq(-1), () => f.return(i32(0)));
        const host = f.callValue('i32', mmu.hostOf, page.and(-4096n));
        f.brIf(done, host.sub(layout.ram).shrU(12).add(1).eq(second));
      });
      f.set(block, header.load32(BlockHeader.NextInBucket));
      f.br(next);
    });
  });
}

interface RunParts {
  readonly lookup: FunctionRef;
  readonly events: EventFunctions;
  readonly core: CoreFunctions;
  readonly inline: readonly InlineHandler[];
  readonly counters: number | undefined;
}

interface Loop {
  readonly f: FunctionBuilder;
  readonly cpu: Local<I32>;
  /** Instructions left in the budget. */
  readonly left: Local<I32>;
  readonly pc: Local<I32>;
  readonly tlb: Local<I32>;
  readonly status: Local<I32>;
  readonly target: Local<I64>;
}

/** `run(cpu, budget) -> LoopExit`: interprets from Cpu.Rip. */
function defineRun(module: ModuleBuilder, run: FunctionRef, parts: RunParts): void {
  const handlerType = module.typeIndex(HandlerParams, HandlerResults);
  const regionType = module.typeIndex(RegionParams, RegionResults);
  module.define(run, (f) => {
    const cpu = f.param('i32', 0);
    const left = f.param('i32', 1);
    const loop: Loop = {
      f,
      cpu,
      left,
      pc: f.local('i32'),
      tlb: f.local('i32'),
      status: f.local('i32'),
      target: f.local('i64'),
    };
    f.set(loop.pc, cpu.add(Cpu.EntryRecord));
    f.loop((dispatch) => {
      if (parts.counters !== undefined) {
        const counter = f.let(loop.pc.load16u(Record.Handler).shl(2).add(parts.counters));
        f.store32(counter, 0, counter.load32().add(1));
      }
      f.block((leave) => {
        f.block((jump) => {
          const count = FixedNames.length + parts.inline.length;
          const labels: Label[] = [];
          const nest = (remaining: number): void => {
            f.block((end) => {
              labels[remaining] = end;
              if (remaining > 0) nest(remaining - 1);
              else f.brTable(loop.pc.load16u(Record.Handler), labels.slice(0, count), labels[count]!);
            });
            if (remaining < count) emitInline(loop, parts, remaining, dispatch, leave, jump, regionType);
          };
          nest(count);
          callHandler(loop, handlerType, count, dispatch, leave);
        });
        emitJump(loop, parts, dispatch);
      });
      emitLeave(loop, parts, dispatch);
    });
    f.unreachable();
  });
}

function emitInline(
  loop: Loop,
  parts: RunParts,
  handler: number,
  dispatch: Label,
  leave: Label,
  jump: Label,
  regionType: number,
): void {
  const { f, pc } = loop;
  const site = loopSite(loop, dispatch, leave, jump);
  f.scope(() => {
    if (handler < FixedNames.length) emitFixed(loop, handler, site, dispatch, { leave, jump, regionType });
    else {
      parts.inline[handler - FixedNames.length]!.emit(site, parts.core);
      f.set(pc, pc.add(32));
      f.br(dispatch);
    }
  });
}

function loopSite(loop: Loop, dispatch: Label, leave: Label, jump: Label): HandlerSite {
  const { f, cpu, pc, left } = loop;
  const jumpTo = (target: I64): void => {
    f.set(loop.target, target);
    f.br(jump);
  };
  return {
    f,
    cpu,
    pc,
    tlb: () => loop.tlb,
    leave(status) {
      f.set(loop.status, status);
      f.br(leave);
    },
    next() {
      f.set(pc, pc.add(32));
      f.br(dispatch);
    },
    jump: jumpTo,
    branch(target) {
      const chained = f.let(pc.load32(Record.Pointer1));
      f.if(chained, () => {
        f.set(left, left.sub(pc.load8u(Record.Count)));
        f.set(pc, chained);
        f.brIf(dispatch, left.geS(0), true);
        leaveForBudget(loop);
      });
      jumpTo(target);
    },
  };
}

/** Returns with Cpu.Rip at the record at pc, none of whose block was executed. */
function leaveForBudget(loop: Loop): void {
  const { f, cpu } = loop;
  f.store64(cpu, Cpu.Rip, ripAt(loop, loop.pc.load16u(Record.Offset)));
  f.store32(cpu, Cpu.SampledBlock, loop.pc);
  returnCounted(loop, i32(LoopExit.Budget));
}

/** EIP wraps at 4 GiB outside 64-bit code. */
function ripAt(loop: Loop, offset: I32): I64 {
  const rip = loop.cpu.load64(Cpu.RipPage).add(offset.toI64u());
  const long = loop.cpu.load32(Cpu.ModeKey).and(ModeKey.CodeMask).eq(ModeKey.Code64);
  return long.select(rip, rip.and(0xffff_ffffn));
}

function returnCounted(loop: Loop, exit: I32): void {
  const { f, cpu } = loop;
  const budget = loop.cpu.load32(Cpu.Budget);
  f.store64(cpu, Cpu.Retired, cpu.load64(Cpu.Retired).add(budget.sub(loop.left).toI64s()));
  f.return(exit);
}

function emitFixed(loop: Loop, handler: number, site: HandlerSite, dispatch: Label, out: WaysOut): void {
  const { f, cpu, pc } = loop;
  switch (handler) {
    case FixedHandler.Resync:
      // This instruction was not executed: take it off the count that leaving adds
      f.set(loop.left, loop.left.add(1));
      f.store64(cpu, Cpu.Rip, ripAt(loop, pc.load16u(Record.Offset)));
      site.leave(i32(HandlerResult.Resync));
      return;
    case FixedHandler.End:
      site.branch(cpu.load64(Cpu.RipPage).add(pc.load64(Record.Immediate)));
      return;
    case FixedHandler.Entry:
      site.leave(i32(HandlerResult.Resync));
      return;
    case FixedHandler.Translated:
      enterRegion(loop, out);
      return;
    default:
      f.store32(cpu, Cpu.Shadow, 0);
      f.if(interruptWaits(cpu), () => {
        f.store64(cpu, Cpu.Rip, ripAt(loop, pc.load16u(Record.Offset)));
        site.leave(i32(HandlerResult.Resync));
      });
      f.set(pc, pc.add(32));
      f.br(dispatch);
  }
}

/** Where the loop goes on after a handler. */
interface WaysOut {
  readonly leave: Label;
  readonly jump: Label;
  readonly regionType: number;
}

/** Calls the translated code that takes the block's place, and goes on where it was left. */
function enterRegion(loop: Loop, { leave, jump, regionType }: WaysOut): void {
  const { f, cpu, pc, left, status, target } = loop;
  const header = f.let(pc.sub(BlockHeaderSize));
  const slot = header.load32(BlockHeader.RegionSlot);
  fillFetchCache(f, cpu, f.let(cpu.load64(Cpu.RipPage)), header.load32(BlockHeader.Page));
  f.store32(cpu, Cpu.InRegion, 1);
  const before = f.let(left);
  f.set(left, f.callIndirect(regionType, slot, cpu, left, header.load32(BlockHeader.RegionEntry)));
  f.store32(cpu, Cpu.InRegion, 0);
  f.store64(cpu, Cpu.RegionRetired, cpu.load64(Cpu.RegionRetired).add(before.sub(left).toI64s()));
  f.store32(cpu, Cpu.RegionEntries, cpu.load32(Cpu.RegionEntries).add(1));
  f.set(pc, cpu.add(Cpu.ExitRecord));
  f.set(status, cpu.load32(Cpu.RegionStatus));
  f.brIf(leave, status, false);
  f.set(target, cpu.load64(Cpu.Rip));
  f.br(jump);
}

/** An interrupt that IF lets in, or an NMI that is not held back. */
const interruptWaits = (cpu: I32): I32 => {
  const enabled = cpu.load32(Cpu.Rflags).shrU(9).and(1);
  return cpu.load32(Cpu.InterruptWindow).and(enabled.or(cpu.load32(Cpu.NmiMasked).eqz().shl(1)));
};

/** The default branch: handlers in functions, through the table. */
function callHandler(loop: Loop, handlerType: number, count: number, dispatch: Label, leave: Label): void {
  const { f, cpu, pc, status } = loop;
  f.scope(() => {
    f.set(status, f.callIndirect(handlerType, pc.load16u(Record.Handler).sub(count), cpu, pc));
    f.brIf(leave, status, false);
    f.set(pc, pc.add(32));
    f.br(dispatch);
  });
}

/** Near jump to `target`: jump cache, then lookup; same-page direct jumps are chained. */
function emitJump(loop: Loop, parts: RunParts, dispatch: Label): void {
  const { f, cpu, pc, left, target } = loop;
  f.scope(() => {
    f.set(left, left.sub(pc.load8u(Record.Count)));
    const generation = f.let(cpu.load32(Cpu.JumpGeneration));
    const block = f.local('i32');
    const key = f.let(cpu.load32(Cpu.ModeKey));
    f.block((found) => {
      f.if(key.and(ModeKey.CodeMask).eq(ModeKey.Code64), () => {
        const entry = f.let(jumpEntry(cpu, target));
        f.set(block, entry.load32(JumpCacheEntry.Block));
        const hit = entry
          .load64(JumpCacheEntry.Tag)
          .eq(target)
          .and(entry.load32(JumpCacheEntry.Stamp).eq(jumpStamp(generation, key)));
        f.if(hit, () => {
          f.store64(cpu, Cpu.RipPage, target.and(-4096n));
          f.br(found);
        });
      });
      f.store64(cpu, Cpu.Rip, target);
      // A step ends before the next instruction is fetched
      f.if(left.ltS(0), () => returnCounted(loop, i32(LoopExit.Budget)));
      f.set(block, f.callValue('i32', parts.lookup, cpu));
      takeDecodeCost(loop);
      f.if(block.eqz(), () => deliverAtRip(loop, parts, dispatch));
    });
    const chainable = pc
      .load8u(Record.Extra)
      .and(BranchFlag.SamePage)
      .and(block.sub(BlockHeaderSize).load32(BlockHeader.SecondPage).eqz())
      .and(generation.eq(cpu.load32(Cpu.JumpGeneration)));
    f.if(chainable, () => f.store32(pc, Record.Pointer1, block));
    f.set(pc, block);
    f.brIf(dispatch, left.geS(0), true);
    leaveForBudget(loop);
  });
}

/** Bits of Record.Extra of direct branches. */
export const BranchFlag = { SamePage: 1 } as const;

function deliverAtRip(loop: Loop, parts: RunParts, dispatch: Label): void {
  const { f, cpu, pc, left } = loop;
  // Handlers that cannot be fetched must not go on without end
  f.set(left, left.sub(1));
  const exit = f.callValue('i32', parts.events.deliver, cpu);
  f.if(exit, () => returnCounted(loop, exit));
  f.set(pc, cpu.add(Cpu.EntryRecord));
  f.br(dispatch);
}

/** What a piece of a repetition (semantics/string.ts) takes from the budget, in instructions. */
const RepetitionCost = 50;

/** Shortens the slice without counting instructions. */
function shorten({ f, cpu, left }: Loop, by: I32): void {
  f.set(left, left.sub(by));
  f.store32(cpu, Cpu.Budget, cpu.load32(Cpu.Budget).sub(by));
}

function takeDecodeCost(loop: Loop): void {
  const { f, cpu } = loop;
  const cost = f.let(cpu.load32(Cpu.DecodeCost));
  f.unlikely(cost, () => {
    shorten(loop, cost);
    f.store32(cpu, Cpu.DecodeCost, 0);
  });
}

/** L0 G0 to L3 G3 of DR7. */
const BreakpointEnables = 0xff;

/** What follows a HandlerResult other than Next. */
function emitLeave(loop: Loop, parts: RunParts, dispatch: Label): void {
  const { f, cpu, pc, status, left, tlb } = loop;
  f.set(left, left.sub(pc.load8u(Record.Count)));
  f.if(status.eq(HandlerResult.Fault), () => {
    f.store64(cpu, Cpu.Rip, ripAt(loop, pc.load16u(Record.Offset)));
    deliverAtRip(loop, parts, dispatch);
  });
  f.if(status.eq(HandlerResult.Exit), () => {
    f.store64(cpu, Cpu.Rip, ripAt(loop, pc.load16u(Record.Offset)));
    returnCounted(loop, cpu.load32(Cpu.ExitKind));
  });
  const next = f.let(pc.load16u(Record.Offset).add(pc.load8u(Record.Length).and(15)));
  f.if(status.eq(HandlerResult.ExitAfter), () => {
    f.store64(cpu, Cpu.Rip, ripAt(loop, next));
    returnCounted(loop, cpu.load32(Cpu.ExitKind));
  });
  f.if(status.eq(HandlerResult.Again), () => {
    // Pieces of a repetition take longer than instructions, but do not count as more of them
    shorten(loop, i32(RepetitionCost));
    f.store64(cpu, Cpu.Rip, ripAt(loop, pc.load16u(Record.Offset)));
  });
  f.if(status.eq(HandlerResult.Retry), () => {
    f.set(left, left.add(1));
    f.store64(cpu, Cpu.Rip, ripAt(loop, pc.load16u(Record.Offset)));
  });
  f.if(status.eq(HandlerResult.ResyncNext), () => f.store64(cpu, Cpu.Rip, ripAt(loop, next)));
  f.if(interruptWaits(cpu), () => returnCounted(loop, i32(LoopExit.InterruptWindow)));
  // A trap flag or breakpoint that was just set makes JavaScript single-step
  const wanted = cpu.load32(Cpu.Rflags).and(Rflag.Trap).or(cpu.load32(Cpu.Dr7).and(BreakpointEnables));
  const trap = wanted.ne(0).and(cpu.load32(Cpu.ModeKey).and(ModeKey.Step).eqz());
  f.if(left.ltS(0).or(trap), () => returnCounted(loop, i32(LoopExit.Budget)));
  f.set(tlb, cpu.load32(Cpu.TlbBank));
  const block = f.callValue('i32', parts.lookup, cpu);
  takeDecodeCost(loop);
  f.if(block.eqz(), () => deliverAtRip(loop, parts, dispatch));
  f.set(pc, block);
  f.br(dispatch);
}
