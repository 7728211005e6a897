/**
 * All ACPI tables, laid out in the BIOS area where operating systems look for them.
 *
 * Spec: ACPI 6.4 §5.2 "ACPI System Description Tables", §5.2.5.1 "Finding the RSDP on IA-PC Systems"; PCI Firmware 3.0
 * §4.1.2 "MCFG Table Description".
 */
import { HostError } from '../../errors/host-error.ts';
import { PciBuses, PhysicalMap } from '../../machine/memory-map.ts';
import { gpa } from '../../memory/address.ts';
import type { GuestPhysicalAddress } from '../../memory/address.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { ascii, checksum, concat, u16, u32, u64, u8, zeros } from './bytes.ts';
import { dsdt } from './dsdt.ts';
import { facs, fadt } from './fadt.ts';
import { madt } from './madt.ts';
import { table } from './table.ts';

export interface AcpiOptions {
  readonly vcpus: number;
  /** The machine has a keyboard controller that a driver should use. Default: no. */
  readonly keyboard?: boolean;
}

/** The tables as bytes, to be put at `start`. */
export interface AcpiImage {
  readonly start: GuestPhysicalAddress;
  readonly rsdp: GuestPhysicalAddress;
  readonly bytes: Uint8Array;
}

/** FACS asks for 64; the others for less. */
const Alignment = 64;

/** Writes the tables into guest memory and returns the address of the RSDP. */
export function writeAcpiTables(memory: GuestMemory, options: AcpiOptions): GuestPhysicalAddress {
  const { start, rsdp, bytes } = buildAcpiTables(options);
  if (memory.write(start, bytes)) return rsdp;
  throw new HostError(
    'MemoryTooSmall',
    'the ACPI tables do not fit into guest memory: give the machine at least 1 MiB',
  );
}

export function buildAcpiTables({ vcpus, keyboard = false }: AcpiOptions): AcpiImage {
  const { start, size } = PhysicalMap.AcpiTables;
  const image = new Uint8Array(size);
  // The RSDP comes first, so that a scan finds it at once; it is written last.
  let next = align(start + RsdpBytes);
  const place = (bytes: Uint8Array): number => {
    const address = next;
    if (address + bytes.length > start + size) {
      throw new HostError('InvalidArgument', `the ACPI tables for ${vcpus} vCPUs do not fit: use fewer`);
    }
    image.set(bytes, address - start);
    next = align(address + bytes.length);
    return address;
  };
  const facsAddress = place(facs());
  const dsdtAddress = place(dsdt({ keyboard }));
  const tables = [place(fadt({ facs: facsAddress, dsdt: dsdtAddress, keyboard })), place(madt(vcpus)), place(mcfg())];
  const rsdt = place(table('RSDT', 1, concat(tables.map(u32))));
  const xsdt = place(table('XSDT', 1, concat(tables.map(u64))));
  image.set(rsdpStructure(rsdt, xsdt));
  return { start: gpa(start), rsdp: gpa(start), bytes: image.subarray(0, next - start) };
}

/** PCI Firmware 3.0 §4.1.2: one segment. */
function mcfg(): Uint8Array {
  const segment = concat([u64(PhysicalMap.PciEcam.start), u16(0), u8(0), u8(PciBuses - 1), zeros(4)]);
  return table('MCFG', 1, concat([zeros(8), segment]));
}

/** §5.2.5.3 "Root System Description Pointer (RSDP) Structure". */
const RsdpBytes = 36;
const RsdpFirstBytes = 20;
const RsdpChecksum = 8;
const RsdpExtendedChecksum = 32;

function rsdpStructure(rsdt: number, xsdt: number): Uint8Array {
  const revision = 2;
  const bytes = concat([
    ascii('RSD PTR '),
    u8(0),
    ascii('LODGER', 6),
    u8(revision),
    u32(rsdt),
    u32(RsdpBytes),
    u64(xsdt),
    u8(0),
    zeros(3),
  ]);
  bytes[RsdpChecksum] = checksum(bytes.subarray(0, RsdpFirstBytes));
  bytes[RsdpExtendedChecksum] = checksum(bytes);
  return bytes;
}

function align(address: number): number {
  return Math.ceil(address / Alignment) * Alignment;
}
