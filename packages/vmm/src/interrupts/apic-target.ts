/** Local APICs as the bus between them sees them, on whatever thread they are. */
import type { InterruptMessage } from './interrupt-message.ts';
import { BroadcastDestination } from './interrupt-message.ts';
import { DestinationFormat, DestinationModel, X2ApicLogicalId, XApicTopByte } from './local-apic-registers.ts';

export type LocalApicMode = 'disabled' | 'xapic' | 'x2apic';

export interface ApicTarget {
  readonly id: number;
  /** True while it takes fixed interrupts: hardware and software enabled. */
  readonly enabled: boolean;
  readonly processorPriority: number;
  matches(destination: number, logical: boolean): boolean;
  /** False when it does not accept the message. */
  accept(message: InterruptMessage): boolean;
  isFocusFor(vector: number): boolean;
}

/** What decides whether a message is for a local APIC. */
export interface ApicIdentity {
  readonly id: number;
  readonly mode: LocalApicMode;
  readonly logicalDestination: number;
  readonly destinationFormat: number;
}

/** SDM Vol. 3A "Determining IPI Destination". */
export function matchesDestination(apic: ApicIdentity, destination: number, logical: boolean): boolean {
  if (apic.mode === 'disabled') return false;
  if (destination === BroadcastDestination) return true;
  if (!logical) return destination === apic.id;
  const mine = apic.logicalDestination;
  if (apic.mode === 'x2apic') {
    const sameCluster = X2ApicLogicalId.Cluster.get(mine) === X2ApicLogicalId.Cluster.get(destination);
    return sameCluster && (mine & destination & X2ApicLogicalId.Members.mask) !== 0;
  }
  const logicalId = XApicTopByte.Value.get(mine);
  if (DestinationFormat.Model.get(apic.destinationFormat) === DestinationModel.Flat) {
    return (logicalId & destination) !== 0;
  }
  return logicalId >> 4 === ((destination >> 4) & 0xf) && (logicalId & destination & 0xf) !== 0;
}
