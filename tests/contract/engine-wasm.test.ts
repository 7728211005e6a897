import { EngineModes, modeOfTest } from '../guest/engine-modes.ts';
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { ManualClock } from '@lodger/vmm/time/manual-clock.js';
import type { EngineUnderTest } from './engine-guest.ts';
import { runContract } from './engine-suite.ts';

/** Room for the memory slots that tests add. */
const SlackSize = 8 << 20;

function create(): EngineUnderTest {
  const clock = new ManualClock();
  return {
    clock,
    createVm: (config) =>
      new WasmEngine({ slackSize: SlackSize, ...EngineModes[modeOfTest] }).createVm({ ...config, clock }),
    advance: (nanoseconds) => clock.advance(nanoseconds),
  };
}

runContract('wasm engine', create, {});
