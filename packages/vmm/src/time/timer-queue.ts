/** Timers of one thread, in a binary heap by deadline. */
import type { Timer, TimerQueue } from './clock.ts';

export class HeapTimerQueue implements TimerQueue {
  readonly #heap: HeapTimer[] = [];
  /** Reused by `fire()`. */
  readonly #due: HeapTimer[] = [];

  createTimer(expired: (now: number) => void): Timer {
    return new HeapTimer(this.#heap, expired);
  }

  /** The earliest armed deadline, or Infinity. */
  nextDeadline(): number {
    return this.#heap.length === 0 ? Infinity : this.#heap[0]!.time;
  }

  /**
   * Runs what is due at `now`, in the order of deadlines; answers how many ran.
   *
   * A timer that re-arms itself runs again in the next call at the earliest, even if that deadline has passed: a guest's
   * choice of periods cannot keep this loop busy.
   */
  fire(now: number): number {
    if (this.nextDeadline() > now) return 0;
    const due = this.#due;
    while (this.#heap.length > 0 && this.#heap[0]!.time <= now) {
      const timer = this.#heap[0]!;
      timer.disarm();
      timer.due = true;
      due.push(timer);
    }
    let fired = 0;
    for (const timer of due) {
      if (!timer.due) continue;
      timer.due = false;
      fired++;
      timer.expired(now);
    }
    due.length = 0;
    return fired;
  }
}

class HeapTimer implements Timer {
  readonly expired: (now: number) => void;
  readonly #heap: HeapTimer[];
  /** Meaningful while armed. */
  time = Infinity;
  /** Taken off the heap, about to run: disarming or re-arming it still stops it. */
  due = false;
  #index = -1;

  constructor(heap: HeapTimer[], expired: (now: number) => void) {
    this.#heap = heap;
    this.expired = expired;
  }

  get deadline(): number | undefined {
    return this.#index === -1 ? undefined : this.time;
  }

  arm(deadline: number): void {
    this.due = false;
    if (!(deadline < Infinity)) {
      this.disarm();
      return;
    }
    this.time = deadline;
    if (this.#index === -1) this.#place(this.#heap.length);
    this.#rise();
    this.#sink();
  }

  disarm(): void {
    this.due = false;
    const index = this.#index;
    if (index === -1) return;
    this.#index = -1;
    const last = this.#heap.pop()!;
    if (last === this) return;
    last.#place(index);
    last.#rise();
    last.#sink();
  }

  #place(index: number): void {
    this.#heap[index] = this;
    this.#index = index;
  }

  #rise(): void {
    let index = this.#index;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#heap[parentIndex]!;
      if (parent.time <= this.time) break;
      parent.#place(index);
      index = parentIndex;
    }
    this.#place(index);
  }

  #sink(): void {
    const heap = this.#heap;
    let index = this.#index;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= heap.length) break;
      if (childIndex + 1 < heap.length && heap[childIndex + 1]!.time < heap[childIndex]!.time) childIndex++;
      const child = heap[childIndex]!;
      if (child.time >= this.time) break;
      child.#place(index);
      index = childIndex;
    }
    this.#place(index);
  }
}
