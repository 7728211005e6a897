/** What can be asked of the processors of a VM under KVM. */
import type { CpuChoice } from '@lodger/vmm/x86/cpu-models.js';

/** Instructions and states that a guest can be let into without an exit. */
export const DisableableExits = ['hlt', 'mwait', 'pause', 'cstate'] as const;
export type DisableableExit = (typeof DisableableExits)[number];

export interface KvmCpuOptions {
  /** Default: `host`. */
  readonly cpu?: CpuChoice | undefined;
  /** The frequency that the guest's TSC counts at. Default: the model's, and the host's for `host`. */
  readonly tscKhz?: number | undefined;
  /** Longest time, in nanoseconds, that KVM polls for an interrupt before a halted vCPU's thread sleeps. */
  readonly haltPolling?: number | undefined;
  /** Exits that KVM leaves out: the guest then keeps its host processor, also when it has nothing to do. */
  readonly disableExits?: readonly DisableableExit[] | undefined;
  /** Tells the guest that its vCPUs are never preempted (each has a processor of its own): spin, rather than yield. */
  readonly realtimeHint?: boolean | undefined;
  /** Shows SVM or VMX to the model `host`, where KVM offers it. Their state is not saved. */
  readonly nested?: boolean | undefined;
  /**
   * Shows all of a model, though KVM does not offer it. For tests, and for guests that are known not to use what is
   * missing: an instruction that KVM or the processor lacks is an invalid opcode, or worse.
   */
  readonly unchecked?: boolean | undefined;
}
