/** Feature bits that are not of one device type. Spec: virtio 1.2 chapter 6 "Reserved Feature Bits". */

/** A feature word with only `bit` set. */
export function feature(bit: number): bigint {
  return 1n << BigInt(bit);
}

export const Feature = {
  IndirectDescriptors: feature(28),
  EventIndex: feature(29),
  Version1: feature(32),
} as const;

/** What every device here offers for its rings and its transport. */
export const CommonFeatures = Feature.IndirectDescriptors | Feature.EventIndex | Feature.Version1;
