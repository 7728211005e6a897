/** The wasm engine: x86-64 on WebAssembly, with nothing but a JavaScript runtime under it. */
import '../../types/webassembly.ts';
import { requireVersion } from '../../bus/saved-state.ts';
import { IrqChip } from '../../interrupts/irqchip.ts';
import type { InterruptLine, MsiSink } from '../../interrupts/interrupt-line.ts';
import { ramParts } from '../../machine/memory-map.ts';
import { gpa } from '../../memory/address.ts';
import { HostError } from '../../errors/host-error.ts';
import type { Clock } from '../../time/clock.ts';
import { HeapTimerQueue } from '../../time/timer-queue.ts';
import { TscRate } from '../../time/tsc-rate.ts';
import type { CpuChoice } from '../../x86/cpu-models.ts';
import type { CpuFeature } from '../../x86/instructions/table/notation.ts';
import { createDecoder } from '../../x86/decode/decoder.ts';
import type { Engine, EngineVm, EngineVmConfig, MemorySlot, Vcpu } from '../engine.ts';
import type { VcpuState, VmState } from '../state.ts';
import { type CoreExports, buildCore } from './interpreter/core-module.ts';
import { Cpu, SegmentIndex } from './interpreter/cpu-layout.ts';
import { HandlerTable } from './interpreter/handler-table.ts';
import { Lowering } from './interpreter/lowering.ts';
import { commonForms, inlineHandlers } from './interpreter/inline-forms.ts';
import { CpuModel } from './cpu-model.ts';
import { legacyEvent, rareInstructions } from './rare/rare-table.ts';
import { RareCpu } from './rare/rare-cpu.ts';
import { semantics } from './semantics-table.ts';
import { type RamRange, SharedGuestMemory, type SharedMemoryDescription } from './shared-memory.ts';
import { Access } from './softmmu/access.ts';
import { ModeKey } from './softmmu/block-header.ts';
import { TranslationCaches } from './softmmu/translation-caches.ts';
import {
  MaxSlots,
  SlotField,
  SlotFlags,
  SlotSize,
  VmBlock,
  VmBlockSize,
  VmField,
  type VmLayout,
  vmLayout,
} from './softmmu/vm-layout.ts';
import type { CreateCompiler } from './translator/region-compiler.ts';
import { Translator, type TranslatorStatistics } from './translator/translator.ts';
import { WasmVcpu } from './wasm-vcpu.ts';

/** How the host's runtime compiles the core: eagerly and with the optimizing tier, where it can be told. */
export type CompileCore = (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.Module;

export interface WasmEngineOptions {
  readonly compileCore?: CompileCore;
  /** Bytes of shared memory for slots that are added after creation. */
  readonly slackSize?: number;
  /** Bytes of shared memory for each vCPU's decoded blocks: when they are full, all are dropped. */
  readonly arenaSize?: number;
  /** Translates hot code; without, all is interpreted. */
  readonly translator?: TranslatorOptions;
  /** Counts executions by handler (slower): for benchmarks. Read with {@link WasmEngineVm.executionCounts}. */
  readonly countExecutions?: boolean;
}

export interface TranslatorOptions {
  /** Where regions are compiled. */
  readonly createCompiler: CreateCompiler;
  /** Samples of a block (of one a slice) before it is translated; 0 translates every block when it is first met. */
  readonly threshold?: number;
  /** Ask the runtime for its optimizing tier at once. */
  readonly optimized?: boolean;
}

/** A slice is some 30 µs of interpreting: this is about the time that compiling a region takes. */
const DefaultThreshold = 24;
const CounterBytes = 0x3000;
const PageSize = 4096;
/** What a guest's slice is charged for decoding a block, and for dropping a page's blocks, in instructions. */
const DecodeCost = 200;
const DropCost = 100;

/** Largest guest memory: a wasm memory has 4 GiB at most, and the engine needs room. */
export const MaxMemorySize = 3584 * 1024 * 1024;

export class WasmEngine implements Engine {
  readonly name = 'wasm';
  readonly #options: WasmEngineOptions;

  constructor(options: WasmEngineOptions = {}) {
    this.#options = options;
  }

  createVm(config: EngineVmConfig): WasmEngineVm {
    return new WasmEngineVm(config, this.#options);
  }
}

/** A VM as other threads hold it. */
export interface SharedWasmVm extends SharedMemoryDescription {
  readonly engine: 'wasm';
  /** Word 0 is a futex: store 1 and notify to get the vCPU thread's attention. */
  readonly attention: Int32Array;
}

/** What the engine did since the VM's creation. */
export interface EngineStatistics {
  /** Guest instructions, of all vCPUs. */
  readonly instructions: number;
  /** Blocks of decoded instructions that were dropped because their code was written. */
  readonly droppedBlocks: number;
  /** Times that all blocks were dropped because their space was full. */
  readonly flushes: number;
  /** Different forms of instructions that were met. */
  readonly forms: number;
  /** Of the instructions, those of translated code, and how often that was entered. */
  readonly translatedInstructions: number;
  readonly regionEntries: number;
  /** Undefined without translator. */
  readonly translator: TranslatorStatistics | undefined;
}

export class WasmEngineVm implements EngineVm {
  readonly memory: SharedGuestMemory;
  readonly msi: MsiSink;
  readonly irqchip: IrqChip;
  readonly caches: TranslationCaches;
  readonly core: CoreExports;
  readonly layout: VmLayout;
  readonly handlers: HandlerTable;
  readonly buffer: SharedArrayBuffer;
  readonly #view: DataView;
  readonly #attention: Int32Array;
  readonly #clock: Clock;
  readonly #timers = new HeapTimerQueue();
  readonly #tsc: TscRate;
  readonly #vcpus: (WasmVcpu | undefined)[] = [];
  readonly #cpus: RareCpu[] = [];
  readonly #lowering: Lowering;
  readonly #translator: Translator | undefined;
  readonly #model: CpuModel;
  readonly #ranges: RamRange[];
  readonly #slots = new Map<number, MemorySlot & { host: number }>();
  #dataNext = VmBlock + VmField.Data;
  readonly #data = new Map<string, number>();
  #counters: number | undefined;

  constructor(config: EngineVmConfig, options: WasmEngineOptions) {
    this.#clock = config.clock;
    this.#tsc = new TscRate(config.tscKhz);
    this.layout = vmLayout(config.vcpus, config.memorySize, options.slackSize, options.arenaSize);
    const memory = createMemory(this.layout.wasmPages);
    this.buffer = memory.buffer;
    this.#view = new DataView(this.buffer);
    this.#attention = new Int32Array(this.buffer, VmBlock + VmField.Attention, 1);
    this.caches = new TranslationCaches(this.buffer, this.layout);
    this.#ranges = ramRanges(config.memorySize, this.layout.ram);
    this.memory = new SharedGuestMemory(this.#description, (page) => this.caches.dropCode(page));
    this.#ranges.forEach(({ start, length, host }, id) =>
      this.#slots.set(-1 - id, { id, start, size: length, readOnly: false, host }),
    );
    this.#writeSlots();
    this.irqchip = new IrqChip({
      vcpus: config.vcpus,
      clock: config.clock,
      timers: this.#timers,
      tsc: this.#tsc,
      onVcpuEvent: (id, event) => this.#vcpus[id]?.onEvent(event),
    });
    this.msi = this.irqchip;
    this.#model = new CpuModel({
      cpu: config.cpu,
      vcpus: config.vcpus,
      clock: config.clock,
      tsc: this.#tsc,
      memory: this.memory,
      irqchip: this.irqchip,
      tscOffset: (vcpu) => this.#cpus[vcpu]!.u64(Cpu.TscOffset),
    });
    const rare = this.#rareTable();
    const { coreFeatures, decoderFeatures } = this.#model;
    const coreDecoder = createDecoder({ features: coreFeatures });
    const isWhole =
      decoderFeatures.size === coreFeatures.size && [...coreFeatures].every((name) => decoderFeatures.has(name));
    const decoder = isWhole ? coreDecoder : createDecoder({ features: decoderFeatures });
    const inline = inlineHandlers(coreDecoder);
    const environment = {
      rareIndex: rare.index,
      data: (name: string, bytes: () => Uint8Array) => this.#constant(name, bytes),
    };
    if (options.countExecutions)
      this.#counters = this.#constant('execution counters', () => new Uint8Array(CounterBytes));
    const core = buildCore(this.layout, inline.handlers, environment, this.#counters);
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: 256 });
    const compile = options.compileCore ?? ((bytes) => new WebAssembly.Module(bytes));
    const instance = new WebAssembly.Instance(compile(core.bytes), {
      env: {
        memory,
        handlers: table,
        // Addresses come as signed 32-bit numbers
        codeWritten: (cpu: number, host: number, size: number) => this.#codeWritten(cpu, host >>> 0, size),
        rare: rare.call,
        decode: (cpu: number, host: number) => this.#decode(cpu, host >>> 0),
        legacyEvent: (cpu: number, vector: number, kind: number) => legacyEvent(this.#cpuAt(cpu), vector, kind),
      },
    });
    this.core = instance.exports as unknown as CoreExports;
    this.handlers = new HandlerTable(
      {
        ...environment,
        layout: this.layout,
        memory,
        table,
        inlineNumbers: inline.numbers,
        inlineCount: core.inlineCount,
        rare: rare.call,
        semantic: (mnemonic) => semantics.get(mnemonic),
      },
      this.core,
    );
    this.handlers.prepare(commonForms(coreDecoder));
    this.#lowering = new Lowering({
      buffer: this.buffer,
      layout: this.layout,
      handlers: this.handlers,
      decoder,
    });
    this.#lowering.onCodePage = (page) => this.caches.protectPage(page);
    if (options.translator)
      this.#translator = this.#createTranslator(options.translator, memory, decoderFeatures, rare);
    this.layout.cpuBlocks.forEach((at, id) => {
      const cpu = new RareCpu(this.#view, at, this.core);
      cpu.flushTlb = (includeGlobal) => this.caches.flushTlb(at, includeGlobal);
      this.#cpus.push(cpu);
      this.#view.setUint32(at + Cpu.BlockHash, this.layout.blockHash[id]!, true);
      this.caches.flushTlb(at, true);
    });
  }

  #createTranslator(
    { createCompiler, threshold = DefaultThreshold, optimized = true }: TranslatorOptions,
    memory: WebAssembly.Memory,
    features: ReadonlySet<CpuFeature>,
    rare: { readonly names: readonly string[]; readonly call: (cpu: number, record: number, index: number) => number },
  ): Translator {
    const compiler = createCompiler({
      buffer: this.buffer,
      ram: this.layout.ram,
      wasmPages: this.layout.wasmPages,
      rareNames: rare.names,
      data: { start: VmBlock + VmField.TranslatorData, end: VmBlock + VmBlockSize },
      features: [...features],
      optimized,
    });
    const { layout, core, handlers, caches } = this;
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
    });
    caches.onDrop = (page) => translator.dropPage(page);
    return translator;
  }

  /** What other threads need. */
  get shared(): SharedWasmVm {
    return { engine: 'wasm', attention: this.#attention, ...this.#description };
  }

  /** Executions by form since creation, most frequent first; empty unless asked for in the options. */
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

  get cpu(): CpuChoice {
    return this.#model.choice;
  }

  statistics(): EngineStatistics {
    return {
      instructions: this.#cpus.reduce((sum, cpu) => sum + Number(cpu.u64(Cpu.Retired)), 0),
      droppedBlocks: this.caches.droppedBlocks,
      flushes: this.caches.flushes,
      forms: this.handlers.numbers.size,
      translatedInstructions: this.#cpus.reduce((sum, cpu) => sum + Number(cpu.u64(Cpu.RegionRetired)), 0),
      regionEntries: this.#cpus.reduce((sum, cpu) => sum + cpu.u32(Cpu.RegionEntries), 0),
      translator: this.#translator?.statistics,
    };
  }

  interruptLine(gsi: number): InterruptLine {
    return this.irqchip.interruptLine(gsi);
  }

  createVcpu(id: number): Vcpu {
    const vcpu = new WasmVcpu(id, this.#cpus[id]!, {
      irqchip: this.irqchip,
      core: this.core,
      tsc: this.#tsc,
      paravirtual: this.#model.paravirtual,
      xstateSupported: this.#model.xstateSupported,
      now: () => BigInt(Math.floor(this.#clock.now())),
      firstTscOffset: () => this.#cpus[0]!.u64(Cpu.TscOffset),
      beforeLoad: (id, state) => this.#takeTscRate(id, state),
      tscChanged: () => this.#model.tscChanged(),
      attentionWanted: () => Atomics.load(this.#attention, 0) !== 0,
      dropStale: () => this.caches.dropStale(),
      flushTranslations: (cpu) => this.caches.flushTlb(cpu, true),
      beforeRun: (vcpu) => this.#model.beforeRun(vcpu),
      beforeSlice: () => this.#translator?.poll(),
      sample: (vcpu, block) => this.#translator?.sample(vcpu, block, this.#cpus[vcpu]!.rip) ?? false,
      afterRun: (vcpu, wantsMore) => this.#model.afterRun(vcpu, wantsMore),
    });
    this.#vcpus[id] = vcpu;
    return vcpu;
  }

  setMemorySlot(slot: MemorySlot): void {
    const old = this.#slots.get(slot.id);
    const isPage = (value: number): boolean => value % PageSize === 0;
    if (!isPage(slot.start) || !isPage(slot.size))
      throw new HostError('InvalidArgument', 'memory slots are whole pages');
    if (!old && slot.size > 0 && this.#slots.size === MaxSlots) {
      throw new HostError('InvalidArgument', `at most ${MaxSlots} memory slots`);
    }
    if (slot.size === 0) this.#slots.delete(slot.id);
    else {
      const host = old && old.size >= slot.size ? old.host : this.#allocate(slot.size);
      this.#slots.set(slot.id, { ...slot, host });
    }
    this.#writeSlots();
    const slots = [...this.#slots.values()];
    this.memory.setSlots(slots.map(({ start, size, host }) => ({ start, length: size, host })));
    for (const cpu of this.layout.cpuBlocks) this.caches.flushTlb(cpu, true);
    this.#translator?.dropAll();
    this.#dropAllCode();
  }

  state(): VmState {
    const clock = { kvmClock: this.#model.paravirtual.clock.now(), wallClock: this.#clock.wallClock() };
    return { version: 1, ...this.irqchip.save(), clock };
  }

  setState(state: VmState): void {
    requireVersion({ version: state.version }, 1, 'interrupt controllers');
    this.irqchip.restore(state);
    this.#model.paravirtual.clock.restoreTime(state.clock.kvmClock);
  }

  nextDeadline(): number {
    return this.#timers.nextDeadline();
  }

  fireTimers(): void {
    this.#timers.fire(this.#clock.now());
  }

  /** Sleeps until a thread wants attention, at most `milliseconds`, and takes the request back. */
  sleep(milliseconds: number): void {
    Atomics.wait(this.#attention, 0, 0, milliseconds);
    Atomics.store(this.#attention, 0, 0);
    this.caches.dropStale();
  }

  /** Takes an attention request back without sleeping. */
  attend(): void {
    Atomics.store(this.#attention, 0, 0);
  }

  close(): void {}

  get #description(): SharedMemoryDescription {
    const { ram, codeLines, staleCode } = this.layout;
    return { buffer: this.buffer, ranges: this.#ranges, layout: { ram, codeLines, staleCode } };
  }

  /** All TSCs run at the rate of the first vCPU's. */
  #takeTscRate(id: number, { tscKhz }: VcpuState): void {
    if (id === 0 && tscKhz !== undefined) this.#tsc.khz = tscKhz;
  }

  #cpuAt(at: number): RareCpu {
    return this.#cpus[this.layout.cpuBlocks.indexOf(at)]!;
  }

  #rareTable() {
    const instructions = rareInstructions({
      clock: this.#clock,
      tsc: this.#tsc,
      irqchip: this.irqchip,
      idOf: (cpu) => this.#cpus.indexOf(cpu),
      xstateSupported: this.#model.xstateSupported,
      flushTlb: (cpu, global) => this.caches.flushTlb(cpu.at, global),
      flushPage: (cpu, linear) => this.caches.flushPage(cpu.at, linear),
      // Also MOV to debug registers: pages with data breakpoints must leave the TLB
      modeChanged: (cpu) => this.caches.flushTlb(cpu.at, true),
      readCr8: (cpu) => this.irqchip.cr8(this.#cpus.indexOf(cpu)),
      writeCr8: (cpu, value) => void this.irqchip.setCr8(this.#cpus.indexOf(cpu), value),
      cpuid: (cpu, leaf, subleaf) => this.#model.cpuid(cpu, this.#cpus.indexOf(cpu), leaf, subleaf),
      readOtherMsr: (cpu, index) => this.#model.readMsr(this.#cpus.indexOf(cpu), index),
      writeOtherMsr: (cpu, index, value) => this.#model.writeMsr(this.#cpus.indexOf(cpu), index, value),
      random: () => this.#model.random(),
      tscChanged: () => this.#model.tscChanged(),
    });
    const names = Object.keys(instructions);
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
        return list[index]!(cpu);
      },
    };
  }

  #decode(at: number, host: number): number {
    const cpu = this.#cpuAt(at);
    this.#charge(at, DecodeCost);
    const vcpu = this.layout.cpuBlocks.indexOf(at);
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
    this.caches.dropAll();
    this.layout.cpuBlocks.forEach((_, vcpu) => this.#lowering.reset(vcpu));
    this.#translator?.onFlush();
  }

  #codeWritten(at: number, host: number, size: number): number {
    this.#charge(at, DropCost);
    const first = (host - this.layout.ram) >>> 12;
    const last = (host + size - 1 - this.layout.ram) >>> 12;
    let dropped = 0;
    for (let page = first; page <= last; page++) if (this.caches.dropCode(page)) dropped = 1;
    return dropped;
  }

  #constant(name: string, bytes: () => Uint8Array): number {
    const known = this.#data.get(name);
    if (known !== undefined) return known;
    const content = bytes();
    const at = this.#dataNext;
    this.#dataNext += Math.ceil(content.length / 16) * 16;
    if (this.#dataNext > VmBlock + VmField.TranslatorData)
      throw new Error(`constant data of instructions is full at '${name}'`);
    new Uint8Array(this.buffer).set(content, at);
    this.#data.set(name, at);
    return at;
  }

  /** Space for an added slot, behind the RAM of the configuration. */
  #allocate(size: number): number {
    const used = [...this.#slots.values()].map((slot) => slot.host + slot.size);
    const host = Math.max(...used);
    if (host + size > this.layout.ram + this.layout.ramSize) {
      throw new HostError('MemoryTooLarge', 'no room for the memory slot: create the engine with a larger slackSize');
    }
    new Uint8Array(this.buffer).fill(0, host, host + size);
    return host;
  }

  #writeSlots(): void {
    this.#view.setUint32(VmBlock + VmField.SlotCount, this.#slots.size, true);
    [...this.#slots.values()].forEach(({ start, size, host, readOnly }, i) => {
      const at = VmBlock + VmField.Slots + i * SlotSize;
      this.#view.setBigUint64(at + SlotField.Start, BigInt(start), true);
      this.#view.setBigUint64(at + SlotField.End, BigInt(start + size), true);
      this.#view.setUint32(at + SlotField.Host, host, true);
      this.#view.setUint32(at + SlotField.Flags, readOnly ? SlotFlags.ReadOnly : 0, true);
    });
  }
}

/** Bytes from RIP to the limit of CS, RIP being within it. */
function codeRoom(cpu: RareCpu): number {
  if (cpu.u32(Cpu.ModeKey) & ModeKey.Code64) return Infinity;
  return cpu.segment(SegmentIndex.Cs).limit - Number(cpu.rip) + 1;
}

function createMemory(wasmPages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
  } catch (cause) {
    const mebibytes = Math.ceil(wasmPages / 16);
    throw new HostError('MemoryTooLarge', `cannot get ${mebibytes} MiB of memory: use a smaller --memory`, { cause });
  }
}

function ramRanges(memorySize: number, ram: number): RamRange[] {
  return ramParts(memorySize).map(({ start, length, offset }) => ({ start: gpa(start), length, host: ram + offset }));
}
