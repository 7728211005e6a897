/**
 * Runs two deterministic machines side by side and compares everything after each slice. Where they part, both are run anew, again
 * and again, to the slice before and then for ever fewer instructions, until the first one that makes a difference is found.
 */
import type { WasmEngineOptions } from '@lodger/vmm/engine/wasm/engine.js';
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import { DeterministicMachine } from './deterministic-machine.ts';
import type { Guest } from './deterministic-machine.ts';
import { differences } from './difference.ts';
import { describeInstruction } from './instruction.ts';

export interface LockstepOptions {
  readonly guest: Guest;
  readonly seed: number;
  /** Model of the processor. Default: the engine's. */
  readonly cpu?: string | undefined;
  /** Of the machine that is right where they differ, and of the one that is tested. */
  readonly engines: readonly [reference: WasmEngineOptions, tested: WasmEngineOptions];
  /** Nanoseconds of the guest's clock between two comparisons: as many instructions while the guest is busy. */
  readonly slice: number;
  /** When to stop, by the guest's clock. */
  readonly time: number;
  /** Stop when the guest has printed this. */
  readonly until?: RegExp | undefined;
  readonly progress?: (machine: DeterministicMachine) => void;
  /** The machines differ somewhere between two times: the first such instruction is being looked for. */
  readonly searching?: (same: number, different: number) => void;
}

export type LockstepResult =
  | {
      readonly kind: 'same';
      readonly instructions: number;
      readonly time: number;
      readonly comparisons: number;
      /** Of the tested machine's instructions, those of translated code. */
      readonly translated: number;
      readonly output: string;
      readonly end: EndReason | undefined;
      /** Of registers, controllers and memory at the end. */
      readonly hash: string;
    }
  | {
      readonly kind: 'different';
      /** Instructions before the one that makes the difference; the first and last one of a stretch where it is not found. */
      readonly instructions: readonly [first: number, last: number];
      /** Where it starts, and the instruction there. */
      readonly rip: bigint;
      readonly instruction: string;
      /** Values of the reference, then of the tested machine. */
      readonly lines: readonly string[];
    };

/** Times of a comparison and of the next one. */
interface Parting {
  readonly same: number;
  readonly different: number;
}

export class Lockstep {
  readonly #options: LockstepOptions;

  constructor(options: LockstepOptions) {
    this.#options = options;
  }

  run(): LockstepResult {
    const whole = this.#compare(this.#options.time, false);
    if ('different' in whole) return this.#find(whole);
    const { tested, comparisons } = whole;
    return {
      kind: 'same',
      instructions: tested.clock.instructions,
      time: tested.clock.now(),
      comparisons,
      translated: tested.vm.statistics().translatedInstructions,
      output: tested.output,
      end: tested.end,
      hash: tested.hash(),
    };
  }

  /** Runs both, slice by slice: the slice in which they part, or how they end. */
  #compare(time: number, stopsAnywhere: boolean): Parting | { tested: DeterministicMachine; comparisons: number } {
    const { slice, until, progress } = this.#options;
    const [reference, tested] = this.#start(stopsAnywhere);
    for (let comparisons = 1; ; comparisons++) {
      const target = Math.min(comparisons * slice, time);
      reference.runUntil(target);
      tested.runUntil(target);
      if (differences(reference, tested).length > 0) return { same: (comparisons - 1) * slice, different: target };
      progress?.(tested);
      if (target === time || reference.end !== undefined || until?.test(reference.output))
        return { tested, comparisons };
    }
  }

  #start(stopsAnywhere: boolean): [DeterministicMachine, DeterministicMachine] {
    const { guest, seed, cpu, engines } = this.#options;
    const [reference, tested] = engines.map(
      (engine) => new DeterministicMachine(guest, seed, { ...engine, stopsAnywhere }, cpu),
    );
    return [reference!, tested!];
  }

  /** Both machines at a time, after the same slices as in the first run up to `same`. */
  #runTo(same: number, target: number, stopsAnywhere: boolean): [DeterministicMachine, DeterministicMachine] {
    const machines = this.#start(stopsAnywhere);
    const { slice } = this.#options;
    for (const machine of machines) {
      for (let next = slice; next <= same; next += slice) machine.runUntil(next);
      machine.runUntil(target);
    }
    return machines;
  }

  #find(first: Parting): LockstepResult {
    // Code that can be left anywhere is other code, made at other times: they part elsewhere, or not at all
    const again = this.#compare(first.different, true);
    const stopsAnywhere = 'different' in again;
    const { same, different } = stopsAnywhere ? again : first;
    const differs = (time: number): boolean => differences(...this.#runTo(same, time, stopsAnywhere)).length > 0;
    let low = same;
    let high = different;
    while (high - low > 1) {
      this.#options.searching?.(low, high);
      const middle = Math.floor((low + high) / 2);
      if (differs(middle)) high = middle;
      else low = middle;
    }
    const lines = differences(...this.#runTo(same, high, stopsAnywhere));
    const [before] = this.#runTo(same, low, stopsAnywhere);
    const { instructions } = before.clock;
    // The last instructions before a stop are the interpreter's
    const last = stopsAnywhere ? instructions : instructions - 1;
    return {
      kind: 'different',
      instructions: [stopsAnywhere ? instructions : Math.max(0, last - LongestOvershoot), last],
      rip: before.state.regs.rip,
      instruction: describeInstruction(before),
      lines,
    };
  }
}

/** How far before a stop translated code may have been left. */
const LongestOvershoot = 1000;
