/** The wasm engine: x86-64 on WebAssembly, with nothing but a JavaScript runtime under it. */
import '../../types/webassembly.ts';
import { requireVersion } from '../../bus/saved-state.ts';
import { IrqChip } from '../../interrupts/irqchip.ts';
import type { InterruptLine, MsiSink } from '../../interrupts/interrupt-line.ts';
import { OwnApic } from '../../interrupts/own-apic.ts';
import { ramParts } from '../../machine/memory-map.ts';
import { gpa } from '../../memory/address.ts';
import { HostError } from '../../errors/host-error.ts';
import type { Clock } from '../../time/clock.ts';
import { InstructionClock } from '../../time/instruction-clock.ts';
import { HeapTimerQueue } from '../../time/timer-queue.ts';
import { TscRate } from '../../time/tsc-rate.ts';
import type { CpuChoice } from '../../x86/cpu-models.ts';
import type { Engine, EngineVm, EngineVmConfig, MemorySlot, Vcpu } from '../engine.ts';
import type { ProfileSamples } from '../../profile/samples.ts';
import type { VcpuExit } from '../exit.ts';
import type { VcpuState, VmState } from '../state.ts';
import { CpuModel, type CpuModelConfig } from './cpu-model.ts';
import { type CompileCore, EngineThread, type TranslatorOptions } from './engine-thread.ts';
import type { CoreExports } from './interpreter/core-module.ts';
import { Cpu } from './interpreter/cpu-layout.ts';
import { Profiler } from './profiler.ts';
import { type RamRange, SharedGuestMemory, type SharedMemoryDescription } from './shared-memory.ts';
import { TranslationCaches } from './softmmu/translation-caches.ts';
import {
  MaxSlots,
  SlotField,
  SlotFlags,
  SlotSize,
  ThreadField,
  VmBlock,
  VmField,
  type VmLayout,
  vmLayout,
} from './softmmu/vm-layout.ts';
import type { TranslatorStatistics } from './translator/translator.ts';
import { DistantVcpu, NoTranslation, type ThreadStatistics, VcpuLink, type VcpuThreadParts } from './vcpu-link.ts';
import type { WasmVcpu } from './wasm-vcpu.ts';

export type { CompileCore, TranslatorOptions } from './engine-thread.ts';

export interface WasmEngineOptions {
  readonly compileCore?: CompileCore;
  /** Bytes of shared memory for slots that are added after creation. */
  readonly slackSize?: number;
  /** Bytes of shared memory for each vCPU's decoded blocks: when they are full, all are dropped. */
  readonly arenaSize?: number;
  /** Translates hot code; without, all is interpreted. */
  readonly translator?: TranslatorOptions;
  /**
   * Each vCPU but the first is to be run by a thread of its own (attached-vcpu.ts). For hosts whose memory order is that
   * of x86.
   */
  readonly vcpuThreads?: boolean;
  /** Code as for {@link vcpuThreads}, in one thread. */
  readonly atomics?: boolean;
  /** Samples where guest code runs. Read with {@link WasmEngineVm.profile}. */
  readonly profile?: boolean;
  /**
   * Deterministic runs stop at any instruction of blocks and regions, instead of doing the last ones before a stop one by one in
   * the interpreter (slower): for lockstep runs that look for the instruction at which two runs part.
   */
  readonly stopsAnywhere?: boolean;
  /** Counts executions by handler (slower): for benchmarks. Read with {@link WasmEngineVm.executionCounts}. */
  readonly countExecutions?: boolean;
}

const PageSize = 4096;

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
  /** Word 0 is a futex: store 1 and notify to get the machine thread's attention. */
  readonly attention: Int32Array;
  /** What threads of vCPUs make theirs with. Absent when all vCPUs run in the machine's thread. */
  readonly vcpuThreads?: VcpuThreadParts;
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
  /** Accesses of instructions to memory that the TLB did not know. */
  readonly tlbMisses: number;
  /** Undefined without translator. */
  readonly translator: TranslatorStatistics | undefined;
}

export class WasmEngineVm implements EngineVm {
  readonly memory: SharedGuestMemory;
  readonly msi: MsiSink;
  readonly irqchip: IrqChip;
  readonly caches: TranslationCaches;
  readonly layout: VmLayout;
  readonly buffer: SharedArrayBuffer;
  readonly thread: EngineThread;
  readonly #wasmMemory: WebAssembly.Memory;
  readonly #view: DataView;
  readonly #attention: Int32Array;
  readonly #clock: Clock;
  readonly #timers = new HeapTimerQueue();
  readonly #tsc: TscRate;
  readonly #vcpus: (WasmVcpu | undefined)[] = [];
  /** Of the vCPUs with threads, by vCPU; the first is the machine thread's. */
  readonly #links: readonly VcpuLink[];
  readonly #profiler: Profiler | undefined;
  readonly #modelConfig: CpuModelConfig;
  readonly #model: CpuModel;
  readonly #ranges: RamRange[];
  readonly #slots = new Map<number, MemorySlot & { host: number }>();

  constructor(config: EngineVmConfig, options: WasmEngineOptions) {
    const { vcpus, memorySize } = config;
    if (config.clock instanceof InstructionClock && vcpus !== 1) {
      throw new HostError('InvalidArgument', 'deterministic runs have one processor: pass --cpus 1');
    }
    const vcpuThreads = (options.vcpuThreads ?? false) && vcpus > 1;
    this.#clock = config.clock;
    if (options.profile) this.#profiler = new Profiler(vcpus, () => config.clock.now());
    this.#tsc = new TscRate(config.tscKhz);
    this.layout = vmLayout(vcpus, memorySize, options.slackSize, options.arenaSize, vcpuThreads ? vcpus : 1);
    this.#wasmMemory = createMemory(this.layout.wasmPages);
    this.buffer = this.#wasmMemory.buffer;
    this.#view = new DataView(this.buffer);
    this.#attention = new Int32Array(this.buffer, this.layout.threads[0]! + ThreadField.Attention, 1);
    this.caches = new TranslationCaches(this.buffer, this.layout);
    this.#ranges = ramRanges(memorySize, this.layout.ram);
    this.memory = new SharedGuestMemory(this.#description, {
      thread: 0,
      drop: (page) => void this.caches.dropCode(page),
    });
    this.#ranges.forEach(({ start, length, host }, id) =>
      this.#slots.set(-1 - id, { id, start, size: length, readOnly: false, host }),
    );
    this.#writeSlots();
    this.#links = vcpuThreads ? this.layout.threads.map((_, id) => new VcpuLink(this.buffer, this.layout, id)) : [];
    this.irqchip = new IrqChip({
      vcpus,
      clock: config.clock,
      timers: this.#timers,
      tsc: this.#tsc,
      ...(vcpuThreads && { inboxes: this.#links.map(({ inbox }) => inbox) }),
      tscChanged: () => this.#model.tscChanged(),
      onVcpuEvent: (id, event) => this.#vcpus[id]?.onEvent(event),
    });
    this.msi = this.irqchip;
    this.#modelConfig = {
      cpu: config.cpu,
      vcpus,
      sharing: vcpuThreads ? 1 : vcpus,
      clock: config.clock,
      tsc: this.#tsc,
      memory: this.memory,
      interrupts: this.irqchip,
      entropy: config.entropy,
      tscOffset: (vcpu) => this.thread.cpus[vcpu]!.u64(Cpu.TscOffset),
    };
    this.#model = new CpuModel(this.#modelConfig);
    this.thread = new EngineThread({
      memory: this.#wasmMemory,
      layout: this.layout,
      thread: 0,
      vcpus: vcpuThreads ? [0] : this.layout.cpuBlocks.map((_, id) => id),
      caches: this.caches,
      interrupts: this.irqchip,
      model: this.#model,
      clock: config.clock,
      tsc: this.#tsc,
      atomics: vcpuThreads || (options.atomics ?? false),
      translator: options.translator,
      profiler: this.#profiler,
      core: options.compileCore ?? ((bytes) => new WebAssembly.Module(bytes)),
      countExecutions: options.countExecutions,
      stopsAnywhere: options.stopsAnywhere ?? false,
      nextDeadline: () => this.nextDeadline(),
      beforeLoad: (id, state) => this.#takeTscRate(id, state),
      tscChanged: () => this.#tscChanged(),
    });
  }

  get keepsDeadlines(): boolean {
    return this.thread.counter !== undefined;
  }

  get core(): CoreExports {
    return this.thread.core;
  }

  /** What other threads need. */
  get shared(): SharedWasmVm {
    const shared = { engine: 'wasm' as const, attention: this.#attention, ...this.#description };
    if (this.#links.length === 0) return shared;
    const vcpuThreads = {
      memory: this.#wasmMemory,
      layout: this.layout,
      core: this.thread.coreModule,
      cpu: this.cpu,
      states: this.#links.map(({ state }) => state),
    };
    return { ...shared, vcpuThreads };
  }

  /** Executions by form since creation, most frequent first; empty unless asked for in the options. */
  executionCounts(): { form: string; inline: boolean; count: number }[] {
    return this.thread.executionCounts();
  }

  get cpu(): CpuChoice {
    return this.#model.choice;
  }

  statistics(): EngineStatistics {
    const { cpus, handlers, translatorStatistics } = this.thread;
    const own: ThreadStatistics = {
      droppedBlocks: this.caches.droppedBlocks,
      flushes: this.caches.flushes,
      forms: handlers.numbers.size,
      ...(translatorStatistics ?? NoTranslation),
    };
    const others = this.#links.slice(1).map((link) => link.statistics);
    const sum = (name: keyof ThreadStatistics): number => others.reduce((total, each) => total + each[name], own[name]);
    return {
      instructions: cpus.reduce((total, cpu) => total + Number(cpu.u64(Cpu.Retired)), 0),
      droppedBlocks: sum('droppedBlocks'),
      flushes: sum('flushes'),
      forms: Math.max(own.forms, ...others.map(({ forms }) => forms)),
      translatedInstructions: cpus.reduce((total, cpu) => total + Number(cpu.u64(Cpu.RegionRetired)), 0),
      regionEntries: cpus.reduce((total, cpu) => total + cpu.u32(Cpu.RegionEntries), 0),
      tlbMisses: cpus.reduce((total, cpu) => total + Number(cpu.u64(Cpu.TlbMisses)), 0),
      translator: translatorStatistics && {
        regions: sum('regions'),
        instructions: sum('instructions'),
        modules: sum('modules'),
        moduleBytes: sum('moduleBytes'),
        compileTime: sum('compileTime'),
        left: sum('left'),
        dropped: sum('dropped'),
        evictions: sum('evictions'),
      },
    };
  }

  /** Samples so far of what this thread runs; undefined unless asked for in the options. */
  profile(): ProfileSamples | undefined {
    return this.#profiler?.samples;
  }

  interruptLine(gsi: number): InterruptLine {
    return this.irqchip.interruptLine(gsi);
  }

  createVcpu(id: number): Vcpu {
    if (id > 0 && this.#links.length > 0) return this.#createDistantVcpu(id);
    const vcpu = this.thread.createVcpu(id);
    this.#vcpus[id] = vcpu;
    return vcpu;
  }

  #createDistantVcpu(id: number): DistantVcpu {
    return new DistantVcpu(id, this.#links[id]!, this.#standIn(id).vcpu.state(), {
      surroundings: () => ({ tscKhz: this.#tsc.khz, kvmClockOffset: this.#model.paravirtual.clock.offset }),
      publish: ({ localApic, sregs }) => {
        if (localApic) this.#standIn(id).interrupts.apic().restore(localApic, sregs.apicBase);
      },
      receive: (state) => {
        const { vcpu, interrupts } = this.#standIn(id);
        vcpu.setState(state);
        interrupts.receive();
        return vcpu.state();
      },
    });
  }

  /** A vCPU that another thread runs, as if it were this thread's: to find out about states while it stands still. */
  #standIn(id: number): { readonly vcpu: WasmVcpu; readonly interrupts: OwnApic } {
    const interrupts: OwnApic = new OwnApic({
      id,
      inboxes: this.#links.map(({ inbox }) => inbox),
      clock: this.#clock,
      timers: new HeapTimerQueue(),
      tsc: this.#tsc,
      onVcpuEvent: (event) => vcpu.onEvent(event),
      tscChanged: () => {},
    });
    const model = new CpuModel({ ...this.#modelConfig, interrupts });
    const vcpu: WasmVcpu = this.thread.createVcpu(id, { interrupts, model });
    return { vcpu, interrupts };
  }

  /** Exits of vCPUs with threads: accesses to the controllers that are this thread's. */
  answer(exit: VcpuExit): boolean {
    const { irqchip } = this;
    switch (exit.kind) {
      case 'pio-read': {
        const value = irqchip.readPort(exit.port, exit.size);
        if (value === undefined) return false;
        exit.value = value;
        return true;
      }
      case 'pio-write':
        return irqchip.writePort(exit.port, exit.size, exit.value);
      case 'mmio-read': {
        if (exit.size === 8) return false;
        const value = irqchip.readIoApic(exit.address);
        if (value === undefined) return false;
        exit.value = BigInt(value);
        return true;
      }
      case 'mmio-write':
        return exit.size !== 8 && irqchip.writeIoApic(exit.address, exit.size, Number(exit.value & 0xffff_ffffn));
      default:
        return false;
    }
  }

  /** A vCPU of this thread wrote its TSC. */
  #tscChanged(): void {
    this.#model.tscChanged();
    for (const { inbox } of this.#links.slice(1)) inbox.sendTscChanged();
  }

  /** A vCPU of this thread that was created. */
  vcpu(id: number): WasmVcpu {
    return this.#vcpus[id]!;
  }

  setMemorySlot(slot: MemorySlot): void {
    const old = this.#slots.get(slot.id);
    if (this.#links.length > 0) throw new HostError('InvalidArgument', 'vCPUs with threads keep their memory slots');
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
    this.thread.memoryChanged();
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
    const { ram, codeLines, staleCode, threads } = this.layout;
    return { buffer: this.buffer, ranges: this.#ranges, layout: { ram, codeLines, staleCode, threads } };
  }

  /** All TSCs run at the rate of the first vCPU's. */
  #takeTscRate(id: number, { tscKhz }: VcpuState): void {
    if (id === 0 && tscKhz !== undefined) this.#tsc.khz = tscKhz;
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
