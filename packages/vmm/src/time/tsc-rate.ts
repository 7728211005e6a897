/** How fast a time-stamp counter runs that follows the clock's nanoseconds. */

/** 1 GHz: a tick a nanosecond. */
export const DefaultTscKhz = 1_000_000;
const TicksPerKhz = 1_000_000n;

export class TscRate {
  #khz: number;
  /** The frequency, or undefined for a tick a nanosecond. */
  #scale: bigint | undefined;

  constructor(khz = DefaultTscKhz) {
    this.#khz = khz;
    this.khz = khz;
  }

  get khz(): number {
    return this.#khz;
  }

  set khz(khz: number) {
    this.#khz = khz;
    this.#scale = khz === DefaultTscKhz ? undefined : BigInt(khz);
  }

  /** Whole ticks in `nanoseconds`. */
  ticks(nanoseconds: bigint): bigint {
    return this.#scale === undefined ? nanoseconds : (nanoseconds * this.#scale) / TicksPerKhz;
  }

  /** Nanoseconds after which `ticks` have passed. */
  nanoseconds(ticks: bigint): number {
    if (this.#scale === undefined) return Number(ticks);
    const scaled = ticks * TicksPerKhz;
    return Number(ticks > 0n ? (scaled + this.#scale - 1n) / this.#scale : scaled / this.#scale);
  }
}
