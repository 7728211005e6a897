/**
 * Level-triggered interrupts that vCPUs with threads of their own have ended, on their way to the machine's thread: a bit
 * for each vector, in shared memory.
 */

const BitsPerWord = 32;
const Vectors = 256;

export class EndedInterrupts {
  readonly words: Int32Array;

  constructor(
    words: Int32Array = new Int32Array(new SharedArrayBuffer((Vectors / BitsPerWord) * Int32Array.BYTES_PER_ELEMENT)),
  ) {
    this.words = words;
  }

  add(vector: number): void {
    Atomics.or(this.words, Math.floor(vector / BitsPerWord), 1 << (vector % BitsPerWord));
  }

  /** Calls `visit` for each vector that was added since the last call. */
  take(visit: (vector: number) => void): void {
    for (let word = 0; word < this.words.length; word++) {
      if (Atomics.load(this.words, word) === 0) continue;
      const bits = Atomics.exchange(this.words, word, 0);
      for (let bit = 0; bit < BitsPerWord; bit++) if (bits & (1 << bit)) visit(word * BitsPerWord + bit);
    }
  }
}
