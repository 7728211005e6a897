/**
 * What the main thread asks of the machine's worker, in shared memory: that worker sits in run loops and receives no
 * messages while its machine runs.
 */

/** Requests, as bits of one word. Several of one kind are one. */
export const Request = {
  /** End the machine. */
  Stop: 1 << 0,
  Pause: 1 << 1,
  Resume: 1 << 2,
  PowerButton: 1 << 3,
  /** The console's window has the size in the block. */
  Resize: 1 << 4,
  /** Send the engine's statistics. */
  Statistics: 1 << 5,
  /** Write the machine to the file whose descriptor is in the block. */
  Save: 1 << 6,
} as const;

const Word = {
  Requests: 0,
  Columns: 1,
  Rows: 2,
  /** 1 while a message about console output is on its way: more output needs no other. */
  OutputAnnounced: 3,
  /** 1 while the main thread has input that did not fit into the ring. */
  InputWaits: 4,
  SaveFile: 5,
} as const;
const WordCount = 6;

export class ControlBlock {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(buffer = new SharedArrayBuffer(WordCount * 4)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** Main thread: asks for `request` (bits of {@link Request}). The caller then gets the engine's attention. */
  ask(request: number): void {
    Atomics.or(this.#words, Word.Requests, request);
    Atomics.notify(this.#words, Word.Requests);
  }

  /** Worker: what was asked since the last call. */
  take(): number {
    return Atomics.load(this.#words, Word.Requests) === 0 ? 0 : Atomics.exchange(this.#words, Word.Requests, 0);
  }

  /** Worker: true when `request` waits to be taken. */
  isAsked(request: number): boolean {
    return (Atomics.load(this.#words, Word.Requests) & request) !== 0;
  }

  /** Worker: blocks until something is asked. */
  waitForRequest(): void {
    Atomics.wait(this.#words, Word.Requests, 0);
  }

  /** The descriptor that {@link Request}.Save is about. */
  set saveFile(descriptor: number) {
    Atomics.store(this.#words, Word.SaveFile, descriptor);
  }

  get saveFile(): number {
    return Atomics.load(this.#words, Word.SaveFile);
  }

  setWindow(columns: number, rows: number): void {
    Atomics.store(this.#words, Word.Columns, columns);
    Atomics.store(this.#words, Word.Rows, rows);
  }

  get window(): { columns: number; rows: number } {
    return { columns: Atomics.load(this.#words, Word.Columns), rows: Atomics.load(this.#words, Word.Rows) };
  }

  /** Worker: true when the main thread has to be told of new output, false when it knows already. */
  announceOutput(): boolean {
    return Atomics.exchange(this.#words, Word.OutputAnnounced, 1) === 0;
  }

  /** Main thread, before it reads the output. */
  outputSeen(): void {
    Atomics.store(this.#words, Word.OutputAnnounced, 0);
  }

  /** Main thread: true asks to be told when the input ring has room. */
  set inputWaits(waits: boolean) {
    Atomics.store(this.#words, Word.InputWaits, waits ? 1 : 0);
  }

  /** Worker: true once when the main thread waits for room in the input ring. */
  takeInputWaits(): boolean {
    return Atomics.load(this.#words, Word.InputWaits) !== 0 && Atomics.exchange(this.#words, Word.InputWaits, 0) !== 0;
  }
}
