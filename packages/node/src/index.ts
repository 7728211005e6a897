/** The public door of the `lodger` library. */
export { VirtualMachine } from './vm/virtual-machine.ts';
export type { MachineEnd } from './vm/virtual-machine.ts';
export type { EngineStatistics, ExitCounts } from './threads/engine-choice.ts';
export type { DiskOptions, EngineChoice, RestoreOptions, VirtualMachineOptions } from './vm/options.ts';
export type { GuestConsole, WaitForOptions } from './vm/guest-console.ts';
export { HostError, HostErrorCode } from '@lodger/vmm/errors/host-error.js';
export type { EndReason } from '@lodger/vmm/machine/end-reason.js';
