/** The kvm engine: Linux's KVM through /dev/kvm. */
import type { Engine, EngineVmConfig } from '@lodger/vmm/engine/engine.js';
import type { HostMemoryOptions } from './host-memory.ts';
import type { IrqchipKind } from './irqchip/vm-interrupts.ts';
import { KvmVm } from './vm.ts';

export interface KvmEngineOptions {
  /** Default: /dev/kvm. */
  readonly device?: string;
  readonly irqchip?: IrqchipKind;
  readonly memory?: HostMemoryOptions;
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
