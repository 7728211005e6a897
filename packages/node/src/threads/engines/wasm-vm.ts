/** A VM of the wasm engine in the machine's thread. */
import { WasmEngine } from '@lodger/vmm/engine/wasm/engine.js';
import { HostError } from '@lodger/vmm/errors/host-error.js';
import { compileOptimized } from './compile-optimized.ts';
import type { ThreadVm, ThreadVmConfig } from './engine-threads.ts';
import { compileThere } from './translation.ts';

export function createVm({ backing, irqchip, tuning = {}, translator, ...config }: ThreadVmConfig): ThreadVm {
  const option = backing?.prefault ? 'prefault' : backing?.hugePages ? 'hugePages' : irqchip && 'irqchip';
  const tuned = Object.entries(tuning).find(([, value]) => value !== undefined)?.[0];
  if (option ?? tuned) {
    throw new HostError(
      'InvalidArgument',
      `${option ?? tuned} is for the kvm engine: leave it out, or pass --engine kvm`,
    );
  }
  const vm = new WasmEngine({
    compileCore: compileOptimized,
    ...(translator && { translator: { createCompiler: compileThere(translator) } }),
  }).createVm(config);
  return {
    vm,
    shared: vm.shared,
    attend: () => vm.attend(),
    sleep: (milliseconds) => vm.sleep(milliseconds),
    statistics: () => ({ engine: 'wasm', ...vm.statistics() }),
  };
}
