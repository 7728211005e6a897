/** Entropy that follows from a seed, for deterministic runs: nothing that must stay secret may depend on it. */
import type { EntropySource } from '../devices/virtio/rng/virtio-rng.ts';

/** xorshift128 (Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8, 2003) on a state that spreads the seed. */
export function seededEntropy(seed: number): EntropySource {
  const state = Uint32Array.from([1, 2, 3, 4], (word) => Math.imul((seed ^ (word << 28)) + word, 0x9e37_79b9));
  state[3]! |= 1;
  const next = (): number => {
    let word = state[0]!;
    state.copyWithin(0, 1);
    word ^= word << 11;
    word ^= word >>> 8;
    const last = state[2]!;
    state[3] = word ^ last ^ (last >>> 19);
    return state[3];
  };
  for (let i = 0; i < 16; i++) next();
  return (target) => {
    for (let i = 0; i < target.length; i++) target[i] = next() >>> 24;
  };
}
