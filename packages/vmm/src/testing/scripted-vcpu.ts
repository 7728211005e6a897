/** The thread of a vCPU whose guest is a script. Its kick is a futex, as a signal is one to a thread in guest code. */
import { parentPort, workerData } from 'node:worker_threads';
import type { Vcpu } from '../engine/engine.ts';
import type { VcpuExit } from '../engine/exit.ts';
import { VcpuMailbox } from '../machine/exit-mailbox.ts';
import { runRemoteVcpu } from '../machine/remote-vcpu.ts';

/** What the guest does. */
export type ScriptedGuest =
  /** These exits, one after the other; then it spins. */
  | readonly VcpuExit[]
  /** Exits without pause. */
  | 'storm'
  /** Guest code without exits. */
  | 'spin'
  /** Halted. */
  | 'halt'
  /** The thread ends without a word. */
  | 'die';

/** `workerData`. */
export interface ScriptedVcpuData {
  readonly guest: ScriptedGuest;
  readonly mailbox: SharedArrayBuffer;
  readonly words: Int32Array;
}

/** Words that the vCPU's thread and its starter share. */
export const ScriptWord = {
  /** 1: leave guest code. */
  Kick: 0,
  /** 1: the board is wanted. */
  Attention: 1,
  /** How often the vCPU entered guest code. */
  Runs: 2,
} as const;

class ScriptedVcpu implements Pick<Vcpu, 'run' | 'runnable' | 'kick'> {
  /** The exits that have been answered. */
  readonly answered: VcpuExit[] = [];
  readonly #words: Int32Array;
  readonly #guest: ScriptedGuest;
  #next = 0;

  constructor({ words, guest }: ScriptedVcpuData) {
    this.#words = words;
    this.#guest = guest;
  }

  get runnable(): boolean {
    return this.#guest !== 'halt';
  }

  kick(): void {
    Atomics.store(this.#words, ScriptWord.Kick, 1);
  }

  run(): VcpuExit {
    if (Atomics.exchange(this.#words, ScriptWord.Kick, 0) === 1) return { kind: 'interrupted' };
    Atomics.add(this.#words, ScriptWord.Runs, 1);
    if (this.#guest === 'die') process.exit();
    if (this.#guest === 'storm') return { kind: 'pio-write', port: 1, size: 1, value: 1 };
    if (Array.isArray(this.#guest)) {
      if (this.#next > 0 && this.#next <= this.#guest.length) this.answered.push(this.#guest[this.#next - 1]);
      const exit = this.#guest[this.#next++];
      if (exit) return exit;
    }
    Atomics.wait(this.#words, ScriptWord.Kick, 0);
    Atomics.store(this.#words, ScriptWord.Kick, 0);
    return { kind: 'interrupted' };
  }
}

if (parentPort) {
  const data = workerData as ScriptedVcpuData;
  const vcpu = new ScriptedVcpu(data);
  const wakeBoard = () => {
    Atomics.store(data.words, ScriptWord.Attention, 1);
    Atomics.notify(data.words, ScriptWord.Attention);
  };
  const clock = { now: () => performance.now() * 1e6, wallClock: () => 0n };
  runRemoteVcpu(vcpu, new VcpuMailbox(data.mailbox, wakeBoard), clock);
  parentPort.postMessage(vcpu.answered);
}
