/** The kvm engine: Linux's KVM through /dev/kvm. */
import type { Engine, EngineVmConfig } from '@lodger/vmm/engine/engine.js';
import type { KvmCpuOptions } from './cpu/options.ts';
import type { HostMemoryOptions } from './host-memory.ts';
import type { IrqchipKind } from './irqchip/vm-interrupts.ts';
import { KvmVm } from './vm.ts';

export interface KvmEngineOptions extends KvmCpuOptions {
  /** Default: /dev/kvm. */
  readonly device?: string;
  /** Default: `kernel`. */
  readonly irqchip?: IrqchipKind;
  readonly memory?: HostMemoryOptions;
  /**
   * Written pages are tracked with a dirty ring of this many bytes for each vCPU (a power of two) where the host has them,
   * instead of the dirty log.
   */
  readonly dirtyRingSize?: number;
}

export class KvmEngine implements Engine {
  readonly name = 'kvm';
  readonly #options: KvmEngineOptions;

  constructor(options: KvmEngineOptions = {}) {
    this.#options = options;
  }

  createVm(config: EngineVmConfig): KvmVm {
    return new KvmVm(config, this.#options);
  }
}
