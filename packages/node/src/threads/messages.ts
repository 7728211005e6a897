/** What threads tell each other by message, and what workers start with. Everything in it is shared memory or small. */
import type { EndReason } from '@lodger/vmm/machine/end-reason.js';
import type { EngineStatistics, Irqchip, MemoryBacking, SharedVm, ThreadVmConfig } from './engine-choice.ts';
import type { MachineDescription } from '../vm/saved-machine.ts';
import type { EngineName } from './engine-name.ts';
import type { TranslatorLink } from './engines/translation.ts';
import type { IoWorkerPlan } from './io-links.ts';

/** Kernel and initrd. The worker reads files straight into guest memory; arrays have buffers of their own, which move to it. */
export interface BootFiles {
  /** A path, or the bytes of a kernel that is in no file. */
  readonly kernel: string | Uint8Array<ArrayBuffer>;
  readonly kernelName: string;
  /** The start of the bzImage that `kernel` was unpacked from. */
  readonly setup: Uint8Array<ArrayBuffer> | undefined;
  /** A path. */
  readonly initrd: string | undefined;
}

/** What the guest's processors are like. */
export type Processors = Pick<ThreadVmConfig, 'cpu' | 'tscKhz' | 'tuning'>;

/** `workerData` of the machine's worker. */
export interface MachineWorkerData {
  readonly engine: EngineName;
  readonly memorySize: number;
  readonly memoryBacking: MemoryBacking | undefined;
  readonly irqchip: Irqchip | undefined;
  readonly processors: Processors;
  readonly cpus: number;
  /** Of the vCPUs with threads of their own: 1, 2, … or none. */
  readonly mailboxes: readonly SharedArrayBuffer[];
  /** The defaults, then what the user appended. */
  readonly linuxCommandLine: string;
  /** Only what the user appended: for kernels that are not Linux. */
  readonly commandLine: string;
  /** Keys go to the guest at once (console-input.ts). */
  readonly interactive: boolean;
  /** Undefined when {@link restore} is not. */
  readonly boot: BootFiles | undefined;
  /** The file of a saved machine to continue instead of a boot. */
  readonly restore: number | undefined;
  /** For the file that the machine is saved to. */
  readonly description: MachineDescription;
  readonly control: SharedArrayBuffer;
  readonly consoleOutput: SharedArrayBuffer;
  readonly consoleInput: SharedArrayBuffer;
  readonly disks: readonly DiskLink[];
  readonly translator: TranslatorLink | undefined;
  /** Word 0 becomes 1 when the machine's other threads have ended. */
  readonly othersEnded: Int32Array;
}

/** One disk, for the worker that serves it and for the board. */
export interface DiskLink {
  /** Valid on every thread of the process. */
  readonly descriptor: number;
  readonly size: number;
  readonly readOnly: boolean;
  /** What the guest reads with GET_ID. */
  readonly serial: string;
}

export type MachineMessage =
  /** The VM is there: other threads can use it. */
  | { readonly kind: 'created'; readonly shared: SharedVm }
  /** An I/O worker (io-thread.ts) is to be started. */
  | { readonly kind: 'io-wanted'; readonly plan: IoWorkerPlan }
  /** The vCPUs are about to run. */
  | { readonly kind: 'running' }
  | { readonly kind: 'output' }
  | { readonly kind: 'input-room' }
  | { readonly kind: 'paused' }
  /** `problem`: why the machine could not be saved. */
  | { readonly kind: 'saved'; readonly problem: string | undefined }
  /** Asked for, and once more before the end. */
  | { readonly kind: 'statistics'; readonly statistics: EngineStatistics }
  /** The worker's last message. */
  | { readonly kind: 'ended'; readonly reason: EndReason };

/** `workerData` of the worker of a vCPU with a thread of its own. */
export interface VcpuWorkerData {
  readonly shared: SharedVm;
  readonly id: number;
  readonly mailbox: SharedArrayBuffer;
}

/** The last message of such a worker: it ended because it was told to. */
export const VcpuEnded = 'ended';
