/**
 * Names and bits of the type-0 configuration header.
 *
 * Spec: PCI Local Bus 3.0 chapter 6 "Configuration Space", section 6.1 "Configuration Space Organization".
 */
import { bitfield } from '../../registers/bitfield.ts';

/** PCI Local Bus 3.0 §6.2.2 "Device Control". */
export const Command = bitfield(16, {
  IoSpace: 0,
  MemorySpace: 1,
  BusMaster: 2,
  SpecialCycles: 3,
  MemoryWriteAndInvalidate: 4,
  VgaPaletteSnoop: 5,
  ParityErrorResponse: 6,
  Reserved7: 7,
  SystemErrorEnable: 8,
  FastBackToBackEnable: 9,
  InterruptDisable: 10,
  Reserved11: [15, 11],
});

/** The bits of the command register that software can change here. */
export const CommandWritable =
  Command.IoSpace.mask |
  Command.MemorySpace.mask |
  Command.BusMaster.mask |
  Command.ParityErrorResponse.mask |
  Command.SystemErrorEnable.mask |
  Command.InterruptDisable.mask;

/** PCI Local Bus 3.0 §6.2.3 "Device Status". */
export const Status = bitfield(16, {
  Reserved0: [2, 0],
  InterruptStatus: 3,
  CapabilitiesList: 4,
  Capable66MHz: 5,
  Reserved6: 6,
  FastBackToBackCapable: 7,
  MasterDataParityError: 8,
  DevselTiming: [10, 9],
  SignaledTargetAbort: 11,
  ReceivedTargetAbort: 12,
  ReceivedMasterAbort: 13,
  SignaledSystemError: 14,
  DetectedParityError: 15,
});

/** PCI Local Bus 3.0 §6.2.5.1 "Address Maps": the low bits of a base address register. */
export const BarType = {
  Io: 0b01,
  Memory32: 0b000,
  Memory64: 0b100,
  Prefetchable: 0b1000,
} as const;

/** PCI Code and ID Assignment: capability IDs. */
export const CapabilityId = {
  VendorSpecific: 0x09,
  MsiX: 0x11,
} as const;
export type CapabilityId = (typeof CapabilityId)[keyof typeof CapabilityId];

/** Sizes and places of configuration space. */
export const ConfigLayout = {
  /** A conventional function's configuration space. */
  Size: 0x100,
  /** What the enhanced mechanism addresses for each function. */
  ExtendedSize: 0x1000,
  HeaderSize: 0x40,
  Bars: 6,
} as const;

/** PCI Code and ID Assignment: class codes as base class, subclass, programming interface. */
export const ClassCode = {
  MassStorageOther: 0x01_80_00,
  NetworkEthernet: 0x02_00_00,
  HostBridge: 0x06_00_00,
  CommunicationOther: 0x07_80_00,
  Other: 0xff_00_00,
} as const;

/** What a read that no function answers gives: all ones of the width. */
export function noDevice(size: number): number {
  return size >= 4 ? 0xffff_ffff : 2 ** (size * 8) - 1;
}
