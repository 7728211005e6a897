/**
 * The interrupt controllers and the PIT in the kernel: KVM API documentation 4.24 "KVM_CREATE_IRQCHIP", 4.71
 * "KVM_CREATE_PIT2". vCPUs never leave KVM_RUN for them, nor for HLT.
 *
 * Lines are wired as in packages/vmm/src/interrupts/irqchip.ts: 0 to 15 reach the PICs and the IOAPIC, 16 to 23 the
 * IOAPIC only; the PIT, interrupt 0 of KVM, drives pin 2 of the IOAPIC.
 */
import type { InterruptLine } from '@lodger/vmm/interrupts/interrupt-line.js';
import type { IrqChipState } from '@lodger/vmm/interrupts/irqchip.js';
import { Gsi } from '@lodger/vmm/machine/memory-map.js';
import { IrqLevel, PitConfig, PitSpeakerDummy } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { IoapicPins, IrqchipId } from '../api/state-layouts.ts';
import { viewOfBytes } from '../api/struct.ts';
import type { GsiRoutes, GsiTarget } from './gsi-routes.ts';
import { readControllers, writeControllers } from '../state/controllers.ts';
import { SharedLines } from './shared-lines.ts';
import type { VmInterrupts } from './vm-interrupts.ts';

/** Of one PIC; the slave has the next ones. */
const PicPins = 8;
/** Pin of the master that the slave is on: no device's. */
const CascadePin = 2;
/** The PIT's interrupt number in KVM. */
const PitGsi = 0;

export class KernelIrqchip implements VmInterrupts {
  readonly kind = 'kernel';
  readonly #vmFd: number;
  readonly #lines: SharedLines;

  constructor(vmFd: number, routes: GsiRoutes) {
    this.#vmFd = vmFd;
    kvmIoctl(vmFd, KvmRequest.CreateIrqchip);
    kvmIoctl(vmFd, KvmRequest.CreatePit2, PitConfig.create({ flags: PitSpeakerDummy }));
    for (let gsi = 0; gsi < IoapicPins; gsi++) routes.set(gsi, ...pinsOf(gsi));
    routes.apply();
    const level = IrqLevel.create();
    const view = viewOfBytes(level);
    this.#lines = new SharedLines(IoapicPins, (line, asserted) => {
      view.setUint32(IrqLevel.offset.irq, line, true);
      view.setUint32(IrqLevel.offset.level, Number(asserted), true);
      kvmIoctl(vmFd, KvmRequest.IrqLine, level);
    });
  }

  interruptLine(gsi: number): InterruptLine {
    return this.#lines.source(gsi === Gsi.PitTimer ? PitGsi : gsi);
  }

  answer(): boolean {
    return false;
  }

  helper(): undefined {}

  save(): IrqChipState {
    return readControllers(this.#vmFd);
  }

  restore(state: IrqChipState): void {
    writeControllers(this.#vmFd, state);
  }

  nextDeadline(): number {
    return Infinity;
  }

  fireTimers(): void {}
}

function pinsOf(gsi: number): GsiTarget[] {
  const targets: GsiTarget[] = [];
  if (gsi < PicPins && gsi !== CascadePin) targets.push({ chip: IrqchipId.PicMaster, pin: gsi });
  if (gsi >= PicPins && gsi < 2 * PicPins) targets.push({ chip: IrqchipId.PicSlave, pin: gsi - PicPins });
  if (gsi === PitGsi) targets.push({ chip: IrqchipId.Ioapic, pin: Gsi.PitTimer });
  // Pin 2 is the PIT's
  else if (gsi !== Gsi.PitTimer) targets.push({ chip: IrqchipId.Ioapic, pin: gsi });
  return targets;
}
