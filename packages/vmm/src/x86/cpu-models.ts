/** The processors that a guest can be shown. */

/**
 * `x86-64-v2` and `x86-64-v3` are the levels of the x86-64 psABI ("Micro-Architecture Levels"), the same on every host and
 * engine that can run them; `host` is what the host's processor and its KVM offer.
 */
export const CpuModelNames = ['host', 'x86-64-v2', 'x86-64-v3'] as const;
export type CpuModelName = (typeof CpuModelNames)[number];
