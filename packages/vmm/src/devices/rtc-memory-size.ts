/** How PC firmware tells the size of memory in the real-time clock's battery-backed memory. */

const KiB = 1024;
const MiB = 1024 * KiB;
const BaseMemory = 640 * KiB;
const Block64 = 64 * KiB;
const Word = 0xffff;

/** IBM AT Technical Reference "CMOS RAM" (to 0x31); the rest as Bochs, QEMU and SeaBIOS agree on it. */
const MemoryCell = {
  BaseKiB: 0x15,
  ExtendedKiB: 0x17,
  ExtendedKiBCopy: 0x30,
  /** 64 KiB blocks from 16 MiB on, below 4 GiB. */
  From16MiB: 0x34,
  /** 64 KiB blocks from 4 GiB on, three bytes. */
  From4GiB: 0x5b,
} as const;

/** Cells and values for RAM of `low` bytes below 4 GiB and `high` bytes above. */
export function describeMemory(memory: {
  readonly low: number;
  readonly high: number;
}): [cell: number, value: number][] {
  const extended = Math.min(Word, Math.floor(Math.max(0, memory.low - MiB) / KiB));
  const from16 = Math.min(Word, Math.floor(Math.max(0, memory.low - 16 * MiB) / Block64));
  const from4G = Math.floor(memory.high / Block64);
  return [
    ...bytes(MemoryCell.BaseKiB, Math.min(BaseMemory, memory.low) / KiB, 2),
    ...bytes(MemoryCell.ExtendedKiB, extended, 2),
    ...bytes(MemoryCell.ExtendedKiBCopy, extended, 2),
    ...bytes(MemoryCell.From16MiB, from16, 2),
    ...bytes(MemoryCell.From4GiB, from4G, 3),
  ];
}

function bytes(cell: number, value: number, count: number): [number, number][] {
  return Array.from({ length: count }, (_, index) => [cell + index, Math.floor(value / 256 ** index) & 0xff]);
}
