/** The wasm engine in this thread, for what looks inside it: no workers, its own state at hand. */
// eslint-disable-next-line no-restricted-imports -- measures this engine's insides
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
// eslint-disable-next-line no-restricted-imports -- the same
import type { WasmEngineVm } from '@lodger/vmm/engine/wasm/engine.js';
// eslint-disable-next-line no-restricted-imports -- the same
import { compileHere } from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import { Machine } from '@lodger/vmm/machine/machine.js';
import type { MachineBoot } from '@lodger/vmm/machine/machine.js';
import { createByteRing } from '#lodger/threads/byte-ring.js';
import { compileOptimized } from '#lodger/threads/engines/compile-optimized.js';
import { hostClock } from '#lodger/threads/host-clock.js';

const clock = hostClock();

/** A VM with one processor, compiled as users get it. */
export function createBareVm(memorySize: number, countExecutions = false, translate = false): WasmEngineVm {
  const translator = translate ? { createCompiler: compileHere } : undefined;
  const options = { compileCore: compileOptimized, countExecutions, ...(translator && { translator }) };
  return new WasmEngine(options).createVm({ memorySize, vcpus: 1, clock });
}

/** Boots a machine and runs it to its end in this thread; `onLine` gets what the guest prints. Returns why it ended. */
export function runMachine(vm: WasmEngineVm, boot: MachineBoot, onLine: (line: string) => void): string {
  let line = '';
  const machine = new Machine({
    vm,
    vcpus: 1,
    clock,
    entropy: (target) => void crypto.getRandomValues(target),
    disks: [],
    console: {
      output: (byte) => {
        if (byte !== 0x0a) line += String.fromCharCode(byte);
        else {
          onLine(line);
          line = '';
        }
      },
      input: createByteRing(16),
      interactive: false,
      window: undefined,
    },
    host: { service() {}, serviceDeadline: () => Infinity, sleep: (milliseconds) => vm.sleep(milliseconds) },
  });
  machine.boot(boot);
  return machine.run().kind;
}
