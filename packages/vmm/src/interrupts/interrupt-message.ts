/** What travels between interrupt controllers: the message of an IOAPIC, an MSI or an IPI. */

/** SDM Vol. 3A "Interrupt Command Register (ICR)": delivery modes, shared by LVTs, IOAPIC entries and MSIs. */
export const DeliveryMode = {
  Fixed: 0,
  LowestPriority: 1,
  Smi: 2,
  Reserved: 3,
  Nmi: 4,
  Init: 5,
  StartUp: 6,
  ExtInt: 7,
} as const;
export type DeliveryMode = (typeof DeliveryMode)[keyof typeof DeliveryMode];

/** The destination that reaches every local APIC, whatever its mode and identifier. */
export const BroadcastDestination = 0xffff_ffff;
/** The same in the 8 bits that an IOAPIC, an MSI or an xAPIC have. */
export const ByteBroadcastDestination = 0xff;

export interface InterruptMessage {
  readonly vector: number;
  readonly deliveryMode: DeliveryMode;
  readonly levelTriggered: boolean;
  /** Logical destination; otherwise physical. */
  readonly logical: boolean;
  readonly destination: number;
}

/** Widens an 8-bit destination: 0xFF reaches every local APIC, x2APICs too. */
export function widenDestination(destination: number): number {
  return destination === ByteBroadcastDestination ? BroadcastDestination : destination;
}

/** What interrupt controllers tell a vCPU. `interrupt`: look at the pending one when interruptible. */
export type VcpuEvent = 'interrupt' | 'nmi' | 'init' | { readonly sipi: number };
