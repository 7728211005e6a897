/**
 * The memory that koffi takes for a thread's calls: a stack and a heap, mapped by the first call. koffi 3.3.4 never gives
 * them back, not even when the thread has ended: 3 MiB of address space and three mappings for every thread of every
 * machine that a process ever had. So each thread notes where they are, and whoever saw it end unmaps them.
 */
import koffi from 'koffi';
import { readFileSync } from 'node:fs';
import { library, munmap } from './libc.ts';

/** Later versions may give the memory back themselves: what is not known to leak is left alone. */
const LeakingVersion = '3.3.4';
const PageSize = 4096;

/** Offset of uc_mcontext.gregs[REG_RSP] in ucontext_t, and room for all of it (sys/ucontext.h). */
const ContextRsp = 160;
const ContextSize = 2048;

const Word = { Stack: 0, StackLength: 1, Heap: 2, HeapLength: 3, Count: 4 } as const;

/** Bytes of the shared memory between {@link noteCallMemory} and {@link releaseCallMemory}. */
export const CallMemoryBytes = Word.Count * BigUint64Array.BYTES_PER_ELEMENT;

/** The thread itself, at its start: notes its memory. */
export function noteCallMemory(note: SharedArrayBuffer): void {
  if (koffi.version !== LeakingVersion) return;
  const { sync_stack_size: stackSize, sync_heap_size: heapSize } = koffi.config() as Record<string, number>;
  const words = new BigUint64Array(note);
  const stack = stackStart(stackPointer());
  if (stack !== undefined && stackSize !== undefined) {
    words[Word.Stack] = stack - BigInt(PageSize);
    // A guard page below and a page above (koffi, InstanceMemory::Allocate).
    words[Word.StackLength] = BigInt(Math.ceil(stackSize / PageSize) * PageSize + 2 * PageSize);
  }
  const heap = heapPointer();
  if (heap % BigInt(PageSize) === 0n && heapSize !== undefined) {
    words[Word.Heap] = heap;
    words[Word.HeapLength] = BigInt(heapSize);
  }
}

/** After the thread has ended: unmaps its memory. */
export function releaseCallMemory(note: SharedArrayBuffer): void {
  const [stack = 0n, stackLength = 0n, heap = 0n, heapLength = 0n] = new BigUint64Array(note);
  if (stackLength > 0n) munmap(stack, Number(stackLength));
  if (heapLength > 0n) munmap(heap, Number(heapLength));
}

/** Calls run on koffi's stack: this one tells where. */
function stackPointer(): bigint {
  const context = new Uint8Array(ContextSize);
  library.func('int getcontext(_Out_ void *context)')(context);
  return new DataView(context.buffer).getBigUint64(ContextRsp, true);
}

/** A string is put at the start of koffi's heap; strstr answers a pointer to it. */
function heapPointer(): bigint {
  return BigInt(library.func('uint64_t strstr(const char *text, const char *part)')('koffi', ''));
}

/** Where the mapping starts that `address` is in, if an inaccessible page guards it. */
function stackStart(address: bigint): bigint | undefined {
  const lines = readFileSync('/proc/self/maps', 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) (\S+)/gm);
  let guardEnd: bigint | undefined;
  for (const [, from, to, access] of lines) {
    const [start, end] = [BigInt(`0x${from}`), BigInt(`0x${to}`)];
    if (address >= start && address < end) return guardEnd === start ? start : undefined;
    guardEnd = access === '---p' ? end : undefined;
  }
  return undefined;
}
