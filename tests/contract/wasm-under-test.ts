/** The wasm engine with a clock that the test moves. */
import { EngineModes, modeOfTest } from '../guest/engine-modes.ts';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { ManualClock } from '@lodger/vmm/time/manual-clock.js';
import type { EngineUnderTest } from './engine-guest.ts';

const Start = 1e9;

/** `tscKhz`: a host's KVM may not be able to give a guest's TSC any rate but its own. */
export function wasmUnderTest(tscKhz?: number): EngineUnderTest {
  const clock = new ManualClock();
  clock.advance(Start);
  return {
    clock,
    createVm: (config) => new WasmEngine(EngineModes[modeOfTest]).createVm({ ...config, clock, tscKhz }),
    advance: (nanoseconds) => clock.advance(nanoseconds),
  };
}
