/**
 * The thread that kicks in kick.test.ts: each kick is followed by a wait until the vCPU's thread says that it came back for
 * it, so that a lost one is noticed.
 */
import { workerData } from 'node:worker_threads';
import { kickKvm } from '../shared-vm.ts';
import type { SharedKvmVm } from '../shared-vm.ts';

export interface KickerData {
  readonly shared: SharedKvmVm;
  readonly vcpu: number;
  readonly kicks: number;
  /** {@link KickerWord}. */
  readonly words: Int32Array;
  readonly seed: number;
}

export const KickerWord = {
  /** The number of the last kick that the kicker has begun. */
  Sent: 0,
  /** The number of the last kick that the vCPU's thread came back for. */
  Seen: 1,
} as const;

/** Between two kicks the kicker counts to a random number below one of these. */
const Delays = [1, 100, 3_000, 30_000];

if (workerData !== null) kick(workerData as KickerData);

function kick({ shared, vcpu, kicks, words, seed }: KickerData): void {
  let random = seed;
  for (let number = 1; number <= kicks; number++) {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    const delay = (random >>> 8) % Delays[number % Delays.length]!;
    for (let i = 0; i < delay; i++) Atomics.load(words, KickerWord.Sent);
    Atomics.store(words, KickerWord.Sent, number);
    kickKvm(shared, vcpu);
    while (Atomics.load(words, KickerWord.Seen) !== number) Atomics.wait(words, KickerWord.Seen, number - 1);
  }
}
