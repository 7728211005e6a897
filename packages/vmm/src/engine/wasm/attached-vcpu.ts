/** A vCPU on its own thread. */
import { OwnApic } from '../../interrupts/own-apic.ts';
import type { Clock } from '../../time/clock.ts';
import { HeapTimerQueue } from '../../time/timer-queue.ts';
import { TscRate } from '../../time/tsc-rate.ts';
import type { Vcpu, VcpuDebug } from '../engine.ts';
import type { VcpuExit } from '../exit.ts';
import type { VcpuState } from '../state.ts';
import { CpuModel } from './cpu-model.ts';
import type { SharedWasmVm } from './engine.ts';
import { EngineThread, type TranslatorOptions } from './engine-thread.ts';
import { Cpu } from './interpreter/cpu-layout.ts';
import { SharedGuestMemory } from './shared-memory.ts';
import { TranslationCaches } from './softmmu/translation-caches.ts';
import { NoTranslation, VcpuLink } from './vcpu-link.ts';
import type { WasmVcpu } from './wasm-vcpu.ts';

const NanosecondsPerMillisecond = 1e6;

export interface AttachOptions {
  /** Shows the same time as the machine's. */
  readonly clock: Clock;
  readonly translator?: TranslatorOptions | undefined;
}

/** Makes what the calling thread runs the vCPU with. */
export function attachWasmVcpu(shared: SharedWasmVm, id: number, options: AttachOptions): AttachedVcpu {
  return new AttachedVcpu(shared, id, options);
}

export class AttachedVcpu implements Vcpu {
  readonly id: number;
  readonly #clock: Clock;
  readonly #timers = new HeapTimerQueue();
  readonly #tsc = new TscRate();
  readonly #interrupts: OwnApic;
  readonly #model: CpuModel;
  readonly #caches: TranslationCaches;
  readonly #thread: EngineThread;
  readonly #link: VcpuLink;
  readonly #vcpu: WasmVcpu;

  constructor(shared: SharedWasmVm, id: number, { clock, translator }: AttachOptions) {
    const { vcpuThreads } = shared;
    if (!vcpuThreads) throw new Error('the vCPUs of this machine run in its own thread');
    this.id = id;
    this.#clock = clock;
    const { layout, memory, core, cpu, states } = vcpuThreads;
    const { buffer } = shared;
    const links = states.map((state, vcpu) => new VcpuLink(buffer, layout, vcpu, state));
    this.#link = links[id]!;
    this.#caches = new TranslationCaches(buffer, layout, id);
    const guest = new SharedGuestMemory(shared, { thread: id, drop: (page) => void this.#caches.dropCode(page) });
    const interrupts = (this.#interrupts = new OwnApic({
      id,
      inboxes: links.map(({ inbox }) => inbox),
      clock,
      timers: this.#timers,
      tsc: this.#tsc,
      onVcpuEvent: (event) => this.#vcpu.onEvent(event),
      tscChanged: () => this.#model.tscChanged(),
    }));
    this.#model = new CpuModel({
      cpu,
      vcpus: layout.cpuBlocks.length,
      sharing: 1,
      clock,
      tsc: this.#tsc,
      memory: guest,
      interrupts,
      tscOffset: (vcpu) => this.#thread.cpus[vcpu]!.u64(Cpu.TscOffset),
    });
    this.#thread = new EngineThread({
      memory,
      layout,
      thread: id,
      vcpus: [id],
      caches: this.#caches,
      interrupts,
      model: this.#model,
      clock,
      tsc: this.#tsc,
      atomics: true,
      translator,
      core,
      beforeLoad: () => {},
      tscChanged: () => {
        this.#model.tscChanged();
        for (const { inbox } of links) if (inbox.id !== id) inbox.sendTscChanged();
      },
    });
    this.#vcpu = this.#thread.createVcpu(id);
  }

  get runnable(): boolean {
    return this.#vcpu.runnable;
  }

  kick(): void {
    this.#vcpu.kick();
  }

  /** Waits in here while the vCPU is halted. */
  run(deadline = Infinity): VcpuExit {
    this.#link.attend();
    this.#load();
    this.#timers.fire(this.#clock.now());
    const exit = this.#vcpu.run();
    this.#report();
    if (exit.kind === 'halt' && !this.#vcpu.runnable) this.#sleep(deadline);
    return exit;
  }

  standStill(): void {
    this.#interrupts.receive();
    this.#link.publishState(() => this.#vcpu.state());
  }

  state(): VcpuState {
    return this.#vcpu.state();
  }
  setState(state: VcpuState): void {
    this.#vcpu.setState(state);
  }
  setDebug(debug: VcpuDebug): void {
    this.#vcpu.setDebug(debug);
  }

  #load(): void {
    const written = this.#link.takeState();
    if (!written) return;
    const { state, surroundings } = written;
    const { clock } = this.#model.paravirtual;
    if (surroundings) this.#tsc.khz = surroundings.tscKhz;
    if (surroundings && surroundings.kvmClockOffset !== clock.offset) {
      clock.restoreTime(clock.now() - clock.offset + surroundings.kvmClockOffset);
    }
    this.#vcpu.setState(state);
  }

  #sleep(deadline: number): void {
    const until = Math.min(deadline, this.#timers.nextDeadline());
    const milliseconds = (until - this.#clock.now()) / NanosecondsPerMillisecond;
    if (milliseconds > 0) this.#link.sleep(milliseconds);
  }

  #report(): void {
    const { handlers, translatorStatistics } = this.#thread;
    this.#link.statistics = {
      droppedBlocks: this.#caches.droppedBlocks,
      flushes: this.#caches.flushes,
      forms: handlers.numbers.size,
      ...(translatorStatistics ?? NoTranslation),
    };
  }
}
