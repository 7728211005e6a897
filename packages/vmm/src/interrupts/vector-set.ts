/** A set of interrupt vectors (IRR, ISR, TMR) that knows its highest member. */

const WordCount = 8;

export class VectorSet {
  readonly #words = new Uint32Array(WordCount);
  #highest = -1;

  /** The highest vector, or -1. */
  get highest(): number {
    return this.#highest;
  }

  has(vector: number): boolean {
    return ((this.#words[vector >> 5]! >>> (vector & 31)) & 1) !== 0;
  }

  add(vector: number): void {
    this.#words[vector >> 5]! |= 1 << (vector & 31);
    if (vector > this.#highest) this.#highest = vector;
  }

  delete(vector: number): void {
    this.#words[vector >> 5]! &= ~(1 << (vector & 31));
    if (vector === this.#highest) this.#highest = this.#findHighest();
  }

  clear(): void {
    this.#words.fill(0);
    this.#highest = -1;
  }

  /** Vectors `32 * index` to `32 * index + 31` as a register shows them. */
  word(index: number): number {
    return this.#words[index]!;
  }

  save(): number[] {
    return [...this.#words];
  }

  restore(words: readonly number[]): void {
    this.#words.set(words.slice(0, WordCount));
    this.#highest = this.#findHighest();
  }

  #findHighest(): number {
    for (let index = WordCount - 1; index >= 0; index--) {
      const word = this.#words[index]!;
      if (word !== 0) return index * 32 + 31 - Math.clz32(word);
    }
    return -1;
  }
}
