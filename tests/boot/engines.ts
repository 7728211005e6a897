/** The engines that the boot suites run small kernels on, and why not where one is left out. */
import { VirtualMachine } from 'lodger';

export interface TestedEngine {
  readonly name: 'wasm' | 'kvm';
  /** A reason to skip, or false. */
  readonly skip: string | false;
}

export const wasm: TestedEngine = { name: 'wasm', skip: false };
export const kvm: TestedEngine = { name: 'kvm', skip: await kvmReason() };
/** The nested host is there for kvm; the wasm engine has been tested outside of it. */
export const engines: readonly TestedEngine[] = process.env['LODGER_NESTED_HOST'] ? [kvm] : [wasm, kvm];

async function kvmReason(): Promise<string | false> {
  try {
    // Options are checked in order: the engine comes before the kernel.
    await VirtualMachine.create({ engine: 'kvm', kernel: '/nonexistent' });
    return false;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'EngineUnavailable' ? message : false;
  }
}
