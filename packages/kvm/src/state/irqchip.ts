/** One of the three controllers of KVM_CREATE_IRQCHIP: KVM API documentation 4.26 "KVM_GET_IRQCHIP", 4.27 "KVM_SET_IRQCHIP". */
import { KvmRequest, kvmIoctl } from '../api/requests.ts';
import { Irqchip } from '../api/state-layouts.ts';
import type { IrqchipId } from '../api/state-layouts.ts';
import type { StructUpdate, Value } from '../api/struct.ts';
import { getState } from './transfer.ts';

type ChipId = (typeof IrqchipId)[keyof typeof IrqchipId];
type Chip = (typeof Irqchip)['fields']['chip'];

/** Of the union's members, the one of this chip is meaningful. */
export function getChip(vm: number, id: ChipId): Value<Chip> {
  return getState(vm, KvmRequest.GetIrqchip, Irqchip, { chip_id: id }).chip;
}

export function setChip(vm: number, id: ChipId, chip: StructUpdate<Chip['fields']>): void {
  kvmIoctl(vm, KvmRequest.SetIrqchip, Irqchip.create({ chip_id: id, chip: chip as Value<Chip> }));
}
