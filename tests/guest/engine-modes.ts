/** The ways in which the wasm engine can run a guest: every test of instructions and of the contract passes in each. */
import type { WasmEngineOptions } from '@lodger/vmm/engine/wasm/engine.js';
import { compileHere } from '@lodger/vmm/engine/wasm/translator/region-compiler.js';

export const EngineModes = {
  /** Nothing is translated. */
  interpreter: {},
  /** Every block of 64-bit code is translated when it is first met. */
  translator: { translator: { createCompiler: compileHere, threshold: 0, optimized: false } },
  /** Blocks are translated after they were met by two slices, with the optimizing tier. */
  'hot code': { translator: { createCompiler: compileHere, threshold: 2, optimized: true } },
} satisfies Record<string, WasmEngineOptions>;
export type EngineMode = keyof typeof EngineModes;

/** Of tests that are run by hand in one mode: LODGER_TEST_MODE. */
export const modeOfTest = (process.env['LODGER_TEST_MODE'] ?? 'interpreter') as EngineMode;
