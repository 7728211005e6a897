/** The IOAPIC in the kernel: KVM API documentation 4.26 "KVM_GET_IRQCHIP". */
import type { IoApicState } from '@lodger/vmm/engine/state.js';
import { PhysicalMap } from '@lodger/vmm/machine/memory-map.js';
import { IoApicId, Redirection } from '@lodger/vmm/interrupts/ioapic.js';
import { IrqchipId } from '../api/state-layouts.ts';
import { getChip, setChip } from './irqchip.ts';

const HighHalf = 32n;

/**
 * `irr` has the levels of level-triggered pins, and edges that wait; edges that were delivered are not in it, so that they
 * are not delivered again (Linux arch/x86/kvm/ioapic.c, kvm_get_ioapic, kvm_set_ioapic).
 */
export function readIoapic(vm: number): IoApicState {
  const { ioregsel, id, irr, redirtbl } = getChip(vm, IrqchipId.Ioapic).ioapic;
  return {
    version: 1,
    select: ioregsel,
    id: IoApicId.of({ Id: id }),
    lines: irr,
    entries: redirtbl.map((entry) => ({
      low: Number(BigInt.asUintN(32, entry)),
      high: Number(entry >> HighHalf),
    })),
  };
}

export function writeIoapic(vm: number, state: IoApicState): void {
  setChip(vm, IrqchipId.Ioapic, {
    ioapic: {
      base_address: BigInt(PhysicalMap.IoApic.start),
      ioregsel: state.select,
      id: IoApicId.Id.get(state.id),
      irr: state.lines & levelTriggered(state),
      pad: 0,
      redirtbl: state.entries.map(({ low, high }) => BigInt(low >>> 0) | (BigInt(high >>> 0) << HighHalf)),
    },
  });
}

/** A high line of an edge-triggered pin has been delivered when it rose, or was masked. */
function levelTriggered({ entries }: IoApicState): number {
  return entries.reduce((pins, { low }, pin) => (Redirection.LevelTriggered.isSet(low) ? pins | (1 << pin) : pins), 0);
}
