/**
 * Where the structures of a virtio PCI function are, and the capabilities that say so.
 *
 * Spec: virtio 1.2 §4.1.2 "PCI Device Discovery", §4.1.4 "Virtio Structure PCI Capabilities".
 */
import { CapabilityId, ClassCode } from '../../pci/config-registers.ts';
import type { PciCapability } from '../../pci/pci-function.ts';
import { constant, reserved } from '../../pci/register-space.ts';
import type { RegisterField } from '../../pci/register-space.ts';
import { VirtioDeviceType } from '../virtio-device.ts';

export const VirtioPciId = {
  Vendor: 0x1af4,
  /** Added to the device type. */
  FirstDevice: 0x1040,
  /** Any from 0x40 on tells a device without a legacy interface. */
  Subsystem: 0x0040,
  Revision: 1,
} as const;

/** One 64-bit BAR holds it all, each structure on pages of its own so that an engine can trap them apart. */
export const VirtioBar = {
  Index: 0,
  Size: 0x8000,
  Common: 0x0000,
  Isr: 0x1000,
  Device: 0x2000,
  DeviceBytes: 0x1000,
  Notify: 0x3000,
  NotifyBytes: 0x1000,
  /** Each queue has a notification address of its own. */
  NotifyMultiplier: 4,
  MsixTable: 0x4000,
  MsixPending: 0x6000,
} as const;

const StructureType = { Common: 1, Notify: 2, Isr: 3, Device: 4, PciAccess: 5 } as const;

/** PCI class codes as QEMU gives them: nothing depends on them but what people see in lspci. */
export function classCodeOf(type: VirtioDeviceType): number {
  switch (type) {
    case VirtioDeviceType.Network:
      return ClassCode.NetworkEthernet;
    case VirtioDeviceType.Block:
      return ClassCode.MassStorageOther;
    case VirtioDeviceType.Console:
      return ClassCode.CommunicationOther;
    case VirtioDeviceType.EntropySource:
      return ClassCode.Other;
    default:
      return type satisfies never;
  }
}

/** The capabilities that lead to the structures in the BAR. */
export function structureCapabilities(queues: number, configBytes: number, commonBytes: number): PciCapability[] {
  const capabilities = [
    structure(StructureType.Common, VirtioBar.Common, commonBytes),
    structure(StructureType.Notify, VirtioBar.Notify, queues * VirtioBar.NotifyMultiplier, [
      constant('notifyOffsetMultiplier', 4, VirtioBar.NotifyMultiplier),
    ]),
    structure(StructureType.Isr, VirtioBar.Isr, 4),
  ];
  if (configBytes > 0) capabilities.push(structure(StructureType.Device, VirtioBar.Device, configBytes));
  return capabilities;
}

function structure(type: number, offset: number, length: number, more: RegisterField[] = []): PciCapability {
  const bytes = 16 + more.reduce((sum, field) => sum + field.bytes, 0);
  return {
    id: CapabilityId.VendorSpecific,
    body: [
      constant('capabilityLength', 1, bytes),
      constant('structureType', 1, type),
      constant('structureBar', 1, VirtioBar.Index),
      reserved(3),
      constant('structureOffset', 4, offset),
      constant('structureLength', 4, length),
      ...more,
    ],
  };
}

/** The window through which configuration space reaches the BAR: its own registers and what it does with them. */
export interface PciAccessWindow {
  bar: number;
  offset: number;
  length: number;
  read(): number;
  write(value: number): void;
}

/** §4.1.4.9 "PCI configuration access capability". */
export function pciAccessCapability(window: PciAccessWindow): PciCapability {
  const field = (name: string, bytes: 1 | 4, which: 'bar' | 'offset' | 'length'): RegisterField => ({
    name,
    bytes,
    read: () => window[which],
    write: (value, mask) => (window[which] = ((window[which] & ~mask) | value) >>> 0),
  });
  return {
    id: CapabilityId.VendorSpecific,
    body: [
      constant('capabilityLength', 1, 20),
      constant('structureType', 1, StructureType.PciAccess),
      field('accessBar', 1, 'bar'),
      reserved(3),
      field('accessOffset', 4, 'offset'),
      field('accessLength', 4, 'length'),
      { name: 'accessData', bytes: 4, read: () => window.read(), write: (value) => window.write(value) },
    ],
  };
}
