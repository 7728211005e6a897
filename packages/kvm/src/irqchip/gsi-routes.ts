/**
 * Where interrupts go that KVM knows by number (global system interrupts): KVM API documentation 4.52
 * "KVM_SET_GSI_ROUTING". KVM takes the whole table at once, so a VM has one of these, and all who need routes share it.
 */
import type { MsiMessage } from '@lodger/vmm/interrupts/event-wiring.js';
import { IrqRouting, IrqRoutingEntry, IrqRoutingMsi, IrqRoutingIrqchip, IrqRoutingType } from '../api/layouts.ts';
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { IoapicPins } from '../api/state-layouts.ts';
import type { IrqchipId } from '../api/state-layouts.ts';
import { viewOfBytes } from '../api/struct.ts';

/** A pin of a controller in the kernel. */
export interface ChipPin {
  readonly chip: (typeof IrqchipId)[keyof typeof IrqchipId];
  readonly pin: number;
}

export type GsiTarget = ChipPin | MsiMessage;

/** The first number that is no pin of the IOAPIC. */
export const FirstFreeGsi = IoapicPins;

export class GsiRoutes {
  readonly #vmFd: number;
  readonly #routes = new Map<number, readonly GsiTarget[]>();

  constructor(vmFd: number) {
    this.#vmFd = vmFd;
  }

  /** Sends interrupt `gsi` to all of `targets`; none takes its route away. {@link apply} makes it so. */
  set(gsi: number, ...targets: readonly GsiTarget[]): void {
    if (targets.length === 0) this.#routes.delete(gsi);
    else this.#routes.set(gsi, targets);
  }

  /** Routes an interrupt to a message; false when it is so already. */
  setMessage(gsi: number, message: MsiMessage): boolean {
    const [old] = this.#routes.get(gsi) ?? [];
    if (old && 'address' in old && old.address === message.address && old.data === message.data) return false;
    this.set(gsi, message);
    return true;
  }

  /** Gives the table to KVM: what is raised after this goes by it. */
  apply(): void {
    const entries = [...this.#routes].flatMap(([gsi, targets]) => targets.map((target) => ({ gsi, target })));
    const table = IrqRouting.create({ nr: entries.length }, entries.length);
    const view = viewOfBytes(table);
    entries.forEach(({ gsi, target }, index) => {
      writeEntry(view, IrqRouting.offset.entries + index * IrqRoutingEntry.size, gsi, target);
    });
    kvmIoctl(this.#vmFd, KvmRequest.SetGsiRouting, table);
  }
}

function writeEntry(view: DataView, offset: number, gsi: number, target: GsiTarget): void {
  const isMsi = 'address' in target;
  IrqRoutingEntry.update(view, { gsi, type: isMsi ? IrqRoutingType.Msi : IrqRoutingType.Irqchip }, offset);
  const at = offset + IrqRoutingEntry.offset.u;
  if (isMsi) IrqRoutingMsi.update(view, { address_lo: target.address, address_hi: 0, data: target.data }, at);
  else IrqRoutingIrqchip.update(view, { irqchip: target.chip, pin: target.pin }, at);
}
