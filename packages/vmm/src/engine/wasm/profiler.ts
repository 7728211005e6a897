/**
 * Takes samples of guest code where vCPUs come back from it: a slice ends after a certain number of instructions, wherever
 * the guest is then. So it costs a look at the clock for each slice.
 */
import { type ProfileSamples, SampleBuffer } from '../../profile/samples.ts';
import { Cpu } from './interpreter/cpu-layout.ts';
import type { RareCpu } from './rare/rare-cpu.ts';

const NanosecondsPerMillisecond = 1e6;

/** What a vCPU did since its last sample. */
interface Pending {
  time: number;
  instructions: number;
  translated: number;
}

export class Profiler {
  readonly #now: () => number;
  readonly #buffer = new SampleBuffer();
  readonly #pending: Pending[];
  #start = 0;
  #retired = 0n;
  #translated = 0n;

  /** `now`: nanoseconds. */
  constructor(vcpus: number, now: () => number) {
    this.#now = now;
    this.#pending = Array.from({ length: vcpus }, () => ({ time: 0, instructions: 0, translated: 0 }));
  }

  get samples(): ProfileSamples {
    return this.#buffer.samples;
  }

  /** Before guest code runs. */
  enter(cpu: RareCpu): void {
    this.#retired = cpu.u64(Cpu.Retired);
    this.#translated = cpu.u64(Cpu.RegionRetired);
    this.#start = this.#now();
  }

  /** After it ran, up to `address`. */
  leave(vcpu: number, cpu: RareCpu, address: bigint): void {
    const pending = this.#pending[vcpu]!;
    pending.time += (this.#now() - this.#start) / NanosecondsPerMillisecond;
    pending.instructions += Number(cpu.u64(Cpu.Retired) - this.#retired);
    pending.translated += Number(cpu.u64(Cpu.RegionRetired) - this.#translated);
    if (pending.time < this.#buffer.interval) return;
    const interpreted = Math.max(0, pending.instructions - pending.translated);
    this.#buffer.add({
      address,
      space: cpu.u64(Cpu.Cr3),
      privilege: cpu.u32(Cpu.Cpl),
      time: pending.time,
      interpreted,
      translated: pending.translated,
    });
    Object.assign(pending, { time: 0, instructions: 0, translated: 0 });
  }
}
