/**
 * Pages of RAM that were written, as a bitmap in shared memory: by devices and other host code, of which KVM's dirty log
 * knows nothing, and what dirty rings delivered. Any thread marks, one thread takes.
 *
 * Word 0 says whether anybody wants to know; bit n of the words after it is page n of the mapping.
 */
import { PageSize } from '@lodger/vmm/memory/address.js';

const BitsPerWord = 32;
const ActiveWord = 0;
const FirstWord = 1;

/** For a mapping of `length` bytes. */
export function createWrittenPages(length: number): SharedArrayBuffer {
  const words = FirstWord + Math.ceil(length / PageSize / BitsPerWord);
  return new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT);
}

export class WrittenPages {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  /** Whether writes are to be marked. */
  get active(): boolean {
    return this.#words[ActiveWord] !== 0;
  }

  /** Starts with nothing marked. */
  start(): void {
    this.#words.fill(0, FirstWord);
    Atomics.store(this.#words, ActiveWord, 1);
  }

  stop(): void {
    Atomics.store(this.#words, ActiveWord, 0);
  }

  /** Marks the pages of `length` bytes at `offset` of the mapping. */
  mark(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / PageSize);
    for (let page = Math.floor(offset / PageSize); page <= last; page++) this.markPage(page);
  }

  markPage(page: number): void {
    const word = FirstWord + Math.floor(page / BitsPerWord);
    const bit = 1 << (page % BitsPerWord);
    if ((this.#words[word]! & bit) === 0) Atomics.or(this.#words, word, bit);
  }

  /** Marks the pages of a bitmap (bit n: page `first + n`; `first` is a multiple of 32). True when it had any. */
  markWords(first: number, bitmap: Uint32Array): boolean {
    const at = FirstWord + first / BitsPerWord;
    let any = false;
    for (let index = 0; index < bitmap.length; index++) {
      const bits = bitmap[index]!;
      if (bits === 0) continue;
      Atomics.or(this.#words, at + index, bits);
      any = true;
    }
    return any;
  }

  /** Calls `visit` with each run of marked pages, in ascending order, and takes the marks away. */
  take(visit: (firstPage: number, count: number) => void): void {
    let runStart = -1;
    let runEnd = -1;
    for (let word = FirstWord; word < this.#words.length; word++) {
      if (this.#words[word] === 0) continue;
      let bits = Atomics.exchange(this.#words, word, 0) >>> 0;
      while (bits !== 0) {
        const low = Math.clz32(bits & -bits) ^ (BitsPerWord - 1);
        bits = (bits & (bits - 1)) >>> 0;
        const page = (word - FirstWord) * BitsPerWord + low;
        if (page === runEnd) runEnd++;
        else {
          if (runStart >= 0) visit(runStart, runEnd - runStart);
          runStart = page;
          runEnd = page + 1;
        }
      }
    }
    if (runStart >= 0) visit(runStart, runEnd - runStart);
  }
}
