/**
 * The engine's shared memory: what lies where in the VM's one `WebAssembly.Memory`, in address order.
 *
 *     0            nothing: address 0 means "none"
 *     VmBlock      memory slots, attention word, mailboxes
 *     vCPU blocks  state, TLBs, jump cache (cpu-layout.ts), then block hash, page lists and record arena of each vCPU
 *     CodeLines    8 bytes a RAM page: bit n set means that its 64-byte line n holds decoded code
 *     RAM          from a 2 MiB boundary
 */
import { CpuBlockSize } from '../interpreter/cpu-layout.ts';

export const VmBlock = 0x1_0000;
export const VmField = {
  /** u32 */
  SlotCount: 0,
  /** i32: 1 when some thread wants the vCPU thread's attention; futex word. */
  Attention: 0x40,
  /** i32: StaleRequest; futex word for those who wait. */
  StalePending: 0x48,
  /** 64 slots of 32 bytes (SlotField). */
  Slots: 0x100,
  /** Constant data of instruction semantics: of the interpreter's, then of translated code's. */
  Data: 0x1000,
  TranslatorData: 0x1_0000,
} as const;
export const VmBlockSize = 0x2_0000;
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

/** Whether `staleCode` has pages that the vCPU thread has not looked at. */
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
  readonly codeLines: number;
  /** 4 bytes a RAM page, non-zero when another thread wrote to code on it. */
  readonly staleCode: number;
  readonly ram: number;
  readonly ramSize: number;
  /** Wasm pages of the whole memory. */
  readonly wasmPages: number;
}

const align = (value: number, to: number): number => Math.ceil(value / to) * to;

const Mebibyte = 1 << 20;

/**
 * Computes the layout. `slackSize` bytes behind RAM are for memory slots added later; `arenaSize` bytes hold a vCPU's
 * decoded blocks.
 */
export function vmLayout(
  vcpus: number,
  memorySize: number,
  slackSize = 0,
  arenaSize = (vcpus <= 2 ? 24 : 12) * Mebibyte,
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
  const cpuBlocks = each(() => take(CpuBlockSize));
  const blockHash = each(() => take(BlockHashBuckets * 4));
  const pageBlocks = each(() => take(ramPages * 4));
  const arena = each(() => {
    const start = take(arenaSize);
    return { start, end: start + arenaSize };
  });
  const codeLines = take(ramPages * 8);
  const staleCode = take(ramPages * 4);
  const ram = align(at, 2 << 20);
  return {
    cpuBlocks,
    blockHash,
    pageBlocks,
    arena,
    codeLines,
    staleCode,
    ram,
    ramSize,
    wasmPages: Math.ceil((ram + ramSize) / WasmPage),
  };
}
