/** The interrupt controllers in the kernel that vCPUs share, and the PIT. */
import type { IrqChipState } from '@lodger/vmm/interrupts/irqchip.js';
import { readIoapic, writeIoapic } from './ioapic.ts';
import { readPics, writePics } from './pic.ts';
import { readPit, writePit } from './pit.ts';

export function readControllers(vm: number): IrqChipState {
  return { ioapic: readIoapic(vm), pic: readPics(vm), ...readPit(vm) };
}

/** Before the local APICs. */
export function writeControllers(vm: number, state: IrqChipState): void {
  // The timer first: an interrupt of its own is overwritten
  writePit(vm, state);
  writeIoapic(vm, state.ioapic);
  writePics(vm, state.pic);
}
