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
    setFlagsFromString('--wasm-lazy-compilation');
  }
}
