/**
 * What one thread of the wasm engine has to run vCPUs with: the core's instance with its table of handlers, the decoder, the
 * translator, and what of the processor is JavaScript. Either one thread has it for all vCPUs, or each vCPU's thread for
 * its own; they share the memory.
 */
import '../../types/webassembly.ts';
import type { VcpuInterrupts } from '../../interrupts/vcpu-interrupts.ts';
import type { Clock } from '../../time/clock.ts';
import { InstructionClock } from '../../time/instruction-clock.ts';
import type { TscRate } from '../../time/tsc-rate.ts';
import { createDecoder } from '../../x86/decode/decoder.ts';
import type { CpuFeature } from '../../x86/instructions/table/notation.ts';
import type { VcpuState } from '../state.ts';
import type { CpuModel } from './cpu-model.ts';
import { InstructionCounter } from './instruction-counter.ts';
import { type CoreExports, buildCore, inlineCount } from './interpreter/core-module.ts';
import { Cpu, SegmentIndex } from './interpreter/cpu-layout.ts';
import { HandlerTable } from './interpreter/handler-table.ts';
import { commonForms, inlineHandlers } from './interpreter/inline-forms.ts';
import { Lowering } from './interpreter/lowering.ts';
import type { Profiler } from './profiler.ts';
import { RareCpu } from './rare/rare-cpu.ts';
import { legacyEvent, rareInstructions } from './rare/rare-table.ts';
import { semantics } from './semantics-table.ts';
import { Access } from './softmmu/access.ts';
import { ModeKey } from './softmmu/block-header.ts';
import { CodeWriters } from './softmmu/code-writers.ts';
import type { TranslationCaches } from './softmmu/translation-caches.ts';
import { ThreadDataSize, ThreadField, VmBlock, VmBlockSize, VmField, type VmLayout } from './softmmu/vm-layout.ts';
import type { CreateCompiler } from './translator/region-compiler.ts';
import { type TranslationWatch, Translator, type TranslatorStatistics } from './translator/translator.ts';
import { WasmVcpu } from './wasm-vcpu.ts';

/** How the host's runtime compiles the core: eagerly and with the optimizing tier, where it can be told. */
export type CompileCore = (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.Module;

export interface TranslatorOptions {
  /** Where regions are compiled. */
  readonly createCompiler: CreateCompiler;
  /** Samples of a block (of one a slice) before it is translated; 0 translates every block when it is first met. */
  readonly threshold?: number;
  /** Ask the runtime for its optimizing tier at once. */
  readonly optimized?: boolean;
  readonly watch?: TranslationWatch;
}

/** A slice is some 30 µs of interpreting; compiling a region takes 1 to 3 ms, on another thread. */
const DefaultThreshold = 6;
const CounterBytes = 0x3000;
/** Milliseconds that a vCPU that spins sleeps, unless somebody wants its attention. */
const SpinSleep = 0.05;
const PageSize = 4096;
/** What a guest's slice is charged for decoding a block, and for dropping a page's blocks, in instructions. */
const DecodeCost = 200;
const DropCost = 100;

export interface EngineThreadConfig {
  readonly memory: WebAssembly.Memory;
  readonly layout: VmLayout;
  /** Which of VmLayout.threads it is, and the vCPUs that it runs. */
  readonly thread: number;
  readonly vcpus: readonly number[];
  readonly caches: TranslationCaches;
  readonly interrupts: VcpuInterrupts;
  readonly model: CpuModel;
  readonly clock: Clock;
  readonly tsc: TscRate;
  /** vCPUs run at the same time. */
  readonly atomics: boolean;
  readonly translator?: TranslatorOptions | undefined;
  readonly profiler?: Profiler | undefined;
  /** The core as another thread compiled it, or how to compile it. */
  readonly core: WebAssembly.Module | CompileCore;
  readonly countExecutions?: boolean | undefined;
  /** As WasmEngineOptions.stopsAnywhere. */
  readonly stopsAnywhere?: boolean;
  /** Of the timers of the engine's controllers, for a clock that follows the instructions. */
  nextDeadline?(): number;
  /** A state is about to be loaded. */
  beforeLoad(id: number, state: VcpuState): void;
  /** The guest wrote a TSC. */
  tscChanged(): void;
}

export class EngineThread {
  readonly core: CoreExports;
  readonly coreModule: WebAssembly.Module;
  readonly handlers: HandlerTable;
  /** Of all vCPUs of the VM, whoever runs them. */
  readonly cpus: readonly RareCpu[];
  /** Of a deterministic VM. */
  readonly counter: InstructionCounter | undefined;
  readonly #config: EngineThreadConfig;
  readonly #buffer: SharedArrayBuffer;
  readonly #view: DataView;
  readonly #attention: Int32Array;
  readonly #lowering: Lowering;
  readonly #writers: CodeWriters;
  readonly #translator: Translator | undefined;
  readonly #data = new Map<string, number>();
  #dataNext: number;
  #counters: number | undefined;

  constructor(config: EngineThreadConfig) {
    this.#config = config;
    const { memory, layout, thread, caches, model, atomics, vcpus } = config;
    this.#buffer = memory.buffer as SharedArrayBuffer;
    this.#view = new DataView(this.#buffer);
    this.#attention = new Int32Array(this.#buffer, layout.threads[thread]! + ThreadField.Attention, 1);
    this.#dataNext = this.#dataArea.start;
    const rare = this.#rareTable();
    const { coreFeatures, decoderFeatures } = model;
    const coreDecoder = createDecoder({ features: coreFeatures });
    const isWhole =
      decoderFeatures.size === coreFeatures.size && [...coreFeatures].every((name) => decoderFeatures.has(name));
    const decoder = isWhole ? coreDecoder : createDecoder({ features: decoderFeatures });
    const inline = inlineHandlers(coreDecoder);
    const environment = {
      atomics,
      rareIndex: rare.index,
      data: (name: string, bytes: () => Uint8Array) => this.#constant(name, bytes),
    };
    if (config.countExecutions)
      this.#counters = this.#constant('execution counters', () => new Uint8Array(CounterBytes));
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: 256 });
    this.coreModule =
      typeof config.core === 'function'
        ? config.core(
            buildCore(layout, inline.handlers, environment, {
              counters: this.#counters,
              exact: config.clock instanceof InstructionClock,
            }).bytes,
          )
        : config.core;
    const instance = new WebAssembly.Instance(this.coreModule, {
      env: {
        memory,
        handlers: table,
        // Addresses come as signed 32-bit numbers
        codeWritten: (cpu: number, host: number, size: number) => this.#codeWritten(cpu, host >>> 0, size),
        codeWrittenElsewhere: (_: number, host: number, size: number) => this.#codeWrittenElsewhere(host >>> 0, size),
        rare: rare.call,
        decode: (cpu: number, host: number) => this.#decode(cpu, host >>> 0),
        legacyEvent: (cpu: number, vector: number, kind: number) => legacyEvent(this.#cpuAt(cpu), vector, kind),
      },
    });
    this.core = instance.exports as unknown as CoreExports;
    this.handlers = new HandlerTable(
      {
        ...environment,
        layout,
        memory,
        table,
        inlineNumbers: inline.numbers,
        inlineCount: inlineCount(inline.handlers),
        rare: rare.call,
        semantic: (mnemonic) => semantics.get(mnemonic),
      },
      this.core,
    );
    this.handlers.prepare(commonForms(coreDecoder));
    this.#lowering = new Lowering({
      buffer: this.#buffer,
      layout,
      handlers: this.handlers,
      decoder,
      blockLimit: config.stopsAnywhere ? 1 : undefined,
      codeLines: layout.codeLines[thread]!,
      concurrent: layout.threads.length > 1,
    });
    this.#lowering.onCodePage = (page) => caches.protectPage(page);
    this.#writers = new CodeWriters(this.#buffer, layout, { thread, drop: (page) => caches.dropCode(page) });
    if (config.translator) this.#translator = this.#createTranslator(config.translator, decoderFeatures, rare);
    this.cpus = layout.cpuBlocks.map((at, id) => {
      const cpu = new RareCpu(this.#view, at, this.core);
      cpu.flushTlb = (includeGlobal) => caches.flushTlb(at, includeGlobal);
      if (vcpus.includes(id)) {
        cpu.setU32(Cpu.BlockHash, layout.blockHash[id]!);
        cpu.setU32(Cpu.CodeLines, layout.codeLines[thread]!);
        caches.flushTlb(at, true);
      }
      return cpu;
    });
    if (config.clock instanceof InstructionClock) {
      const counter = new InstructionCounter(this.cpus[0]!);
      config.clock.follow(() => counter.count);
      this.counter = counter;
    }
  }

  /** Where this thread may place constants: of the interpreter, then of translated code. */
  get #dataArea(): { readonly start: number; readonly translator: number; readonly end: number } {
    const { thread, layout } = this.#config;
    if (thread === 0) {
      const [start, translator] = [VmBlock + VmField.Data, VmBlock + VmField.TranslatorData];
      return { start, translator, end: VmBlock + VmBlockSize };
    }
    const start = layout.threadData[thread - 1]!;
    return { start, translator: start + ThreadDataSize / 2, end: start + ThreadDataSize };
  }

  #createTranslator(
    { createCompiler, threshold = DefaultThreshold, optimized = false, watch }: TranslatorOptions,
    features: ReadonlySet<CpuFeature>,
    rare: { readonly names: readonly string[]; readonly call: (cpu: number, record: number, index: number) => number },
  ): Translator {
    const { memory, layout, caches, atomics, vcpus } = this.#config;
    const area = this.#dataArea;
    const compiler = createCompiler({
      buffer: this.#buffer,
      ram: layout.ram,
      wasmPages: layout.wasmPages,
      blocks: { pageBlocks: layout.pageBlocks, arena: layout.arena },
      rareNames: rare.names,
      data: { start: area.translator, end: area.end },
      features: [...features],
      atomics,
      optimized,
      stopsAnywhere: this.#config.stopsAnywhere ?? false,
    });
    const { core, handlers } = this;
    const lowering = this.#lowering;
    const translator = new Translator({
      layout,
      memory,
      core,
      handlers,
      caches,
      lowering,
      rare: rare.call,
      compiler,
      threshold,
      watch,
      vcpus,
    });
    caches.onDrop = (page, start, end) => translator.dropPage(page, start, end);
    return translator;
  }

  /** Executions by form since creation, most frequent first; empty unless asked for. */
  executionCounts(): { form: string; inline: boolean; count: number }[] {
    const counters = this.#counters;
    if (counters === undefined) return [];
    return [...this.handlers.numbers]
      .map(([form, number]) => ({
        form,
        inline: number < this.handlers.inlineCount,
        count: this.#view.getUint32(counters + number * 4, true),
      }))
      .sort((a, b) => b.count - a.count);
  }

  get translatorStatistics(): TranslatorStatistics | undefined {
    return this.#translator?.statistics;
  }

  /** `parts`: others than the thread's, for a vCPU that never runs here. */
  createVcpu(id: number, parts: Pick<EngineThreadConfig, 'interrupts' | 'model'> = this.#config): WasmVcpu {
    const { interrupts, model } = parts;
    const { tsc, clock, caches, beforeLoad, tscChanged } = this.#config;
    return new WasmVcpu(id, this.cpus[id]!, {
      interrupts,
      core: this.core,
      tsc,
      paravirtual: model.paravirtual,
      profiler: this.#config.profiler,
      xstateSupported: model.xstateSupported,
      now: () => BigInt(Math.floor(clock.now())),
      firstTscOffset: () => this.cpus[0]!.u64(Cpu.TscOffset),
      beforeLoad,
      tscChanged,
      exact: this.counter && {
        now: () => clock.now(),
        nextDeadline: () => this.#config.nextDeadline?.() ?? Infinity,
        stopsAnywhere: this.#config.stopsAnywhere ?? false,
      },
      attentionWanted: () => Atomics.load(this.#attention, 0) !== 0,
      enterGuest: () => caches.enterGuest(),
      leaveGuest: () => caches.leaveGuest(),
      dropStale: () => {
        caches.passPoint();
        this.#writers.renewPatience();
        caches.dropStale();
      },
      letOthersRun: () => void Atomics.wait(this.#attention, 0, 0, SpinSleep),
      flushTranslations: (cpu) => caches.flushTlb(cpu, true),
      beforeRun: (vcpu) => model.beforeRun(vcpu),
      beforeSlice: () => this.#translator?.poll(),
      sample: (vcpu, block) => this.#translator?.sample(vcpu, block, this.cpus[vcpu]!.u64(Cpu.SampledRip)),
      afterRun: (vcpu, wantsMore) => model.afterRun(vcpu, wantsMore),
    });
  }

  /** What guest-physical memory is made of changed. */
  memoryChanged(): void {
    const { layout, caches, vcpus } = this.#config;
    for (const id of vcpus) caches.flushTlb(layout.cpuBlocks[id]!, true);
    this.#translator?.dropAll();
    this.#dropAllCode();
  }

  #cpuAt(at: number): RareCpu {
    return this.cpus[this.#config.layout.cpuBlocks.indexOf(at)]!;
  }

  #rareTable() {
    const { clock, tsc, interrupts, model, caches, tscChanged, atomics } = this.#config;
    const idOf = (cpu: RareCpu): number => this.cpus.indexOf(cpu);
    const instructions = rareInstructions({
      clock,
      tsc,
      interrupts,
      idOf,
      xstateSupported: model.xstateSupported,
      flushTlb: (cpu, global) => caches.flushTlb(cpu.at, global),
      flushPage: (cpu, linear) => caches.flushPage(cpu.at, linear),
      // Also MOV to debug registers: pages with data breakpoints must leave the TLB
      modeChanged: (cpu) => caches.flushTlb(cpu.at, true),
      readCr8: (cpu) => interrupts.cr8(idOf(cpu)),
      writeCr8: (cpu, value) => void interrupts.setCr8(idOf(cpu), value),
      cpuid: (cpu, leaf, subleaf) => model.cpuid(cpu, idOf(cpu), leaf, subleaf),
      readOtherMsr: (cpu, index) => model.readMsr(idOf(cpu), index),
      writeOtherMsr: (cpu, index, value) => model.writeMsr(idOf(cpu), index, value),
      random: () => model.random(),
      tscChanged,
    });
    const names = Object.keys(instructions);
    const wrmsr = names.indexOf('wrmsr');
    const list = Object.values(instructions);
    return {
      names,
      index: (name: string): number => {
        const index = names.indexOf(name);
        if (index < 0) throw new Error(`no rare instruction '${name}'`);
        return index;
      },
      call: (at: number, record: number, index: number): number => {
        const cpu = this.#cpuAt(at);
        cpu.record = record;
        // Many of them are serializing instructions: writes before are done, and with IPIs seen as done
        if (atomics) caches.serialize(index === wrmsr);
        const { counter } = this;
        return counter ? counter.during(record, () => list[index]!(cpu)) : list[index]!(cpu);
      },
    };
  }

  #decode(at: number, host: number): number {
    const cpu = this.#cpuAt(at);
    this.#charge(at, DecodeCost);
    const vcpu = this.#config.layout.cpuBlocks.indexOf(at);
    this.#lowering.bind(at);
    const request = {
      vcpu,
      cpu: at,
      host,
      physical: Number(cpu.u64(Cpu.SlowPhysical)),
      key: cpu.u32(Cpu.ModeKey),
      room: codeRoom(cpu),
      nextPage: () => this.#nextCodePage(cpu),
    };
    let block = this.#lowering.lower(request);
    if (block === 'arena-full') {
      this.#dropAllCode();
      block = this.#lowering.lower(request);
    }
    if (typeof block === 'number') {
      this.#translator?.onBlock(vcpu, block, cpu.rip);
      return block;
    }
    if (typeof block === 'object') cpu.raise(block.vector);
    return 0;
  }

  /** Takes what happened in JavaScript from the budget of the running slice. */
  #charge(at: number, instructions: number): void {
    const field = at + Cpu.DecodeCost;
    this.#view.setUint32(field, this.#view.getUint32(field, true) + instructions, true);
  }

  #nextCodePage(cpu: RareCpu): number {
    const base = cpu.u32(Cpu.ModeKey) & ModeKey.Code64 ? 0n : cpu.segment(1).base;
    const linear = ((cpu.rip + base) | 0xfffn) + 1n;
    const canonical = cpu.u32(Cpu.ModeKey) & ModeKey.Code64 ? linear : BigInt.asUintN(32, linear);
    const access = Access.Execute | (cpu.u32(Cpu.ModeKey) & ModeKey.User ? Access.User : 0);
    const page = this.core.walk(cpu.at, BigInt.asIntN(64, canonical), access);
    if (page === -1n) return 0;
    const host = this.core.hostOf(BigInt.asUintN(64, page) & ~0xfffn) >>> 0;
    if (host === 0) cpu.raise(6);
    return host;
  }

  #dropAllCode(): void {
    this.#config.caches.dropAll();
    for (const vcpu of this.#config.vcpus) this.#lowering.reset(vcpu);
    this.#translator?.onFlush();
  }

  #codeWritten(at: number, host: number, size: number): number {
    this.#charge(at, DropCost);
    const first = this.#ramPage(host);
    const last = this.#ramPage(host + size - 1);
    let dropped = 0;
    for (let page = first; page <= last; page++) {
      const start = page === first ? host % PageSize : 0;
      const end = page === last ? ((host + size - 1) % PageSize) + 1 : PageSize;
      if (this.#config.caches.dropCode(page, start, end)) dropped = 1;
    }
    return dropped;
  }

  /** The access lies in one page. */
  #codeWrittenElsewhere(host: number, size: number): void {
    const lines = linesOf(host & (PageSize - 1), size);
    const low = Number(BigInt.asIntN(32, lines));
    this.#writers.writtenLines(this.#ramPage(host), low, Number(BigInt.asIntN(32, lines >> 32n)));
  }

  #ramPage(host: number): number {
    return (host - this.#config.layout.ram) >>> 12;
  }

  #constant(name: string, bytes: () => Uint8Array): number {
    const known = this.#data.get(name);
    if (known !== undefined) return known;
    const content = bytes();
    const at = this.#dataNext;
    this.#dataNext += Math.ceil(content.length / 16) * 16;
    if (this.#dataNext > this.#dataArea.translator)
      throw new Error(`constant data of instructions is full at '${name}'`);
    new Uint8Array(this.#buffer).set(content, at);
    this.#data.set(name, at);
    return at;
  }
}

/** A bit for each 64-byte line of a page that `size` bytes at `offset` touch. */
function linesOf(offset: number, size: number): bigint {
  const [first, last] = [BigInt(offset >> 6), BigInt(Math.min(offset + size - 1, PageSize - 1) >> 6)];
  return ((1n << (last - first + 1n)) - 1n) << first;
}

/** Bytes from RIP to the limit of CS, RIP being within it. */
function codeRoom(cpu: RareCpu): number {
  if (cpu.u32(Cpu.ModeKey) & ModeKey.Code64) return Infinity;
  return cpu.segment(SegmentIndex.Cs).limit - Number(cpu.rip) + 1;
}
