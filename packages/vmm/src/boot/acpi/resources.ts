/**
 * Resource descriptors, as _CRS returns them.
 *
 * Spec: ACPI 6.4 §6.4 "Resource Data Types for ACPI".
 */
import { buffer } from './aml.ts';
import type { Aml } from './aml.ts';
import { concat, u16, u32, u64, u8 } from './bytes.ts';

/** Small resource items carry their length in the tag; large ones have bit 7 set and a length that follows. */
const Tag = {
  Irq: 0x22,
  IoPort: 0x47,
  End: 0x79,
  FixedMemory32: 0x86,
  AddressSpace32: 0x87,
  AddressSpace16: 0x88,
  AddressSpace64: 0x8a,
} as const;

const SpaceType = { Memory: 0, Io: 1, BusNumber: 2 } as const;
/** §6.4.3.5: minimum and maximum fixed, positive decode, producer. */
const FixedWindow = 0x0c;
const MemoryFlags = { ReadWrite: 0x01, Cacheable: 0x02, Prefetchable: 0x06 } as const;
/** The whole range, not ISA aliases only. */
const IoEntireRange = 0x03;
const Decode16 = 1;

/** A buffer of descriptors with its end tag. A checksum of zero is "not computed". */
export function resourceTemplate(descriptors: readonly Uint8Array[]): Aml {
  return buffer(concat([...descriptors, u8(Tag.End), u8(0)]));
}

/** `count` ports at a fixed place. §6.4.2.5 "I/O Port Descriptor". */
export function ioPorts(start: number, count: number): Uint8Array {
  return concat([u8(Tag.IoPort), u8(Decode16), u16(start), u16(start), u8(1), u8(count)]);
}

/** An edge-triggered, active-high ISA interrupt. §6.4.2.1 "IRQ Descriptor". */
export function irq(number: number): Uint8Array {
  return concat([u8(Tag.Irq), u16(1 << number)]);
}

/** §6.4.3.4 "32-Bit Fixed Memory Range Descriptor". */
export function fixedMemory(start: number, size: number): Uint8Array {
  return large(Tag.FixedMemory32, [u8(MemoryFlags.ReadWrite), u32(start), u32(size)]);
}

/** Bus numbers that a host bridge forwards. §6.4.3.5.3 "Word Address Space Descriptor". */
export function busNumbers(first: number, last: number): Uint8Array {
  return window16(SpaceType.BusNumber, 0, first, last - first + 1);
}

/** Ports that a host bridge forwards. */
export function ioWindow(start: number, size: number): Uint8Array {
  return window16(SpaceType.Io, IoEntireRange, start, size);
}

/** 32-bit memory that a host bridge forwards. §6.4.3.5.2 "DWord Address Space Descriptor". */
export function memoryWindow32(start: number, size: number): Uint8Array {
  const flags = u8(MemoryFlags.ReadWrite);
  const range = [u32(0), u32(start), u32(start + size - 1), u32(0), u32(size)];
  return large(Tag.AddressSpace32, [u8(SpaceType.Memory), u8(FixedWindow), flags, ...range]);
}

/** 64-bit memory that a host bridge forwards. §6.4.3.5.1 "QWord Address Space Descriptor". */
export function memoryWindow64(start: number, size: number): Uint8Array {
  const flags = u8(MemoryFlags.ReadWrite | MemoryFlags.Prefetchable);
  const range = [u64(0), u64(start), u64(start + size - 1), u64(0), u64(size)];
  return large(Tag.AddressSpace64, [u8(SpaceType.Memory), u8(FixedWindow), flags, ...range]);
}

function window16(type: number, flags: number, start: number, size: number): Uint8Array {
  const range = [u16(0), u16(start), u16(start + size - 1), u16(0), u16(size)];
  return large(Tag.AddressSpace16, [u8(type), u8(FixedWindow), u8(flags), ...range]);
}

function large(tag: number, body: readonly Uint8Array[]): Uint8Array {
  const bytes = concat(body);
  return concat([u8(tag), u16(bytes.length), bytes]);
}
