/** Samples of one quantity from several runs. */

/** The middle one, or the mean of the two middle ones. Undefined without samples. */
export function median(samples: readonly number[]): number | undefined {
  const sorted = [...samples].sort((a, b) => a - b);
  const low = sorted[Math.floor((sorted.length - 1) / 2)];
  const high = sorted[Math.ceil((sorted.length - 1) / 2)];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

/** Undefined without samples. */
export function geometricMean(samples: readonly number[]): number | undefined {
  if (samples.length === 0) return undefined;
  return Math.exp(samples.reduce((sum, sample) => sum + Math.log(sample), 0) / samples.length);
}
