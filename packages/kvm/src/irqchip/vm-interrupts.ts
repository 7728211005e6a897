/** What a VM asks of its interrupt controllers, wherever they are. */
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import type { VcpuHelper } from '../vcpu.ts';

/** Who has the PICs, the IOAPIC and the PIT; local APICs are always in the kernel. */
export type IrqchipKind = 'kernel' | 'split';

export interface VmInterrupts {
  readonly kind: IrqchipKind;
  /** A new source on the line of global system interrupt `gsi`. */
  interruptLine(gsi: number): InterruptLine;
  nextDeadline(): number;
  fireTimers(): void;
  /** For controllers in user space: what they do for a vCPU between rounds of KVM_RUN. */
  helper?(vcpu: number): VcpuHelper;
}
