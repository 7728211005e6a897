/**
 * Tiny 64-bit guests of several vCPUs, each on a thread of its own: vCPU 0 on the test's thread, the others on workers
 * (smp-vcpu.ts). Every vCPU runs a program of its own over the same memory until it writes to {@link Port.Done}.
 */
import { Worker } from 'node:worker_threads';
import { type SharedWasmVm, WasmEngine, type WasmEngineVm } from '@lodger/vmm/engine/wasm/engine.js';
import { compileHere } from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import type { Clock } from '@lodger/vmm/time/clock.js';
import type { Assembler } from '../guest/assembler.ts';
import { At, EngineGuest, Port, type EngineUnderTest } from './engine-guest.ts';

/** How long all vCPUs together may take, in milliseconds, on a busy host. */
const SmpPatience = 300_000;
/** Programs of the vCPUs, one behind the other. */
const ProgramBytes = 0x1000;
const StackBytes = 0x1000;
const Stacks = 0x5_0000;
const Programs = 0x6_0000;

export type ClockStart = readonly [seconds: number, nanoseconds: number];

/** One clock for all threads. */
export function sharedClock([seconds, nanoseconds]: ClockStart): Clock {
  return {
    now() {
      const [second, nanosecond] = process.hrtime();
      return (second - seconds) * 1e9 + (nanosecond - nanoseconds);
    },
    wallClock: () => BigInt(Date.now()) * 1_000_000n,
  };
}

export interface SmpVcpuData {
  readonly shared: SharedWasmVm;
  readonly id: number;
  readonly start: ClockStart;
  readonly translate: boolean;
  /** Word 0: 1 when all are to end. Words 1, 2, …: what came of each vCPU. */
  readonly words: Int32Array;
}

/** What came of a vCPU. */
export const Ended = { Running: 0, Done: 1, Otherwise: 2 } as const;

export const translation = { createCompiler: compileHere, threshold: 2, optimized: true } as const;

export class SmpGuest extends EngineGuest {
  readonly #start: ClockStart;
  readonly #translate: boolean;

  constructor(vcpus: number, translate: boolean) {
    const start = process.hrtime();
    const clock = sharedClock(start);
    const engine = new WasmEngine({ vcpuThreads: true, ...(translate && { translator: translation }) });
    const underTest: EngineUnderTest = {
      clock,
      createVm: (config) => engine.createVm({ ...config, clock }),
      advance: () => {},
    };
    super(underTest, vcpus);
    this.#start = start;
    this.#translate = translate;
  }

  /** Gives each vCPU its program; all run until the first is done. Answers what came of the others: names of exits, or `done`. */
  async runAll(programs: readonly ((a: Assembler) => void)[]): Promise<string[]> {
    this.start((a) => a.nop());
    const { regs, sregs } = this.vcpu.state();
    programs.forEach((program, id) => {
      const rip = Programs + id * ProgramBytes;
      this.code(rip, program);
      const vcpu = this.vcpus[id]!;
      const state = vcpu.state();
      vcpu.setState({
        ...state,
        regs: { ...regs, rip: BigInt(rip), rsp: BigInt(Stacks + (id + 1) * StackBytes) },
        sregs: { ...sregs, apicBase: state.sregs.apicBase },
        mpState: 'runnable',
      });
    });
    const words = new Int32Array(new SharedArrayBuffer(4 * (1 + programs.length)));
    const workers = programs.slice(1).map((_, index) => this.#startWorker(index + 1, words));
    const ended = Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
    try {
      this.#runFirst();
    } finally {
      Atomics.store(words, 0, 1);
      for (const vcpu of this.vcpus) vcpu.kick();
      await ended;
    }
    return programs.slice(1).map((_, index) => ['running', 'done', 'otherwise'][words[index + 2]!]!);
  }

  #startWorker(id: number, words: Int32Array): Worker {
    const { shared } = this.vm as WasmEngineVm;
    const workerData: SmpVcpuData = { shared, id, start: this.#start, translate: this.#translate, words };
    return new Worker(new URL('./smp-vcpu.js', import.meta.url), { workerData });
  }

  /** Halts of the first vCPU last until somebody wants its attention. */
  #runFirst(): void {
    const vm = this.vm as WasmEngineVm;
    const end = performance.now() + SmpPatience;
    while (performance.now() < end) {
      vm.attend();
      vm.fireTimers();
      const exit = this.vcpu.run();
      if (exit.kind === 'pio-write' && exit.port === Port.Done) return;
      if (exit.kind === 'halt' && !this.vcpu.runnable) vm.sleep(10);
      else if (exit.kind !== 'interrupted' && exit.kind !== 'halt')
        throw new Error(
          `the first vCPU: ${JSON.stringify(exit, (_, value: unknown) => (typeof value === 'bigint' ? value.toString(16) : value))}`,
        );
    }
    throw new Error(`no end; the first vCPU is at ${this.vcpu.state().regs.rip.toString(16)}`);
  }
}

export { At };
