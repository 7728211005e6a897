/** Flags of a memory access as the slow paths take them. */
export const Access = {
  Write: 1,
  /** At CPL 3. */
  User: 2,
  Execute: 4,
  /** By the processor itself (descriptor tables, TSS): supervisor whatever the CPL; nothing is cached. */
  System: 8,
  /** A stack-segment access: a non-canonical address is #SS, not #GP. */
  Stack: 16,
} as const;
