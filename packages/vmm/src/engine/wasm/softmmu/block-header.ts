/** The 64 bytes before a block's first record. A block is a run of decoded instructions that starts at one physical address. */
export const BlockHeaderSize = 64;
export const BlockHeader = {
  /** i64: physical address of the first instruction */
  Physical: 0,
  /** u32: mode key that it was decoded for */
  Key: 8,
  /** u32: next block (first-record pointer) in the hash bucket */
  NextInBucket: 12,
  /** u32: next block of the same RAM page */
  NextInPage: 16,
  /** u32: records */
  Records: 20,
  /** u32: RAM page index + 1 of the second page when the block's one instruction straddles two pages, else 0 */
  SecondPage: 24,
  /** u32: for a straddling block, next block in the second page's list */
  NextInSecondPage: 28,
  /** u32: RAM page index of the first byte */
  Page: 32,
  /** u32: where translated code takes the block's place: its first record's own handler, the table slot, the entry's number */
  OwnHandler: 36,
  RegionSlot: 40,
  RegionEntry: 44,
} as const;

/** Mode keys: what decoding and block lookup depend on. */
export const ModeKey = {
  Code16: 0,
  Code32: 1,
  Code64: 2,
  CodeMask: 3,
  /** SS.B (or 64-bit mode): 32-bit stack */
  Stack32: 4,
  /** CPL 3 */
  User: 8,
  /** One instruction a block, for single-stepping and replayed accesses. */
  Step: 16,
  /** Number of bits of a key. */
  Bits: 5,
} as const;
