/** How V8 compiles the wasm engine's core. */
import { setFlagsFromString } from 'node:v8';

/**
 * Flags of V8 for translated code, for the whole process: hints in the code which branches are rare (worth up to two times,
 * JIT-LIMITS.md) and which functions to optimize at once.
 */
export function enableCompilationHints(): void {
  setFlagsFromString('--experimental-wasm-branch-hinting');
  setFlagsFromString('--experimental-wasm-compilation-hints');
}

/** Compiles at once with V8's optimizing tier: the interpreter never runs at Liftoff's speed. */
export function compileOptimized(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  setFlagsFromString('--no-liftoff');
  setFlagsFromString('--no-wasm-lazy-compilation');
  try {
    return new WebAssembly.Module(bytes);
  } finally {
    setFlagsFromString('--liftoff');
    // --no-liftoff has turned it off as well: every function would be optimized as soon as it was compiled
    setFlagsFromString('--wasm-dynamic-tiering');
    setFlagsFromString('--wasm-lazy-compilation');
  }
}

/** What V8 sets out with: some bytes of machine code, as its baseline tier counts them at jumps back and at returns. */
const DefaultBudget = 1_800_000;
/**
 * Machine code that a function runs through before it is optimized, for each byte of its module. Optimizing costs about a
 * microsecond for each, and returns count as if all code before them had been run.
 */
const BudgetPerByte = Number(process.env['BPB'] ?? 50_000);
const SmallestBudget = Number(process.env['BMIN'] ?? 100_000_000);
const LargestBudget = 2 ** 31 - 1;

/** Compiles translated code with V8's baseline tier, at once; V8 optimizes functions that turn out to be worth it. */
export function compileTiered(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  const budget = Math.min(Math.max(bytes.length * BudgetPerByte, SmallestBudget), LargestBudget);
  setFlagsFromString(`--wasm-tiering-budget=${budget}`);
  setFlagsFromString('--no-wasm-lazy-compilation');
  try {
    return new WebAssembly.Module(bytes);
  } finally {
    setFlagsFromString(`--wasm-tiering-budget=${DefaultBudget}`);
    setFlagsFromString('--wasm-lazy-compilation');
  }
}
