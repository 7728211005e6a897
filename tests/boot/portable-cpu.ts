/** The processor that a machine needs to move between this host's engines. */
import { VirtualMachine } from 'lodger';
import type { VirtualMachineOptions } from 'lodger';

const Model = 'x86-64-v2';

/** The wasm engine's model, without what this host's KVM lacks of it; undefined when KVM lacks what cannot be left out. */
export async function portableCpu(options: VirtualMachineOptions = {}): Promise<string | undefined> {
  try {
    await using vm = await VirtualMachine.create({ ...options, engine: 'kvm', cpu: Model });
    await vm.start();
    return Model;
  } catch (error) {
    // The error says what to ask for instead
    return /--cpu (x86-64-v2(?:,-[\w.]+)+)/.exec((error as Error).message)?.[1];
  }
}
