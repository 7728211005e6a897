/** Where guest code ran, as the engine found it from time to time. Plain data, that can be sent between threads. */

/** What runs guest code. */
export const Tier = { Interpreter: 0, Translated: 1 } as const;
export type Tier = (typeof Tier)[keyof typeof Tier];
export const TierName = ['interpreter', 'translated'] as const;

/** In the order in which they were taken. Each stands for the time and the instructions since the one before it. */
export interface ProfileSamples {
  readonly count: number;
  /** Linear addresses. */
  readonly addresses: BigUint64Array;
  /** CR3. */
  readonly spaces: BigUint64Array;
  readonly privileges: Uint8Array;
  /** Milliseconds in guest code. */
  readonly times: Float64Array;
  /** Instructions of the interpreter, and of translated code. */
  readonly interpreted: Float64Array;
  readonly translated: Float64Array;
}

export interface Sample {
  readonly address: bigint;
  readonly space: bigint;
  readonly privilege: number;
  readonly time: number;
  readonly interpreted: number;
  readonly translated: number;
}

export const DefaultCapacity = 100_000;
/** Milliseconds of guest code between two samples, while there is room. */
const FirstInterval = 0.05;

/** Collects samples in bounded space: when it is full, every second one is taken out and they are taken half as often. */
export class SampleBuffer {
  readonly #addresses: BigUint64Array;
  readonly #spaces: BigUint64Array;
  readonly #privileges: Uint8Array;
  readonly #times: Float64Array;
  readonly #interpreted: Float64Array;
  readonly #translated: Float64Array;
  #count = 0;
  /** Milliseconds of guest code that a sample should stand for. */
  interval = FirstInterval;

  constructor(capacity = DefaultCapacity) {
    this.#addresses = new BigUint64Array(capacity);
    this.#spaces = new BigUint64Array(capacity);
    this.#privileges = new Uint8Array(capacity);
    this.#times = new Float64Array(capacity);
    this.#interpreted = new Float64Array(capacity);
    this.#translated = new Float64Array(capacity);
  }

  add({ address, space, privilege, time, interpreted, translated }: Sample): void {
    if (this.#count === this.#addresses.length) this.#thin();
    const i = this.#count++;
    this.#addresses[i] = address;
    this.#spaces[i] = space;
    this.#privileges[i] = privilege;
    this.#times[i] = time;
    this.#interpreted[i] = interpreted;
    this.#translated[i] = translated;
  }

  get samples(): ProfileSamples {
    const count = this.#count;
    return {
      count,
      addresses: this.#addresses.slice(0, count),
      spaces: this.#spaces.slice(0, count),
      privileges: this.#privileges.slice(0, count),
      times: this.#times.slice(0, count),
      interpreted: this.#interpreted.slice(0, count),
      translated: this.#translated.slice(0, count),
    };
  }

  /** Of two neighbours the first and the second stays in turns, and stands for both. */
  #thin(): void {
    const half = this.#count >> 1;
    for (let i = 0; i < half; i++) {
      const [a, b] = [2 * i, 2 * i + 1];
      const stays = i % 2 === 0 ? a : b;
      this.#addresses[i] = this.#addresses[stays]!;
      this.#spaces[i] = this.#spaces[stays]!;
      this.#privileges[i] = this.#privileges[stays]!;
      this.#times[i] = this.#times[a]! + this.#times[b]!;
      this.#interpreted[i] = this.#interpreted[a]! + this.#interpreted[b]!;
      this.#translated[i] = this.#translated[a]! + this.#translated[b]!;
    }
    this.#count = half;
    this.interval *= 2;
  }
}
