/** What a VM asks of its interrupt controllers, wherever they are. */
import type { VcpuExit } from '@lodger/vmm/engine/exit.js';
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import type { IrqChipState } from '@lodger/vmm/interrupts/irqchip.js';
import type { VcpuHelper } from '../vcpu.ts';

/** Who has the PICs, the IOAPIC and the PIT; local APICs are always in the kernel. */
export type IrqchipKind = 'kernel' | 'split';

export interface VmInterrupts {
  readonly kind: IrqchipKind;
  /** A new source on the line of global system interrupt `gsi`. */
  interruptLine(gsi: number): InterruptLine;
  /** Answers an exit that is an access to the controllers; false when it is somebody else's. */
  answer(exit: VcpuExit): boolean;
  /** The PICs, the IOAPIC and the PIT. */
  save(): IrqChipState;
  /** Before the local APICs. */
  restore(state: IrqChipState): void;
  nextDeadline(): number;
  fireTimers(): void;
  /** What is to be done for a vCPU between rounds of KVM_RUN, if anything. */
  helper(vcpu: number): VcpuHelper | undefined;
}
