/**
 * A byte queue between two threads: one producer, one consumer, over shared memory.
 *
 * Positions count bytes modulo 2^32 and are stored by their owner alone, so neither side ever waits for the other to
 * finish an operation. Waiting (for room, for data) is the caller's business: the producer can block with
 * {@link waitForRoom}, the consumer is told of new data by whatever doorbell the two threads share.
 */

const Word = {
  Written: 0,
  Read: 1,
  /** 1 when the producer wants to be told of room. */
  RoomWanted: 2,
} as const;
const HeaderBytes = 16;

export class ByteRing {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;

  /** Attaches to a ring made by {@link createByteRing}; `buffer` is what crosses threads. */
  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, HeaderBytes / 4);
    this.#bytes = new Uint8Array(buffer, HeaderBytes);
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  /** Bytes that wait to be read. */
  get available(): number {
    return (Atomics.load(this.#words, Word.Written) - Atomics.load(this.#words, Word.Read)) >>> 0;
  }

  /** Bytes that can be written now. */
  get room(): number {
    return this.capacity - this.available;
  }

  /** Producer: copies as much of `source` as fits and returns how much that was. */
  write(source: Uint8Array): number {
    const written = Atomics.load(this.#words, Word.Written);
    const length = Math.min(source.length, this.room);
    const at = (written >>> 0) % this.capacity;
    const first = Math.min(length, this.capacity - at);
    this.#bytes.set(source.subarray(0, first), at);
    this.#bytes.set(source.subarray(first, length), 0);
    Atomics.store(this.#words, Word.Written, (written + length) | 0);
    return length;
  }

  /** Consumer: moves up to `target.length` bytes into `target` and returns how many. */
  read(target: Uint8Array): number {
    const read = Atomics.load(this.#words, Word.Read);
    const length = Math.min(target.length, this.available);
    const at = (read >>> 0) % this.capacity;
    const first = Math.min(length, this.capacity - at);
    target.set(this.#bytes.subarray(at, at + first), 0);
    target.set(this.#bytes.subarray(0, length - first), first);
    Atomics.store(this.#words, Word.Read, (read + length) | 0);
    Atomics.notify(this.#words, Word.Read);
    return length;
  }

  /** Producer: asks to be told of room. To be followed by another look at {@link room}. */
  wantRoom(): void {
    Atomics.store(this.#words, Word.RoomWanted, 1);
  }

  /** Consumer, after reading: true once when the producer wants to be told. */
  takeRoomWanted(): boolean {
    return Atomics.load(this.#words, Word.RoomWanted) !== 0 && Atomics.exchange(this.#words, Word.RoomWanted, 0) !== 0;
  }

  /** Producer: blocks while the ring is full, for at most `timeoutMs`. Not legal on a thread that must not block. */
  waitForRoom(timeoutMs: number): void {
    const read = Atomics.load(this.#words, Word.Read);
    if (this.room === 0) Atomics.wait(this.#words, Word.Read, read, timeoutMs);
  }
}

/** A new, empty ring. `capacity` is a power of two, so that positions may wrap at 2^32. */
export function createByteRing(capacity: number): ByteRing {
  if (capacity < 1 || (capacity & (capacity - 1)) !== 0) throw new RangeError('ring capacity must be a power of two');
  return new ByteRing(new SharedArrayBuffer(HeaderBytes + capacity));
}
