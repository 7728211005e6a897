/**
 * Getting a vCPU's thread out of KVM_RUN, from any thread and without a race.
 *
 * The kick signal is blocked on a vCPU's thread, except in KVM_RUN (KVM_SET_SIGNAL_MASK). So a signal that comes before
 * KVM_RUN stays pending and makes KVM_RUN return EINTR at once, and one that comes during it ends it. Afterwards the
 * thread takes the pending signal; no handler ever runs there.
 *
 * The truth about kicks is a word in shared memory, the signal only makes the thread look at it: set the word, then read
 * the thread's id and signal it. The thread publishes its id, then looks at the word before each KVM_RUN, and after each
 * that a signal ended, having taken the signal first. Whatever the order in time, either the kicker sees the id or the
 * thread sees the word. A signal that comes late costs one more round of KVM_RUN, nothing else.
 */
import { blockSignal, currentThread, handleByDoingNothing, KernelSignalSetSize, signalThread } from './linux/thread.ts';
import { SignalMask } from './api/layouts.ts';
import { KvmRequest, kvmIoctl } from './api/requests.ts';

/** A real-time signal that neither glibc (32, 33) nor Node uses. */
export const KickSignal = 42;

/** One vCPU's words in shared memory. */
const Word = {
  /** The thread that runs the vCPU, or 0. Published while that thread blocks the signal. */
  Thread: 0,
  /** Kicks since the thread looked. */
  Kicks: 1,
  /** 1 when the last exit waits for its instruction to be completed by another KVM_RUN. */
  Incomplete: 2,
  /** The thread's timer plus 1, or 0: a thread that dies does not delete it. */
  Timer: 3,
} as const;
/** A cache line each. */
const WordsPerVcpu = 16;

/**
 * Kicks beyond this one find signals on their way already. Two, so that a kicker whose thread is ended between counting
 * and signalling does not silence those that follow.
 */
const SignalsPerRound = 2;

export function createVcpuWords(vcpus: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(vcpus * WordsPerVcpu * Int32Array.BYTES_PER_ELEMENT));
}

/** One vCPU's words. */
export class VcpuWords {
  readonly #words: Int32Array;
  readonly #first: number;

  constructor(words: Int32Array, id: number) {
    this.#words = words;
    this.#first = id * WordsPerVcpu;
  }

  /** The thread that runs the vCPU, or 0. */
  get thread(): number {
    return Atomics.load(this.#words, this.#first + Word.Thread);
  }

  /** Kicks: from any thread. */
  kick(): void {
    const earlier = Atomics.add(this.#words, this.#first + Word.Kicks, 1);
    if (earlier >= SignalsPerRound) return;
    const thread = this.thread;
    if (thread !== 0) signalThread(thread, KickSignal);
  }

  /** A kick from the vCPU's own thread: the next KVM_RUN does not begin. */
  kickOwn(): void {
    Atomics.add(this.#words, this.#first + Word.Kicks, 1);
  }

  get kicked(): boolean {
    return Atomics.load(this.#words, this.#first + Word.Kicks) !== 0;
  }

  /** True when there was a kick since the last call. */
  takeKick(): boolean {
    return this.kicked && Atomics.exchange(this.#words, this.#first + Word.Kicks, 0) !== 0;
  }

  /** The timer of the thread that runs the vCPU. */
  get timer(): number | undefined {
    const word = Atomics.load(this.#words, this.#first + Word.Timer);
    return word === 0 ? undefined : word - 1;
  }

  set timer(timer: number | undefined) {
    Atomics.store(this.#words, this.#first + Word.Timer, timer === undefined ? 0 : timer + 1);
  }

  get incomplete(): boolean {
    return this.#words[this.#first + Word.Incomplete] !== 0;
  }

  set incomplete(incomplete: boolean) {
    this.#words[this.#first + Word.Incomplete] = incomplete ? 1 : 0;
  }

  /** Makes this thread the one that runs the vCPU, and the signal one that reaches it in KVM_RUN only. */
  enter(vcpuFd: number): void {
    handleByDoingNothing(KickSignal);
    const inRun = blockSignal(KickSignal);
    const mask = SignalMask.create({ len: KernelSignalSetSize }, KernelSignalSetSize);
    mask.set(inRun, SignalMask.offset.sigset);
    kvmIoctl(vcpuFd, KvmRequest.SetSignalMask, mask);
    Atomics.store(this.#words, this.#first + Word.Thread, currentThread());
  }

  /** No signals from here on; those on their way find the signal blocked or harmless. */
  leave(): void {
    Atomics.store(this.#words, this.#first + Word.Thread, 0);
  }
}
