/** What threads tell each other by message, and what workers start with. Everything in it is shared memory or small. */
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import type { EngineStatistics, SharedVm } from './engine-choice.ts';
import type { EngineName } from './engine-name.ts';

/** Kernel and initrd. Each array has a buffer of its own, which moves to the worker. */
export interface BootFiles {
  readonly kernel: Uint8Array<ArrayBuffer>;
  readonly kernelName: string;
  /** The start of the bzImage that `kernel` was unpacked from. */
  readonly setup: Uint8Array<ArrayBuffer> | undefined;
  readonly initrd: Uint8Array<ArrayBuffer> | undefined;
}

/** `workerData` of the machine's worker. */
export interface MachineWorkerData {
  readonly engine: EngineName;
  readonly memorySize: number;
  readonly cpus: number;
  /** The defaults, then what the user appended. */
  readonly linuxCommandLine: string;
  /** Only what the user appended: for kernels that are not Linux. */
  readonly commandLine: string;
  /** Keys go to the guest at once (console-input.ts). */
  readonly interactive: boolean;
  readonly boot: BootFiles;
  readonly control: SharedArrayBuffer;
  readonly consoleOutput: SharedArrayBuffer;
  readonly consoleInput: SharedArrayBuffer;
  readonly disks: readonly DiskLink[];
  /** Rung for the I/O worker. */
  readonly ioDoorbell: SharedArrayBuffer;
}

/** One disk, as both workers see it. */
export interface DiskLink {
  /** Valid on every thread of the process. */
  readonly descriptor: number;
  readonly size: number;
  readonly readOnly: boolean;
  /** What the guest reads with GET_ID. */
  readonly serial: string;
  /** Shared by the two halves of the virtio device. */
  readonly queues: SharedArrayBuffer;
}

export type MachineMessage =
  /** The vCPUs are about to run. */
  | { readonly kind: 'running'; readonly shared: SharedVm }
  | { readonly kind: 'output' }
  | { readonly kind: 'input-room' }
  | { readonly kind: 'paused' }
  /** Asked for, and once more before the end. */
  | { readonly kind: 'statistics'; readonly statistics: EngineStatistics }
  /** The worker's last message. */
  | { readonly kind: 'ended'; readonly reason: EndReason };

/** `workerData` of the I/O worker. */
export interface IoWorkerData {
  readonly shared: SharedVm;
  readonly disks: readonly DiskLink[];
  readonly doorbell: SharedArrayBuffer;
  /** Word 0 is 1 when the worker is to end. */
  readonly stop: Int32Array;
}
