/**
 * Writes to code: whoever wrote makes the threads that have decoded it drop it.
 *
 * Each thread has marks of its own for the lines whose code it has decoded. A writer looks at them after its write. Where
 * another thread has marks on a written page, the writer sets the page's bit in that thread's list of stale pages, gets
 * its attention, and goes on when that thread has dropped the code. A thread that is not in guest code drops stale code
 * before it enters it: it is not waited for.
 */
import { StaleRequest, ThreadField, type VmLayout } from './vm-layout.ts';

/** How long a writer waits for another thread, in milliseconds, before it looks again, and how often it does. */
const StaleWait = 10;
const StaleTries = 100;
/** How often writes of one time slice may wait: a guest must not keep a thread by what it writes. */
const SlicePatience = 1000;
/** What one counts as that was not answered. */
const TimeoutCost = 100;

/** A thread's own code. */
export interface OwnCode {
  /** Which of VmLayout.threads it is. */
  readonly thread: number;
  drop(page: number): void;
}

export class CodeWriters {
  readonly #words: Int32Array;
  readonly #layout: Pick<VmLayout, 'codeLines' | 'staleCode' | 'threads'>;
  readonly #own: OwnCode | undefined;
  /** How often a thread with time slices may still wait. */
  #patience = Infinity;

  constructor(
    buffer: SharedArrayBuffer,
    layout: Pick<VmLayout, 'codeLines' | 'staleCode' | 'threads'>,
    own: OwnCode | undefined,
  ) {
    this.#words = new Int32Array(buffer);
    this.#layout = layout;
    this.#own = own;
  }

  /** Of a thread that runs vCPUs, between two time slices. */
  renewPatience(): void {
    this.#patience = SlicePatience;
  }

  /** RAM pages `first` to `last` were written to. */
  written(first: number, last: number): void {
    const { threads, codeLines } = this.#layout;
    // The write is done before the marks are read
    if (threads.length > 1) Atomics.add(this.#words, (threads[0]! + ThreadField.Epoch) >> 2, 0);
    for (let thread = 0; thread < threads.length; thread++) {
      const own = this.#own?.thread === thread ? this.#own : undefined;
      let asked = false;
      for (let page = first; page <= last; page++) {
        const lines = (codeLines[thread]! >> 2) + page * 2;
        if ((this.#words[lines]! | this.#words[lines + 1]!) === 0) continue;
        if (own) own.drop(page);
        else {
          this.#setStale(thread, page);
          asked = true;
        }
      }
      if (asked) this.#ask(thread);
    }
  }

  /** Bytes of one page were written to: other threads with code on the lines drop it. */
  writtenLines(page: number, low: number, high: number): void {
    const { threads, codeLines } = this.#layout;
    for (let thread = 0; thread < threads.length; thread++) {
      if (this.#own?.thread === thread) continue;
      const lines = (codeLines[thread]! >> 2) + page * 2;
      if (((this.#words[lines]! & low) | (this.#words[lines + 1]! & high)) === 0) continue;
      this.#setStale(thread, page);
      this.#ask(thread);
    }
  }

  #setStale(thread: number, page: number): void {
    Atomics.or(this.#words, (this.#layout.staleCode[thread]! >> 2) + (page >> 5), 1 << (page & 31));
  }

  /** The write counts as done when the thread has dropped the code. */
  #ask(thread: number): void {
    const words = this.#words;
    const { threads } = this.#layout;
    const block = threads[thread]! >> 2;
    const pending = block + (ThreadField.StalePending >> 2);
    const attention = block + (ThreadField.Attention >> 2);
    const before = Atomics.exchange(words, pending, StaleRequest.Asked);
    if (before !== StaleRequest.Asked) {
      Atomics.store(words, attention, 1);
      Atomics.notify(words, attention);
    }
    // Bounded: a thread that ended will not answer
    for (let tries = 0; tries < StaleTries && this.#patience > 0; tries++) {
      const state = Atomics.load(words, pending);
      if (state === StaleRequest.None) return;
      if (threads.length > 1 && (Atomics.load(words, block + (ThreadField.Epoch >> 2)) & 1) === 0) return;
      if (this.#isWaitedFor) return;
      this.#patience -= Atomics.wait(words, pending, state, StaleWait) === 'timed-out' ? TimeoutCost : 1;
    }
  }

  /** Another thread waits for this one: two that write to each other's code do not wait for each other. */
  get #isWaitedFor(): boolean {
    const own = this.#own;
    if (!own || this.#layout.threads.length === 1) return false;
    const pending = (this.#layout.threads[own.thread]! + ThreadField.StalePending) >> 2;
    return Atomics.load(this.#words, pending) !== StaleRequest.None;
  }
}
