/** How V8 compiles the wasm engine's core. */
import { setFlagsFromString } from 'node:v8';

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
