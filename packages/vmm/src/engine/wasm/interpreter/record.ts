/**
 * A pre-decoded instruction: 32 bytes in the engine's shared memory.
 *
 * Register operands are absolute pointers into the vCPU's state block, an immediate operand is a pointer to the record's
 * own `Immediate`: one handler serves both. A memory operand is always base + (index << scale) + disp with the state
 * block's zero slot for what is absent; FS and GS bases take the index slot, RIP-relative takes the page's RIP as base.
 * What does not fit (16- and 32-bit addressing, limits) is computed by an address micro-operation in the record before.
 */
export const RecordSize = 32;
export const Record = {
  /** u16: handler */
  Handler: 0,
  /** u8: bits 0-3 instruction length; of the memory operand: bit 4 stack segment (#SS instead of #GP), bits 5-7 segment */
  Length: 2,
  /** u8: instructions from the block's start to this one, inclusive */
  Count: 3,
  /** u16: offset of the instruction in its page */
  Offset: 4,
  /** u8: 0 to 3 */
  Scale: 6,
  /** u8: handler-specific */
  Extra: 7,
  /** u32: pointer to operand 0 when it is a register; of branches: the chained record or 0 */
  Pointer1: 8,
  /** u32: pointer to operand 1 when it is a register or immediate */
  Pointer2: 12,
  /** u16, u16: state block offsets */
  Base: 16,
  Index: 18,
  /** i32 */
  Displacement: 20,
  /** i64: immediate, sign-extended; of direct branches: target as an offset from the page's RIP */
  Immediate: 24,
  /** u32: pointer to operand 2 when it is a register: such instructions have no immediate */
  Pointer3: 24,
  /** u32: pointer to operand 3 when it is a register; i32: operand 3 when it is an immediate */
  Pointer4: 28,
} as const;

/** Bits of Record.Length with the segment of the memory operand. In place, they are an offset into the segment caches. */
export const SegmentShift = 5;
export const SegmentMask = 7 << SegmentShift;

/** Bit of Record.Length: the memory operand is in the stack segment. Equal to Access.Stack. */
export const StackOperand = 16;
