/**
 * The engine's shared memory: what lies where in the VM's one `WebAssembly.Memory`, in address order.
 *
 *     0            nothing: address 0 means "none"
 *     VmBlock      memory slots, constants
 *     threads      what threads tell each other ({@link ThreadField}), and constants of each thread's code
 *     vCPU blocks  state, TLBs, jump cache (cpu-layout.ts), then block hash, page lists and record arena of each vCPU
 *     CodeLines    for each thread that decodes, 8 bytes a RAM page: bit n set means that its 64-byte line n holds code
 *     RAM          from a 2 MiB boundary
 *
 * Code belongs to the thread that decoded it. Either one thread has all vCPUs, or each vCPU has a thread of its own.
 */
import { CpuBlockSize } from '../interpreter/cpu-layout.ts';

export const VmBlock = 0x1_0000;
export const VmField = {
  /** u32 */
  SlotCount: 0,
  /** i32: 1 while a vCPU makes a locked access that wasm has no atomics for; futex word. */
  SplitLock: 0x50,
  /** 64 slots of 32 bytes (SlotField). */
  Slots: 0x100,
  /** Constant data of instruction semantics: of the interpreter's, then of translated code's. */
  Data: 0x1000,
  TranslatorData: 0x1_0000,
} as const;
export const VmBlockSize = 0x2_0000;

/** What other threads tell one that runs vCPUs, and what they look at of it. */
export const ThreadField = {
  /** i32: 1 when some thread wants this one's attention; futex word. */
  Attention: 0,
  /** i32: StaleRequest; futex word for those who wait. */
  StalePending: 4,
  /** i32: odd while the thread may be in guest code, and moved on whenever it is between two guest instructions. */
  Epoch: 8,
  /** i32: {@link ../../../interrupts/apic-inbox.ts} */
  ApicInbox: 0x100,
  /** i32 each: statistics of threads other than the machine's (thread-statistics.ts). */
  Statistics: 0x300,
} as const;
const ThreadBlockSize = 0x1000;
/** Constants of the code of threads other than the machine's: of its interpreter, then of its translated code. */
export const ThreadDataSize = 0x2_0000;
export const MaxSlots = 64;
export const SlotSize = 32;
export const SlotField = {
  /** i64: first guest-physical address */
  Start: 0,
  /** i64: first address after it */
  End: 8,
  /** u32: where it is in the shared memory */
  Host: 16,
  /** u32: bit 0 read-only */
  Flags: 20,
} as const;
export const SlotFlags = { ReadOnly: 1 } as const;

/** Whether a thread's `staleCode` has pages that it has not looked at. */
export const StaleRequest = {
  None: 0,
  Asked: 1,
  /** The vCPU thread is looking; a new request makes it Asked again. */
  Looking: 2,
} as const;

/** Buckets of the physical block hash of a vCPU. */
export const BlockHashBuckets = 1 << 16;
export const WasmPage = 0x1_0000;

export interface VmLayout {
  readonly cpuBlocks: readonly number[];
  /** Per vCPU: u32 heads of the physical block hash. */
  readonly blockHash: readonly number[];
  /** Per vCPU: u32 per RAM page, head of the page's list of blocks. */
  readonly pageBlocks: readonly number[];
  readonly arena: readonly { start: number; end: number }[];
  /** Per thread: ThreadField. */
  readonly threads: readonly number[];
  /** Per thread but the machine's: {@link ThreadDataSize} bytes for constants. */
  readonly threadData: readonly number[];
  /** Per thread. */
  readonly codeLines: readonly number[];
  /** Per thread: a bit a RAM page, set when another thread wrote to code on it. */
  readonly staleCode: readonly number[];
  readonly ram: number;
  readonly ramSize: number;
  /** Wasm pages of the whole memory. */
  readonly wasmPages: number;
}

const align = (value: number, to: number): number => Math.ceil(value / to) * to;

const Mebibyte = 1 << 20;

/**
 * Computes the layout. `slackSize` bytes behind RAM are for memory slots added later; `arenaSize` bytes hold a vCPU's
 * decoded blocks; `threads`: one, or as many as vCPUs.
 */
export function vmLayout(
  vcpus: number,
  memorySize: number,
  slackSize = 0,
  arenaSize = (vcpus <= 2 ? 24 : 12) * Mebibyte,
  threads = 1,
): VmLayout {
  const ramSize = memorySize + slackSize;
  const ramPages = ramSize / 4096;
  let at = VmBlock + VmBlockSize;
  const take = (size: number): number => {
    const start = at;
    at = align(at + size, 4096);
    return start;
  };
  const each = <T>(make: () => T): T[] => Array.from({ length: vcpus }, make);
  const eachThread = <T>(make: () => T): T[] => Array.from({ length: threads }, make);
  const threadBlocks = eachThread(() => take(ThreadBlockSize));
  const threadData = eachThread(() => 0)
    .slice(1)
    .map(() => take(ThreadDataSize));
  const cpuBlocks = each(() => take(CpuBlockSize));
  const blockHash = each(() => take(BlockHashBuckets * 4));
  const pageBlocks = each(() => take(ramPages * 4));
  const arena = each(() => {
    const start = take(arenaSize);
    return { start, end: start + arenaSize };
  });
  const codeLines = eachThread(() => take(ramPages * 8));
  const staleCode = eachThread(() => take(Math.ceil(ramPages / 32) * 4));
  const ram = align(at, 2 << 20);
  return {
    cpuBlocks,
    blockHash,
    pageBlocks,
    arena,
    threads: threadBlocks,
    threadData,
    codeLines,
    staleCode,
    ram,
    ramSize,
    wasmPages: Math.ceil((ram + ramSize) / WasmPage),
  };
}
